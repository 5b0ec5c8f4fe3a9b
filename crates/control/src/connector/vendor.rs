//! What each system has to say, in common words.

use std::{
    collections::BTreeMap,
    fmt::{Debug, Write},
};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use super::wire::{Line, Trouble};

/// A clock of theirs may be ahead of ours by so much.
pub(crate) const AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// A message that came in.
#[derive(Debug, Clone, Copy)]
pub struct Hook<'a> {
    /// Its headers by their names in lower case; those that came twice are joined by commas.
    pub headers: &'a BTreeMap<String, String>,
    /// Its body, as it came.
    pub body: &'a [u8],
    /// When.
    pub now: Timestamp,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// How an incident is.
    Incident {
        /// The message's own id.
        message: String,
        /// It.
        report: Report,
    },
    /// Something about an incident that the message does not tell: it has to be looked at.
    Look(String),
    /// Something else about incidents or shifts: all has to be looked at.
    LookAtAll,
    /// Nothing that matters here.
    Nothing,
}

/// Why a message does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unheard {
    /// Nobody with the secret sent it as it is.
    #[error("its signature is not right")]
    Forged,
    /// It was sent too long ago, or is from the future.
    #[error("it comes too late, or too early")]
    Late,
    /// Signed, and makes no sense.
    #[error("it is signed, and makes no sense")]
    Senseless,
}

/// How an incident is, in the words of its system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its id there, to ask about it again.
    pub key: String,
    /// What people call it there: the rest of its id here.
    pub word: String,
    /// What it is about.
    pub title: String,
    /// How bad it is, in the words that there are for it, the best first.
    pub severities: Vec<String>,
    /// What it is about, by id, name or whatever a configuration may map.
    pub services: Vec<String>,
    /// Who works on it.
    pub responders: Vec<Them>,
    /// Whether these are all.
    pub whole: bool,
    /// When it became so.
    pub at: Timestamp,
    /// Whether it is under way.
    pub open: bool,
}

/// What is under way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Open {
    /// All that could be read.
    pub reports: Vec<Report>,
    /// The first trouble with one that could not: it keeps no other from being known, and nothing is known of
    /// that one, not that it is gone either.
    pub trouble: Option<Trouble>,
}

/// Somebody there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Them {
    /// Their id there.
    pub id: String,
    /// Their e-mail address there, if that was said.
    pub email: Option<String>,
}

/// Who is on call at the moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shift {
    /// Who.
    pub people: Vec<Them>,
    /// Until when, if that is known.
    pub until: Option<Timestamp>,
}

/// What is said on an incident: who was given what for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// A line for each thing that happened, in order.
    pub lines: Vec<String>,
    /// The id of the incident here.
    pub incident: String,
    /// Where its evidence is.
    pub evidence: String,
}

/// Characters of a note, at most: Jira takes no more than 32,767 in a comment.
const LONGEST_NOTE: usize = 30_000;

impl Note {
    /// As one text, with the evidence at its end. Lines are whole: what there is no room for is in the evidence, and
    /// the note says how many lines that are.
    pub fn text(&self) -> String {
        let (mut text, mut length, mut left) = (String::new(), 0, self.lines.len());
        for line in &self.lines {
            length += line.chars().count() + 1;
            if length > LONGEST_NOTE {
                break;
            }
            text.push_str(line);
            text.push('\n');
            left -= 1;
        }
        if left > 0 {
            let lines = if left == 1 { "line is" } else { "lines are" };
            let _infallible = writeln!(text, "… (truncated: {left} more {lines} in the evidence)");
        }
        text.push_str("Evidence: ");
        text.push_str(&self.evidence);
        text
    }
}

impl FromIterator<Report> for Open {
    fn from_iter<I: IntoIterator<Item = Report>>(all: I) -> Self {
        Self { reports: all.into_iter().collect(), trouble: None }
    }
}

/// How one system speaks.
#[async_trait]
pub trait Vendor: Debug + Send + Sync {
    /// Whether it sends messages at all.
    fn speaks(&self) -> bool;

    /// What a message says, if it is theirs.
    fn hear(&self, hook: &Hook<'_>) -> Result<Heard, Unheard>;

    /// All incidents that are under way, asked at `now`.
    async fn open(&self, line: &Line, now: Timestamp) -> Result<Open, Trouble>;

    /// One incident, asked at `now`; `None` if it is gone.
    async fn one(&self, line: &Line, key: &str, now: Timestamp) -> Result<Option<Report>, Trouble>;

    /// Who is on call for `schedule` at `now`, overrides included; `None` if there is no such schedule.
    async fn shift(
        &self,
        line: &Line,
        schedule: &str,
        now: Timestamp,
    ) -> Result<Option<Shift>, Trouble>;

    /// Somebody's e-mail address.
    async fn email(&self, line: &Line, id: &str) -> Result<Option<String>, Trouble>;

    /// Writes a note on an incident; `false` if it is gone.
    async fn note(&self, line: &Line, key: &str, note: &Note) -> Result<bool, Trouble>;
}

impl Them {
    /// By id alone.
    pub fn called(id: impl Into<String>) -> Self {
        Self { id: id.into(), email: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(lines: Vec<String>) -> Note {
        let evidence = "https://portcullis.example.com/v1/evidence/PD-1".to_owned();
        Note { lines, incident: "PD-1".to_owned(), evidence }
    }

    #[test]
    fn e15_a_note_has_whole_lines_and_says_how_many_more_there_are() {
        let line = "ü".repeat(999);
        let text = note(vec![line.clone(); 30]).text();
        assert!(!text.contains("truncated"), "all of it fits");
        assert_eq!(text.lines().filter(|one| *one == line).count(), 30);
        let text = note(vec![line.clone(); 50]).text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 32);
        assert!(lines[..30].iter().all(|one| *one == line), "no line is cut");
        assert_eq!(lines[30], "… (truncated: 20 more lines are in the evidence)");
        assert_eq!(lines[31], "Evidence: https://portcullis.example.com/v1/evidence/PD-1");
        assert!(text.chars().count() <= 32_767, "Jira takes it");
    }
}
