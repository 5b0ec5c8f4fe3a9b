//! A gate in a house made of memory.

use std::{
    collections::BTreeMap,
    future::Future,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use portcullis_identity::{Pace, ProviderClient, Workloads};
use portcullis_model::{
    AccessRequestId, Attempt, Audience, Clock, Entropy, Grant, GrantEnd, GrantId, GrantKind,
    GrantState, Held, OperationName, Outcome, PersonId, Principal, RecordLevel, RefusalId,
    RefusalsCounted, RequestId, Resource, SignIn, SignInId, TokenHash, Window,
};
use portcullis_policy::{Bundle, BundleSource, PolicySource, ServiceSource, Snapshot, bundle};
use portcullis_proxy::{
    AssertionSigner, Gate, GateConfig, GateError, GateHandle, GateParts, ListenerConfig, Metrics,
    ports::{
        ConnectionEnd, ConnectionInfo, Connections, ConsumeError, Consumption, Journal, Journals,
        KeptRefusal, RecordBroken, Recorded, Refusals, RegisteredConnection, SnapshotFeed,
    },
};
use portcullis_testkit::{ManualClock, SeededEntropy};
use tokio::sync::watch;

use crate::upstream::Upstream;

pub(crate) const TOKEN: &str = "pc_sign_ana";

const POLICIES: &str = r#"
@id("read") permit (principal is User in Group::"oncall", action == Action::"payments.getRefund", resource in Service::"payments");
@id("gone") permit (principal is User in Group::"oncall", action in Action::"read", resource in Service::"gone");
@id("twin") permit (principal is User in Group::"oncall", action in Action::"read", resource in Service::"twin");
@id("refund") @reviews("1") @max_duration("15m") @max_uses("1")
permit (principal is User in Group::"oncall", action == Action::"payments.createRefund", resource in Service::"payments")
when { context has grant };
@id("events") @reviews("1")
permit (principal is User in Group::"oncall", action == Action::"payments.events", resource in Service::"payments")
when { context has grant };
@id("socket") @reviews("1")
permit (principal is User in Group::"oncall", action == Action::"payments.socket", resource in Service::"payments")
when { context has grant };
"#;

#[derive(Debug)]
pub(crate) struct House {
    ports: Arc<Ports>,
    upstream: Upstream,
    gate: Option<GateHandle>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

#[derive(Debug)]
struct Ports {
    snapshot: Mutex<Arc<Snapshot>>,
    changes: watch::Sender<u64>,
    records: Records,
    consumed: AtomicUsize,
    opened: AtomicUsize,
    ended: Arc<Mutex<Vec<String>>>,
    clock: ManualClock,
    entropy: SeededEntropy,
}

impl House {
    pub(crate) fn open() -> Self {
        Self::try_open_at("127.0.0.1:0".parse().unwrap()).unwrap()
    }

    pub(crate) fn try_open_at(address: SocketAddr) -> Result<Self, GateError> {
        let upstream = Upstream::start();
        let clock = ManualClock::stopped_now();
        let snapshot = snapshot(upstream.address, clock.now());
        let ports = Arc::new(Ports {
            snapshot: Mutex::new(Arc::new(snapshot)),
            changes: watch::channel(0).0,
            records: Records::default(),
            consumed: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
            ended: Arc::default(),
            clock,
            entropy: SeededEntropy::new(7),
        });
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let clock: Arc<dyn Clock> = Arc::clone(&ports) as _;
        let client = ProviderClient::new().unwrap();
        let workloads =
            Workloads::new(Vec::new(), &client, &clock, Pace::default(), runtime.handle());
        let given = GateParts {
            feed: Arc::clone(&ports) as _,
            journals: Arc::new(ports.records.clone()),
            consumption: Arc::clone(&ports) as _,
            refusals: Arc::clone(&ports) as _,
            browsers: Arc::new(crate::browsers::Nobody),
            connections: Arc::clone(&ports) as _,
            workloads: Arc::new(workloads.unwrap()),
            entropy: Arc::clone(&ports) as _,
            clock,
            signer: Arc::new(signer()),
            metrics: Metrics::register(&mut prometheus_client::registry::Registry::default()),
        };
        let listener = ListenerConfig { name: "gate".to_owned(), address, tls: None };
        let config = GateConfig {
            listeners: vec![listener],
            control_url: "https://control.test".to_owned(),
            browsers: None,
            upstream_roots: Arc::new(rustls::RootCertStore::empty()),
            max_connections: 100,
            decision_cache: true,
            busy_poll: None,
        };
        let gate = Gate::new(config, given).run(1)?;
        Ok(Self { ports, upstream, gate: Some(gate), _runtime: runtime })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.gate.as_ref().unwrap().addresses()[0]
    }

    pub(crate) fn get(&self, host: &str, path: &str, headers: &str) -> Answer {
        self.raw(&format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\n{headers}\r\n"
        ))
    }

    pub(crate) fn post(&self, host: &str, path: &str, body: &str) -> Answer {
        let length = body.len();
        self.raw(&format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    pub(crate) fn raw(&self, request: &str) -> Answer {
        let mut stream = self.send(request);
        let head = stream.until("\r\n\r\n");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.stream.read_exact(&mut body).unwrap();
        Answer { status, head, body: String::from_utf8(body).unwrap() }
    }

    /// Everything that comes until the connection closes.
    pub(crate) fn raw_all(&self, request: &str) -> String {
        self.send(request).rest()
    }

    pub(crate) fn stream(&self, method: &str, host: &str, path: &str, headers: &str) -> Stream {
        self.send(&format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\n\
             {headers}\r\n"
        ))
    }

    fn send(&self, request: &str) -> Stream {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        Stream { stream }
    }

    /// Ana's grant for `operation`.
    pub(crate) fn grant(&self, operation: &str, max_uses: Option<u32>) -> Grant {
        let now = self.ports.clock.now();
        let id = |bits| GrantId::from_bits(bits);
        let rule = match operation {
            "payments.createRefund" => "refund",
            "payments.events" => "events",
            _ => "socket",
        };
        let grant = Grant {
            id: id(u128::from_be_bytes([9; 16])),
            version: 1,
            access_request: AccessRequestId::from_bits(1),
            principal: ana().id,
            rule: rule.parse().unwrap(),
            kind: GrantKind::Review,
            reviews: 1,
            operation: operation.parse().unwrap(),
            resource: Resource { service: "payments".parse().unwrap(), instance: None },
            incident: None,
            digest: None,
            starts_at: now,
            expires_at: now + SignedDuration::from_mins(5),
            max_uses,
            uses: 0,
            state: GrantState::InForce,
        };
        self.ports.publish(|snapshot| snapshot.with_grant(Arc::new(grant.clone()), now));
        grant
    }

    pub(crate) fn revoke(&self, grant: &Grant) {
        let now = self.ports.clock.now();
        let ended = grant.clone().end(now, GrantEnd::Revoked, None).unwrap();
        self.ports.publish(|snapshot| snapshot.with_grant(Arc::new(ended), now));
    }

    /// Another request spends one use of `grant`.
    pub(crate) fn spend(&self, grant: &Grant) {
        let now = self.ports.clock.now();
        let held = self.ports.current().grant(grant.id).cloned().unwrap();
        let spent = Grant::clone(&held).consume(now, RequestId::from_bits(9)).unwrap();
        self.ports.publish(|snapshot| snapshot.with_grant(Arc::new(spent), now));
    }

    pub(crate) fn advance(&self, by: SignedDuration) {
        self.ports.clock.advance(by);
    }

    pub(crate) fn break_record(&self) {
        self.ports.records.0.broken.store(true, Ordering::SeqCst);
    }

    pub(crate) fn records(&self) -> Vec<String> {
        self.ports.records.0.lines.lock().unwrap().clone()
    }

    pub(crate) fn consumed(&self) -> usize {
        self.ports.consumed.load(Ordering::SeqCst)
    }

    pub(crate) fn upstream_requests(&self) -> usize {
        self.upstream.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn wait_for_connections(&self, count: usize) {
        wait(|| self.ports.opened.load(Ordering::SeqCst) == count);
    }

    pub(crate) fn is_nothing_ended(&self) -> bool {
        self.ports.ended.lock().unwrap().is_empty()
    }

    pub(crate) fn ended_connections(&self) -> Vec<String> {
        wait(|| !self.ports.ended.lock().unwrap().is_empty());
        self.ports.ended.lock().unwrap().clone()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.shutdown(Duration::ZERO);
        }
    }
}

#[derive(Debug)]
pub(crate) struct Stream {
    stream: TcpStream,
}

impl Stream {
    /// Reads until `text` has come.
    pub(crate) fn until(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        let mut byte = [0];
        while !seen.ends_with(text.as_bytes()) {
            let read = self.stream.read(&mut byte).unwrap();
            assert_ne!(read, 0, "closed after {:?}", String::from_utf8_lossy(&seen));
            seen.push(byte[0]);
        }
        String::from_utf8_lossy(&seen).into_owned()
    }

    pub(crate) fn rest(mut self) -> String {
        String::from_utf8_lossy(&self.rest_bytes()).into_owned()
    }

    /// Reads to the end; a reset is one too.
    pub(crate) fn rest_bytes(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
        rest
    }
}

fn wait(until: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !until() {
        assert!(Instant::now() < deadline, "it did not happen in time");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ana() -> Principal {
    serde_json::from_value(serde_json::json!({
        "id": {"type": "User", "id": "corp:ana"}, "name": "Ana", "groups": ["oncall"],
        "issuer": "corp",
    }))
    .unwrap()
}

fn snapshot(upstream: SocketAddr, now: Timestamp) -> Snapshot {
    let operations = [
        ("getRefund", "GET /v1/refunds/{id}"),
        ("createRefund", "POST /v1/refunds"),
        ("events", "GET /v1/events"),
        ("socket", "GET /v1/socket"),
    ];
    let operations = operations.map(|(name, route)| (name.to_owned(), route.to_owned()));
    let inline = bundle::OperationsSource::Inline(operations.into_iter().collect());
    let source = BundleSource {
        policies: vec![PolicySource { path: "p.cedar".to_owned(), text: POLICIES.to_owned() }],
        services: vec![
            service("payments", &format!("http://{upstream}"), inline),
            service("gone", "http://127.0.0.1:1", bundle::OperationsSource::Methods),
            twin(&format!("http://{upstream}")),
        ],
        ..BundleSource::default()
    };
    let bundle = Bundle::load(&source).unwrap();
    let sign_in = SignIn {
        id: SignInId::from_bits(5),
        audience: Audience::Gate,
        principal: ana().id,
        person: Some(PersonId::from_bits(6)),
        authenticated_at: now,
        created_at: now,
        expires_at: now + SignedDuration::from_hours(1),
        parent: None,
        service: None,
        held: Held::Token,
        provider_session: None,
        run: None,
    };
    Snapshot::new(Arc::new(bundle), 1)
        .with_principal(Arc::new(ana()))
        .with_sign_in(TokenHash::of(TOKEN), Arc::new(sign_in))
}

fn service(name: &str, url: &str, operations: bundle::OperationsSource) -> ServiceSource {
    ServiceSource {
        name: name.parse().unwrap(),
        hosts: vec![format!("{name}.test")],
        path_prefix: None,
        labels: BTreeMap::new(),
        instances: [("p-1".parse().unwrap(), url.to_owned())].into_iter().collect(),
        addressed_only: Vec::new(),
        operations,
        groups: BTreeMap::new(),
        max_grant: Window::minutes(480),
        strict_audit: false,
        anonymous: false,
        place: ("services.yaml".to_owned(), None),
    }
}

/// Two instances, the first of which is never there.
fn twin(url: &str) -> ServiceSource {
    let mut twin = service("twin", "http://127.0.0.1:1", bundle::OperationsSource::Methods);
    twin.instances.insert("p-2".parse().unwrap(), url.to_owned());
    twin
}

fn signer() -> AssertionSigner {
    use aws_lc_rs::{rand::SystemRandom, signature as sig};
    let algorithm = &sig::ECDSA_P256_SHA256_FIXED_SIGNING;
    let pkcs8 = sig::EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
    AssertionSigner::new(pkcs8.as_ref(), "https://control.test").unwrap()
}

impl Ports {
    fn publish(&self, change: impl FnOnce(Snapshot) -> Snapshot) {
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
struct Records(Arc<Lines>);

#[derive(Debug, Default)]
struct Lines {
    lines: Mutex<Vec<String>>,
    broken: AtomicBool,
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
        self.add(format!("intent {} {level:?} {}", attempt.decision, operation(attempt)))?;
        Ok(Box::pin(std::future::ready(Ok(()))))
    }

    fn outcome(&self, _request: RequestId, outcome: &Outcome<'_>) {
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
}

#[async_trait]
impl Refusals for Ports {
    async fn keep(&self, _refusal: KeptRefusal) -> Option<RefusalId> {
        "7K2M".parse().ok()
    }

    fn reviewers(&self, _operation: &OperationName) -> Vec<String> {
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

    fn ended(self: Box<Self>, why: ConnectionEnd, _up: u64, _down: u64) {
        self.ended.lock().unwrap().push(format!("{} {why:?}", self.protocol));
    }
}

impl Connections for Ports {
    fn opened(&self, info: ConnectionInfo) -> Box<dyn RegisteredConnection> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        Box::new(Registered { protocol: info.protocol, ended: Arc::clone(&self.ended) })
    }
}
