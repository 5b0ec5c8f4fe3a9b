//! A JSON text in any pieces, and the same text with what is sensitive masked.
//!
//! What is not sensitive stays as it was written, byte by byte. Nothing is built of the document: there
//! is a stack of where the walk is, and the name or number or string that is under way where it has to be
//! looked at. Each member of a name that comes twice is looked at by itself, so all of them are masked.

mod values;

use portcullis_policy::{
    ClassSet,
    sensitive::automaton::{At, Automaton},
};

use self::values::Number;
use super::{
    LONGEST_NAME, MOST_DEEP, Rules, Trouble,
    scan::{Scan, blanks, unescape, whole},
};

/// How texts follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is one.
    One,
    /// One in each line.
    Lines,
    /// Each behind a record separator (RFC 7464).
    Sequence,
    /// One after the other.
    Many,
}

impl Framing {
    /// Of a content type, if it is one of JSON.
    pub(crate) fn of(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let is = |kind: &str| essence.eq_ignore_ascii_case(kind);
        let ends = |suffix: &str| {
            let start = essence.len().saturating_sub(suffix.len());
            essence.get(start..).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
        };
        if is("application/json") || ends("+json") {
            Some(Self::One)
        } else if is("application/x-ndjson") || is("application/ndjson") || is("application/jsonl")
        {
            Some(Self::Lines)
        } else if is("application/json-seq") || ends("+json-seq") {
            Some(Self::Sequence)
        } else {
            None
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Json {
    rules: Rules,
    /// Whether anything is found by its looks.
    recognises: bool,
    framing: Framing,
    root: At,
    /// What is open, the innermost last.
    open: Vec<Open>,
    expect: Expect,
    token: Token,
    /// Where the value leads that comes next in an object.
    member: At,
    /// A name, number or string that is under way and has to be looked at.
    held: Vec<u8>,
    /// What was masked so far.
    met: ClassSet,
    /// How many texts this text stands in.
    level: u8,
    /// There was a member, or a second element.
    has_begun: bool,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    at: At,
    /// Of an array, the elements so far.
    elements: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// The text, or its end.
    Text,
    Value,
    ValueOrEnd,
    Name,
    NameOrEnd,
    Colon,
    CommaOrEnd,
    /// Nothing more of this text.
    Nothing,
}

/// What becomes of the bytes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// They pass.
    Pass,
    /// They are dropped, and the mask is written.
    Drop,
    /// They are kept until all are there, and stand at a place like this, of these classes.
    Hold(At, ClassSet),
}

#[derive(Debug, Clone, Copy)]
enum Token {
    None,
    Name(Scan),
    String(Scan, Way),
    Number(Number, Way),
    /// What is left of `true`, `false` or `null`, and whether it is masked.
    Word(&'static [u8], Way),
}

/// One push: what comes, how far it was read, and from where on it still has to be written.
struct Pushed<'b, 'o> {
    bytes: &'b [u8],
    at: usize,
    from: usize,
    out: &'o mut Vec<u8>,
}

impl<'b> Pushed<'b, '_> {
    #[inline]
    fn rest(&self) -> &'b [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Reads an opening quote that is next, or behind one blank: so most documents go on.
    #[inline]
    fn skip_to_quote(&mut self) -> bool {
        let skipped = match self.rest() {
            [b' ', b'"', ..] => 2,
            [b'"', ..] => 1,
            _ => 0,
        };
        self.at += skipped;
        skipped > 0
    }

    /// Writes what came before `until` and is to pass.
    fn write(&mut self, until: usize) {
        self.out.extend_from_slice(self.bytes.get(self.from..until).unwrap_or_default());
        self.from = until;
    }

    /// What was read last is not written.
    fn skip(&mut self) {
        self.from = self.at;
    }
}

impl Json {
    pub(crate) fn new(rules: Rules, framing: Framing) -> Self {
        Self::within(rules, framing, Automaton::root(), 0)
    }

    /// Of a text that stands in `level` others, at `root`.
    pub(super) fn within(rules: Rules, framing: Framing, root: At, level: u8) -> Self {
        Self {
            recognises: rules.recognises(),
            rules,
            framing,
            root,
            open: Vec::new(),
            expect: Expect::Text,
            token: Token::None,
            member: root,
            held: Vec::new(),
            met: ClassSet::default(),
            level,
            has_begun: false,
        }
    }

    /// What was masked so far.
    pub(crate) fn met(&self) -> ClassSet {
        self.met
    }

    /// Whether so much of it was there that it was meant to be JSON.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Reads `bytes`, and adds to `out` what can be said of them.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Trouble> {
        let mut pushed = Pushed { bytes, at: 0, from: 0, out };
        while pushed.at < bytes.len() {
            match self.token {
                Token::None => self.between(&mut pushed)?,
                Token::Name(scan) => self.name(scan, &mut pushed)?,
                Token::String(scan, way) => self.string(scan, way, &mut pushed)?,
                Token::Number(number, way) => self.number(number, way, &mut pushed)?,
                Token::Word(rest, way) => self.word(rest, way, &mut pushed)?,
            }
        }
        match self.token {
            Token::String(_, Way::Drop | Way::Hold(..))
            | Token::Number(_, Way::Drop | Way::Hold(..))
            | Token::Word(_, Way::Drop | Way::Hold(..)) => {}
            _ => pushed.write(bytes.len()),
        }
        Ok(())
    }

    /// There is no more.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Trouble> {
        if let Token::Number(number, way) = self.token {
            let mut pushed = Pushed { bytes: &[], at: 0, from: 0, out };
            self.end_number(number, way, &mut pushed)?;
        }
        let is_over = matches!(self.expect, Expect::Text | Expect::Nothing);
        if is_over && matches!(self.token, Token::None) { Ok(()) } else { Err(Trouble::NotJson) }
    }

    /// What stands between two tokens, and those that are here as a whole: most are.
    fn between(&mut self, pushed: &mut Pushed<'_, '_>) -> Result<(), Trouble> {
        while matches!(self.token, Token::None) {
            let Some(byte) = pushed.bytes.get(pushed.at).copied() else { break };
            pushed.at += 1;
            match byte {
                0x21.. => self.step(byte, pushed)?,
                b' ' | b'\t' => pushed.at += blanks(pushed.rest()),
                b'\n' | b'\r' => self.line()?,
                0x1e if self.framing == Framing::Sequence => {
                    let is_between = matches!(self.expect, Expect::Text | Expect::Nothing);
                    self.expect = Expect::Value;
                    if !is_between {
                        return Err(Trouble::NotJson);
                    }
                }
                _ => return Err(Trouble::NotJson),
            }
        }
        Ok(())
    }

    #[inline]
    fn step(&mut self, byte: u8, pushed: &mut Pushed<'_, '_>) -> Result<(), Trouble> {
        match self.expect {
            Expect::CommaOrEnd => self.comma_or_end(byte, pushed),
            Expect::Name | Expect::NameOrEnd if byte == b'"' => self.begin_name(pushed),
            Expect::Colon if byte == b':' => {
                self.colon();
                Ok(())
            }
            Expect::Text if self.framing == Framing::Sequence => Err(Trouble::NotJson),
            Expect::Nothing if self.framing == Framing::Many => self.value(byte, pushed),
            Expect::ValueOrEnd if byte == b']' => self.close(),
            Expect::Text | Expect::Value | Expect::ValueOrEnd => self.value(byte, pushed),
            Expect::NameOrEnd if byte == b'}' => self.close(),
            Expect::Name | Expect::NameOrEnd | Expect::Colon | Expect::Nothing => {
                Err(Trouble::NotJson)
            }
        }
    }

    /// A line ends. Readers of lines would see other documents than this walk if one went on in the next.
    fn line(&mut self) -> Result<(), Trouble> {
        if self.framing == Framing::Lines {
            match self.expect {
                Expect::Text | Expect::Nothing => self.expect = Expect::Text,
                _ => return Err(Trouble::NotJson),
            }
        }
        Ok(())
    }

    #[inline]
    fn comma_or_end(&mut self, byte: u8, pushed: &mut Pushed<'_, '_>) -> Result<(), Trouble> {
        let is_array = self.open.last().is_some_and(|open| open.elements.is_some());
        match (byte, is_array) {
            (b',', true) => {
                self.has_begun = true;
                self.expect = Expect::Value;
            }
            (b',', false) => {
                self.expect = Expect::Name;
                if pushed.skip_to_quote() {
                    return self.begin_name(pushed);
                }
            }
            (b']', true) | (b'}', false) => return self.close(),
            _ => return Err(Trouble::NotJson),
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Trouble> {
        self.open.pop().ok_or(Trouble::NotJson)?;
        self.value_ends();
        Ok(())
    }

    #[inline]
    fn value_ends(&mut self) {
        self.expect = if self.open.is_empty() { Expect::Nothing } else { Expect::CommaOrEnd };
    }

    /// Where a value stands that begins now.
    #[inline]
    fn place(&mut self) -> At {
        match self.open.last_mut() {
            None => self.root,
            Some(Open { elements: None, .. }) => self.member,
            Some(Open { at, elements: Some(count) }) => {
                let index = *count;
                *count += 1;
                self.rules.sensitive.automaton.element(*at, index)
            }
        }
    }

    fn value(&mut self, byte: u8, pushed: &mut Pushed<'_, '_>) -> Result<(), Trouble> {
        let at = self.place();
        match byte {
            b'"' => self.begin_string(at, pushed),
            b'{' => self.enter(Open { at, elements: None }, Expect::NameOrEnd),
            b'[' => self.enter(Open { at, elements: Some(0) }, Expect::ValueOrEnd),
            b'-' | b'0'..=b'9' => {
                let number = match byte {
                    b'-' => Number::Minus,
                    b'0' => Number::Zero,
                    _ => Number::Whole,
                };
                let way = self.way_of_number(at, byte, pushed);
                self.number(number, way, pushed)
            }
            b't' | b'f' | b'n' => self.begin_word(at, byte, pushed),
            _ => Err(Trouble::NotJson),
        }
    }

    fn enter(&mut self, open: Open, expect: Expect) -> Result<(), Trouble> {
        self.open.push(open);
        self.expect = expect;
        if self.open.len() > MOST_DEEP { Err(Trouble::TooDeep) } else { Ok(()) }
    }

    /// What of the classes there is masked.
    #[inline]
    fn masked(&mut self, at: At) -> ClassSet {
        let masked = self.rules.automaton().classes(at).0 & self.rules.classes.0;
        self.met.0 |= masked;
        ClassSet(masked)
    }

    #[inline]
    fn begin_name(&mut self, pushed: &mut Pushed<'_, '_>) -> Result<(), Trouble> {
        let open = self.open.last().map_or(self.root, |open| open.at);
        let Some(name) = whole(pushed.rest()) else {
            self.token = Token::Name(Scan::default());
            return Ok(());
        };
        pushed.at += name.len() + 1;
        self.member = self.rules.automaton().member(open, name);
        self.expect = Expect::Colon;
        if pushed.bytes.get(pushed.at) == Some(&b':') {
            pushed.at += 1;
            self.colon();
            if pushed.skip_to_quote() {
                return self.begin_string(self.member, pushed);
            }
        }
        Ok(())
    }

    #[inline]
    fn colon(&mut self) {
        self.has_begun = true;
        self.expect = Expect::Value;
    }

    fn name(&mut self, mut scan: Scan, pushed: &mut Pushed<'_, '_>) -> Result<(), Trouble> {
        let (count, ended) = scan.pass(pushed.rest())?;
        let open = self.open.last().map_or(self.root, |open| open.at);
        if self.rules.automaton().is_settled(open) {
            // Nothing depends on it.
            self.member = open;
        } else {
            let here = pushed.rest().get(..count - usize::from(ended)).unwrap_or_default();
            if self.held.len() + here.len() > LONGEST_NAME {
                return Err(Trouble::LongName);
            }
            let is_whole = ended && self.held.is_empty() && !scan.has_escapes;
            if is_whole {
                self.member = self.rules.automaton().member(open, here);
            } else {
                self.held.extend_from_slice(here);
            }
            if ended && !is_whole {
                let name = if scan.has_escapes { unescape(&self.held) } else { None };
                if scan.has_escapes && name.is_none() {
                    return Err(Trouble::NotJson);
                }
                let name = name.as_deref().map_or(self.held.as_slice(), str::as_bytes);
                self.member = self.rules.automaton().member(open, name);
                self.held.clear();
            }
        }
        pushed.at += count;
        self.token = if ended { Token::None } else { Token::Name(scan) };
        if ended {
            self.expect = Expect::Colon;
        }
        Ok(())
    }
}
