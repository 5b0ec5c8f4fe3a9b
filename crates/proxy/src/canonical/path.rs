//! The one path that a request is for.
//!
//! Every server decodes and normalises paths in its own way. What two of them could read as two
//! paths is refused; what is left is forwarded as it came.

use http::{Uri, uri::PathAndQuery};
use portcullis_model::Refusal;

const NO_SLASH: &str = "the path does not start with a slash";

/// The path and query of `uri`, if they read one way only.
pub(crate) fn of(uri: &Uri) -> Result<PathAndQuery, Refusal> {
    let target = uri.path_and_query().ok_or(Refusal::Malformed("the target has no path"))?;
    // INVARIANT: of an empty path before a query, the library shows `/` and sends nothing: what is decided on is
    // what is sent.
    if !target.as_str().starts_with('/') {
        return Err(Refusal::Malformed(NO_SLASH));
    }
    check(target.path()).map_err(Refusal::Malformed)?;
    if let Some(query) = target.query()
        && !query.bytes().all(is_visible)
    {
        return Err(Refusal::Malformed("the query has a character that needs encoding"));
    }
    Ok(target.clone())
}

/// Refuses every path that has two readings.
pub(crate) fn check(path: &str) -> Result<(), &'static str> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(NO_SLASH);
    }
    if !path.bytes().all(is_visible) {
        return Err("the path has a character that needs encoding");
    }
    if path.bytes().any(|b| matches!(b, b'\\' | b';' | b'#')) {
        return Err("the path has a backslash, semicolon or number sign");
    }
    if path.contains("//") {
        return Err("the path has an empty segment");
    }
    if path.contains('%') {
        let decoded = decode_once(bytes)?;
        return check_segments(&decoded);
    }
    check_segments(path)
}

fn is_visible(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e)
}

fn check_segments(path: &str) -> Result<(), &'static str> {
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err("the path has a dot segment");
    }
    Ok(())
}

/// Decodes percent encoding once. `%252e` becomes `%2e` and stays that: nobody decodes it again.
fn decode_once(path: &[u8]) -> Result<String, &'static str> {
    const INVALID: &str = "the path has an invalid percent encoding";
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.iter();
    while let Some(byte) = rest.next() {
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let (high, low) = (rest.next().ok_or(INVALID)?, rest.next().ok_or(INVALID)?);
        let byte = hex(*high).ok_or(INVALID)? << 4 | hex(*low).ok_or(INVALID)?;
        match byte {
            b'/' | b'\\' => return Err("the path has an encoded slash or backslash"),
            0..=0x1f | 0x7f => return Err("the path has an encoded control character"),
            other => decoded.push(other),
        }
    }
    String::from_utf8(decoded).map_err(|_| "the path is not UTF-8")
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
