//! What the HTTP/2 library lets pass and nobody should: fields that other readers would trim, schemes that
//! are none, and how little a client wants to receive.
//!
//! What the library repairs and does not show is seen below it, in [`super::frames`]. It refuses itself what RFC 9113 calls malformed: pseudo-headers that are missing, twice or behind
//! other fields, connection-specific fields, upper case, control characters, bodies that are not as long as
//! they say.

use std::sync::atomic::{AtomicU32, Ordering};

use http::request::Parts;
use portcullis_model::Refusal;

use super::reader::MAX_FIELDS;

/// Refuses a head that reads two ways, or has too many fields: each costs a client a byte and the gate a
/// hundred.
pub(crate) fn check(parts: &Parts) -> Result<(), Refusal> {
    if parts.headers.len() > usize::from(MAX_FIELDS) {
        return Err(Refusal::HeadTooLarge(super::Defect::TooManyFields.words()));
    }
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    for value in parts.headers.values() {
        let bytes = value.as_bytes();
        // RFC 9113 section 8.2.1.
        if is_space(bytes.first()) || is_space(bytes.last()) {
            return Err(Refusal::Malformed("a header begins or ends with white space"));
        }
    }
    let is_http = |scheme: &http::uri::Scheme| {
        ["http", "https"].iter().any(|known| scheme.as_str().eq_ignore_ascii_case(known))
    };
    if parts.uri.scheme().is_some_and(|scheme| !is_http(scheme)) {
        return Err(Refusal::Malformed("the scheme is neither http nor https"));
    }
    Ok(())
}

/// How much a client lets the gate send on a new stream.
#[derive(Debug)]
pub(crate) struct Window(AtomicU32);

impl Default for Window {
    fn default() -> Self {
        Self(AtomicU32::new(65_535))
    }
}

impl Window {
    /// Who lets answers begin only drop by drop makes the gate keep them.
    const TIGHT: u32 = 1024;

    /// What the client says from now on.
    pub(super) fn set(&self, size: u32) {
        self.0.store(size, Ordering::Relaxed);
    }

    /// Whether hardly anything may be sent on a new stream.
    pub(crate) fn is_tight(&self) -> bool {
        self.0.load(Ordering::Relaxed) < Self::TIGHT
    }
}
