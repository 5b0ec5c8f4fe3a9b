//! Checkpoints that are kept outside, one line each, so that a log that was set back is found.
//!
//! ```text
//! {"size":4711,"checkpoint":"gate.example.com/audit\n4711\n…"}
//! ```

use serde::{Deserialize, Serialize};

use crate::checkpoint;

/// A checkpoint that is kept outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchored {
    /// So many records it speaks of.
    pub size: u64,
    /// The signed note.
    pub checkpoint: String,
}

/// What is no list of checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("none of its {0} lines is a checkpoint")]
pub struct AnchorsBroken(usize);

impl Anchored {
    /// Reads a signed checkpoint, whoever signed it.
    pub fn new(checkpoint: &str) -> Option<Self> {
        let size = checkpoint::read(checkpoint)?.size;
        Some(Self { size, checkpoint: checkpoint.to_owned() })
    }

    /// The line that it is kept as.
    pub fn line(&self) -> String {
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }

    fn parse(line: &str) -> Option<Self> {
        let read: Self = serde_json::from_str(line).ok()?;
        Self::new(&read.checkpoint).filter(|again| *again == read)
    }
}

/// Reads lines of checkpoints, in their order. Who signed them is not looked at. A line that a crash left
/// half written is passed over: what is lost with it is in the next one.
pub fn anchored(text: &str) -> Result<Vec<Anchored>, AnchorsBroken> {
    let lines = || text.lines().filter(|line| !line.trim().is_empty());
    let found: Vec<Anchored> = lines().filter_map(Anchored::parse).collect();
    if found.is_empty() && text.contains('\n') {
        return Err(AnchorsBroken(lines().count()));
    }
    Ok(found)
}
