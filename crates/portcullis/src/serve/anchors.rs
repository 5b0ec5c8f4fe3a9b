//! Puts checkpoints outside, at least once, each place at its pace; and compares the log with what is
//! there. A log that was set back does not go on: at start it is not opened, and later nothing more is
//! written.

mod bucket;
mod file;
mod webhook;

use std::{
    fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use portcullis_log::{Anchored, Keys, Log, LogHandle, NotContinued, Reader, anchored};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};
use tokio::runtime::Handle;

use self::{bucket::AnchorBucket, file::AnchorFile, webhook::AnchorWebhook};
use crate::config::{AnchorPlace, Loaded};

/// After a failure it is tried again so soon, or at its pace if that is sooner.
const AGAIN: Duration = Duration::from_secs(10);

/// How one place is doing.
#[derive(Debug, Default)]
struct Standing {
    kind: &'static str,
    size: AtomicU64,
    failures: AtomicU64,
    failing: AtomicBool,
}

/// All places, for `/metrics`.
#[derive(Debug, Clone, Default)]
pub(super) struct Anchors(Arc<Vec<Arc<Standing>>>);

/// Why a place has not got the newest checkpoint.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    /// The log is not what it was.
    #[error("{0}")]
    NotContinued(NotContinued),
    /// The place cannot be reached; it is tried again.
    #[error("{0}")]
    Unreachable(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(error.to_string())
    }
}

impl From<NotContinued> for Trouble {
    fn from(why: NotContinued) -> Self {
        match why {
            NotContinued::Unreadable(error) => Self::Unreachable(error.to_string()),
            found => Self::NotContinued(found),
        }
    }
}

/// Before the log is opened: is it at least what the files and buckets say that it was? One that cannot be
/// read is said, and looked at again before anything is added to it.
pub(super) async fn check(loaded: &Loaded) -> Result<()> {
    let audit = loaded.base.join(&loaded.config.audit.directory);
    for anchor in &loaded.config.audit.anchors {
        if let AnchorPlace::Bucket { to, access } = &anchor.place {
            let bucket = AnchorBucket::open(to, access, &loaded.base)?;
            check_bucket(&audit, &bucket, &to.to_string()).await?;
        }
        let AnchorPlace::File { file } = &anchor.place else { continue };
        let file = loaded.base.join(file);
        let place = file.display();
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::warn!(anchor = %place, "there are no anchored checkpoints yet; the file is begun");
                continue;
            }
            Err(error) => {
                tracing::error!(anchor = %place, %error, "anchored checkpoints cannot be read, nothing is compared yet");
                continue;
            }
        };
        let held = anchored(&text).with_context(|| format!("{place} is no file of checkpoints"))?;
        let newest = held.into_iter().max_by_key(|held| held.size);
        if let Some(newest) = newest.filter(|newest| newest.size > 0) {
            compare(&audit, &newest).with_context(|| {
                format!("{place} holds the checkpoint of {} records", newest.size)
            })?;
        }
    }
    Ok(())
}

async fn check_bucket(audit: &Path, bucket: &AnchorBucket, place: &str) -> Result<()> {
    match bucket.newest().await {
        Ok(None) => {
            tracing::warn!(anchor = place, "there are no anchored checkpoints yet");
            Ok(())
        }
        Ok(Some(newest)) if newest.size > 0 => compare(audit, &newest)
            .with_context(|| format!("{place} holds the checkpoint of {} records", newest.size)),
        Ok(Some(_)) => Ok(()),
        Err(error) => {
            tracing::error!(anchor = place, %error, "anchored checkpoints cannot be read, nothing is compared yet");
            Ok(())
        }
    }
}

fn compare(audit: &Path, newest: &Anchored) -> Result<()> {
    let advice = "bring the newer log back; if it is lost for good, move the anchors away, so that \
                  auditors find them, and start a new log in another directory";
    let keys = match fs::read_to_string(audit.join("log.pub")) {
        Ok(text) => Keys::parse(&text).map_err(anyhow::Error::msg).context("log.pub")?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("{} holds no log: {advice}", audit.display())
        }
        Err(error) => return Err(error).context("log.pub cannot be read"),
    };
    let reader = Reader::open(audit.join("log"))?;
    reader.still_holds(&newest.checkpoint, &keys).with_context(|| advice.to_owned())
}

impl Anchors {
    /// Begins to put checkpoints outside.
    pub(super) fn start(loaded: &Loaded, log: &Log, runtime: &Handle) -> Result<Self> {
        let anchors = loaded.config.audit.anchors.iter().map(|anchor| {
            let (mut place, kind) = match &anchor.place {
                AnchorPlace::File { file } => {
                    (Place::File(AnchorFile::new(loaded.base.join(file))), "file")
                }
                AnchorPlace::Bucket { to, access } => {
                    (Place::Bucket(AnchorBucket::open(to, access, &loaded.base)?), "s3")
                }
                AnchorPlace::Webhook { webhook, token } => {
                    let token = token.as_ref().map(|token| token.resolve(&loaded.base));
                    let token = token.transpose().context("the token of `audit.anchors`")?;
                    (Place::Webhook(AnchorWebhook::new(webhook.clone(), token)?), "webhook")
                }
            };
            let standing = Arc::new(Standing { kind, ..Standing::default() });
            let source = Source {
                reader: Reader::open(log.directory())?,
                keys: log.keys().clone(),
                log: log.handle(),
            };
            let (shown, every) = (Arc::clone(&standing), anchor.every.get());
            runtime.spawn(async move {
                while let Some(pause) = turn(&mut place, &source, &shown, every).await {
                    tokio::time::sleep(pause).await;
                }
            });
            Ok(standing)
        });
        Ok(Self(Arc::new(anchors.collect::<Result<_>>()?)))
    }
}

/// What checkpoints are taken from.
#[derive(Debug)]
struct Source {
    reader: Reader,
    keys: Keys,
    log: LogHandle,
}

#[derive(Debug)]
enum Place {
    File(AnchorFile),
    Bucket(AnchorBucket),
    Webhook(AnchorWebhook),
}

/// One round; how long to wait for the next, or nothing if there shall be none.
async fn turn(
    place: &mut Place,
    source: &Source,
    standing: &Standing,
    every: Duration,
) -> Option<Duration> {
    let anchored = match place {
        Place::File(file) => file.bring(&source.reader, &source.keys).await,
        Place::Bucket(bucket) => bucket.bring(&source.reader, &source.keys).await,
        Place::Webhook(webhook) => webhook.bring(&source.reader, &source.keys).await,
    };
    match anchored {
        Ok(size) => {
            standing.size.store(size, Ordering::Relaxed);
            if standing.failing.swap(false, Ordering::Relaxed) {
                tracing::info!(anchor = standing.kind, size, "checkpoints are anchored again");
            }
            Some(every)
        }
        Err(Trouble::NotContinued(why)) => {
            standing.failing.store(true, Ordering::Relaxed);
            source.log.refuse(format!("it is not what its anchors say: {why}"));
            None
        }
        Err(Trouble::Unreachable(why)) => {
            standing.failures.fetch_add(1, Ordering::Relaxed);
            standing.failing.store(true, Ordering::Relaxed);
            tracing::error!(anchor = standing.kind, %why, "a checkpoint could not be anchored");
            Some(every.min(AGAIN))
        }
    }
}

impl Collector for Anchors {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let encoder = &mut encoder;
        let help = "Records that the newest checkpoint speaks of that this place has got";
        self.family(encoder, "portcullis_log_anchor_size", help, |standing| {
            let size = standing.size.load(Ordering::Relaxed);
            ConstGauge::new(i64::try_from(size).unwrap_or(i64::MAX))
        })?;
        let help = "Whether the newest try to anchor a checkpoint failed";
        self.family(encoder, "portcullis_log_anchor_failing", help, |standing| {
            ConstGauge::new(i64::from(standing.failing.load(Ordering::Relaxed)))
        })?;
        let help = "Checkpoints that could not be anchored";
        self.family(encoder, "portcullis_log_anchor_failures", help, |standing| {
            ConstCounter::new(standing.failures.load(Ordering::Relaxed))
        })
    }
}

impl Anchors {
    /// One metric of all places.
    fn family<M: EncodeMetric>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        metric: impl Fn(&Standing) -> M,
    ) -> Result<(), std::fmt::Error> {
        let Some(first) = self.0.first() else { return Ok(()) };
        let kind = metric(first).metric_type();
        let mut family = encoder.encode_descriptor(name, help, None, kind)?;
        for (index, standing) in self.0.iter().enumerate() {
            let labels = [("anchor", index.to_string()), ("kind", standing.kind.to_owned())];
            metric(standing).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
