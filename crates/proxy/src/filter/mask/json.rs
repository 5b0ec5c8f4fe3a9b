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
    scan::{Scan, unescape},
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

impl Pushed<'_, '_> {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
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

    /// One byte between two tokens, and all blanks before it.
    fn between(&mut self, pushed: &mut Pushed<'_, '_>) -> Result<(), Trouble> {
        let Some(byte) = pushed.rest().first().copied() else { return Ok(()) };
        match byte {
            b' ' | b'\t' => {
                let blanks = pushed.rest().iter().take_while(|byte| matches!(byte, b' ' | b'\t'));
                pushed.at += blanks.count();
                return Ok(());
            }
            b'\n' | b'\r' => {
                pushed.at += 1;
                return self.line();
            }
            0x1e if self.framing == Framing::Sequence => {
                pushed.at += 1;
                let is_between = matches!(self.expect, Expect::Text | Expect::Nothing);
                self.expect = Expect::Value;
                return if is_between { Ok(()) } else { Err(Trouble::NotJson) };
            }
            _ => {}
        }
        pushed.at += 1;
        match self.expect {
            Expect::Text if self.framing == Framing::Sequence => Err(Trouble::NotJson),
            Expect::Nothing if self.framing == Framing::Many => self.value(byte, pushed),
            Expect::ValueOrEnd if byte == b']' => self.close(),
            Expect::Text | Expect::Value | Expect::ValueOrEnd => self.value(byte, pushed),
            Expect::NameOrEnd if byte == b'}' => self.close(),
            Expect::Name | Expect::NameOrEnd if byte == b'"' => {
                self.token = Token::Name(Scan::default());
                Ok(())
            }
            Expect::Colon if byte == b':' => {
                self.has_begun = true;
                self.expect = Expect::Value;
                Ok(())
            }
            Expect::CommaOrEnd => self.comma_or_end(byte),
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

    fn comma_or_end(&mut self, byte: u8) -> Result<(), Trouble> {
        let is_array = self.open.last().is_some_and(|open| open.elements.is_some());
        match (byte, is_array) {
            (b',', true) => {
                self.has_begun = true;
                self.expect = Expect::Value;
            }
            (b',', false) => self.expect = Expect::Name,
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
        let begin = |elements| Open { at, elements };
        match byte {
            b'{' => {
                self.open.push(begin(None));
                self.expect = Expect::NameOrEnd;
            }
            b'[' => {
                self.open.push(begin(Some(0)));
                self.expect = Expect::ValueOrEnd;
            }
            b'"' => {
                let way = self.way_of_string(at, pushed);
                self.token = Token::String(Scan::default(), way);
            }
            b'-' | b'0'..=b'9' => {
                let number = match byte {
                    b'-' => Number::Minus,
                    b'0' => Number::Zero,
                    _ => Number::Whole,
                };
                let way = self.way_of_number(at, byte, pushed);
                self.token = Token::Number(number, way);
            }
            b't' | b'f' | b'n' => self.begin_word(at, byte, pushed),
            _ => return Err(Trouble::NotJson),
        }
        if self.open.len() > MOST_DEEP { Err(Trouble::TooDeep) } else { Ok(()) }
    }

    /// What of the classes there is masked.
    #[inline]
    fn masked(&mut self, at: At) -> ClassSet {
        let masked = self.rules.automaton().classes(at).0 & self.rules.classes.0;
        self.met.0 |= masked;
        ClassSet(masked)
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
