//! A gate in a house made of memory.

mod ports;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use portcullis_identity::{Pace, ProviderClient, Workloads};
use portcullis_model::{
    AccessRequestId, Audience, Clock, Grant, GrantEnd, GrantId, GrantKind, GrantState, GrantToken,
    Held, PersonId, Principal, RequestId, Resource, SignIn, SignInId, TokenHash, Window,
};
use portcullis_policy::{
    Bundle, BundleSource, PolicySource, ServiceSource, Snapshot, bundle,
    sensitive::{ClassSource, Mask, SensitiveSource},
};
use portcullis_proxy::{
    AssertionSigner, Gate, GateConfig, GateError, GateHandle, GateParts, ListenerConfig, Metrics,
    ports::SnapshotFeed,
};
use portcullis_testkit::{ManualClock, SeededEntropy};
use tokio::sync::watch;

use self::ports::Records;
use crate::upstream::Upstream;

pub(crate) const TOKEN: &str = "pc_sign_ana";

const POLICIES: &str = r#"
@id("read") permit (principal is User in Group::"oncall", action == Action::"payments.getRefund", resource in Service::"payments");
@id("gone") permit (principal is User in Group::"oncall", action in Action::"read", resource in Service::"gone");
@id("twin") permit (principal is User in Group::"oncall", action in Action::"read", resource in Service::"twin");
@id("orders") permit (principal is User in Group::"oncall", action in Action::"read", resource in Service::"orders");
@id("plain") permit (principal is User in Group::"oncall", action in Action::"read", resource in Service::"plain");
@id("kept") @record("headers")
permit (principal is User in Group::"oncall", action == Action::"payments.keptRefund", resource in Service::"payments");
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

/// What reads where callers are.
const LOCATED: &str = r#"
@id("near") permit (principal is User in Group::"oncall", action in Action::"read", resource in Service::"near")
unless { context has source && context.source has country && context.source.country == "XX" };
@id("shown") permit (principal is User in Group::"oncall", action in Action::"read", resource in Service::"shown");
@id("shown.pci") permit (principal is User, action == Action::"reveal", resource == DataClass::"shown/pci")
when { context has source && context.source has country && context.source.country == "XX" };
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
    used: AtomicUsize,
    opened: AtomicUsize,
    ended: Arc<Mutex<Vec<String>>>,
    clock: ManualClock,
    entropy: SeededEntropy,
}

impl House {
    pub(crate) fn open() -> Self {
        Self::try_open_at("127.0.0.1:0".parse().unwrap()).unwrap()
    }

    /// With services whose policies read where callers are.
    pub(crate) fn located() -> Self {
        Self::furnished("127.0.0.1:0".parse().unwrap(), true).unwrap()
    }

    pub(crate) fn try_open_at(address: SocketAddr) -> Result<Self, GateError> {
        Self::furnished(address, false)
    }

    fn furnished(address: SocketAddr, located: bool) -> Result<Self, GateError> {
        let upstream = Upstream::start();
        let clock = ManualClock::stopped_now();
        let snapshot = snapshot(upstream.address, clock.now(), located);
        let ports = Arc::new(Ports {
            snapshot: Mutex::new(Arc::new(snapshot)),
            changes: watch::channel(0).0,
            records: Records::default(),
            consumed: AtomicUsize::new(0),
            used: AtomicUsize::new(0),
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
            limits: Arc::clone(&ports) as _,
            contents: Arc::clone(&ports) as _,
            refusals: Arc::clone(&ports) as _,
            approvals: Arc::new(crate::approvals::Nobody),
            browsers: Arc::new(crate::browsers::Nobody),
            sightings: Arc::clone(&ports) as _,
            connections: Arc::clone(&ports) as _,
            workloads: Arc::new(workloads.unwrap()),
            sealed: None,
            entropy: Arc::clone(&ports) as _,
            clock,
            signer: Arc::new(signer()),
            upstream_certificates: Arc::clone(&ports) as _,
            countries: Arc::clone(&ports) as _,
            metrics: Metrics::register(&mut prometheus_client::registry::Registry::default()),
            traces: None,
        };
        let name = "gate".to_owned();
        let (tls, sockets, proxies, direct) = (None, Arc::new([]), Vec::new(), None);
        let listener = ListenerConfig { name, address, sockets, tls, proxies, direct };
        let config = GateConfig {
            listeners: vec![listener],
            control_url: "https://control.test".to_owned(),
            browsers: None,
            upstream_roots: Arc::new(rustls::RootCertStore::empty()),
            bounds: Arc::default(),
            decision_cache: true,
            busy_poll: None,
            zone: None,
            holds: portcullis_proxy::HoldLimits::default(),
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
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
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
            idle: None,
            state: GrantState::InForce,
        };
        self.ports.publish(|snapshot| snapshot.with_grant(Arc::new(grant.clone()), now));
        grant
    }

    /// A grant token for `grant`.
    pub(crate) fn token(&self, grant: &Grant, token: &str) {
        let authenticated_at = self.ports.clock.now();
        let kept = Arc::new(GrantToken { grant: grant.id, authenticated_at, bound_to: None });
        let hash = TokenHash::of(token);
        self.ports.publish(|snapshot| snapshot.with_grant_token(hash, kept));
    }

    /// Ana is in no group any more.
    pub(crate) fn leave_groups(&self) {
        let left = Principal { groups: BTreeSet::new(), ..ana() };
        self.ports.publish(|snapshot| snapshot.with_principal(Arc::new(left)));
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

    /// Whoever asks the ports for something panics, as long as `panics`.
    pub(crate) fn panic(&self, panics: bool) {
        self.ports.records.0.panics.store(panics, Ordering::SeqCst);
    }

    /// Whoever asks this port next panics.
    pub(crate) fn panic_in(&self, port: &'static str) {
        *self.ports.records.0.panics_in.lock().unwrap() = Some(port);
    }

    pub(crate) fn records(&self) -> Vec<String> {
        self.ports.records.0.lines.lock().unwrap().clone()
    }

    pub(crate) fn consumed(&self) -> usize {
        self.ports.consumed.load(Ordering::SeqCst)
    }

    /// How often a grant that ends unused was said to be used.
    pub(crate) fn used(&self) -> usize {
        self.ports.used.load(Ordering::SeqCst)
    }

    /// `grant` as it is from now on.
    pub(crate) fn put(&self, grant: Grant) {
        let now = self.ports.clock.now();
        self.ports.publish(|snapshot| snapshot.with_grant(Arc::new(grant), now));
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
    pub(crate) stream: TcpStream,
}

impl Stream {
    pub(crate) fn send(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).unwrap();
    }

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
    let deadline = Instant::now() + Duration::from_secs(30);
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

fn snapshot(upstream: SocketAddr, now: Timestamp, located: bool) -> Snapshot {
    let operations = [
        ("getRefund", "GET /v1/refunds/{id}"),
        ("createRefund", "POST /v1/refunds"),
        ("keptRefund", "GET /v1/kept"),
        ("events", "GET /v1/events"),
        ("socket", "GET /v1/socket"),
    ];
    let operations = operations.map(|(name, route)| (name.to_owned(), route.to_owned()));
    let inline = bundle::OperationsSource::Inline(operations.into_iter().collect());
    let more = if located { LOCATED } else { "" };
    let text = format!("{POLICIES}{more}");
    let mut source = BundleSource {
        policies: vec![PolicySource { path: "p.cedar".to_owned(), text }],
        services: vec![
            service("payments", &format!("http://{upstream}"), inline),
            service("gone", "http://127.0.0.1:1", bundle::OperationsSource::Methods),
            twin(&format!("http://{upstream}")),
            service("plain", &format!("http://{upstream}"), bundle::OperationsSource::Methods),
            orders("orders", &format!("http://{upstream}")),
        ],
        geo: located,
        ..BundleSource::default()
    };
    if located {
        let url = format!("http://{upstream}");
        source.services.push(orders("shown", &url));
        source.services.push(service("near", &url, bundle::OperationsSource::Methods));
    }
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
        max_hold: ServiceSource::MAX_HOLD,
        max_body: ServiceSource::MAX_BODY,
        max_bodies: BTreeMap::new(),
        upstream: portcullis_policy::upstream::UpstreamSource::default(),
        strict_audit: false,
        anonymous: false,
        edge: portcullis_policy::edge::EdgeSource::default(),
        place: ("services.yaml".to_owned(), None),
    }
}

/// Two instances, the first of which is never there.
fn twin(url: &str) -> ServiceSource {
    let mut twin = service("twin", "http://127.0.0.1:1", bundle::OperationsSource::Methods);
    twin.instances.insert("p-2".parse().unwrap(), url.to_owned());
    twin
}

/// Its answers have sensitive fields, of two classes.
fn orders(name: &str, url: &str) -> ServiceSource {
    let class = |name: &str, path: &str| ClassSource {
        name: name.parse().unwrap(),
        paths: vec![path.to_owned()],
        mask: Mask::Full,
        recognise: Vec::new(),
    };
    let classes = vec![class("pci", "$.orders[*].card.number"), class("pii", "$..email")];
    let mut orders = service(name, url, bundle::OperationsSource::Methods);
    orders.edge.sensitive = Some(SensitiveSource { classes });
    orders
}

fn signer() -> AssertionSigner {
    use aws_lc_rs::{rand::SystemRandom, signature as sig};
    let algorithm = &sig::ECDSA_P256_SHA256_FIXED_SIGNING;
    let pkcs8 = sig::EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
    AssertionSigner::new(pkcs8.as_ref(), "https://control.test").unwrap()
}
