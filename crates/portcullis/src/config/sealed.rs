//! `sealed`: where a gate keeps what sealed credentials take.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::section::Field;

/// Sealed credentials are accepted if this is there.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Sealed {
    /// The folder of control's public key, of what was revoked, and of the sealed log. Best on another
    /// disk than the record and the store.
    pub(crate) directory: PathBuf,
}

impl Sealed {
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let directory = section.required("directory").and_then(|f| f.text().map(PathBuf::from));
        section.finish();
        Some(Self { directory: directory? })
    }
}
