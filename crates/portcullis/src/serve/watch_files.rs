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

/// Watches; dropping it stops that.
#[derive(Debug)]
pub(super) struct Watch {
    _watcher: RecommendedWatcher,
    changed: watch::Receiver<Cause>,
}

impl Watch {
    /// Watches `folders` and listens for SIGHUP. State that the process itself writes (`ignored`) does
    /// not count. Needs a runtime.
    pub(super) fn start(folders: &[PathBuf], ignored: Vec<PathBuf>) -> Result<Self> {
        let (sender, changed) = watch::channel(Cause::None);
        let own = sender.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| is_change(&event, &ignored)) {
                own.send_replace(Cause::Files);
            }
        })?;
        for folder in folders {
            let watched = watcher.watch(folder, RecursiveMode::Recursive);
            watched.with_context(|| format!("{} cannot be watched", folder.display()))?;
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
        let settle = async {
            while tokio::time::timeout(QUIET, self.changed.changed()).await.is_ok() {}
        };
        let _still_storming = tokio::time::timeout(LONGEST, settle).await;
        *self.changed.borrow_and_update()
    }
}

fn is_change(event: &Event, ignored: &[PathBuf]) -> bool {
    let own = |path: &PathBuf| ignored.iter().any(|folder| path.starts_with(folder));
    let reading = matches!(event.kind, EventKind::Access(_));
    !reading && event.paths.iter().any(|path| !own(path) && is_source(path))
}

fn is_source(path: &Path) -> bool {
    let known = ["yaml", "yml", "json", "cedar"];
    let extension = path.extension().and_then(|extension| extension.to_str());
    // A folder that was renamed or removed has no extension.
    extension.is_none_or(|extension| known.contains(&extension))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn a_storm_of_changes_is_one_reload() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().canonicalize().expect("a path");
        let state = path.join("state");
        fs::create_dir(&state).expect("a folder");
        let mut watch = Watch::start(&[path.clone()], vec![state.clone()]).expect("watches");
        for round in 0..100 {
            fs::write(path.join("a.cedar"), round.to_string()).expect("written");
        }
        assert_eq!(watch.next().await, Cause::Files);
        fs::write(state.join("own.yaml"), "x").expect("written");
        let again = tokio::time::timeout(Duration::from_millis(500), watch.next()).await;
        assert!(again.is_err(), "neither the storm's rest nor our own state reloads");
    }
}
