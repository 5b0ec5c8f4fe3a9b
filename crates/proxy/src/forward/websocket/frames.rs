//! Where the frames of a WebSocket begin and end (RFC 6455 section 5.2), so that a close frame can
//! be put between two of them. Looks at headers only and understands nothing else.

/// How many bytes of which frame part are still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// The first byte of a frame.
    Start,
    /// The second byte: mask bit and short length.
    Length,
    /// So many bytes of an extended length, and whether a mask follows; the length so far.
    Extended { left: u8, masked: bool, length: u64 },
    /// So many bytes of mask and payload.
    Payload { left: u64 },
}

/// Follows one direction of a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frames {
    expect: Expect,
    /// The first byte of the frame that is under way.
    first: u8,
    /// Frames that carry next to nothing: pings and the like, and small parts of messages that are cut up.
    chatter: u32,
}

impl Default for Frames {
    fn default() -> Self {
        Self { expect: Expect::Start, first: 0, chatter: 0 }
    }
}

impl Frames {
    /// Whether what passed so far ends with a whole frame.
    pub(crate) fn at_boundary(&self) -> bool {
        self.expect == Expect::Start
    }

    /// `bytes` pass.
    pub(crate) fn pass(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((first, after)) = rest.split_first() {
            (self.expect, rest) = match self.expect {
                Expect::Start => {
                    self.first = *first;
                    (Expect::Length, after)
                }
                Expect::Length => {
                    self.chatter += u32::from(is_chatter(self.first, *first));
                    (length(*first), after)
                }
                Expect::Extended { left, masked, length } => {
                    let length = (length << 8) | u64::from(*first);
                    let expect = match left {
                        0 | 1 => payload(length, masked),
                        _ => Expect::Extended { left: left - 1, masked, length },
                    };
                    (expect, after)
                }
                Expect::Payload { left } => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    let rest = rest.get(here..).unwrap_or_default();
                    (payload(left.saturating_sub(here as u64), false), rest)
                }
            };
        }
    }

    /// How many frames that carry next to nothing have passed since the last call.
    pub(crate) fn take_chatter(&mut self) -> u32 {
        std::mem::take(&mut self.chatter)
    }

    /// How many of `bytes` may pass before a whole frame ends, if one ends in them.
    pub(crate) fn boundary_in(&self, bytes: &[u8]) -> Option<usize> {
        let mut ahead = *self;
        for (index, byte) in bytes.iter().enumerate() {
            ahead.pass(std::slice::from_ref(byte));
            if ahead.at_boundary() {
                return Some(index + 1);
            }
        }
        None
    }
}

/// Whether a frame with these two bytes carries next to nothing.
fn is_chatter(first: u8, second: u8) -> bool {
    const FINAL: u8 = 0x80;
    const CONTROL: u8 = 0x08;
    const OPCODE: u8 = 0x0f;
    let is_part = first & FINAL == 0 || first & OPCODE == 0;
    let length = second & 0x7f;
    first & CONTROL != 0 || (is_part && length <= 125) || length == 0
}

fn length(byte: u8) -> Expect {
    let masked = byte & 0x80 != 0;
    match byte & 0x7f {
        126 => Expect::Extended { left: 2, masked, length: 0 },
        127 => Expect::Extended { left: 8, masked, length: 0 },
        short => payload(u64::from(short), masked),
    }
}

fn payload(length: u64, masked: bool) -> Expect {
    match length.saturating_add(if masked { 4 } else { 0 }) {
        0 => Expect::Start,
        left => Expect::Payload { left },
    }
}

/// A close frame from a server: 1008, policy violation, with a reason of at most 123 bytes.
pub(crate) fn close_1008(reason: &str) -> Vec<u8> {
    const LONGEST: usize = 123;
    let reason = reason.as_bytes().get(..reason.len().min(LONGEST)).unwrap_or_default();
    let mut frame = vec![0x88, u8::try_from(reason.len() + 2).unwrap_or(2)];
    frame.extend_from_slice(&1008_u16.to_be_bytes());
    frame.extend_from_slice(reason);
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(masked: bool, payload: usize) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x82];
        match payload {
            0..=125 => frame.push(mask | u8::try_from(payload).unwrap()),
            126..=0xffff => {
                frame.push(mask | 0x7e);
                frame.extend_from_slice(&u16::try_from(payload).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(mask | 0x7f);
                frame.extend_from_slice(&(payload as u64).to_be_bytes());
            }
        }
        if masked {
            frame.extend_from_slice(&[1, 2, 3, 4]);
        }
        frame.resize(frame.len() + payload, 0x88);
        frame
    }

    proptest! {
        /// However a stream of frames is torn into reads, boundaries are where frames end.
        #[test]
        fn boundaries_are_where_frames_end(
            frames in prop::collection::vec((any::<bool>(), prop_oneof![0usize..300, 65_530usize..65_540]), 1..6),
            reads in prop::collection::vec(1usize..5_000, 1..40),
        ) {
            let mut ends = vec![0];
            let mut stream = Vec::new();
            for (masked, payload) in frames {
                stream.extend_from_slice(&frame(masked, payload));
                ends.push(stream.len());
            }
            let (mut tracker, mut at) = (Frames::default(), 0);
            for size in reads.iter().cycle() {
                if at == stream.len() {
                    break;
                }
                let read = &stream[at..(at + size).min(stream.len())];
                let next = ends.iter().find(|end| **end > at).map(|end| end - at);
                let in_read = next.filter(|offset| *offset <= read.len());
                prop_assert_eq!(tracker.boundary_in(read), in_read);
                tracker.pass(read);
                at += read.len();
                prop_assert_eq!(tracker.at_boundary(), ends.contains(&at));
            }
        }
    }

    #[test]
    fn i11_pings_empty_frames_and_small_parts_are_counted_and_messages_are_not() {
        let chatter = |bytes: &[u8]| {
            let mut frames = Frames::default();
            for byte in bytes {
                frames.pass(&[*byte]);
            }
            (frames.take_chatter(), frames.take_chatter())
        };
        for (counted, bytes) in [
            (1, &b"\x89\x80abcd"[..]),
            (1, b"\x8a\x01a"),
            (1, b"\x82\x00"),
            (2, b"\x01\x01a\x00\x01b"),
            (1, b"\x80\x01b"),
            (0, b"\x82\x01a\x81\x01b"),
        ] {
            assert_eq!(chatter(bytes), (counted, 0), "{bytes:?}");
        }
        assert_eq!(chatter(&[&[0x02, 126, 0, 126][..], &[0x89; 126]].concat()), (0, 0));
    }

    #[test]
    fn a_close_frame_says_1008_and_why() {
        let frame = close_1008("the grant ended");
        assert_eq!(&frame[..4], &[0x88, 17, 0x03, 0xf0]);
        assert_eq!(&frame[4..], b"the grant ended");
        assert_eq!(close_1008(&"x".repeat(500)).len(), 127);
    }
}
