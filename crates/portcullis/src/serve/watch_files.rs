//! Says when to load the configuration again: on SIGHUP, and when its files change.
//!
//! A storm of signals or writes is one reload: whoever reloads takes what is newest, once.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Editors write in several steps: wait until they are quiet for so long.
const QUIET: Duration = Duration::from_millis(200);
/// But never longer than this.
const LONGEST: Duration = Duration::from_secs(2);

/// Why to reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Nothing happened yet.
    None,
    /// Somebody sent SIGHUP.
    Signal,
    /// A file changed.
    Files,
}

impl Cause {
    /// As the record has it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "start",
            Self::Signal => "SIGHUP",
            Self::Files => "file change",
        }
    }
}

/// The files whose change is worth a reload.
#[derive(Debug, Clone)]
pub(super) struct Sources {
    /// Everything below it counts.
    pub(super) policies: PathBuf,
    /// What lies directly in one of them counts.
    pub(super) folders: Vec<PathBuf>,
}

/// Watches; dropping it stops that.
#[derive(Debug)]
pub(super) struct Watch {
    _watcher: RecommendedWatcher,
    changed: watch::Receiver<Cause>,
}

impl Watch {
    /// Watches `sources` and listens for SIGHUP. Needs a runtime.
    pub(super) fn start(sources: &Sources) -> Result<Self> {
        let sources = sources.canonical()?;
        let (sender, changed) = watch::channel(Cause::None);
        let (own, known) = (sender.clone(), sources.clone());
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| known.are_changed_by(&event)) {
                own.send_replace(Cause::Files);
            }
        })?;
        let folders = sources.folders.iter().map(|folder| (folder, RecursiveMode::NonRecursive));
        for (folder, mode) in folders.chain([(&sources.policies, RecursiveMode::Recursive)]) {
            let begun = watcher.watch(folder, mode);
            begun.with_context(|| format!("{} cannot be watched", folder.display()))?;
        }
        let mut hangups = signal(SignalKind::hangup()).context("SIGHUP cannot be received")?;
        tokio::spawn(async move {
            while hangups.recv().await.is_some() {
                sender.send_replace(Cause::Signal);
            }
        });
        Ok(Self { _watcher: watcher, changed })
    }

    /// Waits for the next reason to reload, and until things are quiet.
    pub(super) async fn next(&mut self) -> Cause {
        if self.changed.changed().await.is_err() {
            return std::future::pending().await;
        }
        let settle =
            async { while tokio::time::timeout(QUIET, self.changed.changed()).await.is_ok() {} };
        let _still_storming = tokio::time::timeout(LONGEST, settle).await;
        *self.changed.borrow_and_update()
    }
}

impl Sources {
    /// Events name files by their real paths.
    fn canonical(&self) -> Result<Self> {
        let canonical = |path: &PathBuf| {
            path.canonicalize().with_context(|| format!("{} cannot be watched", path.display()))
        };
        let mut folders: Vec<_> = self.folders.iter().map(canonical).collect::<Result<_>>()?;
        folders.sort();
        folders.dedup();
        Ok(Self { policies: canonical(&self.policies)?, folders })
    }

    fn are_changed_by(&self, event: &Event) -> bool {
        let reading = matches!(event.kind, EventKind::Access(_));
        !reading && event.paths.iter().any(|path| self.hold(path))
    }

    fn hold(&self, path: &Path) -> bool {
        if path.starts_with(&self.policies) {
            return true;
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        let known = extension.is_some_and(|known| ["yaml", "yml", "json"].contains(&known));
        known && path.parent().is_some_and(|parent| self.folders.iter().any(|one| one == parent))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn a_storm_of_changes_is_one_reload() {
        let folder = tempfile::tempdir().expect("a folder");
        let policies = folder.path().join("policies");
        fs::create_dir(&policies).expect("a folder");
        let folders = vec![folder.path().to_owned()];
        let sources = Sources { policies: policies.clone(), folders };
        let mut watch = Watch::start(&sources).expect("watches");
        for round in 0..100 {
            fs::write(policies.join("a.cedar"), round.to_string()).expect("written");
        }
        assert_eq!(watch.next().await, Cause::Files);
        fs::write(folder.path().join("portcullis.db"), "x").expect("written");
        let again = tokio::time::timeout(Duration::from_millis(500), watch.next()).await;
        assert!(again.is_err(), "neither the storm's rest nor our own state reloads");
    }
}
