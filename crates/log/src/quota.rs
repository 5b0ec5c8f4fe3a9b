//! The most that the record may take on its disk, its journals aside. Nothing is deleted for it: at the quota the record
//! stalls, as on a full disk, until there is more of it or less in it.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{Health, LogError, layout::Layout};

/// How often it is looked at while the quota is near, and reached.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How much of the time goes into looking until then, at most: a hundredth.
const SHARE: u32 = 100;
/// How rarely a large record is looked at.
const RARELY: Duration = Duration::from_secs(30);
/// From so many percent on it is said that the quota is near.
const NEAR: u64 = 90;

/// Looks after one audit directory.
#[derive(Debug)]
pub(crate) struct Quota {
    root: PathBuf,
    /// Not measured: journals are bounded, and shrink only when the record goes on.
    journal: PathBuf,
    most: Option<u64>,
    look_at: Instant,
    near: bool,
    failing: bool,
}

impl Quota {
    pub(crate) fn new(layout: &Layout, most: Option<u64>) -> Self {
        let (root, journal) = (layout.root().to_owned(), layout.journal());
        Self { root, journal, most, look_at: Instant::now(), near: false, failing: false }
    }

    /// Measures, if it is time for that, and tells `health`.
    pub(crate) fn look(&mut self, health: &Health) {
        let begun = Instant::now();
        let Some(most) = self.most.filter(|_| begun >= self.look_at) else { return };
        let measured = self.bytes_in(&self.root);
        let rarely = (begun.elapsed() * SHARE).clamp(LOOK_EVERY, RARELY);
        self.look_at = begun + if self.near { LOOK_EVERY } else { rarely };
        let used = match measured {
            Ok(used) => used,
            Err(error) => {
                if !self.failing {
                    tracing::warn!(%error, "what the record takes cannot be measured: `audit.most` does not hold");
                }
                self.failing = true;
                return;
            }
        };
        self.failing = false;
        health.takes(used);
        let near = used >= most / 100 * NEAR;
        if near && !self.near {
            tracing::warn!(used, most, "the record is near its quota: at it, nothing is forwarded");
            self.look_at = begun + LOOK_EVERY;
        }
        self.near = near;
        health.over_quota(used >= most);
        if used >= most {
            health.stall(format!("it takes {used} bytes of the {most} of `audit.most`"));
        }
    }

    /// What the files below `directory` take on the disk.
    fn bytes_in(&self, directory: &Path) -> Result<u64, LogError> {
        let failed = |source| LogError::io("measure", directory, source);
        // Files and folders come and go meanwhile.
        let passing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let listed = match fs::read_dir(directory) {
            Ok(listed) => listed,
            Err(error) if passing(&error) && directory != self.root => return Ok(0),
            Err(error) => return Err(failed(error)),
        };
        let mut total = 0;
        for file in listed {
            let file = file.map_err(failed)?;
            let metadata = match file.metadata() {
                Ok(metadata) => metadata,
                Err(error) if passing(&error) => continue,
                Err(error) => return Err(failed(error)),
            };
            total += if !metadata.is_dir() {
                metadata.blocks() * 512
            } else if file.path() == self.journal {
                0
            } else {
                self.bytes_in(&file.path())?
            };
        }
        Ok(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk of journals alone would otherwise stall a record that can never go on.
    #[test]
    fn journals_do_not_count_and_everything_else_does() {
        let home = tempfile::tempdir().unwrap();
        let layout = Layout::create(home.path()).unwrap();
        let put = |path: &Path, bytes: usize| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![1; bytes]).unwrap();
        };
        put(&layout.core_journal(0).join("0.frames"), 1 << 20);
        let health = Health::new(Duration::from_secs(1));
        let mut quota = Quota::new(&layout, Some(1 << 20));
        quota.look(&health);
        assert!(health.used() < 1 << 19 && !health.is_stalled(), "{}", health.used());
        put(&layout.log().join("tile/entries/000"), 1 << 20);
        quota.look_at = Instant::now();
        quota.look(&health);
        assert!(health.used() >= 1 << 20 && health.is_over_quota() && health.is_stalled());
        assert!(quota.look_at <= Instant::now() + LOOK_EVERY, "it may be over soon");
    }

    #[test]
    fn what_cannot_be_measured_is_said_and_is_not_nothing() {
        let home = tempfile::tempdir().unwrap();
        let layout = Layout::create(home.path()).unwrap();
        let health = Health::new(Duration::from_secs(1));
        let mut quota = Quota::new(&layout, Some(1 << 30));
        quota.look(&health);
        let used = health.used();
        fs::remove_dir_all(home.path()).unwrap();
        quota.look_at = Instant::now();
        quota.look(&health);
        assert!(quota.failing);
        assert_eq!(health.used(), used);
    }
}
