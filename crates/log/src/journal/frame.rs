//! The frame: how one half of an attempt lies in a journal.
//!
//! ```text
//! 0  magic C7 9A
//! 2  kind
//! 3  length of the text, 32 bits, little endian
//! 7  CRC-32 of everything else but the magic, and of the frame's position in its journal
//! 11 request id, 128 bits, little endian
//! 27 text
//! ```
//!
//! The texts are halves of one JSON object: an intent lacks its closing brace, an outcome its opening
//! one, what is whole, such as a refusal, lacks the closing brace only.
//!
//! Files are used again, so behind the newest frame lie old ones: their checksums are of other
//! positions.

use std::ops::Range;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `{"request":…,"path":"/x"`.
    Intent,
    /// `"status":200,"latency_us":12`.
    Outcome,
    /// Whole already, such as a refusal: `{"request":…,"status":403,"latency_us":12`.
    Whole,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Intent => b'I',
            Self::Outcome => b'O',
            Self::Whole => b'R',
        }
    }

    const fn of(byte: u8) -> Option<Self> {
        match byte {
            b'I' => Some(Self::Intent),
            b'O' => Some(Self::Outcome),
            b'R' => Some(Self::Whole),
            _ => None,
        }
    }
}

const MAGIC: [u8; 2] = [0xC7, 0x9A];
const HEADER: usize = 27;
/// The most bytes of text. Two of these and a position stay below what an entry can hold.
pub(crate) const MOST_TEXT: usize = 32_000;

/// A frame in a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) request: u128,
    /// Where its text lies in the buffer.
    pub(crate) text: Range<usize>,
}

/// Appends a frame whose text `write` appends; leaves the buffer as it was if that is too much. The
/// buffer starts at position `base` of the journal.
pub(crate) fn append(
    buffer: &mut Vec<u8>,
    base: u64,
    kind: Kind,
    request: u128,
    write: impl FnOnce(&mut Vec<u8>),
) -> bool {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEADER]);
    let text = buffer.len();
    write(buffer);
    if buffer.len() - text > MOST_TEXT || !seal(buffer, base, start, kind, request) {
        buffer.truncate(start);
        return false;
    }
    true
}

fn seal(buffer: &mut [u8], base: u64, start: usize, kind: Kind, request: u128) -> bool {
    let Some((header, text)) =
        buffer.get_mut(start..).and_then(<[u8]>::split_first_chunk_mut::<HEADER>)
    else {
        return false;
    };
    let Ok(length) = u32::try_from(text.len()) else { return false };
    let [m0, m1] = MAGIC;
    let kind = kind.byte();
    let length = length.to_le_bytes();
    let request = request.to_le_bytes();
    let [l0, l1, l2, l3] = length;
    let [c0, c1, c2, c3] = checksum(base + start as u64, kind, length, request, text).to_le_bytes();
    let (fixed, id) = header.split_at_mut(HEADER - request.len());
    fixed.copy_from_slice(&[m0, m1, kind, l0, l1, l2, l3, c0, c1, c2, c3]);
    id.copy_from_slice(&request);
    true
}

fn checksum(position: u64, kind: u8, length: [u8; 4], request: [u8; 16], text: &[u8]) -> u32 {
    let position = position.to_le_bytes();
    let mut covered = [kind; 1 + 4 + 16 + 8];
    let (_, rest) = covered.split_at_mut(1);
    let (length_at, rest) = rest.split_at_mut(length.len());
    let (request_at, position_at) = rest.split_at_mut(request.len());
    length_at.copy_from_slice(&length);
    request_at.copy_from_slice(&request);
    position_at.copy_from_slice(&position);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&covered);
    hasher.update(text);
    hasher.finalize()
}

/// What lies at a place of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A frame, and where the next one starts.
    Frame(Frame, usize),
    /// The start of a frame that goes on beyond the buffer.
    Incomplete,
    /// Something else.
    Damaged,
}

/// Reads what lies at `at` of a buffer that starts at position `base` of the journal.
pub(crate) fn read(buffer: &[u8], base: u64, at: usize) -> Found {
    let rest = buffer.get(at..).unwrap_or_default();
    let Some((header, rest)) = rest.split_first_chunk::<HEADER>() else {
        let start = rest.get(..2.min(rest.len())).unwrap_or_default();
        let whole = MAGIC.starts_with(start);
        return if whole { Found::Incomplete } else { Found::Damaged };
    };
    let [m0, m1, kind, l0, l1, l2, l3, c0, c1, c2, c3, request @ ..] = *header;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let (Some(known), true, true) = (Kind::of(kind), [m0, m1] == MAGIC, length <= MOST_TEXT) else {
        return Found::Damaged;
    };
    let Some(text) = rest.get(..length) else { return Found::Incomplete };
    let position = base + at as u64;
    if checksum(position, kind, [l0, l1, l2, l3], request, text)
        != u32::from_le_bytes([c0, c1, c2, c3])
    {
        return Found::Damaged;
    }
    let start = at + HEADER;
    let end = start + length;
    let request = u128::from_le_bytes(request);
    Found::Frame(Frame { kind: known, request, text: start..end }, end)
}

/// The place of the next whole frame after `at`, if there is one: how reading goes on behind damage.
pub(crate) fn resynchronise(buffer: &[u8], base: u64, at: usize) -> Option<usize> {
    (at + 1..buffer.len()).find(|place| matches!(read(buffer, base, *place), Found::Frame(..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the buffers lie in their journal.
    const BASE: u64 = 1 << 33;

    fn two_frames() -> Vec<u8> {
        let mut buffer = Vec::new();
        for (kind, text) in [(Kind::Intent, &b"{\"a\":1"[..]), (Kind::Outcome, b"\"b\":2")] {
            assert!(append(&mut buffer, BASE, kind, 42, |out| out.extend_from_slice(text)));
        }
        buffer
    }

    #[test]
    fn what_is_written_is_read() {
        let buffer = two_frames();
        let Found::Frame(first, next) = read(&buffer, BASE, 0) else { panic!("no frame") };
        assert_eq!((first.kind, first.request), (Kind::Intent, 42));
        assert_eq!(&buffer[first.text], b"{\"a\":1");
        let Found::Frame(second, end) = read(&buffer, BASE, next) else { panic!("no frame") };
        assert_eq!(second.kind, Kind::Outcome);
        assert_eq!(end, buffer.len());
    }

    #[test]
    fn no_flipped_bit_passes_as_a_frame() {
        let buffer = two_frames();
        let Found::Frame(first, end) = read(&buffer, BASE, 0) else { panic!("no frame") };
        for place in 0..end {
            for bit in 0..8 {
                let mut wrong = buffer.clone();
                wrong[place] ^= 1 << bit;
                let found = read(&wrong, BASE, 0);
                assert!(!matches!(found, Found::Frame(..)), "byte {place} bit {bit}: {first:?}");
            }
        }
    }

    #[test]
    fn a_frame_of_another_position_is_none() {
        let buffer = two_frames();
        assert!(matches!(read(&buffer, BASE, 0), Found::Frame(..)));
        for elsewhere in [0, BASE - 1, BASE + 1, BASE + (8 << 20)] {
            assert_eq!(read(&buffer, elsewhere, 0), Found::Damaged);
            assert_eq!(resynchronise(&buffer, elsewhere, 0), None);
        }
    }

    #[test]
    fn a_cut_frame_is_incomplete_at_every_length() {
        let buffer = two_frames();
        let Found::Frame(_, end) = read(&buffer, BASE, 0) else { panic!("no frame") };
        for length in 0..end {
            assert_eq!(read(&buffer[..length], BASE, 0), Found::Incomplete, "length {length}");
        }
    }

    #[test]
    fn reading_goes_on_behind_a_torn_frame() {
        let mut buffer = two_frames();
        let Found::Frame(_, second) = read(&buffer, BASE, 0) else { panic!("no frame") };
        buffer[30] ^= 1;
        assert_eq!(resynchronise(&buffer, BASE, 0), Some(second));
    }

    #[test]
    fn too_long_a_text_leaves_the_buffer_as_it_was() {
        let mut buffer = two_frames();
        let before = buffer.clone();
        let too_long = |out: &mut Vec<u8>| out.resize(out.len() + MOST_TEXT + 1, b'x');
        assert!(!append(&mut buffer, BASE, Kind::Intent, 1, too_long));
        assert_eq!(buffer, before);
    }
}
