//! `geo`: where addresses are.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::{section::Field, spot::Spot};

/// Lets policies read `context.source.country`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Geo {
    /// A database in the format of `MaxMind` with countries in it, such as `GeoLite2-Country.mmdb`.
    pub(crate) database: PathBuf,
    #[serde(skip)]
    pub(crate) spot: Spot,
}

impl Geo {
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let named = section.required("database");
        section.finish();
        let named = named?;
        Some(Self { database: PathBuf::from(named.text()?), spot: Spot::of(&named) })
    }
}
