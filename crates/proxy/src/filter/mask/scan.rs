//! Where a JSON string ends, eight bytes at a time, and whether it is one: RFC 8259 section 7, in UTF-8.

use super::Trouble;

/// Follows a string from behind its opening quote, however it is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Scan {
    expect: Expect,
    /// The first half of a pair was an escape; the second must be one, too.
    is_half: bool,
    /// Whether there was any escape.
    pub(super) has_escapes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Expect {
    #[default]
    Anything,
    /// So many bytes of a character, the next of which lies between these.
    Rest { left: u8, low: u8, high: u8 },
    /// What follows a backslash.
    Escape,
    /// So many hexadecimal digits of a character.
    Hex { left: u8, value: u16 },
}

impl Scan {
    /// Reads on: how many of `bytes` belong to the string, and whether its closing quote is the last.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Result<(usize, bool), Trouble> {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            if self.expect == Expect::Anything && !self.is_half {
                at += plain(rest);
            }
            let Some(byte) = bytes.get(at) else { return Ok((at, false)) };
            at += 1;
            if self.step(*byte)? {
                return Ok((at, true));
            }
        }
    }

    fn step(&mut self, byte: u8) -> Result<bool, Trouble> {
        self.expect = match self.expect {
            Expect::Anything => match byte {
                b'\\' => {
                    self.has_escapes = true;
                    Expect::Escape
                }
                _ if self.is_half => return Err(Trouble::NotJson),
                b'"' => return Ok(true),
                byte => character(byte).ok_or(Trouble::NotJson)?,
            },
            Expect::Rest { left, low, high } if (low..=high).contains(&byte) => match left {
                1 => Expect::Anything,
                left => Expect::Rest { left: left - 1, low: 0x80, high: 0xbf },
            },
            Expect::Rest { .. } => return Err(Trouble::NotJson),
            Expect::Escape => match byte {
                b'u' => Expect::Hex { left: 4, value: 0 },
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' if !self.is_half => {
                    Expect::Anything
                }
                _ => return Err(Trouble::NotJson),
            },
            Expect::Hex { left, value } => {
                let digit = char::from(byte).to_digit(16).ok_or(Trouble::NotJson)?;
                let value = (value << 4) | u16::try_from(digit).unwrap_or_default();
                match left {
                    1 => self.escaped(value)?,
                    left => Expect::Hex { left: left - 1, value },
                }
            }
        };
        Ok(false)
    }

    /// RFC 8259 section 8.2: half of a pair is no character, and readers differ in what they make of it.
    fn escaped(&mut self, value: u16) -> Result<Expect, Trouble> {
        let (first, second) =
            ((0xd800..0xdc00).contains(&value), (0xdc00..0xe000).contains(&value));
        if self.is_half != second {
            return Err(Trouble::NotJson);
        }
        self.is_half = first;
        Ok(Expect::Anything)
    }
}

/// What follows the first byte of a character (RFC 3629 section 4). Control characters are none.
fn character(byte: u8) -> Option<Expect> {
    let rest = |left, low, high| Some(Expect::Rest { left, low, high });
    match byte {
        0x20..=0x7f => Some(Expect::Anything),
        0xc2..=0xdf => rest(1, 0x80, 0xbf),
        0xe0 => rest(2, 0xa0, 0xbf),
        0xed => rest(2, 0x80, 0x9f),
        0xe1..=0xef => rest(2, 0x80, 0xbf),
        0xf0 => rest(3, 0x90, 0xbf),
        0xf1..=0xf3 => rest(3, 0x80, 0xbf),
        0xf4 => rest(3, 0x80, 0x8f),
        _ => None,
    }
}

/// The string that `bytes` begin with, without its closing quote, if nothing has to be known of it but where it
/// ends, and it ends soon: most do.
#[inline]
pub(super) fn whole(bytes: &[u8]) -> Option<&[u8]> {
    const SOON: usize = 64;
    let count = plain(bytes.get(..SOON).unwrap_or(bytes));
    let (string, rest) = bytes.split_at_checked(count)?;
    (rest.first() == Some(&b'"')).then_some(string)
}

/// How many blanks `bytes` begin with.
#[inline]
pub(super) fn blanks(bytes: &[u8]) -> usize {
    const SPACES: [u8; 8] = [b' '; 8];
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    if bytes.first().is_some_and(|byte| !is_blank(byte)) {
        return 0;
    }
    let (words, _) = bytes.as_chunks::<8>();
    let spaces = 8 * words.iter().take_while(|word| **word == SPACES).count();
    let rest = bytes.get(spaces..).unwrap_or_default();
    spaces + rest.iter().take_while(|byte| is_blank(byte)).count()
}

/// How many bytes there are before one that says something: a quote, a backslash, a control character, or part of a character
/// beyond ASCII.
#[inline]
fn plain(bytes: &[u8]) -> usize {
    let (mut count, mut rest) = (0, bytes);
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        let found = special(u64::from_le_bytes(*word));
        if found != 0 {
            return count + (found.trailing_zeros() / 8) as usize;
        }
        count += 8;
        rest = after;
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20 | 0x80..);
    count + rest.iter().position(is_special).unwrap_or(rest.len())
}

/// The high bit of each byte that says something. Borrows make bits above the lowest one unreliable, and
/// nobody looks at those.
#[inline]
const fn special(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let quote = word ^ (ONES * b'"' as u64);
    let slash = word ^ (ONES * b'\\' as u64);
    let quotes = quote.wrapping_sub(ONES) & !quote;
    let slashes = slash.wrapping_sub(ONES) & !slash;
    let controls = word.wrapping_sub(ONES * 0x20) & !word;
    (quotes | slashes | controls | word) & HIGH
}

/// The text of a string that was scanned to its end, without quotes.
pub(super) fn unescape(raw: &[u8]) -> Option<String> {
    let mut quoted = Vec::with_capacity(raw.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(raw);
    quoted.push(b'"');
    serde_json::from_slice(&quoted).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is read of a string, in pieces of this size.
    fn scan(bytes: &[u8], size: usize) -> Option<usize> {
        let (mut scan, mut read) = (Scan::default(), 0);
        for piece in bytes.chunks(size) {
            let (count, ended) = scan.pass(piece).ok()?;
            read += count;
            if ended {
                return Some(read);
            }
        }
        None
    }

    proptest! {
        /// A string is one for us exactly if it is one for the parser that others use, however it is cut.
        #[test]
        fn strings_are_what_others_take_for_strings(
            parts in prop::collection::vec(prop_oneof![
                Just(b"plain ASCII text".to_vec()), Just(b"\\".to_vec()), Just(b"u".to_vec()),
                Just(b"\\ud83d".to_vec()), Just(b"\\ude00".to_vec()), Just(b"\\u0041".to_vec()),
                Just("ü€😀".into()), Just(vec![0xed, 0xa0, 0x80]), Just(vec![0x1f]), Just(vec![0x7f]),
                Just(b"\"".to_vec()), Just(b"\\\"".to_vec()), Just(b"n".to_vec()),
                prop::collection::vec(any::<u8>(), 0..3),
            ], 0..8),
            size in 1_usize..20,
        ) {
            let text = parts.concat();
            let quoted = [b"\"", &text[..], b"\""].concat();
            let whole = serde_json::from_slice::<String>(&quoted).ok();
            let read = scan(&quoted[1..], size).filter(|read| *read == quoted.len() - 1);
            prop_assert_eq!(read.is_some(), whole.is_some());
            prop_assert_eq!(read.and_then(|_| unescape(&text)), whole);
        }
    }
}
