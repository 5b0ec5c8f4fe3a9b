//! A strict reader of JSON (RFC 8259) that keeps numbers as they are written.
//!
//! Two readers may disagree about a document with duplicate keys, so such a document has no meaning
//! here; and a float that was rounded on the way is not what the upstream gets.

use std::borrow::Cow;

/// Objects and lists inside each other.
const MAX_DEPTH: usize = 64;

/// Keys, values and elements in one document.
const MAX_VALUES: usize = 100_000;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    /// As written.
    Number(&'a str),
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    /// No key twice.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

/// Reads one document, or says why it is none.
pub(super) fn parse(text: &str) -> Result<Json<'_>, String> {
    let mut reader = Reader { text, at: 0, depth: 0, values: 0 };
    let value = reader.value()?;
    reader.space();
    if reader.at == text.len() {
        Ok(value)
    } else {
        Err(reader.wrong("something follows the value"))
    }
}

/// Whether `text` is a number of JSON: no plus, no leading zeros, digits around the point.
pub(super) fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|text| digits(text.strip_prefix(['+', '-']).unwrap_or(text)))
}

/// Where in the text the reading is.
#[derive(Debug)]
struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    values: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Result<Json<'a>, String> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(format!("there are more than {MAX_VALUES} values in it"));
        }
        self.space();
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::list),
            Some(b'"') => Ok(Json::Text(self.string()?)),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => Err(self.wrong("no value begins like this")),
            None => Err(self.wrong("it ends too early")),
        }
    }

    fn nested(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Json<'a>, String>,
    ) -> Result<Json<'a>, String> {
        if self.depth == MAX_DEPTH {
            return Err(format!("it is nested more than {MAX_DEPTH} deep"));
        }
        self.depth += 1;
        self.at += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Json<'a>, String> {
        let mut entries = Vec::new();
        if self.eat(b'}') {
            return Ok(Json::Object(entries));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.wrong("a key is expected"));
            }
            let key = self.string()?;
            if !self.eat(b':') {
                return Err(self.wrong("a colon is expected"));
            }
            entries.push((key, self.value()?));
            if self.eat(b'}') {
                break;
            }
            if !self.eat(b',') {
                return Err(self.wrong("a comma or the end of the object is expected"));
            }
        }
        match duplicate(&entries) {
            Some(key) => {
                Err(format!("the key `{}` stands twice in one object", key.escape_debug()))
            }
            None => Ok(Json::Object(entries)),
        }
    }

    fn list(&mut self) -> Result<Json<'a>, String> {
        let mut items = Vec::new();
        if self.eat(b']') {
            return Ok(Json::List(items));
        }
        loop {
            items.push(self.value()?);
            if self.eat(b']') {
                return Ok(Json::List(items));
            }
            if !self.eat(b',') {
                return Err(self.wrong("a comma or the end of the list is expected"));
            }
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, String> {
        let rest = self.rest();
        let mut escaped = false;
        let mut plain = true;
        let end = rest.bytes().enumerate().skip(1).find(|(_, byte)| match byte {
            _ if escaped => {
                escaped = false;
                false
            }
            b'\\' => {
                (escaped, plain) = (true, false);
                false
            }
            byte => {
                plain &= *byte >= 0x20;
                *byte == b'"'
            }
        });
        let literal = end.and_then(|(end, _)| rest.get(..=end));
        let Some(literal) = literal else { return Err(self.wrong("a string does not end")) };
        let value = match literal.get(1..literal.len() - 1).filter(|_| plain) {
            Some(inner) => Cow::Borrowed(inner),
            // Escapes and what is wrong with them are left to a library.
            None => serde_json::from_str(literal).map(Cow::Owned).map_err(|_| {
                self.wrong("a string has a control character or an escape that is none")
            })?,
        };
        self.at += literal.len();
        Ok(value)
    }

    fn number(&mut self) -> Result<Json<'a>, String> {
        let rest = self.rest();
        let end = rest
            .find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'))
            .unwrap_or(rest.len());
        match rest.get(..end).filter(|text| is_number(text)) {
            Some(text) => {
                self.at += end;
                Ok(Json::Number(text))
            }
            None => Err(self.wrong("this is no number")),
        }
    }

    fn word(&mut self, word: &str, value: Json<'a>) -> Result<Json<'a>, String> {
        if self.rest().starts_with(word) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.wrong("no value begins like this"))
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.space();
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn wrong(&self, what: &str) -> String {
        format!("{what}, at byte {}", self.at)
    }
}

fn duplicate<'a>(entries: &'a [(Cow<'_, str>, Json<'_>)]) -> Option<&'a str> {
    let mut keys: Vec<&str> = entries.iter().map(|(key, _)| &**key).collect();
    keys.sort_unstable();
    keys.iter().zip(keys.iter().skip(1)).find(|(one, other)| one == other).map(|(key, _)| *key)
}
