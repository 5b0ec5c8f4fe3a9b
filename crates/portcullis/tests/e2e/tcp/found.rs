//! TCP services whose instances a name server knows.

use std::{io::Write as _, net::Ipv4Addr};

use portcullis_testkit::upstream::TcpUpstream;

use super::database::{Database, ana};
use crate::{
    mesh::eventually,
    upstreams::names::{Names, Record},
};

const LOCAL: Record = Record::A(Ipv4Addr::LOCALHOST);
const REST: &str = "min_ttl: 1s, max_ttl: 1s}, allow: [127.0.0.0/8], ejection: {failures: 0}";

#[test]
fn a_tcp_service_is_at_the_addresses_of_a_name() {
    let (upstream, names) = (TcpUpstream::start(b"hello "), Names::start());
    names.knows(&[("db.test", LOCAL)]);
    let url = format!("url: \"tcp://db.test:{}\"", upstream.address().port());
    let upstream_yaml = format!("dns: {{{url}, servers: [\"{}\"], {REST}", names.address);
    let database = Database::before(upstream, &upstream_yaml, "", |plan| plan);
    let (_, gate) = database.enter(&ana());
    let mut tunnel = database.dial(&gate).unwrap();
    assert_eq!(tunnel.read(6), b"hello ");
}

#[test]
fn a_tcp_service_is_at_the_targets_of_srv_records() {
    let (first, second) = (TcpUpstream::start(b"first "), TcpUpstream::start(b"second"));
    let (names, name) = (Names::start(), "_pg._tcp.db.test");
    let target = |port, host| [(name, Record::Srv(port, host)), (host, LOCAL)];
    names.knows(&target(first.address().port(), "db-1.test"));
    let dns = format!("dns: {{srv: {name}, scheme: tcp, servers: [\"{}\"]", names.address);
    let port = second.address().port();
    let database = Database::before(first, &format!("{dns}, {REST}"), "", |plan| plan);
    let (_, gate) = database.enter(&ana());
    let mut tunnel = database.dial(&gate).unwrap();
    assert_eq!(tunnel.read(6), b"first ");
    // What is connected stays where it is; what comes goes elsewhere.
    names.knows(&target(port, "db-2.test"));
    eventually("the second is found", || database.dial(&gate).unwrap().read(6) == b"second");
    tunnel.stream.write_all(&super::database::data(b"ledger")).unwrap();
    assert_eq!(tunnel.read(6), b"ledger");
}
