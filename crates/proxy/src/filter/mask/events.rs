//! Server-sent events: each is held until its blank line, and its data is masked as one document.
//!
//! Data that is no JSON is masked whole, except `[DONE]`, which some services end with and which says
//! nothing. Names of events and ids pass if they are short words that look like nothing sensitive; comments
//! keep connections open and lose their text.

use portcullis_policy::ClassSet;

use super::{Framing, HIDDEN, Json, MOST_HELD, Rules, Trouble, telling::tells};

/// See the module.
#[derive(Debug)]
pub(super) struct Events {
    rules: Rules,
    /// What came of the line that is under way.
    line: Vec<u8>,
    /// The last byte was a carriage return, and a line feed belongs to it.
    after_return: bool,
    /// What of the event passes already.
    fields: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    met: ClassSet,
}

impl Events {
    pub(super) fn new(rules: Rules) -> Self {
        let (line, fields, data) = (Vec::new(), Vec::new(), Vec::new());
        let met = ClassSet::default();
        Self { rules, line, after_return: false, fields, data, has_data: false, met }
    }

    /// What was masked so far.
    pub(super) fn met(&self) -> ClassSet {
        self.met
    }

    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Trouble> {
        let mut rest = bytes;
        while let Some(first) = rest.first() {
            if std::mem::take(&mut self.after_return) && *first == b'\n' {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (here, after) =
                rest.split_at_checked(end.unwrap_or(rest.len())).unwrap_or_default();
            self.line.extend_from_slice(here);
            if self.line.len() + self.data.len() + self.fields.len() > MOST_HELD {
                return Err(Trouble::TooLarge);
            }
            let Some((ending, after)) = after.split_first() else { return Ok(()) };
            self.after_return = *ending == b'\r';
            rest = after;
            let line = std::mem::take(&mut self.line);
            self.line(&line, out)?;
            self.line = line;
            self.line.clear();
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<(), Trouble> {
        if line.is_empty() {
            self.event(out);
            return Ok(());
        }
        let text = std::str::from_utf8(line).map_err(|_| Trouble::NotJson)?;
        let (name, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            // A comment: at once, as it keeps the connection alive.
            "" => out.extend_from_slice(b":\n"),
            "data" => {
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value.as_bytes());
            }
            "event" | "id" if !is_word(value, &self.rules) => {}
            "retry" if !value.bytes().all(|byte| byte.is_ascii_digit()) || value.len() > 9 => {}
            "event" | "id" | "retry" => {
                self.fields.extend_from_slice(format!("{name}: {value}\n").as_bytes());
            }
            // Other fields mean nothing.
            _ => {}
        }
        Ok(())
    }

    fn event(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.fields);
        if std::mem::take(&mut self.has_data) {
            let data = std::mem::take(&mut self.data);
            let masked = self.masked(&data);
            for line in masked.split(|byte| *byte == b'\n' || *byte == b'\r') {
                out.extend_from_slice(b"data: ");
                out.extend_from_slice(line);
                out.push(b'\n');
            }
        }
        out.push(b'\n');
    }

    fn masked(&mut self, data: &[u8]) -> Vec<u8> {
        if data == b"[DONE]" || data.trim_ascii().is_empty() {
            return data.to_vec();
        }
        let mut json = Json::new(self.rules.clone(), Framing::One);
        let mut masked = Vec::with_capacity(data.len());
        let read = json.push(data, &mut masked).and_then(|()| json.finish(&mut masked));
        let (met, masked) = match read {
            Ok(()) => (json.met(), masked),
            // Whatever may be in it.
            Err(_) => (self.rules.classes, HIDDEN.to_vec()),
        };
        self.met.0 |= met.0;
        masked
    }
}

/// Whether it names something and holds nothing.
fn is_word(value: &str, rules: &Rules) -> bool {
    const LONGEST: usize = 64;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:/".contains(&byte);
    value.len() <= LONGEST && value.bytes().all(is_part) && !tells(value.as_bytes(), rules)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use portcullis_policy::{
        Sensitive,
        sensitive::{ClassSource, Mask, Recogniser, SensitiveSource},
    };

    use super::*;

    fn masked(text: &str, size: usize) -> Result<String, Trouble> {
        let (name, paths) = ("pci".parse().unwrap(), vec!["$.card.number".to_owned()]);
        let class =
            ClassSource { name, paths, mask: Mask::Full, recognise: vec![Recogniser::Token] };
        let sensitive = Sensitive::new(&SensitiveSource { classes: vec![class] }).unwrap();
        let all = sensitive.all();
        let mut events = Events::new(Rules::new(Arc::new(sensitive), all));
        let mut out = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            events.push(piece, &mut out)?;
        }
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn g09_data_of_events_is_masked_however_it_is_cut_into_lines_and_pieces() {
        for size in [1, 2, 5, 1000] {
            for (text, expected) in [
                (
                    "data: {\"card\":{\"number\":\"4111\"}}\n\n",
                    "data: {\"card\":{\"number\":\"***\"}}\n\n",
                ),
                (
                    "data:{\"card\":\r\ndata: {\"number\":\r\ndata:\"4111\"}}\r\n\r\n",
                    "data: {\"card\":\ndata: {\"number\":\ndata: \"***\"}}\n\n",
                ),
                ("event: paid\rid: 7\rdata: 1\r\r", "event: paid\nid: 7\ndata: 1\n\n"),
                ("data: card 4111111111111111\n\n", "data: ***\n\n"),
                ("data: {\"card\":{\"number\":41\n\n", "data: ***\n\n"),
                ("data: [DONE]\n\ndata\n\n", "data: [DONE]\n\ndata: \n\n"),
                (
                    ": 4111111111111111\nfoo: 4111\nid: 4111111111111111\nevent: ana@example.com\nretry: 10\n\n",
                    ":\nretry: 10\n\n",
                ),
                ("data: {\"card\":{\"number\":\"4111\"}}\n", ""),
                ("id: ghp_0123456789abcdefghij\nid: 7\n\n", "id: 7\n\n"),
                ("event: eyJjYXJkIjp7Im51bWJlciI6IjQxMTEifX0\nid: e30\n\n", "id: e30\n\n"),
            ] {
                assert_eq!(masked(text, size).as_deref(), Ok(expected), "{text} by {size}");
            }
        }
        let endless = "data: x\n".repeat(600_000);
        assert_eq!(masked(&endless, 4096), Err(Trouble::TooLarge));
    }
}
