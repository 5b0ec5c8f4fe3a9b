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
    let judge = |address: IpAddr| judge(endpoint, address);
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

fn judge(endpoint: &Endpoint, address: IpAddr) -> Result<(), DialError> {
    let allow = &endpoint.service().settings.allow;
    let Some(what) = special(address) else { return Ok(()) };
    let real = address.to_canonical();
    let listed = allow.iter().any(|net| net.contains(&address) || net.contains(&real));
    if listed || is_meant(endpoint.place(), real) {
        return Ok(());
    }
    Err(DialError::Special { address, what })
}

/// RFC 6761: `localhost` is this machine, whoever says it. And an address that is written was meant.
fn is_meant(place: &Place, address: IpAddr) -> bool {
    if let Some(literal) = place.literal() {
        return literal.to_canonical() == address;
    }
    let host = place.host.trim_end_matches('.').to_ascii_lowercase();
    let local = host == "localhost" || host.ends_with(".localhost");
    local && [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].contains(&address)
}
