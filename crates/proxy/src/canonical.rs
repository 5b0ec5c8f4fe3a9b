//! One canonical request.
//!
//! Route, policy, digest, record and the bytes sent upstream all read the object made here, so that
//! no two of them can see two requests. The HTTP parser below accepts, by design, more than one way
//! to say the same thing; whatever could be read in two ways is refused here and never repaired.
//!
//! Does not decide anything, and touches no header that it does not have to.

pub(crate) mod authority;
pub(crate) mod framing;
pub(crate) mod path;
pub(crate) mod single;

use std::rc::Rc;

use http::{HeaderMap, Method, Version, header, request::Parts, uri::PathAndQuery};
use portcullis_model::Refusal;

pub(crate) use authority::{Authority, LastHost};
use framing::Upgrade;
use single::{GRPC_TIMEOUT, Present};

use crate::{forward::deadline::grpc_timeout, serve::strict::http2};

/// How the client will understand an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// Plain HTTP.
    Http,
    /// gRPC: trailers-only answers with `grpc-status`.
    Grpc,
    /// An upgrade to a WebSocket.
    WebSocket,
    /// An upgrade to a connection with a TCP service.
    Tcp,
}

/// A request that reads one way only.
#[derive(Debug)]
pub(crate) struct Canonical {
    pub(crate) method: Method,
    pub(crate) authority: Rc<Authority>,
    /// As it came and as it will be sent: decoded for checks, never rewritten.
    pub(crate) target: PathAndQuery,
    pub(crate) headers: HeaderMap,
    /// What the headers were when they came.
    pub(crate) present: Present,
    pub(crate) speaks: Speaks,
    /// The client understands trailers.
    pub(crate) takes_trailers: bool,
}

impl Canonical {
    pub(crate) fn path(&self) -> &str {
        self.target.path()
    }
}

/// Reads `parts` in the one possible way. `tls` is the SNI of the connection, if it has TLS, and
/// `last` the host that it asked for before.
pub(crate) fn read(
    mut parts: Parts,
    present: Present,
    tls: Option<&Sni>,
    last: &LastHost,
) -> Result<Canonical, Refusal> {
    allow_method(&parts.method)?;
    if parts.version == Version::HTTP_2 {
        http2::check(&parts)?;
    }
    let authority = authority::of(&parts, tls.is_some(), last)?;
    if let Some(Sni(Some(sni))) = tls
        && sni.as_str() != authority.host()
    {
        return Err(Refusal::Misdirected);
    }
    let target = path::of(&parts.uri)?;
    present.check()?;
    let frame = framing::check(&mut parts, present)?;
    let speaks = match frame.upgrade {
        Some(Upgrade::WebSocket) => Speaks::WebSocket,
        Some(Upgrade::Tcp) if target != "/" => {
            return Err(Refusal::Malformed("a connection is asked for at `/`"));
        }
        Some(Upgrade::Tcp) => Speaks::Tcp,
        None if present.has(Present::CONTENT_TYPE) && is_grpc(&parts.headers) => Speaks::Grpc,
        None => Speaks::Http,
    };
    if speaks == Speaks::Grpc && present.has(Present::GRPC_TIMEOUT) {
        check_grpc_timeout(&parts.headers)?;
    }
    Ok(Canonical {
        method: parts.method,
        authority,
        target,
        headers: parts.headers,
        present,
        speaks,
        takes_trailers: frame.takes_trailers,
    })
}

/// The server name of a TLS connection, lower-case; clients that address an IP send none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sni(pub(crate) Option<String>);

/// What a gRPC client sends, by its content type.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        let value = value.as_bytes();
        value
            .strip_prefix(b"application/grpc")
            .is_some_and(|rest| rest.is_empty() || matches!(rest.first(), Some(b'+' | b';')))
    })
}

/// A deadline that reads as none here may be one behind the gate, or the other way round.
fn check_grpc_timeout(headers: &HeaderMap) -> Result<(), Refusal> {
    let sent = headers.get(GRPC_TIMEOUT).and_then(|value| value.to_str().ok());
    match sent.and_then(grpc_timeout) {
        Some(_) => Ok(()),
        None => Err(Refusal::Malformed("`grpc-timeout` is at most eight digits and a unit")),
    }
}

/// Exact and closed: `get`, TRACE, CONNECT and inventions are refused on every service.
fn allow_method(method: &Method) -> Result<(), Refusal> {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::OPTIONS => Ok(()),
        _ => Err(Refusal::MethodNotAllowed),
    }
}

#[cfg(test)]
mod tests;
