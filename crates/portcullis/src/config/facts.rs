//! `clocks` and `schedules`: what policies read of time, and who takes turns being on call.

use std::collections::BTreeMap;

use portcullis_model::{ScheduleName, Window};
use portcullis_policy::bundle::RotationSource;
use schemars::JsonSchema;
use serde::Serialize;

use super::section::Field;

const DAY: u64 = 24 * 60 * 60;

/// People who take turns being on call.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Rotation {
    /// Who, in their order: `corp:ana`.
    pub(crate) people: Vec<String>,
    /// The time zone of `from`: `Europe/Lisbon`.
    pub(crate) zone: String,
    /// When the first turn begins, and at which time of day every other: `2026-01-05T09:00`.
    pub(crate) from: String,
    /// How long a turn lasts, in whole days: `7d`.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) every: Window,
}

/// Reads `clocks`: names and time zones. Loading the bundle says which of them are none.
pub(super) fn clocks(field: &Field<'_>) -> BTreeMap<String, String> {
    let pairs = field.pairs().into_iter();
    pairs.filter_map(|(name, zone)| Some((name, zone.text()?.to_owned()))).collect()
}

/// Reads `schedules`.
pub(super) fn schedules(field: &Field<'_>) -> BTreeMap<String, Rotation> {
    let pairs = field.pairs().into_iter();
    pairs.filter_map(|(name, field)| Some((named(&field, name)?, rotation(&field)?))).collect()
}

fn named(field: &Field<'_>, name: String) -> Option<String> {
    match name.parse::<ScheduleName>() {
        Ok(_) => Some(name),
        Err(error) => {
            field.error(error.to_string(), None);
            None
        }
    }
}

fn rotation(field: &Field<'_>) -> Option<Rotation> {
    let mut section = field.section()?;
    let people = section.required("people").map(|field| field.texts());
    let zone = section.required("zone").and_then(|field| field.text().map(str::to_owned));
    let from = section.required("from").and_then(|field| field.text().map(str::to_owned));
    let every = section.required("every").and_then(|field| {
        let every: Window = field.parsed()?;
        if every.get().as_secs().is_multiple_of(DAY) {
            return Some(every);
        }
        field.error(format!("a turn of {every} is not whole days"), Some("write 1d or 7d".into()));
        None
    });
    section.finish();
    Some(Rotation { people: people?, zone: zone?, from: from?, every: every? })
}

impl Rotation {
    /// For the bundle.
    pub(super) fn source(&self) -> RotationSource {
        RotationSource {
            people: self.people.clone(),
            zone: self.zone.clone(),
            from: self.from.clone(),
            every_days: u32::try_from(self.every.get().as_secs() / DAY).unwrap_or(u32::MAX),
        }
    }
}
