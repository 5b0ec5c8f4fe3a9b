//! Which addresses may be dialled: what a name leads to is resolved once, judged, and dialled as it
//! was judged.
//!
//! A name that leads to the machine itself, to its metadata service or to no single host is more
//! likely an attack or a mistake than a service. Private networks are where services live: they are
//! ordinary here. What the configuration writes as an address, or lists under `allow`, was meant.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use ipnet::IpNet;
use portcullis_policy::upstream::special;
use tokio::net::{TcpStream, lookup_host};

use super::{Endpoint, endpoint::Place};

/// Why an instance cannot be dialled.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("its name leads nowhere")]
    Nowhere,
    #[error(
        "its name leads to {address}, which is {what}; list it under `upstream.allow` if that is meant"
    )]
    Special { address: IpAddr, what: &'static str },
}

/// Connects to an instance, at an address that may be dialled.
pub(super) async fn dial(endpoint: &Endpoint) -> Result<TcpStream, DialError> {
    let place = endpoint.place();
    let allow = endpoint.service().settings.allow.as_slice();
    let judge = |address: IpAddr| judge(place, allow, address);
    if let Some(found) = endpoint.instance().address {
        judge(found.ip())?;
        return connect(found, judge).await;
    }
    if let Some(literal) = place.literal() {
        return connect(SocketAddr::new(literal, place.port), judge).await;
    }
    let mut last = DialError::Nowhere;
    for address in lookup_host((place.host.as_str(), place.port)).await? {
        // INVARIANT: what is judged is what is dialled. Nobody resolves the name again in between.
        match judge(address.ip()) {
            Ok(()) => match connect(address, judge).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            },
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// An unspecified address, for one, connects to another than was dialled.
async fn connect(
    address: SocketAddr,
    judge: impl Fn(IpAddr) -> Result<(), DialError>,
) -> Result<TcpStream, DialError> {
    let stream = TcpStream::connect(address).await?;
    judge(stream.peer_addr()?.ip())?;
    Ok(stream)
}

fn judge(place: &Place, allow: &[IpNet], address: IpAddr) -> Result<(), DialError> {
    let Some(what) = special(address) else { return Ok(()) };
    let real = address.to_canonical();
    let listed = allow.iter().any(|net| net.contains(&address) || net.contains(&real));
    if listed || is_meant(place, real) {
        return Ok(());
    }
    Err(DialError::Special { address, what })
}

/// RFC 6761: `localhost` is this machine, whoever says it. And an address that is written was meant.
fn is_meant(place: &Place, address: IpAddr) -> bool {
    if let Some(literal) = place.literal() {
        return literal.to_canonical() == address;
    }
    is_local(place)
        && [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].contains(&address)
}

fn is_local(place: &Place) -> bool {
    let host = place.host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

/// Whether a host as it is spelled says where it leads. Only the configuration may say that, and no answer of
/// a name server.
pub(super) fn says_where(place: &Place) -> bool {
    place.literal().is_some() || is_local(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(url: &str, allow: &[&str], address: &str) -> bool {
        let allow: Vec<IpNet> = allow.iter().map(|net| net.parse().unwrap()).collect();
        judge(&Place::parse(url).unwrap(), &allow, address.parse().unwrap()).is_ok()
    }

    #[test]
    fn j01_a_name_leads_to_services_and_not_to_the_machine_itself() {
        const NAME: &str = "http://payments.internal:80";
        for ordinary in
            ["10.0.0.5", "192.168.7.7", "172.16.0.1", "100.64.0.1", "1.1.1.1", "fd00::5"]
        {
            assert!(may(NAME, &[], ordinary), "{ordinary}");
        }
        for special in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "0.0.0.0",
            "::",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "fe80::1",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
        ] {
            assert!(!may(NAME, &[], special), "{special}");
            assert!(!may(NAME, &["10.0.0.0/8"], special), "{special}");
            assert!(!may("http://localhost.evil.test", &[], special), "{special}");
        }
        assert!(may(NAME, &["169.254.10.0/24"], "169.254.10.7"));
        assert!(!may(NAME, &["169.254.10.0/24"], "169.254.169.254"));
        assert!(may(NAME, &["127.0.0.0/8"], "::ffff:127.0.0.1"), "one address, two spellings");
    }

    #[test]
    fn j01_what_is_written_was_meant() {
        assert!(may("http://127.0.0.1:1", &[], "127.0.0.1"));
        assert!(
            !may("http://0.0.0.0:1", &[], "127.0.0.1"),
            "it connects to another than is written"
        );
        for local in ["http://localhost:1", "http://LocalHost.:1", "http://a.localhost"] {
            assert!(may(local, &[], "127.0.0.1") && may(local, &[], "::1"), "{local}");
            assert!(!may(local, &[], "169.254.169.254"), "{local}");
        }
    }
}
