//! What keeps a part of the record, and what takes old parts away.

use portcullis_model::{EventId, LegalHold};

/// A change of what stays on record.
#[derive(Debug, Clone)]
pub enum RetentionChange {
    /// A new legal hold. Guard: fewer than `at_most` are in force.
    Place {
        /// It.
        hold: LegalHold,
        /// The most that may be in force.
        at_most: u32,
    },
    /// A legal hold that is released. Guard: it was in force.
    Release(LegalHold),
    /// A legal hold as the record has it: it is placed if it is not known here, and released if the record says
    /// that it was.
    Recorded(LegalHold),
    /// A removal begins. Guards: no other is under way, and no hold was placed since they were looked at.
    Begin {
        /// The event that says what is removed.
        event: EventId,
        /// So many holds there were, released ones included.
        seen_holds: u32,
    },
    /// Events that the log has no more between these positions, the second not included, are forgotten here, and
    /// what was kept of requests there.
    Forget {
        /// The first.
        from: u64,
        /// The first after them.
        to: u64,
    },
    /// A removal is done. Guard: it was under way.
    Done(EventId),
}
