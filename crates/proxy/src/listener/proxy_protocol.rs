//! The PROXY protocol, versions 1 and 2: a load balancer says whose connection it passes on.
//!
//! Only the networks that a listener names are believed, and they must say it: a connection from there
//! without a sound header is closed, since whose it is stays unknown. The header is taken off the
//! socket to the byte, so that TLS or HTTP begins right behind it. Extensions (TLVs) are not read.
//!
//! Source: <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>.

use std::{io, net::IpAddr, time::Duration};

use ipnet::IpNet;
use ppp::{v1, v2};
use tokio::{io::AsyncReadExt, net::TcpStream};

/// How long a header may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);
/// Version 1 is one line of at most that many bytes, its end included.
const LONGEST_LINE: usize = 107;
/// Version 2 may be 64 KiB long; addresses with what balancers add stay far below this.
const LONGEST: usize = 2048;
const LINE: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = v2::PROTOCOL_PREFIX;
/// The signature, version and command, family and protocol, length.
const FIXED: usize = 16;

/// Why it is not known whose connection this is.
#[derive(Debug, thiserror::Error)]
pub(super) enum Defect {
    #[error("it does not begin with a PROXY protocol header")]
    Absent,
    #[error("its PROXY protocol header is too long")]
    TooLong,
    #[error("its PROXY protocol header is malformed: {0}")]
    Malformed(String),
    #[error("its PROXY protocol header tells of something other than TCP over IP")]
    NotTcp,
    #[error("its PROXY protocol header took too long")]
    TooLate,
    #[error("it ended within its PROXY protocol header: {0}")]
    Ended(#[from] io::Error),
}

/// Whether what `ip` says about a connection is believed.
pub(super) fn believes(senders: &[IpNet], ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    senders.iter().any(|network| network.contains(&ip))
}

/// Takes the header off `stream`: whose connection it is, which is the sender's own where the header
/// says so (`LOCAL`, `UNKNOWN`).
pub(super) async fn read(stream: &mut TcpStream, sender: IpAddr) -> Result<IpAddr, Defect> {
    let header = tokio::time::timeout(PATIENCE, take(stream)).await;
    let header = header.map_err(|_| Defect::TooLate)??;
    Ok(source(&header)?.unwrap_or(sender))
}

async fn take(stream: &mut TcpStream) -> Result<Vec<u8>, Defect> {
    let mut bytes = vec![0; LONGEST];
    let mut taken = 0;
    loop {
        let seen = stream.peek(bytes.get_mut(taken..).unwrap_or_default()).await?;
        if seen == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let end = end(bytes.get(..taken + seen).unwrap_or_default())?;
        // Without an end, all that was seen belongs to the header.
        let until = end.unwrap_or(taken + seen);
        stream.read_exact(bytes.get_mut(taken..until).unwrap_or_default()).await?;
        taken = until;
        if end.is_some() {
            bytes.truncate(taken);
            return Ok(bytes);
        }
    }
}

/// Where the header that `bytes` begin with ends; `None` if that is still to come.
fn end(bytes: &[u8]) -> Result<Option<usize>, Defect> {
    let end = if may_begin(bytes, SIGNATURE) {
        let Some([.., high, low]) = bytes.get(..FIXED) else { return Ok(None) };
        FIXED + usize::from(u16::from_be_bytes([*high, *low]))
    } else if may_begin(bytes, LINE) {
        match bytes.iter().position(|byte| *byte == b'\n') {
            Some(at) if at < LONGEST_LINE => at + 1,
            None if bytes.len() < LONGEST_LINE => return Ok(None),
            _ => return Err(Defect::TooLong),
        }
    } else {
        return Err(Defect::Absent);
    };
    if end > LONGEST {
        return Err(Defect::TooLong);
    }
    Ok((end <= bytes.len()).then_some(end))
}

/// Whether `bytes`, of which more may come, begin with `start`.
fn may_begin(bytes: &[u8], start: &[u8]) -> bool {
    bytes.starts_with(start) || start.starts_with(bytes)
}

/// Whose connection a whole header says it is; `None` for the sender's own.
fn source(header: &[u8]) -> Result<Option<IpAddr>, Defect> {
    if header.starts_with(LINE) { line_source(header) } else { binary_source(header) }
}

fn line_source(header: &[u8]) -> Result<Option<IpAddr>, Defect> {
    let line = v1::Header::try_from(header).map_err(|error| malformed(&error))?;
    if line.header.len() != header.len() {
        return Err(Defect::Malformed("there is more than one line end".to_owned()));
    }
    Ok(match line.addresses {
        v1::Addresses::Unknown => None,
        v1::Addresses::Tcp4(tcp) => Some(tcp.source_address.into()),
        v1::Addresses::Tcp6(tcp) => Some(tcp.source_address.into()),
    })
}

fn binary_source(header: &[u8]) -> Result<Option<IpAddr>, Defect> {
    let header = v2::Header::try_from(header).map_err(|error| malformed(&error))?;
    match (header.command, header.protocol, header.addresses) {
        (v2::Command::Local, _, _) => Ok(None),
        (v2::Command::Proxy, v2::Protocol::Stream, v2::Addresses::IPv4(tcp)) => {
            Ok(Some(tcp.source_address.into()))
        }
        (v2::Command::Proxy, v2::Protocol::Stream, v2::Addresses::IPv6(tcp)) => {
            Ok(Some(tcp.source_address.into()))
        }
        (v2::Command::Proxy, _, _) => Err(Defect::NotTcp),
    }
}

fn malformed(error: &impl ToString) -> Defect {
    Defect::Malformed(error.to_string().trim_end_matches('.').to_owned())
}

/// What holds for any bytes: see [`crate::fuzz`].
#[cfg(any(test, fuzzing))]
#[expect(clippy::panic, reason = "what does not hold fails by panicking")]
pub(crate) fn examine(bytes: &[u8]) {
    let whole = end(bytes);
    for length in 0..bytes.len().min(300) {
        let part = bytes.get(..length).unwrap_or_default();
        match (end(part), &whole) {
            (Ok(None), _) | (Err(_), Err(_)) => {}
            (Ok(Some(early)), Ok(Some(late))) if early == *late => {}
            (early, late) => panic!("{length} bytes: {early:?}, all: {late:?}"),
        }
    }
    if let Ok(Some(end)) = whole {
        let header = bytes.get(..end).unwrap_or_default();
        let _ = source(header);
    }
}

#[cfg(test)]
mod tests;
