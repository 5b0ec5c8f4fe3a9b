//! `audit`: where the record is kept.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::section::Field;

/// The record's place. Its pace is its own: a checkpoint is signed with every write to the log.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Audit {
    /// The folder of the journals and the log.
    pub(crate) directory: PathBuf,
}

impl Audit {
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let directory = section.required("directory").and_then(|f| f.text().map(PathBuf::from));
        section.finish();
        Some(Self { directory: directory? })
    }
}
