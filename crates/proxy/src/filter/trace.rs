//! W3C trace context: continued where a client sent one, started where not.

use bytes::Bytes;
use http::HeaderValue;

const LENGTH: usize = 55;

/// One `traceparent`, in its text form `00-<trace id>-<parent id>-<flags>`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TraceParent([u8; LENGTH]);

impl TraceParent {
    /// Continues `incoming` if it is well formed, else starts a trace. `random` gives the new ids.
    pub(crate) fn next(incoming: Option<&HeaderValue>, random: [u8; 24]) -> Self {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-01";
        let (ids, own) = random.split_at(16);
        match incoming.map(HeaderValue::as_bytes).filter(|value| is_valid(value)) {
            Some(incoming) => text.copy_from_slice(incoming),
            None => write_hex(ids, text.get_mut(3..35)),
        }
        write_hex(own, text.get_mut(36..52));
        Self(text)
    }

    /// The 32 hexadecimal digits of the trace id.
    pub(crate) fn trace_id(&self) -> &str {
        self.0.get(3..35).and_then(|id| std::str::from_utf8(id).ok()).unwrap_or_default()
    }

    pub(crate) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_maybe_shared(Bytes::copy_from_slice(&self.0)).ok()
    }
}

fn is_valid(value: &[u8]) -> bool {
    let lower_hex = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    let part = |from: usize, to: usize| value.get(from..to).unwrap_or_default();
    value.len() == LENGTH
        && part(0, 3) == b"00-"
        && part(3, 35).iter().all(lower_hex)
        && part(3, 35).iter().any(|b| *b != b'0')
        && part(35, 36) == b"-"
        && part(36, 52).iter().all(lower_hex)
        && part(36, 52).iter().any(|b| *b != b'0')
        && part(52, 53) == b"-"
        && part(53, 55).iter().all(lower_hex)
}

/// Writes `bytes` as hexadecimal digits into `slots`, two for each.
fn write_hex(bytes: &[u8], slots: Option<&mut [u8]>) {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    let (pairs, _) = slots.unwrap_or_default().as_chunks_mut();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
}
