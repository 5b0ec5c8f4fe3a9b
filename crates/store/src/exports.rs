//! How far the record has been read by those who pass it on, and what alert rules remember.

use jiff::Timestamp;

/// How far a reader of the record has come: a sink, or the watch over alert rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportCursor {
    /// Whose: `export NAME`, `webhook NAME`, `alerts`, and `store` for the store itself.
    pub reader: String,
    /// The position that it reads next; everything before it has arrived.
    pub next: u64,
    /// Whether it is on record that nothing arrives any more.
    pub said: bool,
}

/// Something that a principal does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredHabit {
    /// `operation` or `country`.
    pub kind: &'static str,
    /// Whose.
    pub principal: String,
    /// What; empty for the principal as such.
    pub what: String,
    /// When it was seen first.
    pub first_seen: Timestamp,
    /// When it was seen last, as far as it was written down.
    pub last_seen: Timestamp,
}

/// When an alert rule last fired for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFiring {
    /// The rule.
    pub rule: String,
    /// For what: firings of one rule for the same are the same alert.
    pub about: String,
    /// When.
    pub fired_at: Timestamp,
    /// How often it would have fired again since.
    pub suppressed: u32,
}

/// A change of what readers of the record remember.
#[derive(Debug, Clone)]
pub enum ExportChange {
    /// A reader begins. Guard: it has not begun before.
    Begin(ExportCursor),
    /// A reader has come further, or begins or ceases to fail. Guard: it was at `seen`.
    Advance {
        /// As it is now.
        cursor: ExportCursor,
        /// The position before.
        seen: u64,
    },
    /// A habit, new or seen again.
    Habit(StoredHabit),
    /// Habits of this kind that were not seen since are forgotten, and whoever was not.
    ForgetHabits {
        /// `operation` or `country`.
        kind: &'static str,
        /// Seen last before.
        before: Timestamp,
    },
    /// A firing, new or counted again.
    Fired(StoredFiring),
    /// Firings before this time are forgotten.
    ForgetFirings(Timestamp),
}

impl StoredHabit {
    /// The kinds that there are.
    pub const KINDS: [&'static str; 2] = ["country", "operation"];
}
