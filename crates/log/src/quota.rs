//! The most that the record may take on its disk. Nothing is deleted for it: at the quota the record
//! stalls, as on a full disk, until there is more of it or less in it.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::Health;

/// How often it is looked at, at most; a large record takes longer to look through.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How much of the time goes into looking, at most: a hundredth.
const SHARE: u32 = 100;
/// From so many percent on it is said that the quota is near.
const NEAR: u64 = 90;

/// Looks after one audit directory.
#[derive(Debug)]
pub(crate) struct Quota {
    root: PathBuf,
    most: Option<u64>,
    look_at: Instant,
    near: bool,
}

impl Quota {
    pub(crate) fn new(root: &Path, most: Option<u64>) -> Self {
        Self { root: root.to_owned(), most, look_at: Instant::now(), near: false }
    }

    /// Measures, if it is time for that, and tells `health`.
    pub(crate) fn look(&mut self, health: &Health) {
        let begun = Instant::now();
        let Some(most) = self.most.filter(|_| begun >= self.look_at) else { return };
        let Ok(used) = bytes_in(&self.root) else { return };
        let took = begun.elapsed();
        self.look_at = begun + LOOK_EVERY.max(took * SHARE);
        health.takes(used);
        let near = used >= most / 100 * NEAR;
        if near && !self.near {
            tracing::warn!(used, most, "the record is near its quota: at it, nothing is forwarded");
        }
        self.near = near;
        health.over_quota(used >= most);
        if used >= most {
            health.stall(format!("it takes {used} bytes of the {most} of `audit.most`"));
        }
    }
}

/// What the files below `directory` take on the disk.
fn bytes_in(directory: &Path) -> io::Result<u64> {
    let mut total = 0;
    for file in fs::read_dir(directory)? {
        let file = file?;
        // Files come and go meanwhile.
        let Ok(metadata) = file.metadata() else { continue };
        total += if metadata.is_dir() {
            bytes_in(&file.path()).unwrap_or_default()
        } else {
            metadata.blocks() * 512
        };
    }
    Ok(total)
}
