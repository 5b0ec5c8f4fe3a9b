//! How a message is framed, and what it asks of this hop alone.
//!
//! What frames an HTTP/1 message was read strictly before (see [`crate::serve::strict`]); this reads what
//! the parser shows of it, once more, and whatever else a message asks of one hop.

use http::{HeaderMap, HeaderValue, Method, Version, header, request::Parts};
use portcullis_model::Refusal;

use super::single::Present;
use crate::tunnel::PROTOCOL;

/// What a message asks of this hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Framing {
    /// Another protocol, rightly asked for.
    pub(crate) upgrade: Option<Upgrade>,
    pub(crate) takes_trailers: bool,
}

/// A protocol that a connection can be upgraded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upgrade {
    WebSocket,
    /// See [`crate::tunnel`].
    Tcp,
}

/// Checks all connection-specific headers of a request, and drops an offer of `h2c`.
pub(crate) fn check(parts: &mut Parts, present: Present) -> Result<Framing, Refusal> {
    if present.has(Present::CONNECTION) {
        check_nominations(&parts.headers)?;
    }
    if present.has(Present::TRANSFER_ENCODING) {
        check_transfer_encoding(parts)?;
    }
    let takes_trailers = present.has(Present::TE) && check_te(&parts.headers)?;
    if present.has(Present::EXPECT) {
        check_expect(&parts.headers)?;
    }
    let upgrade = if present.has(Present::UPGRADE) { check_upgrade(parts)? } else { None };
    Ok(Framing { upgrade, takes_trailers })
}

/// The comma-separated tokens of all fields `name`.
pub(crate) fn tokens<'a>(
    headers: &'a HeaderMap,
    name: &http::HeaderName,
) -> impl Iterator<Item = &'a [u8]> {
    let values = headers.get_all(name).into_iter();
    values.flat_map(|value| value.as_bytes().split(|b| *b == b',')).map(<[u8]>::trim_ascii)
}

/// RFC 9110 section 7.6.1 lets a client nominate headers as hop-by-hop. Framing and routing are not
/// the client's to remove.
fn check_nominations(headers: &HeaderMap) -> Result<(), Refusal> {
    let forbidden = |token: &[u8]| {
        ["content-length", "transfer-encoding", "host"]
            .iter()
            .any(|name| token.eq_ignore_ascii_case(name.as_bytes()))
    };
    if tokens(headers, &header::CONNECTION).any(forbidden) {
        return Err(Refusal::Malformed("Connection nominates a framing header"));
    }
    Ok(())
}

fn check_transfer_encoding(parts: &Parts) -> Result<(), Refusal> {
    let mut encodings = parts.headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(encoding) = encodings.next() else { return Ok(()) };
    if encodings.next().is_some() || !encoding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(Refusal::Malformed("the transfer encoding is not `chunked`"));
    }
    if parts.headers.contains_key(header::CONTENT_LENGTH) {
        return Err(Refusal::Malformed("both Content-Length and Transfer-Encoding"));
    }
    if parts.version != Version::HTTP_11 {
        return Err(Refusal::Malformed("a transfer encoding outside HTTP/1.1"));
    }
    Ok(())
}

fn check_te(headers: &HeaderMap) -> Result<bool, Refusal> {
    let mut takes_trailers = false;
    for token in tokens(headers, &header::TE) {
        if !token.eq_ignore_ascii_case(b"trailers") {
            return Err(Refusal::Malformed("TE other than `trailers`"));
        }
        takes_trailers = true;
    }
    Ok(takes_trailers)
}

fn check_expect(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get(header::EXPECT) {
        None => Ok(()),
        Some(value) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Ok(()),
        Some(_) => Err(Refusal::Malformed("Expect other than `100-continue`")),
    }
}

fn check_upgrade(parts: &mut Parts) -> Result<Option<Upgrade>, Refusal> {
    let Some(protocol) = parts.headers.get(header::UPGRADE) else { return Ok(None) };
    // An upgrade to cleartext HTTP/2 would tunnel requests past every decision.
    if protocol.as_bytes().eq_ignore_ascii_case(b"h2c") {
        parts.headers.remove(header::UPGRADE);
        parts.headers.remove("http2-settings");
        return Ok(None);
    }
    let known = [("websocket", Upgrade::WebSocket), (PROTOCOL, Upgrade::Tcp)];
    let named = known
        .into_iter()
        .find(|(name, _)| protocol.as_bytes().eq_ignore_ascii_case(name.as_bytes()));
    let asked_rightly = parts.version == Version::HTTP_11
        && parts.method == Method::GET
        && tokens(&parts.headers, &header::CONNECTION)
            .any(|token| token.eq_ignore_ascii_case(b"upgrade"))
        && !has_body(&parts.headers);
    match named {
        Some((_, upgrade)) if asked_rightly => Ok(Some(upgrade)),
        Some((_, Upgrade::Tcp)) => Err(Refusal::Malformed(
            "a connection is asked for with GET in HTTP/1.1, `Connection: upgrade` and no body",
        )),
        Some((_, Upgrade::WebSocket)) | None => {
            Err(Refusal::Malformed("Upgrade other than `websocket`"))
        }
    }
}

fn has_body(headers: &HeaderMap) -> bool {
    let empty = HeaderValue::from_static("0");
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != empty)
}
