//! Control, as the gate sees it: snapshots, uses, refusals, connections.

use std::{future::Future, pin::Pin, sync::Arc};

use async_trait::async_trait;
use portcullis_control::{Control, OpenConnection, Snapshots, ports as control};
use portcullis_model::{
    ClassName, ConnectionId, GrantId, OperationName, PolicyId, Principal, PrincipalId, RefusalId,
    RequestId,
};
use portcullis_policy::{Snapshot, rate_limit::RateLimit};
use portcullis_proxy::ports::{
    ConnectionEnd, ConnectionInfo, Connections, ConsumeError, Consumption, KeptRefusal, Limits,
    Refusals, RegisteredConnection, Sightings, SnapshotFeed, TooOften,
};
use tokio::sync::watch;

/// Control's snapshots.
#[derive(Debug)]
pub(crate) struct ControlFeed(pub(crate) Arc<Snapshots>);

/// Control's use cases for the gate. They run on control's runtime, whoever calls: a core must not be
/// kept busy by the store.
#[derive(Debug)]
pub(crate) struct ControlPorts {
    control: Arc<Control>,
    runtime: tokio::runtime::Handle,
}

#[derive(Debug)]
struct Registered(OpenConnection);

impl SnapshotFeed for ControlFeed {
    fn current(&self) -> Arc<Snapshot> {
        self.0.current()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes()
    }
}

impl ControlPorts {
    /// The ports of `control`, which lives on `runtime`.
    pub(crate) fn new(control: Arc<Control>, runtime: tokio::runtime::Handle) -> Self {
        Self { control, runtime }
    }

    pub(super) fn control(&self) -> Arc<Control> {
        Arc::clone(&self.control)
    }

    pub(super) fn runtime(&self) -> &tokio::runtime::Handle {
        &self.runtime
    }
}

#[async_trait]
impl Consumption for ControlPorts {
    async fn consume(&self, grant: GrantId, request: RequestId) -> Result<(), ConsumeError> {
        let control = Arc::clone(&self.control);
        let spent = self.runtime.spawn(async move { control.consume(grant, request).await });
        match spent.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(control::ConsumeError::Over)) => Err(ConsumeError::Over),
            Ok(Err(control::ConsumeError::Unavailable)) | Err(_) => Err(ConsumeError::Unavailable),
        }
    }

    fn used(&self, grant: GrantId) {
        let control = Arc::clone(&self.control);
        self.runtime.spawn(async move { control.grant_used(grant) });
    }
}

#[async_trait]
impl Limits for ControlPorts {
    async fn admit(
        &self,
        who: &PrincipalId,
        what: &OperationName,
        limit: RateLimit,
    ) -> Result<(), TooOften> {
        let admitted = self.control.admit(who, what, limit);
        admitted.map_err(|retry_after| TooOften { retry_after })
    }
}

#[async_trait]
impl Refusals for ControlPorts {
    async fn keep(&self, refusal: KeptRefusal) -> Option<RefusalId> {
        let KeptRefusal {
            principal,
            request,
            operation,
            resource,
            digest,
            summary,
            ways,
            body,
            time,
        } = refusal;
        let refusal = control::KeptRefusal {
            principal,
            request,
            operation,
            resource,
            digest,
            summary,
            ways,
            body,
            time,
        };
        let control = Arc::clone(&self.control);
        self.runtime.spawn(async move { control.keep_refusal(refusal).await }).await.ok()?
    }

    fn reviewers(&self, operation: &OperationName) -> Vec<String> {
        self.control.reviewers(operation)
    }
}

impl Sightings for ControlPorts {
    fn seen(&self, workload: &Arc<Principal>) {
        self.control.workload_seen(workload);
    }
}

impl Connections for ControlPorts {
    fn opened(&self, info: ConnectionInfo) -> Box<dyn RegisteredConnection> {
        Box::new(Registered(self.control.connection_opened(control::ConnectionInfo {
            id: info.id,
            request: info.request,
            principal: info.principal,
            service: info.service,
            instance: info.instance,
            operation: info.operation,
            grant: info.grant,
            reveals: info.reveals,
            sign_in: info.sign_in,
            source: info.source,
            protocol: info.protocol,
            since: info.since,
        })))
    }

    fn shows(&self, id: ConnectionId, reveals: Vec<GrantId>) {
        self.control.connection_shows(id, reveals);
    }

    fn looked(&self, core: usize, version: u64) {
        self.control.connections_looked_at(core, version);
    }
}

impl RegisteredConnection for Registered {
    fn close_requested(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.0.close_requested())
    }

    fn met(&mut self, classes: Vec<ClassName>) {
        self.0.met(classes);
    }

    fn denied_by(&mut self, policies: &[PolicyId]) {
        self.0.denied_by(policies.to_vec());
    }

    fn ended(self: Box<Self>, why: ConnectionEnd, bytes_up: u64, bytes_down: u64) {
        self.0.ended(word(why), bytes_up, bytes_down);
    }
}

/// What the record calls it.
const fn word(why: ConnectionEnd) -> &'static str {
    match why {
        ConnectionEnd::Finished => "finished",
        ConnectionEnd::ClientGone => "client_gone",
        ConnectionEnd::UpstreamGone => "upstream_gone",
        ConnectionEnd::GrantEnded => "grant_ended",
        ConnectionEnd::SignInEnded => "sign_in_ended",
        ConnectionEnd::PolicyChanged => "policy_changed",
        ConnectionEnd::Closed => "closed",
        ConnectionEnd::Flooding => "flooding",
        ConnectionEnd::MessageDenied => "message_denied",
        ConnectionEnd::MessageUnreadable => "message_unreadable",
        ConnectionEnd::Idle => "idle",
        ConnectionEnd::TooMuch => "too_much",
        ConnectionEnd::Opaque => "opaque",
        ConnectionEnd::ShuttingDown => "shutting_down",
    }
}
