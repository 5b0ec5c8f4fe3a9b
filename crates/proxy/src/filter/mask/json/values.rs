//! Values: what of them passes, what is dropped, and what is held until all of it is there.

use std::borrow::Cow;

use portcullis_policy::{ClassSet, sensitive::automaton::At};

use super::{Json, Pushed, Token, Way};
use crate::filter::mask::{
    HIDDEN, LONGEST_NAME, MOST_HELD, Trouble, mask_of, nested,
    recognise::recognised,
    scan::{Scan, unescape, whole},
};

/// How far a number has come (RFC 8259 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

impl Json {
    #[inline]
    pub(super) fn begin_string(
        &mut self,
        at: At,
        pushed: &mut Pushed<'_, '_>,
    ) -> Result<(), Trouble> {
        let way = self.way_of_string(at, pushed);
        let Some(text) = whole(pushed.rest()) else {
            self.token = Token::String(Scan::default(), way);
            return Ok(());
        };
        pushed.at += text.len() + 1;
        if let Way::Hold(at, masked) = way {
            self.settle(text, at, masked, false, pushed.out)?;
        }
        self.string_ends(way, pushed);
        Ok(())
    }

    /// The closing quote was read. It passes in any case.
    #[inline]
    fn string_ends(&mut self, way: Way, pushed: &mut Pushed<'_, '_>) {
        if way != Way::Pass {
            pushed.from = pushed.at - 1;
        }
        self.value_ends();
    }

    fn way_of_string(&mut self, at: At, pushed: &mut Pushed<'_, '_>) -> Way {
        let masked = self.masked(at);
        let way = if masked.is_empty() {
            let is_plain = !self.recognises && !nested::may_begin(pushed.rest());
            if is_plain { Way::Pass } else { Way::Hold(at, masked) }
        } else if self.rules.shows_end(masked) {
            Way::Hold(at, masked)
        } else {
            Way::Drop
        };
        match way {
            Way::Pass => {}
            Way::Hold(..) => pushed.write(pushed.at),
            Way::Drop => {
                pushed.write(pushed.at);
                pushed.out.extend_from_slice(HIDDEN);
            }
        }
        way
    }

    pub(super) fn way_of_number(&mut self, at: At, byte: u8, pushed: &mut Pushed<'_, '_>) -> Way {
        let masked = self.masked(at);
        let way = if !masked.is_empty() {
            Way::Drop
        } else if self.recognises {
            self.held.push(byte);
            Way::Hold(at, masked)
        } else {
            Way::Pass
        };
        if way != Way::Pass {
            pushed.write(pushed.at - 1);
        }
        if way == Way::Drop {
            pushed.out.push(b'0');
        }
        way
    }

    pub(super) fn begin_word(
        &mut self,
        at: At,
        byte: u8,
        pushed: &mut Pushed<'_, '_>,
    ) -> Result<(), Trouble> {
        let is_masked = byte != b'n' && !self.masked(at).is_empty();
        let rest: &[u8] = match byte {
            b't' => b"rue",
            b'f' => b"alse",
            _ => b"ull",
        };
        let way = if is_masked { Way::Drop } else { Way::Pass };
        if is_masked {
            pushed.write(pushed.at - 1);
            pushed.out.extend_from_slice(b"false");
        }
        if pushed.rest().starts_with(rest) {
            pushed.at += rest.len();
            self.word_ends(way, pushed);
            return Ok(());
        }
        if pushed.rest().len() >= rest.len() {
            return Err(Trouble::NotJson);
        }
        self.token = Token::Word(rest, way);
        Ok(())
    }

    fn word_ends(&mut self, way: Way, pushed: &mut Pushed<'_, '_>) {
        self.token = Token::None;
        self.value_ends();
        if way == Way::Drop {
            pushed.skip();
        }
    }

    pub(super) fn word(
        &mut self,
        rest: &'static [u8],
        way: Way,
        pushed: &mut Pushed<'_, '_>,
    ) -> Result<(), Trouble> {
        let Some((expected, rest)) = rest.split_first() else { return Err(Trouble::NotJson) };
        if pushed.rest().first() != Some(expected) {
            return Err(Trouble::NotJson);
        }
        pushed.at += 1;
        self.token = Token::Word(rest, way);
        if rest.is_empty() {
            self.word_ends(way, pushed);
        }
        Ok(())
    }

    pub(super) fn string(
        &mut self,
        mut scan: Scan,
        way: Way,
        pushed: &mut Pushed<'_, '_>,
    ) -> Result<(), Trouble> {
        let start = pushed.at;
        let (count, ended) = scan.pass(pushed.rest())?;
        pushed.at += count;
        let mut way = way;
        if let Way::Hold(at, masked) = way {
            let until = pushed.at - usize::from(ended);
            self.held.extend_from_slice(pushed.bytes.get(start..until).unwrap_or_default());
            if ended {
                let held = std::mem::take(&mut self.held);
                self.settle(&held, at, masked, scan.has_escapes, pushed.out)?;
                self.keep_room(held);
            } else if self.held.len() > MOST_HELD {
                way = self.give_up(masked, pushed);
            }
        }
        self.token = if ended { Token::None } else { Token::String(scan, way) };
        if ended {
            self.string_ends(way, pushed);
        }
        Ok(())
    }

    /// A string is too long to be held to its end: it passes if it cannot be what it was held for.
    fn give_up(&mut self, masked: ClassSet, pushed: &mut Pushed<'_, '_>) -> Way {
        let held = std::mem::take(&mut self.held);
        if masked.is_empty() && !self.rules.recognises() && nested::cannot_be(&held) {
            pushed.out.extend_from_slice(&held);
            pushed.skip();
            return Way::Pass;
        }
        self.met.0 |= if masked.is_empty() { self.rules.classes.0 } else { masked.0 };
        pushed.out.extend_from_slice(HIDDEN);
        Way::Drop
    }

    /// A string that was held is all there.
    fn settle(
        &mut self,
        held: &[u8],
        at: At,
        masked: ClassSet,
        has_escapes: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Trouble> {
        let text = if has_escapes {
            unescape(held).map(Cow::Owned)
        } else {
            std::str::from_utf8(held).ok().map(Cow::Borrowed)
        };
        let text = text.ok_or(Trouble::NotJson)?;
        if !masked.is_empty() {
            out.extend_from_slice(mask_of(&text, self.rules.shows_end(masked)).as_bytes());
        } else if let Some(found) = self.recognised(&text) {
            self.met.0 |= found.0;
            out.extend_from_slice(mask_of(&text, self.rules.shows_end(found)).as_bytes());
        } else {
            let within = self.rules.automaton().within(at);
            let (met, replaced) = nested::masked(&text, &self.rules, within, self.level);
            self.met.0 |= met.0;
            out.extend_from_slice(replaced.as_deref().unwrap_or(held));
        }
        Ok(())
    }

    /// What is used for the next that has to be held.
    fn keep_room(&mut self, held: Vec<u8>) {
        if held.capacity() <= LONGEST_NAME {
            self.held = held;
            self.held.clear();
        }
    }

    /// The classes that `text` looks like, if there are any.
    fn recognised(&self, text: &str) -> Option<ClassSet> {
        if !self.recognises {
            return None;
        }
        let found = recognised(text, &self.rules.sensitive, self.rules.classes);
        Some(found).filter(|found| !found.is_empty())
    }

    pub(super) fn number(
        &mut self,
        mut number: Number,
        way: Way,
        pushed: &mut Pushed<'_, '_>,
    ) -> Result<(), Trouble> {
        let start = pushed.at;
        let mut read = 0;
        let mut ended = false;
        for byte in pushed.rest() {
            let Some(next) = number.then(*byte) else {
                ended = true;
                break;
            };
            number = next;
            read += 1;
        }
        pushed.at += read;
        if let Way::Hold(..) = way {
            self.held.extend_from_slice(pushed.bytes.get(start..pushed.at).unwrap_or_default());
            if self.held.len() > LONGEST_NAME {
                return Err(Trouble::TooLarge);
            }
        }
        self.token = Token::Number(number, way);
        if ended { self.end_number(number, way, pushed) } else { Ok(()) }
    }

    pub(super) fn end_number(
        &mut self,
        number: Number,
        way: Way,
        pushed: &mut Pushed<'_, '_>,
    ) -> Result<(), Trouble> {
        if !number.is_whole() {
            return Err(Trouble::NotJson);
        }
        if let Way::Hold(..) = way {
            let text = std::mem::take(&mut self.held);
            let found = std::str::from_utf8(&text).ok().and_then(|text| self.recognised(text));
            self.met.0 |= found.unwrap_or_default().0;
            pushed.out.extend_from_slice(if found.is_some() { b"0" } else { &text });
        }
        if way != Way::Pass {
            pushed.skip();
        }
        self.token = Token::None;
        self.value_ends();
        Ok(())
    }
}

impl Number {
    #[inline]
    fn then(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Minus, b'0') => Self::Zero,
            (Self::Minus | Self::Whole, b'0'..=b'9') => Self::Whole,
            (Self::Zero | Self::Whole, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Whole | Self::Fraction, b'e' | b'E') => Self::E,
            (Self::E, b'+' | b'-') => Self::Sign,
            (Self::E | Self::Sign | Self::Exponent, b'0'..=b'9') => Self::Exponent,
            _ => return None,
        })
    }

    fn is_whole(self) -> bool {
        matches!(self, Self::Zero | Self::Whole | Self::Fraction | Self::Exponent)
    }
}
