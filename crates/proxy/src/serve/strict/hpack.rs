//! Header compression of HTTP/2 (RFC 7541), as far as it takes to see what the library does not show: which
//! fields are pseudo-headers, and whether a path has a fragment.
//!
//! Values that say nothing about that are skipped, not decoded. What entries of the dynamic table are is kept
//! apart from the table, which stays where it is: in the library.

use std::collections::VecDeque;

/// The block cannot be followed: the library finds that too, and the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

/// How long the names of the static table are.
const STATIC: [u8; 61] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14,
    16, 13, 12, 6, 4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10,
    25, 17, 10, 4, 3, 16,
];
/// The table's first entries are pseudo-headers, two of them paths.
const PSEUDO: usize = 14;
const PATHS: [usize; 2] = [4, 5];
/// What the gate lets clients use of its memory; nobody has told them otherwise.
const MAX_TABLE: u32 = 4096;
/// A field may cost its client a byte and the gate a hundred: whoever sends so many in one head is not
/// told that they are too many, which would keep them until then.
const MOST_FIELDS: usize = 512;
/// RFC 7541 section 4.1.
const OVERHEAD: u32 = 32;

/// How many symbols have a code of so many bits. The codes of a length follow one another.
const LENGTHS: [u16; 31] = [
    0, 0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19,
    29, 0, 4,
];
/// All symbols by their codes; the last code of all ends a string and is never sent.
const SYMBOLS: [u8; 256] = [
    48, 49, 50, 97, 99, 101, 105, 111, 115, 116, 32, 37, 45, 46, 47, 51, 52, 53, 54, 55, 56, 57,
    61, 65, 95, 98, 100, 102, 103, 104, 108, 109, 110, 112, 114, 117, 58, 66, 67, 68, 69, 70, 71,
    72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 89, 106, 107, 113, 118, 119,
    120, 121, 122, 38, 42, 44, 59, 88, 90, 33, 34, 40, 41, 63, 39, 43, 124, 35, 62, 0, 36, 64, 91,
    93, 126, 94, 125, 60, 96, 123, 92, 195, 208, 128, 130, 131, 162, 184, 194, 224, 226, 153, 161,
    167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230, 129, 132, 133, 134, 136, 146, 154, 156,
    160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190, 196, 198, 228, 232, 233, 1,
    135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158, 165, 166, 168, 174,
    175, 180, 182, 183, 188, 191, 197, 231, 239, 9, 142, 144, 145, 148, 159, 171, 206, 215, 225,
    236, 237, 199, 207, 234, 235, 192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242,
    243, 255, 203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252,
    253, 254, 2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28,
    29, 30, 31, 127, 220, 249, 10, 13, 22,
];

/// What is worth knowing about a field.
#[derive(Debug, Clone, Copy)]
struct Entry {
    name: u32,
    size: u32,
    is_pseudo: bool,
    is_path: bool,
    /// A path with a fragment.
    is_unsound: bool,
}

/// Follows the header blocks of one connection.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// The newest first.
    table: VecDeque<Entry>,
    size: u32,
    /// Less than [`MAX_TABLE`] by so much.
    less: u32,
    scratch: Vec<u8>,
}

impl Blocks {
    /// Whether all fields of a whole block are sound. Trailers have no pseudo-headers.
    pub(super) fn inspect(&mut self, mut block: &[u8], trailers: bool) -> Result<bool, Broken> {
        let (mut sound, mut fields) = (true, 0);
        while let Some(first) = block.first() {
            fields += 1;
            if fields > MOST_FIELDS {
                return Err(Broken);
            }
            let entry = match first {
                0x80.. => self.entry(integer(&mut block, 7)?)?,
                0x40.. => {
                    let entry = self.literal(&mut block, 6, true)?;
                    self.add(entry);
                    entry
                }
                0x20.. => {
                    let size = integer(&mut block, 5)?;
                    self.less = MAX_TABLE.checked_sub(size).ok_or(Broken)?;
                    self.shrink(0);
                    continue;
                }
                _ => self.literal(&mut block, 4, false)?,
            };
            sound &= !(entry.is_unsound || (trailers && entry.is_pseudo));
        }
        Ok(sound)
    }

    fn entry(&self, index: u32) -> Result<Entry, Broken> {
        let index = usize::try_from(index).map_err(|_| Broken)?;
        let at = index.checked_sub(1).ok_or(Broken)?;
        if let Some(name) = STATIC.get(at) {
            let (is_pseudo, is_path) = (index <= PSEUDO, PATHS.contains(&index));
            let name = u32::from(*name);
            return Ok(Entry { name, size: 0, is_pseudo, is_path, is_unsound: false });
        }
        self.table.get(at - STATIC.len()).copied().ok_or(Broken)
    }

    /// A field with its value. What is not remembered needs no size.
    fn literal(&mut self, block: &mut &[u8], bits: u32, remembered: bool) -> Result<Entry, Broken> {
        let index = integer(block, bits)?;
        let named = if index == 0 { self.name(block)? } else { self.entry(index)? };
        let mut entry = Entry { is_unsound: false, ..named };
        if remembered || entry.is_path {
            self.string(block)?;
            entry.is_unsound = entry.is_path && self.scratch.contains(&b'#');
            entry.size = entry.name.saturating_add(length(&self.scratch)).saturating_add(OVERHEAD);
        } else {
            skip(block)?;
        }
        Ok(entry)
    }

    fn name(&mut self, block: &mut &[u8]) -> Result<Entry, Broken> {
        self.string(block)?;
        let is_pseudo = self.scratch.first() == Some(&b':');
        let is_path = self.scratch == b":path";
        Ok(Entry { name: length(&self.scratch), size: 0, is_pseudo, is_path, is_unsound: false })
    }

    fn add(&mut self, entry: Entry) {
        self.shrink(entry.size);
        if entry.size <= MAX_TABLE - self.less {
            self.size += entry.size;
            self.table.push_front(entry);
        }
    }

    /// Forgets the oldest until there is room for `more`.
    fn shrink(&mut self, more: u32) {
        while self.size.saturating_add(more) > MAX_TABLE - self.less {
            let Some(oldest) = self.table.pop_back() else { return };
            self.size -= oldest.size;
        }
    }

    /// Reads a string into `scratch`.
    fn string(&mut self, block: &mut &[u8]) -> Result<(), Broken> {
        let (is_coded, bytes) = skip(block)?;
        self.scratch.clear();
        if is_coded {
            decode(bytes, &mut self.scratch)
        } else {
            self.scratch.extend_from_slice(bytes);
            Ok(())
        }
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// A string as it was sent, and whether it is coded.
fn skip<'a>(block: &mut &'a [u8]) -> Result<(bool, &'a [u8]), Broken> {
    let is_coded = block.first().ok_or(Broken)? & 0x80 != 0;
    let length = usize::try_from(integer(block, 7)?).map_err(|_| Broken)?;
    let (bytes, rest) = block.split_at_checked(length).ok_or(Broken)?;
    *block = rest;
    Ok((is_coded, bytes))
}

/// RFC 7541 section 5.1: what fits into `bits` of the first byte, or that and the bytes behind it.
fn integer(block: &mut &[u8], bits: u32) -> Result<u32, Broken> {
    let (first, mut rest) = block.split_first().ok_or(Broken)?;
    let most = (1_u32 << bits) - 1;
    let mut value = u32::from(*first) & most;
    if value == most {
        let mut shift = 0;
        loop {
            let (byte, more) = rest.split_first().ok_or(Broken)?;
            rest = more;
            // No more than four bytes, as the library has it.
            if shift > 21 {
                return Err(Broken);
            }
            value += u32::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *block = rest;
    Ok(value)
}

/// RFC 7541 section 5.2, by how long codes are: within a length they count up.
fn decode(bytes: &[u8], to: &mut Vec<u8>) -> Result<(), Broken> {
    let (mut code, mut first, mut before, mut bits) = (0_u32, 0_u32, 0_u32, 0_usize);
    for byte in bytes {
        for at in (0..8).rev() {
            code = (code << 1) | u32::from((byte >> at) & 1);
            first <<= 1;
            bits += 1;
            let count = u32::from(*LENGTHS.get(bits).ok_or(Broken)?);
            if let Some(place) = code.checked_sub(first).filter(|place| *place < count) {
                let symbol = usize::try_from(before + place).map_err(|_| Broken)?;
                to.push(*SYMBOLS.get(symbol).ok_or(Broken)?);
                (code, first, before, bits) = (0, 0, 0, 0);
            } else {
                first += count;
                before += count;
            }
        }
    }
    let is_padding = bits < 8 && code == (1 << bits) - 1;
    if is_padding { Ok(()) } else { Err(Broken) }
}
