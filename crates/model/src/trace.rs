//! Traces: what joins one request over several programs (W3C trace context), and spans as plain data.
//!
//! A span says when, how long and how it ended, in words that were chosen by whoever wrote this
//! program. It never holds a secret, a query, a body or a name that a person has: those are in the
//! record, under the same trace id.

use std::borrow::Cow;

use jiff::Timestamp;

const LENGTH: usize = 55;

/// Names a trace.
pub type TraceId = [u8; 16];
/// Names a span of it.
pub type SpanId = [u8; 8];

/// One `traceparent`, in its text form `00-<trace id>-<span id>-<flags>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent([u8; LENGTH]);

impl TraceParent {
    /// Reads what somebody sent; what is not well formed is as good as nothing. Of a version that is
    /// not known yet, what all versions have is read (W3C Trace Context, 4.3).
    pub fn read(value: &[u8]) -> Option<Self> {
        let (text, rest) = value.split_first_chunk::<LENGTH>()?;
        let version = text.get(..2)?;
        let lower_hex = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        let is_id = |id: &[u8]| id.iter().all(lower_hex) && id.iter().any(|b| *b != b'0');
        let dashes = [2, 35, 52].into_iter().all(|at| text.get(at) == Some(&b'-'));
        let ends = rest.is_empty() || (version != b"00" && rest.starts_with(b"-"));
        let sound = version.iter().all(lower_hex)
            && version != b"ff"
            && ends
            && dashes
            && is_id(text.get(3..35)?)
            && is_id(text.get(36..52)?)
            && text.get(53..)?.iter().all(lower_hex);
        let mut read = Self(*text);
        write_hex(&[0], read.0.get_mut(..2));
        // Of the flags, those that are known are passed on: sampled, and that the id is random.
        write_hex(&[read.flags() & 3], read.0.get_mut(53..));
        sound.then_some(read)
    }

    /// Continues `incoming`, or starts a trace that nobody samples yet. `random` gives the new ids.
    pub fn next(incoming: Option<&Self>, random: [u8; 24]) -> Self {
        let mut next = incoming
            .copied()
            .unwrap_or(Self(*b"00-00000000000000000000000000000000-0000000000000000-00"));
        let (ids, own) = random.split_at(16);
        if incoming.is_none() {
            write_hex(ids, next.0.get_mut(3..35));
        }
        write_hex(own, next.0.get_mut(36..52));
        next
    }

    /// The same trace, sampled or not.
    #[must_use]
    pub fn sampled(mut self, is: bool) -> Self {
        let flags = if is { self.flags() | 1 } else { self.flags() & !1 };
        write_hex(&[flags], self.0.get_mut(53..));
        self
    }

    /// Whether whoever sent it records it.
    pub fn is_sampled(&self) -> bool {
        self.flags() & 1 == 1
    }

    /// The 32 hexadecimal digits of the trace id.
    pub fn trace_id(&self) -> &str {
        self.0.get(3..35).and_then(|id| std::str::from_utf8(id).ok()).unwrap_or_default()
    }

    /// The trace id.
    pub fn trace_id_bytes(&self) -> TraceId {
        read_hex(self.0.get(3..35))
    }

    /// The id of the span that it names: the sender's own.
    pub fn span_id(&self) -> SpanId {
        read_hex(self.0.get(36..52))
    }

    /// The header's value.
    pub fn as_bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }

    fn flags(self) -> u8 {
        let [flags] = read_hex(self.0.get(53..));
        flags
    }
}

/// Writes `bytes` as hexadecimal digits into `slots`, two for each.
fn write_hex(bytes: &[u8], slots: Option<&mut [u8]>) {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    let (pairs, _) = slots.unwrap_or_default().as_chunks_mut();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
}

/// What lower-case hexadecimal digits say; what is no digit counts as zero.
fn read_hex<const N: usize>(digits: Option<&[u8]>) -> [u8; N] {
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => 0,
    };
    let mut bytes = [0; N];
    let (pairs, _) = digits.unwrap_or_default().as_chunks();
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = nibble(*high) << 4 | nibble(*low);
    }
    bytes
}

/// A method that HTTP knows, for names and attributes; others are whatever a client writes.
pub fn known_method(method: &str) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];
    known.into_iter().find(|known| *known == method).unwrap_or("_OTHER")
}

/// Which side of an exchange a span is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Something inside this program.
    Internal,
    /// Somebody asked this program.
    Server,
    /// This program asks another one.
    Client,
}

/// What an attribute of a span says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpanValue {
    /// Words.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
}

/// Something that took time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The trace that it is part of.
    pub trace: TraceId,
    /// Its own id.
    pub id: SpanId,
    /// The span that it is part of, here or at whoever asked.
    pub parent: Option<SpanId>,
    /// One of few names.
    pub name: Cow<'static, str>,
    /// Which side it is about.
    pub kind: SpanKind,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What is known of it.
    pub attributes: Vec<(&'static str, SpanValue)>,
    /// Whether it failed, and that is nobody's choice.
    pub failed: bool,
}

/// Takes spans of what is sampled. Never waits, and never fails: what finds no room is counted as lost.
pub trait Traces: Send + Sync + std::fmt::Debug {
    /// Whether a request is sampled that begins the trace of `next`, or continues that of `parent` with it.
    fn samples(&self, next: &TraceParent, parent: Option<&TraceParent>) -> bool;

    /// Takes the spans of one request.
    fn take(&self, spans: Vec<Span>);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_is_continued_or_started() {
        let incoming = TraceParent::read(SENT).unwrap();
        assert_eq!((incoming.as_bytes().as_slice(), incoming.is_sampled()), (SENT, true));
        assert_eq!(incoming.span_id(), [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]);
        let continued = TraceParent::next(Some(&incoming), [0xab; 24]);
        assert_eq!(continued.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert!(continued.as_bytes().ends_with(b"-abababababababab-01"));
        assert!(continued.sampled(false).as_bytes().ends_with(b"-abababababababab-00"));
        let started = TraceParent::next(None, [0xcd; 24]);
        assert_eq!((started.trace_id(), started.is_sampled()), ("cd".repeat(16).as_str(), false));
        assert_eq!(started.trace_id_bytes(), [0xcd; 16]);
    }

    #[test]
    fn what_is_not_well_formed_is_nothing() {
        for broken in [
            "",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceParent::read(broken.as_bytes()), None, "{broken}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_all_have_it_and_unknown_flags_stay_here() {
        let later =
            TraceParent::read(b"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff-what");
        let expected = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03";
        assert_eq!(later.unwrap().as_bytes(), expected);
    }
}
