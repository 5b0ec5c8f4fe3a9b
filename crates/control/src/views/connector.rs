//! How a connected system is doing, as operators see it.

use jiff::Timestamp;

/// How a connected system is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectorView {
    /// What kind of system: `teams`, `webhook`, `pagerduty`.
    pub kind: &'static str,
    /// Its name, as policies and the record have it: `teams:payments`.
    pub name: String,
    /// Where it leads, without anything secret.
    pub place: String,
    /// How it is.
    pub state: ConnectorState,
    /// Since when something is wrong.
    pub failing_since: Option<Timestamp>,
    /// What, the last time.
    pub trouble: Option<String>,
    /// When it last took or answered something, since the process started.
    pub answered_at: Option<Timestamp>,
    /// When a message of it last came in, since the process started.
    pub heard_at: Option<Timestamp>,
    /// Until when what it keeps is known, of those that keep something.
    pub known_until: Option<Timestamp>,
    /// It wants to be left alone until then.
    pub rests_until: Option<Timestamp>,
    /// Messages that are due and that it has not taken; in Slack, access requests whose messages are.
    pub waiting: u64,
    /// Entries of the record that it has not been told of, of those that are told of entries.
    pub behind: Option<u64>,
    /// Messages that it did not take in the end, and that wait for somebody.
    pub set_aside: u64,
    /// Attempts to reach it that failed since the process started.
    pub failures: u64,
    /// The last message in its name that did nothing.
    pub refused: Option<RefusedMessage>,
}

/// A message that came in and did nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedMessage {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub why: String,
}

/// How a connected system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectorState {
    /// Nothing was said to it, nor heard of it, since the process started.
    Unknown,
    /// The last attempt got through.
    Working,
    /// It asked for a rest, which is not over.
    Resting,
    /// The last attempt did not get through.
    Failing,
}

impl ConnectorState {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Working => "working",
            Self::Resting => "resting",
            Self::Failing => "failing",
        }
    }

    /// Whether nothing is known to be wrong.
    pub const fn is_up(self) -> bool {
        matches!(self, Self::Unknown | Self::Working)
    }
}
