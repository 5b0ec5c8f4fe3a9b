//! Places in a JSON document, in the part of RFC 9535 (JSONPath) that can be followed while the document
//! streams: names, `*`, `..`, indices and slices that count from the front.
//!
//! What needs the rest of a document, such as a filter or an index from the end, is an error that says so:
//! a masked response is never kept as a whole.

use std::{fmt, str::FromStr};

/// A parsed path. It shows and compares as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path {
    text: Box<str>,
    steps: Vec<Step>,
}

/// One segment: what it selects among the children of a node, or among those of all nodes below, too.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Step {
    /// `..`: any number of levels lie between.
    pub is_deep: bool,
    /// Any of these.
    pub selectors: Vec<Selector>,
}

/// What a segment selects.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Selector {
    /// The member of this name.
    Name(Box<str>),
    /// All members and elements.
    Any,
    /// The elements from the first index up to the second, which is not one of them.
    Elements(u64, u64),
}

/// Why a text is no path that can be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {at}: {why}")]
pub struct PathError {
    /// 1-based, in characters.
    at: usize,
    why: &'static str,
}

/// RFC 9535 section 2.1: integers of I-JSON.
const MOST: u64 = (1 << 53) - 1;
/// Longer paths are mistakes.
const LONGEST: usize = 1024;

const NO_ROOT: &str = "a path starts with `$`";
const NO_FILTER: &str =
    "a filter needs what comes later in the document; name the fields, or use `*` or `..`";
const FROM_END: &str =
    "an index from the end needs the end of the array; count from the front, or use `[*]`";
const NO_STEP: &str = "a slice with a step is not supported; name the indices, or use `[*]`";
const NO_FUNCTION: &str = "functions belong to filters, which are not supported";
const NO_NAME: &str = "a name or `*` was expected";
const NO_SELECTOR: &str = "a quoted name, `*`, an index or a slice was expected";
const NO_SEGMENT: &str = "`.`, `..` or `[` was expected";
const NO_INTEGER: &str = "an index has no leading zeros and is below 2^53";
const NO_QUOTE: &str = "the quoted name does not end";
const NO_ESCAPE: &str = "no such escape";
const NO_CONTROL: &str = "a control character is written as an escape";
const TOO_LONG: &str = "a path has at most 1024 bytes";

impl Path {
    /// Its segments, behind `$`.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let mut reader = Reader { rest: text };
        reader.path().map(|steps| Self { text: text.into(), steps }).map_err(|why| {
            let read = text.len() - reader.rest.len();
            let at = text.char_indices().take_while(|(start, _)| *start < read).count() + 1;
            PathError { at, why }
        })
    }
}

/// What is left to read.
struct Reader<'t> {
    rest: &'t str,
}

type Read<T> = Result<T, &'static str>;

impl Reader<'_> {
    fn path(&mut self) -> Read<Vec<Step>> {
        if self.rest.len() > LONGEST {
            return Err(TOO_LONG);
        }
        if !self.eat("$") {
            return Err(NO_ROOT);
        }
        let mut steps = Vec::new();
        loop {
            let before = self.rest;
            self.blanks();
            if self.rest.is_empty() {
                // RFC 9535 section 2.1.1: no blanks at the end.
                return if before.is_empty() { Ok(steps) } else { Err(NO_SEGMENT) };
            }
            steps.push(self.step()?);
        }
    }

    fn step(&mut self) -> Read<Step> {
        if self.eat("..") {
            let selectors = if self.eat("[") { self.bracketed()? } else { vec![self.shorthand()?] };
            return Ok(Step { is_deep: true, selectors });
        }
        let selectors = if self.eat(".") {
            vec![self.shorthand()?]
        } else if self.eat("[") {
            self.bracketed()?
        } else {
            return Err(NO_SEGMENT);
        };
        Ok(Step { is_deep: false, selectors })
    }

    fn shorthand(&mut self) -> Read<Selector> {
        if self.eat("*") {
            return Ok(Selector::Any);
        }
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii();
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at_checked(end).unwrap_or_default();
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(NO_NAME);
        }
        self.rest = rest;
        if self.rest.starts_with('(') {
            return Err(NO_FUNCTION);
        }
        Ok(Selector::Name(name.into()))
    }

    fn bracketed(&mut self) -> Read<Vec<Selector>> {
        let mut selectors = Vec::new();
        loop {
            self.blanks();
            selectors.push(self.selector()?);
            self.blanks();
            if self.eat("]") {
                return Ok(selectors);
            }
            if !self.eat(",") {
                return Err("`,` or `]` was expected");
            }
        }
    }

    fn selector(&mut self) -> Read<Selector> {
        match self.rest.chars().next() {
            Some('*') => {
                self.eat("*");
                Ok(Selector::Any)
            }
            Some(quote @ ('\'' | '"')) => self.quoted(quote),
            Some('?') => Err(NO_FILTER),
            Some('-') => Err(FROM_END),
            Some(':' | '0'..='9') => self.elements(),
            Some(_) | None => Err(NO_SELECTOR),
        }
    }

    fn elements(&mut self) -> Read<Selector> {
        let from = self.integer()?;
        self.blanks();
        if !self.eat(":") {
            return from.map(|from| Selector::Elements(from, from + 1)).ok_or(NO_SELECTOR);
        }
        self.blanks();
        if self.rest.starts_with('-') {
            return Err(FROM_END);
        }
        let until = self.integer()?.unwrap_or(u64::MAX);
        self.blanks();
        if self.eat(":") {
            self.blanks();
            let at = self.rest;
            if !matches!(self.integer(), Ok(None | Some(1))) || self.rest.starts_with('-') {
                self.rest = at;
                return Err(NO_STEP);
            }
        }
        Ok(Selector::Elements(from.unwrap_or(0), until))
    }

    fn integer(&mut self) -> Read<Option<u64>> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at_checked(end).unwrap_or_default();
        if digits.is_empty() {
            return Ok(None);
        }
        let has_zeros = digits.len() > 1 && digits.starts_with('0');
        let number = digits.parse().ok().filter(|number| *number <= MOST && !has_zeros);
        self.rest = rest;
        number.map(Some).ok_or(NO_INTEGER)
    }

    fn quoted(&mut self, quote: char) -> Read<Selector> {
        self.next();
        let mut name = String::new();
        loop {
            match self.next().ok_or(NO_QUOTE)? {
                c if c == quote => return Ok(Selector::Name(name.into())),
                '\\' => name.push(self.escape(quote)?),
                c if c < ' ' => return Err(NO_CONTROL),
                c => name.push(c),
            }
        }
    }

    fn escape(&mut self, quote: char) -> Read<char> {
        Ok(match self.next().ok_or(NO_QUOTE)? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            c @ ('/' | '\\') => c,
            c if c == quote => c,
            'u' => {
                let first = self.hex()?;
                if !(0xd800..0xdc00).contains(&first) {
                    return char::from_u32(first).ok_or(NO_ESCAPE);
                }
                let second = if self.eat("\\u") { self.hex()? } else { 0 };
                let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400);
                let high = (first - 0xd800) << 10;
                low.and_then(|low| char::from_u32(0x1_0000 + high + low)).ok_or(NO_ESCAPE)?
            }
            _ => return Err(NO_ESCAPE),
        })
    }

    fn hex(&mut self) -> Read<u32> {
        let (digits, rest) = self.rest.split_at_checked(4).ok_or(NO_ESCAPE)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(NO_ESCAPE);
        }
        self.rest = rest;
        u32::from_str_radix(digits, 16).map_err(|_| NO_ESCAPE)
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next()?;
        self.rest = chars.as_str();
        Some(next)
    }

    fn eat(&mut self, prefix: &str) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }
}

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
