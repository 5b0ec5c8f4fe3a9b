//! What a gate in a house made of memory is given.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use jiff::Timestamp;
use portcullis_model::{
    Attempt, Clock, ConnectionId, ContentNote, ContentParts, Entropy, Grant, GrantId,
    OperationName, Outcome, Principal, PrincipalId, RecordLevel, RefusalId, RefusalsCounted,
    RequestContent, RequestId,
};
use portcullis_policy::{Country, Snapshot, rate_limit::RateLimit};
use portcullis_proxy::ports::{
    ConnectionEnd, ConnectionInfo, Connections, ConsumeError, Consumption, Contents, Countries,
    Journal, Journals, KeptRefusal, Limits, NoDatabase, RecordBroken, Recorded, Refusals,
    RegisteredConnection, Sightings, SnapshotFeed, TooOften, UpstreamCertificates,
};
use tokio::sync::watch;

use super::Ports;

impl Ports {
    pub(super) fn publish(&self, change: impl FnOnce(Snapshot) -> Snapshot) {
        let mut snapshot = self.snapshot.lock().unwrap();
        *snapshot = Arc::new(change(Snapshot::clone(&snapshot)));
        let version = snapshot.version();
        drop(snapshot);
        self.changes.send_replace(version);
    }
}

impl Clock for Ports {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

impl Entropy for Ports {
    fn fill(&self, bytes: &mut [u8]) {
        self.entropy.fill(bytes);
    }
}

impl SnapshotFeed for Ports {
    fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.lock().unwrap())
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// What is on record, as lines.
#[derive(Debug, Clone, Default)]
pub(super) struct Records(pub(super) Arc<Kept>);

#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) lines: Mutex<Vec<String>>,
    pub(super) broken: AtomicBool,
    /// Whoever asks for something panics.
    pub(super) panics: AtomicBool,
    /// Whoever asks this one next does.
    pub(super) panics_in: Mutex<Option<&'static str>>,
}

impl Kept {
    fn may_panic(&self) {
        assert!(!self.panics.load(Ordering::SeqCst), "a mistake, as the test wants it");
    }
}

impl Kept {
    fn may_panic_in(&self, port: &str) {
        let is_it = self.panics_in.lock().unwrap().take_if(|name| *name == port).is_some();
        assert!(!is_it, "a mistake, as the test wants it");
    }
}

impl Records {
    fn add(&self, line: String) -> Result<(), RecordBroken> {
        if self.0.broken.load(Ordering::SeqCst) {
            return Err(RecordBroken);
        }
        self.0.lines.lock().unwrap().push(line);
        Ok(())
    }
}

impl Journals for Records {
    fn open(&self, _core: usize) -> std::io::Result<Rc<dyn Journal>> {
        Ok(Rc::new(self.clone()))
    }
}

fn operation<'a>(attempt: &Attempt<'a>) -> &'a str {
    attempt.operation.map_or("-", OperationName::as_str)
}

impl Journal for Records {
    fn intent(&self, attempt: &Attempt<'_>, level: RecordLevel) -> Result<Recorded, RecordBroken> {
        self.0.may_panic();
        self.add(format!("intent {} {level:?} {}", attempt.decision, operation(attempt)))?;
        Ok(Box::pin(std::future::ready(Ok(()))))
    }

    fn outcome(&self, _request: RequestId, outcome: &Outcome<'_>) {
        self.0.may_panic_in("outcome");
        let error = outcome.error.map(|error| format!(" {error}")).unwrap_or_default();
        let _ = self.add(format!("outcome {}{error}", outcome.status));
    }

    fn refused(&self, attempt: &Attempt<'_>, outcome: &Outcome<'_>) -> Result<(), RecordBroken> {
        let (decision, operation) = (attempt.decision, operation(attempt));
        self.add(format!("refused {decision} {operation} {}", outcome.status))
    }

    fn counted(&self, refusals: &RefusalsCounted) -> Result<(), RecordBroken> {
        self.add(format!("counted {}", refusals.count))
    }
}

impl Countries for Ports {
    fn country(&self, _ip: std::net::IpAddr) -> Result<Option<Country>, NoDatabase> {
        self.records.0.may_panic_in("country");
        Ok(None)
    }
}

#[async_trait]
impl UpstreamCertificates for Ports {
    async fn in_force(
        &self,
        _settings: &portcullis_policy::edge::UpstreamTls,
    ) -> Result<Arc<portcullis_proxy::ClientTls>, String> {
        Err("this house has none".to_owned())
    }
}

#[async_trait]
impl Consumption for Ports {
    async fn consume(&self, grant: GrantId, request: RequestId) -> Result<(), ConsumeError> {
        let now = self.clock.now();
        let held = self.current().grant(grant).cloned().ok_or(ConsumeError::Over)?;
        let used = Grant::clone(&held).consume(now, request).map_err(|_| ConsumeError::Over)?;
        self.consumed.fetch_add(1, Ordering::SeqCst);
        self.publish(|snapshot| snapshot.with_grant(Arc::new(used), now));
        Ok(())
    }

    fn used(&self, _grant: GrantId) {
        self.used.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Limits for Ports {
    async fn admit(
        &self,
        _who: &PrincipalId,
        _what: &OperationName,
        _limit: RateLimit,
    ) -> Result<(), TooOften> {
        Err(TooOften { retry_after: 7 })
    }
}

#[async_trait]
impl Contents for Ports {
    async fn keep(
        &self,
        _request: RequestId,
        _parts: ContentParts,
        _content: RequestContent,
    ) -> Result<ContentNote, RecordBroken> {
        Err(RecordBroken)
    }
}

#[async_trait]
impl Refusals for Ports {
    async fn keep(&self, _refusal: KeptRefusal) -> Option<RefusalId> {
        "7K2M".parse().ok()
    }

    fn reviewers(&self, _operation: &OperationName) -> Vec<String> {
        self.records.0.may_panic();
        vec!["lea".to_owned()]
    }
}

#[derive(Debug)]
struct Registered {
    protocol: &'static str,
    ended: Arc<Mutex<Vec<String>>>,
}

impl RegisteredConnection for Registered {
    fn close_requested(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }

    fn met(&mut self, _classes: Vec<portcullis_model::ClassName>) {}

    fn denied_by(&mut self, _policies: &[portcullis_model::PolicyId]) {}

    fn ended(self: Box<Self>, why: ConnectionEnd, _up: u64, _down: u64) {
        self.ended.lock().unwrap().push(format!("{} {why:?}", self.protocol));
    }
}

impl Sightings for Ports {
    fn seen(&self, _workload: &Arc<Principal>) {}
}

impl Connections for Ports {
    fn opened(&self, info: ConnectionInfo) -> Box<dyn RegisteredConnection> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        Box::new(Registered { protocol: info.protocol, ended: Arc::clone(&self.ended) })
    }

    fn shows(&self, _id: ConnectionId, _reveals: Vec<GrantId>) {}

    fn looked(&self, _core: usize, _version: u64) {}
}
