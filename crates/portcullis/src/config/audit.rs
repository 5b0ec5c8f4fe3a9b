//! `audit`: where the record is kept, how often it is signed, and where it is copied to.

mod anchors;
mod retention;
mod ship;

use std::{path::PathBuf, time::Duration};

use portcullis_model::Window;
use schemars::JsonSchema;
use serde::Serialize;

use self::{anchors::Anchor, retention::Retention};
pub(crate) use self::{
    anchors::AnchorPlace,
    ship::{S3, Ship, ShipTo},
};
use super::{section::Field, size::Size};

/// What is not signed yet could be changed by whoever can write the folder.
const SLOWEST: Duration = Duration::from_mins(1);

/// Small enough for a trial, and more than the files that come and go take.
const LEAST: Size = Size::new(16 << 20);

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
    /// The most that it may take on its disk, the journals aside, `16MiB` at least: at that, nothing is
    /// forwarded. Nothing is deleted for it.
    #[schemars(with = "Option<String>")]
    #[serde(serialize_with = "super::tcp::size", skip_serializing_if = "Option::is_none")]
    pub(crate) most: Option<Size>,
    /// The file of the keys that what `@record` keeps of requests is encrypted with; `contents.keys` in
    /// `directory` if absent. Made at the first start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_keys: Option<PathBuf>,
    /// What is older is removed, by whole sealed segments, after the record said so: `400d`, or `forever`.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) retention: Retention,
    /// Where it is copied to while it is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ship: Option<Ship>,
}

impl Audit {
    pub(super) fn read(field: &Field<'_>, demo: Option<bool>) -> Option<Self> {
        let mut section = field.section()?;
        let directory = section.required("directory").and_then(|f| f.text().map(PathBuf::from));
        let every = section.field("checkpoint_every");
        let every = every.map_or_else(|| Window::new(Duration::from_secs(1)).ok(), |f| pace(&f));
        let ship = section.field("ship").map(|field| Ship::read(&field, demo.unwrap_or(false)));
        let keys = section.field("content_keys");
        let keys = keys.map(|field| field.text().map(PathBuf::from));
        let retention = section.field("retention");
        let retention = retention.map_or(Some(Retention::default()), |field| field.parsed());
        let most = section.field("most").map(|field| most(&field));
        let anchors = section.field("anchors").map(|field| Anchor::list(&field));
        section.finish();
        Some(Self {
            directory: directory?,
            checkpoint_every: every?,
            anchors: anchors.unwrap_or_default(),
            most: most.map_or(Some(None), |read| read.map(Some))?,
            content_keys: keys.map_or(Some(None), |read| read.map(Some))?,
            retention: retention?,
            ship: ship.map_or(Some(None), |read| read.map(Some))?,
        })
    }

    /// The file of the keys that what `@record` keeps is encrypted with.
    pub(crate) fn content_keys(&self) -> PathBuf {
        let beside = || self.directory.join("contents.keys");
        self.content_keys.clone().unwrap_or_else(beside)
    }
}

fn most(field: &Field<'_>) -> Option<Size> {
    let most: Size = field.parsed()?;
    if most < LEAST {
        let help = Some("a day's record is larger; write 10GiB".into());
        field.error(format!("`most` is {LEAST} at least, and not {most}"), help);
        return None;
    }
    Some(most)
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
