//! `geo`: where addresses are.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::section::Field;

/// Lets policies read `context.source.country`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Geo {
    /// A database in the format of `MaxMind` with countries in it, such as `GeoLite2-Country.mmdb`.
    pub(crate) database: PathBuf,
}

impl Geo {
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let database = section.required("database").and_then(|f| f.text().map(PathBuf::from));
        section.finish();
        Some(Self { database: database? })
    }
}
