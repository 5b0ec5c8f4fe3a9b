//! Says when to load the configuration again: on SIGHUP, and when its files change.
//!
//! A storm of signals or writes is one reload: whoever reloads takes what is newest, once.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
#[derive(Debug, Clone, Default)]
pub(super) struct Sources {
    /// Everything below them counts.
    pub(super) policies: BTreeSet<PathBuf>,
    /// What lies directly in one of them counts.
    pub(super) folders: BTreeSet<PathBuf>,
}

/// Watches; dropping it stops that.
#[derive(Debug)]
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    known: Arc<Mutex<Sources>>,
    sender: watch::Sender<Cause>,
    changed: watch::Receiver<Cause>,
}

impl Watch {
    /// Watches `sources` and listens for SIGHUP. Needs a runtime.
    pub(super) fn start(sources: &Sources) -> Result<Self> {
        let (sender, changed) = watch::channel(Cause::None);
        let known = Arc::new(Mutex::new(Sources::default()));
        let (own, seen) = (sender.clone(), Arc::clone(&known));
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let known = seen.lock().unwrap_or_else(PoisonError::into_inner);
            if event.is_ok_and(|event| known.are_changed_by(&event)) {
                own.send_replace(Cause::Files);
            }
        })?;
        let mut hangups = signal(SignalKind::hangup()).context("SIGHUP cannot be received")?;
        let own = sender.clone();
        tokio::spawn(async move {
            while hangups.recv().await.is_some() {
                own.send_replace(Cause::Signal);
            }
        });
        let mut watch = Self { watcher, known, sender, changed };
        match watch.widen(sources).1.pop() {
            Some(error) => Err(error),
            None => Ok(watch),
        }
    }

    /// Watches what of `sources` was not watched yet. What changed there before that is taken with a further
    /// reload.
    pub(super) fn follow(&mut self, sources: &Sources) {
        let (more, errors) = self.widen(sources);
        for error in errors {
            tracing::warn!(error = format!("{error:#}"), "changes there are found by SIGHUP only");
        }
        if more {
            self.sender.send_replace(Cause::Files);
        }
    }

    /// Whether there was anything more, and what cannot be watched of it. What is no longer named stays
    /// watched: a reload too many changes nothing.
    fn widen(&mut self, sources: &Sources) -> (bool, Vec<anyhow::Error>) {
        let (mut more, mut errors) = (false, Vec::new());
        let policies = sources.policies.iter().map(|folder| (folder, RecursiveMode::Recursive));
        let folders = sources.folders.iter().map(|folder| (folder, RecursiveMode::NonRecursive));
        // Folders first: a folder within the policies is watched with all that is below it.
        for (folder, mode) in folders.chain(policies) {
            match self.watch(folder, mode) {
                Ok(is_new) => more |= is_new,
                Err(error) => {
                    errors.push(error.context(format!("{} cannot be watched", folder.display())));
                }
            }
        }
        (more, errors)
    }

    fn watch(&mut self, folder: &Path, mode: RecursiveMode) -> Result<bool> {
        // Events name files by their real paths.
        let folder = folder.canonicalize()?;
        let is_known = {
            let known = self.known();
            known.policies.iter().any(|policies| folder.starts_with(policies))
                || (mode == RecursiveMode::NonRecursive && known.folders.contains(&folder))
        };
        if is_known {
            return Ok(false);
        }
        self.watcher.watch(&folder, mode)?;
        let mut known = self.known();
        match mode {
            RecursiveMode::Recursive => known.policies.insert(folder),
            RecursiveMode::NonRecursive => known.folders.insert(folder),
        };
        Ok(true)
    }

    fn known(&self) -> MutexGuard<'_, Sources> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn are_changed_by(&self, event: &Event) -> bool {
        let reading = matches!(event.kind, EventKind::Access(_));
        !reading && event.paths.iter().any(|path| self.hold(path))
    }

    fn hold(&self, path: &Path) -> bool {
        if self.policies.iter().any(|policies| path.starts_with(policies)) {
            return true;
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        let known = extension.is_some_and(|known| ["yaml", "yml", "json"].contains(&known));
        known && path.parent().is_some_and(|parent| self.folders.contains(parent))
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
        let folders = [folder.path().to_owned()].into();
        let sources = Sources { policies: [policies.clone()].into(), folders };
        let mut watch = Watch::start(&sources).expect("watches");
        for round in 0..100 {
            fs::write(policies.join("a.cedar"), round.to_string()).expect("written");
        }
        assert_eq!(watch.next().await, Cause::Files);
        fs::write(folder.path().join("portcullis.db"), "x").expect("written");
        let again = tokio::time::timeout(Duration::from_millis(500), watch.next()).await;
        assert!(again.is_err(), "neither the storm's rest nor our own state reloads");
    }

    #[tokio::test]
    async fn what_is_named_later_is_watched_from_then_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let [policies, later, more] = ["policies", "later", "more"].map(|name| {
            fs::create_dir(folder.path().join(name)).expect("a folder");
            folder.path().join(name)
        });
        let mut sources = Sources { policies: [policies].into(), folders: BTreeSet::new() };
        let mut watch = Watch::start(&sources).expect("watches");
        sources.folders.insert(later.clone());
        sources.policies.insert(more.clone());
        watch.follow(&sources);
        assert_eq!(watch.next().await, Cause::Files, "what came before it was watched");
        for file in [later.join("a.yaml"), more.join("a.cedar")] {
            watch.follow(&sources);
            fs::write(file, "x").expect("written");
            assert_eq!(watch.next().await, Cause::Files);
        }
        watch.follow(&sources);
        let again = tokio::time::timeout(Duration::from_millis(500), watch.next()).await;
        assert!(again.is_err(), "nothing is new");
    }
}
