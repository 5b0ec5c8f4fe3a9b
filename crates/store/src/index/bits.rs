//! The positions of one block, as a set.

use super::{BLOCK, IndexError};

const WORDS: usize = 64;
/// As many as still take fewer bytes one by one.
const FEW: usize = 255;

/// A set of places in a block, 0 to 4095.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bits([u64; WORDS]);

impl Bits {
    pub(super) const NONE: Self = Self([0; WORDS]);
    pub(super) const ALL: Self = Self([u64::MAX; WORDS]);

    pub(super) fn add(&mut self, place: u16) {
        if let Some(word) = self.0.get_mut(usize::from(place / 64)) {
            *word |= 1 << (place % 64);
        }
    }

    pub(super) fn keep(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(other.0) {
            *word &= other;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The places in it, from the lowest on.
    pub(super) fn places(&self) -> impl DoubleEndedIterator<Item = u16> {
        let words = (0_u16..4096).step_by(64).zip(self.0).filter(|(_, word)| *word != 0);
        words.flat_map(|(first, word)| {
            (0_u16..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| first + bit)
        })
    }

    /// A few places as two bytes each, many as one bit for each of the block.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        if self.len() <= FEW {
            self.places().flat_map(u16::to_le_bytes).collect()
        } else {
            self.0.map(u64::to_le_bytes).concat()
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, IndexError> {
        let damaged = || IndexError::Damaged("the positions of a term make no sense".into());
        let mut bits = Self::NONE;
        if bytes.len() == WORDS * 8 {
            for (word, bytes) in bits.0.iter_mut().zip(bytes.as_chunks::<8>().0) {
                *word = u64::from_le_bytes(*bytes);
            }
            return Ok(bits);
        }
        let (places, rest) = bytes.as_chunks::<2>();
        if !rest.is_empty() || places.len() > FEW {
            return Err(damaged());
        }
        for place in places {
            let place = u16::from_le_bytes(*place);
            if u64::from(place) >= BLOCK {
                return Err(damaged());
            }
            bits.add(place);
        }
        Ok(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_read_as_it_was_written() {
        for step in [1, 2, 15, 16, 17, 4000] {
            let mut bits = Bits::NONE;
            (0..4096).step_by(step).for_each(|place| bits.add(place));
            assert_eq!(Bits::read(&bits.to_bytes()).unwrap(), bits);
            assert!(bits.places().eq((0..4096).step_by(step)) && bits.to_bytes().len() <= 512);
        }
        assert_eq!(Bits::ALL.len(), 4096);
        for wrong in [&[1][..], &[0, 0x10], &[0; 514], &[0; 511]] {
            assert!(Bits::read(wrong).is_err());
        }
    }

    #[test]
    fn what_two_sets_have_is_kept() {
        let mut bits = Bits::ALL;
        let mut other = Bits::NONE;
        other.add(7);
        other.add(4095);
        bits.keep(&other);
        assert_eq!(bits, other);
    }
}
