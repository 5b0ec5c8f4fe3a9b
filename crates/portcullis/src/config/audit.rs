//! `audit`: where the record is kept, and how often it is signed.

mod anchors;

use std::{path::PathBuf, time::Duration};

use portcullis_model::Window;
use schemars::JsonSchema;
use serde::Serialize;

pub(crate) use self::anchors::{Anchor, AnchorPlace};
use super::section::Field;

/// What is not signed yet could be changed by whoever can write the folder.
const SLOWEST: Duration = Duration::from_mins(1);

/// The record's place and pace.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Audit {
    /// The folder of the journals and the log.
    pub(crate) directory: PathBuf,
    /// How often a checkpoint is signed while there is something new; `1s`, and `1m` at most. Whatever
    /// control puts on record is signed at once.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) checkpoint_every: Window,
    /// Where checkpoints are put outside; nowhere if absent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) anchors: Vec<Anchor>,
}

impl Audit {
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let directory = section.required("directory").and_then(|f| f.text().map(PathBuf::from));
        let every = section.field("checkpoint_every");
        let every = every.map_or_else(|| Window::new(Duration::from_secs(1)).ok(), |f| pace(&f));
        let anchors = section.field("anchors").map(|field| Anchor::list(&field));
        section.finish();
        let anchors = anchors.unwrap_or_default();
        Some(Self { directory: directory?, checkpoint_every: every?, anchors })
    }
}

fn pace(field: &Field<'_>) -> Option<Window> {
    let every: Window = field.parsed()?;
    if every.get() > SLOWEST {
        let help = Some("write 1s; a longer time leaves more of the record unsigned".into());
        field.error(format!("`checkpoint_every` is 1m at most, and not {every}"), help);
        return None;
    }
    Some(every)
}
