//! The heads of HTTP/2 frames (RFC 9113 section 4.1).

/// A frame begins with so many bytes that say what it is.
pub(super) const HEAD: usize = 9;
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
pub(super) const PRIORITY: u8 = 0x20;

/// One frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl FrameHead {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let [high, middle, low, kind, flags, stream @ ..] = *bytes.first_chunk::<HEAD>()?;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        Some(Self { length, kind, flags, stream: u32::from_be_bytes(stream) & (u32::MAX >> 1) })
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Finds the heads in one direction of a connection, whose bytes are shown to it once, in any pieces. It keeps no
/// more than the beginning of one head, and looks at nothing between them.
#[derive(Debug, Default)]
pub(super) struct Heads {
    begun: [u8; HEAD],
    /// So much of a head is there.
    there: usize,
    /// So much of a frame is still to come.
    skip: usize,
}

impl Heads {
    /// The next head that is whole within `bytes`, which become what is behind it.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Option<FrameHead> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        *bytes = bytes.get(skipped..).unwrap_or_default();
        let head = if self.there == 0 && bytes.len() >= HEAD {
            let head = FrameHead::read(bytes);
            *bytes = bytes.get(HEAD..).unwrap_or_default();
            head
        } else {
            self.piece(bytes)
        }?;
        self.skip = head.length;
        Some(head)
    }

    fn piece(&mut self, bytes: &mut &[u8]) -> Option<FrameHead> {
        let room = self.begun.get_mut(self.there..).unwrap_or_default();
        let here = room.len().min(bytes.len());
        let (piece, rest) = bytes.split_at_checked(here)?;
        room.get_mut(..here)?.copy_from_slice(piece);
        *bytes = rest;
        self.there += here;
        if self.there < HEAD {
            return None;
        }
        self.there = 0;
        FrameHead::read(&self.begun)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn heads_are_found_however_their_bytes_are_cut(
            frames in prop::collection::vec((0_usize..40, any::<u8>(), any::<u8>(), 0_u32..1 << 31), 1..20),
            size in 1_usize..30,
        ) {
            let mut bytes = Vec::new();
            for (length, kind, flags, stream) in &frames {
                bytes.extend_from_slice(&u32::try_from(*length).unwrap().to_be_bytes()[1..]);
                bytes.extend_from_slice(&[*kind, *flags]);
                bytes.extend_from_slice(&stream.to_be_bytes());
                bytes.extend(vec![7; *length]);
            }
            let mut heads = Heads::default();
            let mut found = Vec::new();
            for mut piece in bytes.chunks(size) {
                while let Some(head) = heads.next(&mut piece) {
                    found.push((head.length, head.kind, head.flags, head.stream));
                }
                prop_assert!(piece.is_empty());
            }
            prop_assert_eq!(found, frames);
        }
    }
}
