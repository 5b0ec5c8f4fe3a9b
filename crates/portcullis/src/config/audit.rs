//! `audit`: where the record is kept.

use std::path::PathBuf;

use portcullis_model::Window;
use schemars::JsonSchema;
use serde::Serialize;

use super::section::Field;

/// The log signs at this pace.
const EVERY: &str = "1s";

/// The record's place and pace.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Audit {
    /// The folder of the journals and the log.
    pub(crate) directory: PathBuf,
    /// How often a checkpoint is signed: `1s`.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) checkpoint_every: Window,
}

impl Audit {
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let directory = section.required("directory").and_then(|f| f.text().map(PathBuf::from));
        let every = section.field("checkpoint_every");
        let checkpoint_every = match &every {
            Some(field) => field.parsed(),
            None => EVERY.parse().ok(),
        };
        if let (Some(field), Some(window)) = (&every, checkpoint_every) {
            let window: Window = window;
            if window.to_string() != EVERY {
                field.unsupported("another pace than 1s");
            }
        }
        section.finish();
        Some(Self { directory: directory?, checkpoint_every: checkpoint_every? })
    }
}
