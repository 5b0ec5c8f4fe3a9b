//! `audit`: where the record is kept.

use std::path::PathBuf;

use portcullis_model::Window;
use schemars::JsonSchema;
use serde::Serialize;

use super::section::Field;

/// The record's place and pace.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Audit {
    /// The folder of the journals and the log.
    pub(crate) directory: PathBuf,
    /// How often a checkpoint is signed; default `1s`.
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
            None => "1s".parse().ok(),
        };
        if let (Some(field), Some(window)) = (&every, checkpoint_every) {
            let window: Window = window;
            if window.get().as_secs() > 60 {
                let help = Some("use 1s to 60s: until then a cut tail cannot be shown".into());
                field.error("checkpoints must be signed at least once a minute".into(), help);
            }
        }
        section.finish();
        Some(Self { directory: directory?, checkpoint_every: checkpoint_every? })
    }
}
