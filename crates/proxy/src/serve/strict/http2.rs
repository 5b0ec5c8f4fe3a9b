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

/// What the stream of a connection, which must be `Send`, and the one who serves it tell each other.
#[derive(Debug)]
pub(crate) struct Window {
    /// How much the client lets the gate send on a new stream.
    size: AtomicU32,
    /// How often the connection has been polled.
    polls: AtomicU32,
    /// What the client sent that asks for nothing, less what it may.
    chatter: AtomicU32,
    /// Zero, or one more than the looks since a head began that is not whole.
    mid_head: AtomicU32,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            size: AtomicU32::new(65_535),
            polls: AtomicU32::new(0),
            chatter: AtomicU32::new(0),
            mid_head: AtomicU32::new(0),
        }
    }
}

impl Window {
    /// Who lets answers begin only drop by drop makes the gate keep them.
    const TIGHT: u32 = 1024;
    /// Frames that ask for nothing, all at once.
    const MOST_CHATTER: u32 = 10_000;
    /// So many more from one look to the next.
    const CHATTER: u32 = 1000;

    /// What the client says from now on.
    pub(super) fn set(&self, size: u32) {
        self.size.store(size, Ordering::Relaxed);
    }

    /// Whether hardly anything may be sent on a new stream.
    pub(crate) fn is_tight(&self) -> bool {
        self.size.load(Ordering::Relaxed) < Self::TIGHT
    }

    /// The connection is polled once more: what it was given the last time is under way.
    pub(crate) fn polled(&self) {
        // No other thread writes here, so that no locked instruction is needed.
        self.polls.store(self.polls.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    pub(super) fn polls(&self) -> u32 {
        self.polls.load(Ordering::Relaxed)
    }

    /// Frames came that ask for nothing, of this weight: whether it has been too much.
    pub(super) fn chatters(&self, weight: u32) -> bool {
        let chatter = self.chatter.load(Ordering::Relaxed).saturating_add(weight);
        self.chatter.store(chatter, Ordering::Relaxed);
        chatter > Self::MOST_CHATTER
    }

    /// One frame that asks for nothing is fine, as the client was sent something.
    pub(super) fn forgive(&self) {
        let chatter = self.chatter.load(Ordering::Relaxed).saturating_sub(1);
        self.chatter.store(chatter, Ordering::Relaxed);
    }

    /// Whether the beginning of a head is there and not its end.
    pub(super) fn set_mid_head(&self, is: bool) {
        if is != (self.mid_head.load(Ordering::Relaxed) > 0) {
            self.mid_head.store(u32::from(is), Ordering::Relaxed);
        }
    }

    /// A look at the connection, as there is one every half second. How many there have been since a head
    /// began that is not whole.
    pub(crate) fn look(&self) -> u32 {
        let chatter = self.chatter.load(Ordering::Relaxed).saturating_sub(Self::CHATTER);
        self.chatter.store(chatter, Ordering::Relaxed);
        match self.mid_head.load(Ordering::Relaxed) {
            0 => 0,
            looks => {
                self.mid_head.store(looks.saturating_add(1), Ordering::Relaxed);
                looks
            }
        }
    }
}
