//! What the newest of the record comes to, for pictures of it.

use jiff::{SignedDuration, Timestamp};

/// How far back an overview looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Span {
    /// Six hours, by quarters of an hour.
    SixHours,
    /// A day, by hours.
    #[default]
    Day,
    /// A week, by quarters of a day.
    Week,
    /// Thirty days, by days.
    Month,
}

impl Span {
    /// All of them, the shortest first.
    pub const ALL: [Self; 4] = [Self::SixHours, Self::Day, Self::Week, Self::Month];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SixHours => "6h",
            Self::Day => "24h",
            Self::Week => "7d",
            Self::Month => "30d",
        }
    }

    /// Into how many parts it is cut, and how long each is.
    pub const fn parts(self) -> (usize, SignedDuration) {
        match self {
            Self::SixHours => (24, SignedDuration::from_mins(15)),
            Self::Day => (24, SignedDuration::from_hours(1)),
            Self::Week => (28, SignedDuration::from_hours(6)),
            Self::Month => (30, SignedDuration::from_hours(24)),
        }
    }
}

/// What it comes to.
#[derive(Debug, Clone)]
pub struct Overview {
    /// The beginning of the first part.
    pub since: Timestamp,
    /// The end of the last part, which is not over yet.
    pub until: Timestamp,
    /// How long each part is.
    pub part: SignedDuration,
    /// The parts, in their order. Nothing, while there is no index of the record.
    pub parts: Option<Vec<Part>>,
    /// Requests that were not permitted, by service; the most first. Those of no service have no name.
    pub refusals: Vec<(String, u64)>,
    /// Entries of the record that are not counted yet.
    pub behind: u64,
    /// How long access requests waited until people approved them, the shortest first.
    pub approvals: Vec<SignedDuration>,
    /// Not all access requests of the time were looked at.
    pub is_cut: bool,
}

/// What one part of the time comes to.
#[derive(Debug, Clone, Default)]
pub struct Part {
    /// Requests at the gate, by decision.
    pub decisions: Vec<(String, u64)>,
    /// Half of the answers to what was permitted took at most so long.
    pub median: Option<Latency>,
    /// Ninety-five of a hundred took at most so long.
    pub slow: Option<Latency>,
    /// Grants in force at its end.
    pub grants: u64,
}

/// How long answers took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latency {
    /// At most so many microseconds.
    Within(u64),
    /// Longer than is told apart.
    Longer,
}
