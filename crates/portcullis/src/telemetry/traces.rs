//! Sends spans to a collector, from a thread of its own.
//!
//! Whoever has spans hands them over without waiting. The queue is bounded: what finds no room is
//! dropped and counted. A collector that is slow, down or hostile costs this thread's time and nothing
//! else; it is told again what it did not take for a few seconds, and then that is dropped as well.

use std::{path::Path, sync::Arc, thread::JoinHandle, time::Duration};

use anyhow::{Context, Result};
use portcullis_model::{Span, TraceParent, Traces};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use prost::Message;
use reqwest::{
    Client, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    redirect::Policy,
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::otlp::{self, ExportResponse, Resource};
use crate::config::Telemetry;

/// Requests whose spans wait to be sent.
const QUEUE: usize = 4096;
/// Spans in a batch, about.
const BATCH: usize = 2048;
/// How long the first of a batch waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long a collector may take for one batch.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often a batch is sent at most, and how long after the first failure it is sent again.
const ATTEMPTS: u32 = 4;
const AGAIN: Duration = Duration::from_secs(1);
/// How long all of that may take; nothing is sent again for a collector that asks to wait for longer.
const LONGEST: Duration = Duration::from_secs(10);
/// What is read of an answer.
const ANSWER: usize = 64 * 1024;
/// How long the last batch may take when the process ends.
const LAST: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SpanLabels {
    end: &'static str,
}

/// What became of spans.
#[derive(Debug, Clone)]
struct Counts {
    sent: Counter,
    dropped: Counter,
    rejected: Counter,
}

impl Counts {
    fn register(registry: &mut Registry) -> Self {
        let spans: Family<SpanLabels, Counter> = Family::default();
        let of = |end| spans.get_or_create_owned(&SpanLabels { end });
        let counts = Self { sent: of("sent"), dropped: of("dropped"), rejected: of("rejected") };
        let help = "Spans of sampled requests: sent, dropped for want of room or of a collector, rejected by it";
        registry.sub_registry_with_prefix("portcullis_telemetry").register("spans", help, spans);
        counts
    }
}

/// Where spans are handed over.
#[derive(Debug)]
struct Desk {
    queue: mpsc::Sender<Vec<Span>>,
    counts: Counts,
    threshold: Option<u64>,
    follows: bool,
}

impl Traces for Desk {
    fn samples(&self, next: &TraceParent, parent: Option<&TraceParent>) -> bool {
        let number = match parent {
            Some(parent) if self.follows => return parent.is_sampled(),
            // Whoever sent the trace id chose it; our own span's is random.
            Some(_) => u64::from_be_bytes(next.span_id()),
            // The same for all that see this trace and sample as much of all.
            None => {
                let trace = next.trace_id_bytes();
                trace.last_chunk().map_or(u64::MAX, |random| u64::from_be_bytes(*random))
            }
        };
        self.threshold.is_none_or(|threshold| number < threshold)
    }

    fn take(&self, spans: Vec<Span>) {
        let many = spans.len() as u64;
        if self.queue.try_send(spans).is_err() {
            self.counts.dropped.inc_by(many);
        }
    }
}

/// The thread that sends.
#[derive(Debug)]
pub(crate) struct Exporter {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Exporter {
    /// Starts it; the collector need not answer.
    pub(crate) fn start(
        settings: &Telemetry,
        base: &Path,
        registry: &mut Registry,
    ) -> Result<(Arc<dyn Traces>, Self)> {
        let counts = Counts::register(registry);
        let (queue, waiting) = mpsc::channel(QUEUE);
        let (stop, stopped) = watch::channel(false);
        let sender = Sender::new(settings, base, counts.clone())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new()
            .name("telemetry".to_owned())
            .spawn(move || runtime.block_on(sender.run(waiting, stopped)))
            .context("the thread that sends traces did not start")?;
        let (threshold, follows) = (settings.sample.threshold(), settings.follow_callers);
        Ok((Arc::new(Desk { queue, counts, threshold, follows }), Self { stop, thread }))
    }

    /// Sends what waits, if that is quick, and ends.
    pub(crate) fn stop(self) {
        self.stop.send_replace(true);
        if self.thread.join().is_err() {
            tracing::error!("the thread that sends traces ended in a panic");
        }
    }
}

struct Sender {
    client: Client,
    endpoint: Url,
    resource: Resource,
    counts: Counts,
    trouble: bool,
}

/// Why a batch was not taken.
struct NotTaken {
    why: String,
    /// When to try again, if that may help.
    again: Option<Duration>,
}

impl Sender {
    fn new(settings: &Telemetry, base: &Path, counts: Counts) -> Result<Self> {
        let mut headers = HeaderMap::new();
        for (name, secret) in settings.secrets(base)? {
            let mut value = HeaderValue::from_str(secret.expose()).with_context(|| {
                format!("the secret of `telemetry.headers.{name}` is no header value")
            })?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_bytes(name.as_bytes())?, value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .user_agent("portcullis")
            .default_headers(headers)
            .build()?;
        let own = [
            ("service.name", settings.service_name.as_str()),
            ("service.version", env!("CARGO_PKG_VERSION")),
        ];
        let given = settings.resource.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let resource = Resource::new(own.into_iter().chain(given));
        Ok(Self { client, endpoint: settings.endpoint.clone(), resource, counts, trouble: false })
    }

    async fn run(
        mut self,
        mut waiting: mpsc::Receiver<Vec<Span>>,
        mut stopped: watch::Receiver<bool>,
    ) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stop| *stop) => break,
                () = gather(&mut waiting, &mut batch) => {}
            }
            if batch.is_empty() {
                return;
            }
            let batch = std::mem::take(&mut batch);
            let many = batch.len() as u64;
            tokio::select! {
                biased;
                () = self.send(batch) => {}
                () = ended(&mut stopped) => {
                    self.counts.dropped.inc_by(many);
                }
            }
        }
        let mut last = batch;
        while let Ok(spans) = waiting.try_recv() {
            last.extend(spans);
        }
        if !last.is_empty() {
            let many = last.len() as u64;
            if tokio::time::timeout(LAST, self.send(last)).await.is_err() {
                self.counts.dropped.inc_by(many);
            }
        }
    }

    /// Sends a batch, again if that may help. In the end it is gone, in one way or the other.
    async fn send(&mut self, batch: Vec<Span>) {
        let many = batch.len() as u64;
        let body: bytes::Bytes = otlp::request(&self.resource, batch).encode_to_vec().into();
        let until = Instant::now() + LONGEST;
        for attempt in 0..ATTEMPTS {
            match self.post(body.clone(), TIMEOUT.min(until - Instant::now())).await {
                Ok(rejected) => {
                    let rejected = rejected.min(many);
                    self.counts.sent.inc_by(many - rejected);
                    self.counts.rejected.inc_by(rejected);
                    if std::mem::take(&mut self.trouble) {
                        tracing::info!("telemetry.sent: the collector takes traces again");
                    }
                    return;
                }
                Err(NotTaken { why, again }) => {
                    if !std::mem::replace(&mut self.trouble, true) {
                        tracing::warn!(%why, "telemetry.unsent: the collector takes no traces; requests are served all the same");
                    }
                    let again = again.filter(|_| attempt + 1 < ATTEMPTS);
                    let at =
                        again.map(|after| Instant::now() + after.max(AGAIN * 2_u32.pow(attempt)));
                    match at.filter(|at| *at < until) {
                        Some(at) => tokio::time::sleep_until(at).await,
                        None => break,
                    }
                }
            }
        }
        self.counts.dropped.inc_by(many);
    }

    /// How many spans of `body` were rejected.
    async fn post(&self, body: bytes::Bytes, within: Duration) -> Result<u64, NotTaken> {
        let answer = self.client.post(self.endpoint.clone()).timeout(within).body(body).send();
        let answer = answer.await;
        let mut answer = answer.map_err(|error| NotTaken {
            why: format!("it does not answer: {}", error.without_url()),
            again: Some(Duration::ZERO),
        })?;
        let status = answer.status();
        if !status.is_success() {
            let passes = [
                StatusCode::TOO_MANY_REQUESTS,
                StatusCode::BAD_GATEWAY,
                StatusCode::SERVICE_UNAVAILABLE,
                StatusCode::GATEWAY_TIMEOUT,
            ];
            let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let after = after.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
            return Err(NotTaken {
                why: format!("it answers {}", status.as_u16()),
                again: passes.contains(&status).then(|| after.unwrap_or_default()),
            });
        }
        let mut text = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            if text.len() + chunk.len() > ANSWER {
                return Ok(0);
            }
            text.extend_from_slice(&chunk);
        }
        // What cannot be read says nothing: the status says that it was taken.
        Ok(ExportResponse::decode(text.as_slice()).map_or(0, |answer| answer.rejected()))
    }
}

/// Puts into `batch` what comes within a while: nothing when nobody is left who could hand anything
/// over. What was put there stays there if this is dropped.
async fn gather(waiting: &mut mpsc::Receiver<Vec<Span>>, batch: &mut Vec<Span>) {
    let Some(first) = waiting.recv().await else { return };
    batch.extend(first);
    let until = Instant::now() + GATHER;
    while batch.len() < BATCH {
        match tokio::time::timeout_at(until, waiting.recv()).await {
            Ok(Some(spans)) => batch.extend(spans),
            Ok(None) | Err(_) => break,
        }
    }
}

/// Resolves a while after the process was told to stop.
async fn ended(stopped: &mut watch::Receiver<bool>) {
    drop(stopped.wait_for(|stop| *stop).await);
    tokio::time::sleep(LAST).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_who_is_not_followed_does_not_choose() {
        let (queue, _waiting) = mpsc::channel(1);
        let counts = Counts::register(&mut Registry::default());
        // A half of all.
        let desk = Desk { queue, counts, threshold: Some(1 << 63), follows: false };
        let chosen = b"00-00000000000000010000000000000000-b7ad6b7169203331-01";
        let chosen = TraceParent::read(chosen).expect("a parent");
        for (random, sampled) in [([0; 24], true), ([0xff; 24], false)] {
            let next = TraceParent::next(Some(&chosen), random);
            assert_eq!(desk.samples(&next, Some(&chosen)), sampled);
            assert_eq!(desk.samples(&TraceParent::next(None, random), None), sampled);
        }
        let desk = Desk { follows: true, ..desk };
        let next = TraceParent::next(Some(&chosen), [0xff; 24]);
        assert!(desk.samples(&next, Some(&chosen)));
    }
}
