//! Facts that policies read and other systems know: which incidents are open, who is on call.
//!
//! A fact may have a time until which it is known. After that it is unknown, which is not absent.

use std::{collections::BTreeSet, fmt, str::FromStr, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    PrincipalId, PrincipalKind, ServiceName,
    service::{InvalidName, names},
};

names! {
    /// An incident's id: `PD-4711`.
    IncidentId: is_word, "an incident's id: 1 to 64 letters, digits, `.`, `_` and `-`";
    /// A schedule of people on call: `payments-primary`.
    ScheduleName: is_word, "a schedule's name: 1 to 64 letters, digits, `.`, `_` and `-`";
    /// How bad an incident is, in the words of whoever names incidents: `sev1`.
    Severity: is_word, "a severity: 1 to 64 letters, digits, `.`, `_` and `-`";
}

fn is_word(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    text.len() <= 64
        && text.bytes().all(inner)
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
}

/// Who opened an incident, and by which door.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IncidentSource {
    /// `api`, or the name of a connector.
    pub door: String,
    /// Who.
    pub principal: PrincipalId,
}

impl fmt::Display for IncidentSource {
    /// `api:corp:ana`, or `pagerduty`: what policies read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self.door == *self.principal.id {
            return f.write_str(&self.door);
        }
        write!(f, "{}:{}", self.door, self.principal.id)
    }
}

impl IncidentSource {
    /// Another system, which speaks for itself. No principal that signs in has such a name: theirs
    /// have a colon.
    pub fn system(door: &str) -> Self {
        let principal = PrincipalId { kind: PrincipalKind::Workload, id: door.into() };
        Self { door: door.to_owned(), principal }
    }
}

/// What another system calls an incident that it keeps, and how far it has told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptElsewhere {
    /// Its id there.
    pub key: String,
    /// When, by the clock of that system, what is known of it became so: nothing older counts.
    pub at: Timestamp,
    /// The message that said so, if it was one: the same one again says nothing new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Where an incident is in its life. It may be reopened, but what it opened stays shut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum IncidentState {
    /// Under way.
    Open,
    /// Over.
    Closed {
        /// When.
        at: Timestamp,
        /// Who closed it.
        by: PrincipalId,
    },
}

impl IncidentState {
    /// The word for it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed { .. } => "closed",
        }
    }
}

/// A transition that the state does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the incident is {0} already")]
pub struct IncidentIs(pub &'static str);

/// Something is broken, and people work on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Its id.
    pub id: IncidentId,
    /// Counts its changes; part of every cache key that it takes part in.
    pub version: u32,
    /// What it is about, for people.
    pub title: String,
    /// How bad it is.
    pub severity: Severity,
    /// The services that it is about; never empty.
    pub services: BTreeSet<ServiceName>,
    /// Who opened it, or reopened it.
    pub source: IncidentSource,
    /// Who works on it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub responders: BTreeSet<PrincipalId>,
    /// When it was opened first.
    pub opened_at: Timestamp,
    /// When something was last said about it.
    pub updated_at: Timestamp,
    /// Until when what is said of it is known; without it, until something else is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fresh_until: Option<Timestamp>,
    /// What another system says of it, if one keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<KeptElsewhere>,
    /// Where it is in its life.
    #[serde(flatten)]
    pub state: IncidentState,
}

impl Incident {
    /// Whether it is under way.
    pub fn is_open(&self) -> bool {
        self.state == IncidentState::Open
    }

    /// Whether what is said of it is still known.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        self.fresh_until.is_none_or(|until| now < until)
    }

    /// Something was said about it.
    #[must_use]
    pub fn updated(self, at: Timestamp) -> Self {
        Self { version: self.version.saturating_add(1), updated_at: at, ..self }
    }

    /// Ends it.
    pub fn close(self, at: Timestamp, by: PrincipalId) -> Result<Self, IncidentIs> {
        match self.state {
            IncidentState::Open => {
                Ok(Self { state: IncidentState::Closed { at, by }, ..self.updated(at) })
            }
            IncidentState::Closed { .. } => Err(IncidentIs("closed")),
        }
    }

    /// Opens it again, by whoever does that now.
    pub fn reopen(self, at: Timestamp, source: IncidentSource) -> Result<Self, IncidentIs> {
        match self.state {
            IncidentState::Closed { .. } => {
                Ok(Self { state: IncidentState::Open, source, ..self.updated(at) })
            }
            IncidentState::Open => Err(IncidentIs("open")),
        }
    }
}

/// Who is on call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its name.
    pub name: ScheduleName,
    /// Counts its changes.
    pub version: u32,
    /// Who is on call; empty is known to be nobody.
    pub people: BTreeSet<PrincipalId>,
    /// Since when that is so, if it is computed ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Until when that is known; without it, until something else is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Who said so: `config`, `api:corp:ana`, or another system like `pagerduty`.
    pub source: String,
}

impl Schedule {
    /// Whether it is known at `now` who is on call.
    pub fn is_known(&self, now: Timestamp) -> bool {
        self.since.is_none_or(|since| since <= now) && self.until.is_none_or(|until| now < until)
    }
}
