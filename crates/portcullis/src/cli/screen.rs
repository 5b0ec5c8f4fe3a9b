//! What people see. Everything goes through here, so that nothing a server, a requester or an
//! upstream wrote reaches a terminal with its control characters alive.

use std::{
    fmt::Write as _,
    io::{IsTerminal, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

use comfy_table::{ContentArrangement, Table, presets};
use portcullis_model::misleads;
use serde_json::Value;

use super::failure::Failure;

/// Standard output and standard error, as they are.
#[derive(Debug)]
pub(crate) struct Screen {
    json: bool,
    terminal: bool,
    interactive: bool,
    /// What notes begin with.
    lead: &'static str,
    /// A question that is open while everything else goes on.
    question: Mutex<Option<Question>>,
}

/// A question that stands there, at the end of its line.
#[derive(Debug)]
struct Question {
    text: &'static str,
    /// Something else stands behind it by now.
    is_hidden: bool,
}

#[expect(clippy::unused_self, reason = "one door, whether or not a line depends on it")]
impl Screen {
    pub(crate) fn new(json: bool) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let interactive = terminal && !json && std::io::stdin().is_terminal();
        Self { json, terminal, interactive, lead: "", question: Mutex::new(None) }
    }

    /// The same where notes are among somebody else's lines, and say whose they are.
    pub(crate) fn leading(&self, lead: &'static str) -> Self {
        let Self { json, terminal, interactive, .. } = *self;
        Self { json, terminal, interactive, lead, question: Mutex::new(None) }
    }

    /// Whether the answer is for a program.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether standard output is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether there is somebody to ask.
    pub(crate) fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// One line of the answer.
    pub(crate) fn line(&self, text: &str) {
        // A reader that went away, such as `head`, is no failure.
        let _ = writeln!(std::io::stdout().lock(), "{}", escaped(text));
    }

    /// One line beside the answer.
    pub(crate) fn note(&self, text: &str) {
        let mut open = self.open_question();
        let hides = open.as_mut().is_some_and(|open| !std::mem::replace(&mut open.is_hidden, true));
        let end = if hides { "\n" } else { "" };
        let _ = writeln!(std::io::stderr().lock(), "{end}{}{}", self.lead, escaped(text));
    }

    /// Puts a question, which somebody may answer while everything else goes on.
    pub(crate) fn put(&self, text: &'static str) {
        *self.open_question() = Some(Question { text, is_hidden: true });
        self.put_again();
    }

    /// Shows it again, if something else was said since.
    pub(crate) fn put_again(&self) {
        if let Some(open) = self.open_question().as_mut().filter(|open| open.is_hidden) {
            open.is_hidden = false;
            let mut out = std::io::stderr().lock();
            let _ = write!(out, "{} ", open.text).and_then(|()| out.flush());
        }
    }

    /// It was answered.
    pub(crate) fn answered(&self) {
        *self.open_question() = None;
    }

    fn open_question(&self) -> MutexGuard<'_, Option<Question>> {
        self.question.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A question to be answered with a line, and an error if the input ends.
    pub(crate) fn question(&self, text: &str) -> std::io::Result<String> {
        let mut out = std::io::stdout().lock();
        write!(out, "{} ", escaped(text))?;
        out.flush()?;
        let mut answer = String::new();
        if std::io::stdin().read_line(&mut answer)? == 0 {
            writeln!(out)?;
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(answer.trim().to_owned())
    }

    /// Why a command failed.
    pub(crate) fn failure(&self, failure: &Failure) {
        self.note(&format!("portcullis: {failure}"));
    }

    /// A table, or a line that says that there is nothing to show.
    pub(crate) fn table(&self, nothing: &str, header: &[&str], rows: Vec<Vec<String>>) {
        if rows.is_empty() {
            self.note(nothing);
            return;
        }
        let table = table(self.terminal, header, rows);
        let _ = writeln!(std::io::stdout().lock(), "{table}");
    }

    /// One line of JSON.
    pub(crate) fn json_line(&self, text: &str) {
        let _ = writeln!(std::io::stdout().lock(), "{}", escaped_json(text));
    }

    /// One more line of an answer that does not end. Whether anybody reads it.
    pub(crate) fn next_line(&self, text: &str) -> bool {
        writeln!(std::io::stdout().lock(), "{}", escaped(text)).is_ok()
    }

    /// The same of JSON.
    pub(crate) fn next_json_line(&self, text: &str) -> bool {
        writeln!(std::io::stdout().lock(), "{}", escaped_json(text)).is_ok()
    }

    /// The API's body.
    pub(crate) fn body(&self, body: &Value) {
        let text = serde_json::to_string_pretty(body).unwrap_or_default();
        let _ = writeln!(std::io::stdout().lock(), "{}", escaped_json(&text));
    }
}

fn table(terminal: bool, header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    if terminal {
        table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
        table.set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        table.load_preset(presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table.set_header(header);
    for row in rows {
        table.add_row(row.iter().map(|cell| escaped(cell)));
    }
    let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// Text without anything that moves a cursor, colours, hides or turns text around.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if misleads(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// The same for JSON, with escapes that JSON readers undo. Line ends are the printer's own: inside
/// strings they are escaped already.
fn escaped_json(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && misleads(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    const NASTY: &str = "a\u{1b}[2Jb\r\nc\u{202e}d\u{9b}31me\u{200b}f\u{7f}g\u{2028}h";

    #[test]
    fn j06_what_a_server_sends_cannot_move_the_cursor() {
        let shown = escaped(NASTY);
        assert!(shown.chars().all(|c| c.is_ascii_graphic()), "{shown}");
        assert!(shown.contains(r"\u{1b}[2J") && shown.contains(r"\u{202e}"));
        assert_eq!(escaped("péages — 12 €"), "péages — 12 €");
    }

    #[test]
    fn j06_json_for_programs_keeps_its_meaning_and_is_safe_to_look_at() {
        let body = serde_json::json!({"reason": NASTY, "tag": "\u{e0041}"});
        let shown = escaped_json(&serde_json::to_string_pretty(&body).unwrap());
        assert!(shown.chars().all(|c| c == '\n' || c == ' ' || c.is_ascii_graphic()), "{shown}");
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), body);
    }

    #[test]
    fn j06_table_cells_are_escaped_and_stay_on_their_line() {
        for terminal in [false, true] {
            let rows = vec![vec!["one\ntwo".to_owned(), NASTY.to_owned()]];
            let text = table(terminal, &["a", "b"], rows);
            assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
        }
        let plain = table(false, &["id"], vec![vec!["one\ntwo".to_owned()]]);
        assert_eq!(plain.lines().count(), 2, "{plain}");
    }
}
