//! Keeps the index of the record up with it: one thread of its own, which all others go before. Nothing waits for
//! it, and nothing is refused because of it: what it has not got to, or cannot keep, is looked for in the log itself.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use portcullis_store::index::{self, Covered, Index, IndexError, Indexed};
use tokio::sync::watch;

use crate::{core::Core, ports::LogEntry, usecase::content};

/// Entries that are added together, and so are in memory at one time.
const TOGETHER: usize = 2048;
const LOOK_EVERY: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_secs(5);

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Indexing {
    stop: watch::Sender<()>,
    done: watch::Receiver<()>,
}

impl Indexing {
    /// Begins to follow the record, if there is a place for an index. Without a thread there is none, and searches
    /// take longer.
    pub(crate) fn start(core: &Arc<Core>) -> Option<Self> {
        let path = core.settings.index.clone()?;
        let (stop, mut stopped) = watch::channel(());
        let (working, done) = watch::channel(());
        let core = Arc::clone(core);
        // Before any gate is open.
        let started = core.now();
        let work = move || {
            let _working = working;
            index::give_way();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return tracing::error!(%error, "the record is not indexed"),
            };
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped.changed() => {}
                    () = follow(&core, path, started) => {}
                }
                if let Some(index) = core.index.swap(None) {
                    index.close().await;
                }
            });
        };
        match std::thread::Builder::new().name("index".into()).spawn(work) {
            Ok(_) => Some(Self { stop, done }),
            Err(error) => {
                tracing::error!(%error, "the record is not indexed");
                None
            }
        }
    }

    /// Ends, and waits until the file is let go of.
    pub(crate) async fn end(self) {
        let Self { stop, mut done } = self;
        drop(stop);
        let _has_ended = done.changed().await;
    }
}

async fn follow(core: &Arc<Core>, path: PathBuf, started: Timestamp) {
    loop {
        let Err(error) = keep_up(core, &path, started).await;
        if let Some(index) = core.index.swap(None) {
            index.close().await;
        }
        match error {
            IndexError::Damaged(why) => {
                tracing::warn!(path = %path.display(), why, "the index of the record is made anew");
                if let Err(error) = index::remove(&path) {
                    tracing::error!(%error, path = %path.display(), "the index cannot be removed");
                    tokio::time::sleep(AGAIN).await;
                }
            }
            IndexError::Unavailable(error) => {
                tracing::warn!(%error, path = %path.display(), "the record is not indexed now");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Adds what comes, until the index is of no use.
async fn keep_up(
    core: &Arc<Core>,
    path: &Path,
    started: Timestamp,
) -> Result<std::convert::Infallible, IndexError> {
    wait_for_room(path).await;
    let index = Arc::new(Index::open(path).await?);
    let covered = index.covered().await?;
    while let Err(wait) = is_of_this_log(core, &covered).await? {
        tokio::time::sleep(wait).await;
    }
    let mut next = covered.next;
    core.index.store(Some(Arc::clone(&index)));
    let (mut is_as_said, mut is_swept) = (false, false);
    loop {
        if index.is_damaged() {
            return Err(IndexError::Damaged("a search found it".into()));
        }
        let entries = match core.log.entries(next, TOGETHER).await {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(%error, next, "the record cannot be read to be indexed");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        let Some(last) = entries.last() else {
            if !is_as_said {
                is_as_said = as_the_record_says(core).await;
            }
            if !is_swept {
                is_swept = content::sweep(core, started).await;
            }
            if !path.exists() {
                return Err(IndexError::Damaged("it was removed".into()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        };
        if !content::bind(core, &entries).await {
            tokio::time::sleep(AGAIN).await;
            continue;
        }
        wait_for_room(path).await;
        index.add(&entries.iter().map(indexed).collect::<Vec<_>>()).await?;
        next = last.position + 1;
    }
}

async fn as_the_record_says(core: &Arc<Core>) -> bool {
    let done = content::as_the_record_says(core).await;
    if let Err(error) = &done {
        tracing::warn!(%error, "whether everything is erased that was is looked at again");
    }
    done.is_ok()
}

/// Leaves the last of a disk to the log.
async fn wait_for_room(path: &Path) {
    if !index::has_room(path) {
        tracing::warn!(path = %path.display(), "the record is not indexed while its disk has so little room");
        while !index::has_room(path) {
            tokio::time::sleep(AGAIN).await;
        }
    }
}

fn indexed(entry: &LogEntry) -> Indexed<'_> {
    Indexed { position: entry.position, json: &entry.json }
}

/// Whether the index goes with the log: an older log was put back, or another, if not. Says when to look again if
/// the log cannot be read.
async fn is_of_this_log(
    core: &Core,
    covered: &Covered,
) -> Result<Result<(), Duration>, IndexError> {
    let Some(before) = covered.next.checked_sub(1) else { return Ok(Ok(())) };
    let Ok(size) = core.log.size().await else { return Ok(Err(AGAIN)) };
    if size < covered.next {
        return Err(IndexError::Damaged("it is ahead of the record".into()));
    }
    let Ok(entries) = core.log.entries(before, 1).await else { return Ok(Err(AGAIN)) };
    let entry = entries.into_iter().find(|entry| entry.position == before);
    // What the log has let go of cannot be compared.
    let is_other = entry.is_some_and(|entry| Some(entry.json) != covered.last);
    if is_other { Err(IndexError::Damaged("it is of another record".into())) } else { Ok(Ok(())) }
}
