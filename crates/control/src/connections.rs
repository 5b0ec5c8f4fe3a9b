//! The registry of live connections: who is connected, and a way to ask each one to close.
//!
//! Does not cut anything itself. The gate watches the snapshot and ends what lost its grant; here a
//! person can see what lives and ask for an end.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use portcullis_model::{ClassName, ConnectionId, Event, EventType, GrantId, PolicyId};
use portcullis_store::Change;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout_at},
};

use crate::{OpContext, core::Core, ports::ConnectionInfo, settle::Settlement, usecase::idle};

const BATCH: usize = 256;
/// The word of the record for what ended with its grant.
const GRANT_ENDED: &str = "grant_ended";

#[derive(Debug)]
struct Live {
    info: ConnectionInfo,
    close: watch::Sender<bool>,
    over: watch::Sender<Option<Over>>,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over {
    /// A word of the record.
    pub why: &'static str,
    /// Bytes that went up.
    pub up: u64,
    /// Bytes that came down.
    pub down: u64,
}

/// A connection, and how it ended once it has.
pub(crate) type Followed = (ConnectionInfo, watch::Receiver<Option<Over>>);

type Registry = Arc<Mutex<HashMap<ConnectionId, Live>>>;

/// All connections that live now.
#[derive(Debug)]
pub(crate) struct Connections {
    live: Registry,
    ended: mpsc::UnboundedSender<Ended>,
    ends: Mutex<Option<mpsc::UnboundedReceiver<Ended>>>,
    /// Under which version of the snapshot each core of the gate has looked at its connections.
    looked: watch::Sender<BTreeMap<usize, u64>>,
}

#[derive(Debug)]
struct Ended {
    info: ConnectionInfo,
    over: Over,
    met: Vec<ClassName>,
    policies: Vec<PolicyId>,
}

/// A registered connection. Dropped without [`OpenConnection::ended`], it ended abnormally.
#[derive(Debug)]
pub struct OpenConnection {
    id: ConnectionId,
    live: Weak<Mutex<HashMap<ConnectionId, Live>>>,
    close: watch::Receiver<bool>,
    ended: mpsc::UnboundedSender<Ended>,
    met: Vec<ClassName>,
    policies: Vec<PolicyId>,
}

impl Default for Connections {
    fn default() -> Self {
        let (ended, ends) = mpsc::unbounded_channel();
        let looked = watch::Sender::default();
        Self { live: Registry::default(), ended, ends: Mutex::new(Some(ends)), looked }
    }
}

impl Connections {
    pub(crate) fn opened(&self, info: ConnectionInfo) -> OpenConnection {
        let (close, closing) = watch::channel(false);
        let id = info.id;
        lock(&self.live).insert(id, Live { info, close, over: watch::Sender::new(None) });
        let (live, ended) = (Arc::downgrade(&self.live), self.ended.clone());
        OpenConnection { id, live, close: closing, ended, met: Vec::new(), policies: Vec::new() }
    }

    /// It shows sensitive data from here on, for as long as these grants live.
    pub(crate) fn shows(&self, id: ConnectionId, reveals: Vec<GrantId>) {
        if let Some(live) = lock(&self.live).get_mut(&id) {
            live.info.reveals = reveals;
        }
    }

    pub(crate) fn all(&self) -> Vec<ConnectionInfo> {
        let mut all: Vec<_> = lock(&self.live).values().map(|live| live.info.clone()).collect();
        all.sort_by_key(|info| std::cmp::Reverse(info.id));
        all
    }

    pub(crate) fn lookup(&self, id: ConnectionId) -> Option<ConnectionInfo> {
        lock(&self.live).get(&id).map(|live| live.info.clone())
    }

    /// What a grant opened and lives.
    pub(crate) fn of_grant(&self, grant: GrantId) -> Vec<(ConnectionId, Followed)> {
        let live = lock(&self.live);
        let opened = live.iter().filter(|(_, live)| live.info.hangs_on(grant));
        opened.map(|(id, live)| (*id, (live.info.clone(), live.over.subscribe()))).collect()
    }

    /// A core has looked at its connections under the snapshot of this version: what had to end by it is
    /// registered here until it is over.
    pub(crate) fn looked(&self, core: usize, version: u64) {
        self.looked.send_modify(|cores| {
            let newest = cores.entry(core).or_default();
            *newest = version.max(*newest);
        });
    }

    /// Waits until every core has looked under this version; returns those that have not by then.
    pub(crate) async fn silent(&self, version: u64, deadline: Instant) -> Vec<usize> {
        let mut looked = self.looked.subscribe();
        let all = |cores: &BTreeMap<usize, u64>| cores.values().all(|seen| *seen >= version);
        drop(timeout_at(deadline, looked.wait_for(all)).await);
        let cores = looked.borrow();
        cores.iter().filter(|(_, seen)| **seen < version).map(|(core, _)| *core).collect()
    }

    /// Asks it to close; false if it is gone.
    pub(crate) fn close(&self, id: ConnectionId) -> bool {
        lock(&self.live).get(&id).is_some_and(|live| live.close.send(true).is_ok())
    }
}

impl OpenConnection {
    /// Resolves when somebody asked to close it.
    pub async fn close_requested(&mut self) {
        if self.close.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Classes of data that were masked in what it carried.
    pub fn met(&mut self, classes: Vec<ClassName>) {
        self.met = classes;
    }

    /// The policies that a message of its client was denied by.
    pub fn denied_by(&mut self, policies: Vec<PolicyId>) {
        self.policies = policies;
    }

    /// It is over: why (a word of the record), and the bytes that went up and down.
    pub fn ended(mut self, why: &'static str, bytes_up: u64, bytes_down: u64) {
        self.end(Over { why, up: bytes_up, down: bytes_down });
    }

    fn end(&mut self, how: Over) {
        let live = self.live.upgrade().and_then(|live| lock(&live).remove(&self.id));
        if let Some(Live { info, over, .. }) = live {
            over.send_replace(Some(how));
            // The receiver is gone only when the process stops.
            let met = std::mem::take(&mut self.met);
            let policies = std::mem::take(&mut self.policies);
            let _ = self.ended.send(Ended { info, over: how, met, policies });
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.end(Over { why: "lost", up: 0, down: 0 });
    }
}

/// The background task: puts ends on record, many in one transaction when many end at once.
pub(crate) async fn run(core: Arc<Core>) {
    let ends = core.connections.ends.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut ends) = ends else { return };
    let mut batch = Vec::new();
    while ends.recv_many(&mut batch, BATCH).await > 0 {
        let op = OpContext::system("gate", core.now());
        // A stream that ended was in use until now.
        let grants = batch.iter().flat_map(|ended| ended.info.grants());
        grants.for_each(|id| idle::used(&core, id));
        let changes = batch.drain(..).map(|ended| Change::Record(event(&core, &op, ended)));
        let settlement = Settlement { changes: changes.collect(), ..Settlement::default() };
        if core.settle(settlement).await.is_err() {
            tracing::error!("the ends of connections could not be put on record");
        }
    }
}

fn event(core: &Core, op: &OpContext, Ended { info, over, met, policies }: Ended) -> Event {
    let mut detail = format!("{} bytes up, {} bytes down", over.up, over.down);
    if over.why == GRANT_ENDED && !info.reveals.is_empty() {
        // It hung on several: which of them is over?
        let snapshot = core.snapshot();
        let lives = |id| snapshot.grant(id).is_some_and(|grant| grant.in_force(op.now()));
        for ended in info.grants().filter(|id| !lives(*id)) {
            let _ = write!(detail, "; grant {ended} ended");
        }
    }
    let mut event = core.event(op, EventType::ConnectionEnded);
    event.principal = Some(info.principal);
    event.service = Some(info.service);
    event.instance = Some(info.instance);
    event.operation = Some(info.operation);
    event.grant = info.grant;
    event.reveals = info.reveals;
    event.met = met;
    event.policies = policies;
    event.sign_in = info.sign_in;
    event.connection = Some(info.id);
    event.request = Some(info.request);
    event.source = Some(info.source);
    event.decision = Some(over.why.into());
    event.detail = Some(detail);
    event
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
