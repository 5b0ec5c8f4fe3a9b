//! When to look at the files again, and what `check` says of them.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use jiff::Timestamp;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use portcullis_identity::spiffe;
use portcullis_policy::LoadError;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinHandle,
};

use super::{Certificates, Source, Told, doors, files, tokens, upstreams, workload_api};
use crate::config::Loaded;

/// A certificate, its key and a bundle are seldom written at one moment.
const QUIET: Duration = Duration::from_millis(200);
/// What a watcher of files does not see, such as the far end of a link, is found so.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What to do about a file that is no good.
pub(crate) const USABLE: &str =
    "put a usable file there; a running process goes on with the last good one";

/// All that may bring something new.
struct News {
    watcher: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
    files: watch::Receiver<()>,
    hangups: Signal,
    x509: Option<watch::Receiver<workload_api::Heard<workload_api::X509>>>,
    keys: Option<watch::Receiver<workload_api::Heard<workload_api::KeySets>>>,
}

impl Certificates {
    /// Keeps everything up to date, until aborted. Needs a runtime.
    pub(in crate::serve) fn keep_fresh(self: &Arc<Self>) -> Result<JoinHandle<()>> {
        let mut news = self.news()?;
        let certificates = Arc::clone(self);
        Ok(tokio::spawn(async move {
            loop {
                news.wait(&certificates).await;
                certificates.widen(&mut news);
                let (own, told) = (Arc::clone(&certificates), news.told());
                // Files may be slow; a reading that breaks off changes nothing.
                let looked = tokio::task::spawn_blocking(move || own.refresh(&told)).await;
                if let Err(error) = looked {
                    tracing::error!(%error, "reading certificates broke off");
                }
            }
        }))
    }

    fn news(&self) -> Result<News> {
        let (changed, files) = watch::channel(());
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| !matches!(event.kind, EventKind::Access(_))) {
                changed.send_replace(());
            }
        })?;
        let hangups = signal(SignalKind::hangup()).context("SIGHUP cannot be received")?;
        let socket = self.socket.as_deref().filter(|_| self.asks_for_keys());
        let mut news = News {
            watcher,
            watched: BTreeSet::new(),
            files,
            hangups,
            x509: None,
            keys: socket.map(workload_api::follow_keys),
        };
        self.widen(&mut news);
        match self.folders().difference(&news.watched).next() {
            Some(folder) => anyhow::bail!("{} cannot be watched", folder.display()),
            None => Ok(news),
        }
    }

    /// Services come and go, and with them what is to be watched.
    fn widen(&self, news: &mut News) {
        for folder in self.folders() {
            if news.watched.contains(&folder) {
                continue;
            }
            match news.watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(news.watched.insert(folder)),
                Err(error) => tracing::warn!(folder = %folder.display(), %error, "not watched"),
            }
        }
        if news.x509.is_none() && self.asks_for_x509() {
            news.x509 = self.socket.as_deref().map(workload_api::follow_x509);
        }
    }

    fn asks_for_x509(&self) -> bool {
        let doors = self.doors.iter().any(|door| {
            let mut trust = door.trust.iter();
            matches!(door.own, Source::WorkloadApi)
                || trust.any(|(_, source)| matches!(source, Source::WorkloadApi))
        });
        doors || self.upstreams.ask_agent()
    }

    fn asks_for_keys(&self) -> bool {
        self.tokens.iter().any(|tokens| matches!(tokens.keys, Source::WorkloadApi))
    }

    /// The folders that hold the files, so that a file which takes another's place is seen.
    fn folders(&self) -> BTreeSet<PathBuf> {
        let own = self.doors.iter().filter_map(|door| match &door.own {
            Source::Files(tls) => Some([&tls.certificate, &tls.key]),
            Source::WorkloadApi => None,
        });
        let trust = self.doors.iter().flat_map(|door| &door.trust).map(|(_, source)| source);
        let keys = self.tokens.iter().map(|tokens| &tokens.keys);
        let others = trust.chain(keys).filter_map(|source| match source {
            Source::Files(path) => Some(path),
            Source::WorkloadApi => None,
        });
        let all = own.flatten().chain(others).map(|path| self.base.join(path));
        let all = all.chain(self.upstreams.files());
        all.map(|path| crate::config::base_of(&path)).collect()
    }
}

impl News {
    async fn wait(&mut self, certificates: &Certificates) {
        let Self { files, hangups, x509, keys, .. } = self;
        tokio::select! {
            _ = files.changed() => {}
            _ = hangups.recv() => {}
            () = certificates.upstreams.asked() => {}
            () = changed(x509.as_mut()) => {}
            () = changed(keys.as_mut()) => {}
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
        tokio::time::sleep(QUIET).await;
        files.mark_unchanged();
    }

    fn told(&mut self) -> Told {
        let mut told = Told::default();
        if let Some(x509) = &mut self.x509 {
            told.x509 = x509.borrow_and_update().clone();
        }
        if let Some(keys) = &mut self.keys {
            told.keys = keys.borrow_and_update().clone();
        }
        told
    }
}

/// Resolves when there is something new; never if nothing is to come.
async fn changed<T>(heard: Option<&mut watch::Receiver<T>>) {
    let told = match heard {
        Some(heard) => heard.changed().await.is_ok(),
        None => false,
    };
    if !told {
        std::future::pending::<()>().await;
    }
}

/// What is wrong at `now` with the certificates, keys and bundles that `loaded` names.
pub(crate) fn check(loaded: &Loaded, now: Timestamp) -> Vec<LoadError> {
    let base = &loaded.base;
    let mut errors = Vec::new();
    for door in doors(&loaded.config) {
        let read = door.read(base, &Told::default());
        let tried = read.and_then(|fresh| match fresh {
            Some(fresh) => {
                in_time(&fresh.own, now)?;
                let trust = spiffe::ClientTrust::new(fresh.believed)?;
                Ok(door.live.replace(fresh.own.chain, fresh.own.key, Some(Arc::new(trust)))?)
            }
            None => Ok(()),
        });
        errors.extend(tried.err().map(|error| door.mistake(&error)));
    }
    errors.extend(upstreams::check(&loaded.config, base, now));
    for tokens in tokens(&loaded.config) {
        if let Source::Files(path) = &tokens.keys
            && let Err(error) = files::key_set(&base.join(path), &tokens.domain)
        {
            errors.push(mistake(&format!("tokens of {}", tokens.domain), &error));
        }
    }
    errors
}

pub(super) fn in_time(own: &files::Own, now: Timestamp) -> Result<()> {
    let leaf = own.chain.first().context("the chain is empty")?;
    let ends = spiffe::expires_at(leaf)?;
    anyhow::ensure!(now < ends, "the certificate ended at {ends}");
    Ok(())
}

pub(super) fn mistake(of: &str, error: &anyhow::Error) -> LoadError {
    LoadError {
        file: of.to_owned(),
        line: None,
        column: None,
        snippet: None,
        message: format!("{error:#}"),
        help: Some(USABLE.into()),
    }
}
