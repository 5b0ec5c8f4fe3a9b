//! Cuts a policy file into its policies, so that each is parsed and blamed on its own.
//!
//! Knows comments, strings and brackets of Cedar and nothing else; what it cuts out is left to
//! Cedar's parser to judge.

use std::ops::Range;

/// One policy's text within its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) range: Range<usize>,
    /// The deepest nesting of brackets.
    pub(super) depth: usize,
    /// Tokens that could nest an expression once more.
    pub(super) operators: usize,
}

/// The policies of `text`, comments between them left out.
pub(super) fn statements(text: &str) -> Vec<Statement> {
    let mut cutter = Cutter::default();
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'/' if bytes.peek().is_some_and(|(_, next)| *next == b'/') => {
                while bytes.next_if(|(_, byte)| *byte != b'\n').is_some() {}
            }
            b'"' => {
                cutter.token(at);
                let mut escaped = false;
                for (_, byte) in bytes.by_ref() {
                    match byte {
                        b'"' if !escaped => break,
                        b'\\' => escaped = !escaped,
                        _ => escaped = false,
                    }
                }
            }
            b';' => cutter.end(at + 1),
            byte if byte.is_ascii_whitespace() => {}
            byte if is_of_word(byte) => {
                cutter.token(at);
                let mut end = at + 1;
                while bytes.next_if(|(_, byte)| is_of_word(*byte)).is_some() {
                    end += 1;
                }
                cutter.word(text.get(at..end).unwrap_or_default());
            }
            byte => cutter.byte(at, byte),
        }
    }
    cutter.end(text.len());
    cutter.done
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[derive(Default)]
struct Cutter {
    start: Option<usize>,
    open: usize,
    depth: usize,
    operators: usize,
    done: Vec<Statement>,
}

impl Cutter {
    fn token(&mut self, at: usize) {
        self.start.get_or_insert(at);
    }

    /// `if` needs no bracket to nest: `if a then b else if c then d else …`.
    fn word(&mut self, word: &str) {
        self.operators += usize::from(word == "if");
    }

    fn byte(&mut self, at: usize, byte: u8) {
        self.token(at);
        match byte {
            b'(' | b'[' | b'{' => {
                self.open += 1;
                self.depth = self.depth.max(self.open);
            }
            b')' | b']' | b'}' => self.open = self.open.saturating_sub(1),
            b'&' | b'|' | b'.' | b'+' | b'-' | b'*' | b'!' | b'?' => self.operators += 1,
            _ => {}
        }
    }

    fn end(&mut self, end: usize) {
        if let Some(start) = self.start.take() {
            let Self { depth, operators, .. } = *self;
            self.done.push(Statement { range: start..end, depth, operators });
        }
        (self.open, self.depth, self.operators) = (0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        statements(text).into_iter().map(|s| text.get(s.range).unwrap()).collect()
    }

    #[test]
    fn semicolons_in_comments_and_strings_end_nothing() {
        let text = "// one; two\n@id(\"a;\\\"b\") permit (p, a, r); // more;\nforbid (x);";
        assert_eq!(texts(text), ["@id(\"a;\\\"b\") permit (p, a, r);", "forbid (x);"]);
    }

    #[test]
    fn a_policy_without_its_semicolon_is_still_one() {
        assert_eq!(texts("permit (a)\n// end"), ["permit (a)\n// end"]);
        assert!(texts("  // nothing\n").is_empty());
    }
}
