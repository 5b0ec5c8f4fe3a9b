//! What an alert says: everything that whoever is called needs, so that it can be sent from the record alone.

use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// Somebody should look at it by daylight.
    Warning,
    /// Somebody should look at it now.
    Critical,
}

/// An alert, as its rule fired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertNote {
    /// The rule.
    pub rule: String,
    /// Its kind: `denials`, `emergency`, ….
    pub kind: String,
    /// For what: the same again within the cool-down is the same alert.
    pub about: String,
    /// How bad it is.
    pub urgency: Urgency,
    /// What happened, in one line.
    pub title: String,
    /// Who, what, where, and what to do.
    pub text: String,
    /// Where to read on.
    pub link: String,
    /// How often the rule would have fired for the same since it last did.
    pub suppressed: u32,
    /// The webhooks that hear of it.
    pub to: Vec<String>,
}
