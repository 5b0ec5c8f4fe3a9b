//! What ends a connection that carries nothing at the moment, and that its client is told.

use std::{
    io::{Read, Write},
    net::TcpListener,
    time::Duration,
};

use portcullis_testkit::upstream::{TcpEnd, TcpUpstream};
use serde_json::json;

use super::database::{Database, Tunnel, ana, ben, data, lea};
use crate::mesh::eventually;

/// Within a second, where nothing else keeps the machine busy.
const SOON: Duration = Duration::from_secs(30);

struct Idle {
    database: Database,
    control: String,
    tunnel: Tunnel,
    grant: String,
    lead: String,
}

/// Somebody connected by a grant, who says nothing more.
fn idle() -> Idle {
    let database = Database::open();
    let (control, gate) = database.enter(&ben());
    let grant = database.ask(&control, &database.dial(&gate).unwrap_err());
    let mut tunnel = database.dial(&gate).unwrap();
    tunnel.echo(b"ping");
    let lead = database.house.sign_in(&lea());
    Idle { database, control, tunnel, grant, lead }
}

impl Idle {
    /// It is cut for `word`, which is said as `words`; the database sees that it was cut short.
    fn ends_by(mut self, word: &str, words: &str) {
        assert_eq!(self.tunnel.until_closed(SOON), words);
        let event = self.database.ended(word);
        assert_eq!(event["detail"], "4 bytes up, 4 bytes down");
        assert_eq!(event["grant"], self.grant);
        let upstream = &self.database.upstream;
        eventually("the database is reset", || upstream.seen()[0].end == Some(TcpEnd::Reset));
        assert!(self.database.connections(&self.lead).is_empty());
    }
}

#[test]
fn e21_a_revocation_cuts_it() {
    let idle = idle();
    let path = format!("/v1/grants/{}/revoke", idle.grant);
    let body = Some(json!({"reason": "enough"}));
    let answer = idle.database.house.api("POST", &path, Some(&idle.lead), body);
    assert!(answer.status < 300, "{}", answer.text());
    idle.ends_by("grant_ended", "the grant ended");
}

#[test]
fn e21_a_sign_out_cuts_it() {
    let idle = idle();
    let answer = idle.database.house.api("POST", "/v1/sign-out", Some(&idle.control), None);
    assert!(answer.status < 300, "{}", answer.text());
    idle.ends_by("sign_in_ended", "the sign-in ended");
}

#[test]
fn m15_a_change_of_policy_cuts_it() {
    let idle = idle();
    let forbid = "@id(\"closed\") forbid (principal is User, action == Action::\"ledger-db.connect\", resource);";
    idle.database.house.write_policy("closed.cedar", forbid);
    idle.database.house.signal("HUP");
    idle.ends_by("policy_changed", "policy no longer permits it");
}

#[test]
fn somebody_sees_it_and_closes_it() {
    let idle = idle();
    let all = idle.database.connections(&idle.lead);
    let [connection] = all.as_slice() else { panic!("{all:#?}") };
    assert_eq!((&connection["protocol"], &connection["instance"]), (&"tcp".into(), &"db-1".into()));
    let path = format!("/v1/connections/{}/close", connection["id"].as_str().unwrap());
    let answer = idle.database.house.api("POST", &path, Some(&idle.lead), None);
    assert!(answer.status < 300, "{}", answer.text());
    idle.ends_by("closed", "it was closed");
}

#[test]
fn a_gate_that_stops_says_so() {
    let mut database = Database::open();
    let (_, gate) = database.enter(&ana());
    let mut tunnel = database.dial(&gate).unwrap();
    tunnel.echo(b"ping");
    database.house.signal("TERM");
    assert_eq!(tunnel.until_closed(Duration::from_mins(1)), "the gate is shutting down");
    database.house.wait_end();
}

#[test]
fn the_last_words_of_a_service_come_before_its_end() {
    const ROUNDS: usize = 20;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let yaml = format!("url: \"tcp://{}\"", listener.local_addr().unwrap());
    let words: Vec<u8> = (0..20_000_u32).map(|n| (n % 251) as u8).collect();
    let said = words.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(ROUNDS).map_while(Result::ok) {
            let mut stream = stream;
            stream.read_exact(&mut [0; 4]).unwrap();
            // It goes with bytes unread: what else is sent is answered with a reset.
            stream.write_all(&said).unwrap();
        }
    });
    let database = Database::before(TcpUpstream::start(b""), &yaml, "", |plan| plan);
    let (_, gate) = database.enter(&ana());
    for round in 0..ROUNDS {
        let mut tunnel = database.dial(&gate).unwrap();
        let mut sending = tunnel.stream.try_clone().unwrap();
        let sender =
            std::thread::spawn(move || while sending.write_all(&data(&[7; 900])).is_ok() {});
        assert!(tunnel.read(words.len()) == words, "round {round}: the words differ");
        let why = tunnel.until_closed(SOON);
        assert_eq!(why, "the upstream broke off", "round {round}");
        drop(tunnel);
        sender.join().unwrap();
    }
}

#[test]
fn bounds_of_a_service_hold_for_each_connection() {
    let bounds = "tcp: {idle: 10s, max_bytes: 1KiB}";
    let database = Database::furnished(b"", bounds, |plan| plan);
    let (_, gate) = database.enter(&ana());
    let mut quiet = database.dial(&gate).unwrap();
    let mut much = database.dial(&gate).unwrap();
    much.echo(&[7; 400]);
    much.send(&[7; 400]);
    assert_eq!(much.until_closed(SOON), "it carried more than it may");
    assert!(database.upstream.seen()[1].bytes <= 800);
    database.ended("too_much");
    assert_eq!(quiet.until_closed(SOON), "it carried nothing for too long");
    database.ended("idle");
}
