//! A whole control on a real store, with a clock that is moved by hand and a provider that says what
//! it is told.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use portcullis_control::{
    ContentKeys, Control, ControlError, ControlParts, OpContext, Provisioning, ScimSubject,
    Settings,
    connector::{ConnectorSpec, Connectors},
    keeping::Retention,
    ports::{DeviceOutcome, EventLog, Notifier, PeopleProvider, VerifiedPerson},
    views::{AccessRequestView, Ask, AskFor, AskOperation, DevicePoll, ReviewInput},
};
use portcullis_identity::RelyingParty;
use portcullis_model::{
    AccessRequestId, Clock, Decision, Entropy, PrincipalId, Scope, Secret, TokenHash, Window,
};
use portcullis_policy::{
    Bundle, BundleSource, PolicySource, ServiceSource, bundle::OperationsSource,
};
use portcullis_store::{SqliteStore, Store as _, StoreError};

use crate::{
    faulty::{Faults, FaultyStore},
    memory_log::MemoryLog,
    noticing::Told,
    provider::{NoWorkloads, Provider},
};

pub(crate) const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[derive(Debug)]
pub(crate) struct HandClock(Mutex<Timestamp>);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

#[derive(Debug)]
struct Counted(AtomicU64);

impl Entropy for Counted {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let drawn = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
            let mixed = (drawn ^ (drawn >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            chunk.copy_from_slice(&(mixed ^ (mixed >> 32)).to_le_bytes()[..chunk.len()]);
        }
    }
}

pub(crate) struct World {
    running: Option<Arc<Control>>,
    /// What runs works on it; tests look into it.
    kept: Option<Arc<FaultyStore>>,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) log: Arc<MemoryLog>,
    pub(crate) provider: Arc<Provider>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) notices: Arc<Told>,
    pub(crate) folder: tempfile::TempDir,
    /// Whether there is an index from the next start on.
    pub(crate) is_indexed: bool,
    /// From the next start on.
    pub(crate) retention: Option<Retention>,
    connectors: Vec<ConnectorSpec>,
    seed: u64,
}

pub(crate) const POLICIES: &str = r#"
@id("payments.read")
permit (principal is User in Group::"engineering", action == Action::"payments.getRefund", resource in Service::"payments");

@id("payments.auto") @reviews("0") @max_duration("30m")
permit (principal is User in Group::"oncall", action == Action::"payments.createRefund", resource in Service::"payments")
when { context has grant };

@id("payments.reviewed") @reviews("1") @max_duration("15m") @max_uses("1")
permit (principal is User in Group::"engineering", action == Action::"payments.createRefund", resource in Service::"payments")
when { context has grant };

@id("payments.two") @reviews("2") @max_duration("1h")
permit (principal is User in Group::"engineering", action == Action::"payments.deleteRefund", resource in Service::"payments")
when { context has grant };
"#;

pub(crate) const HOUSE: &str = r#"
@id("reviewers")
permit (principal is User in Group::"leads", action == Action::"review", resource is AccessRequest)
when { resource.service == Service::"payments" };

@id("revokers")
permit (principal is User in Group::"leads", action == Action::"revoke", resource == Service::"payments");

@id("watchers")
permit (principal is User in Group::"leads", action == Action::"viewConnections", resource == Service::"payments");

@id("auditors")
permit (principal is User in Group::"auditors", action == Action::"viewAudit", resource is System);

@id("admins")
permit (principal is User in Group::"admins", action == Action::"administer", resource is System);
"#;

/// What comes after it is all that is not about one service.
const ONLY_HOUSE: &str = "// only house\n";

/// What comes after `// house` is not about one service.
pub(crate) fn source(policies: &str) -> BundleSource {
    let operations = [
        ("getRefund", "GET /v1/refunds/{id}"),
        ("createRefund", "POST /v1/refunds"),
        ("deleteRefund", "DELETE /v1/refunds/{id}"),
    ];
    let operations = operations.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let service = ServiceSource {
        name: "payments".parse().unwrap(),
        hosts: vec!["payments.example.com".into()],
        path_prefix: None,
        labels: BTreeMap::new(),
        instances: ["p-1", "p-2"]
            .map(|name| (name.parse().unwrap(), "http://127.0.0.1:9".to_owned()))
            .into(),
        addressed_only: vec![],
        operations: OperationsSource::Inline(operations.into_iter().collect()),
        groups: BTreeMap::new(),
        max_grant: Window::minutes(8 * 60),
        max_hold: ServiceSource::MAX_HOLD,
        max_body: ServiceSource::MAX_BODY,
        max_bodies: BTreeMap::new(),
        upstream: portcullis_policy::upstream::UpstreamSource::default(),
        strict_audit: false,
        anonymous: false,
        edge: portcullis_policy::edge::EdgeSource::default(),
        place: ("portcullis.yaml".into(), None),
    };
    let (rules, house) = if let Some((rules, house)) = policies.split_once(ONLY_HOUSE) {
        (rules, house.to_owned())
    } else {
        let (rules, house) = policies.split_once("// house\n").unwrap_or((policies, ""));
        (rules, format!("{HOUSE}{house}"))
    };
    let file = |path: &str, text: &str| PolicySource { path: path.into(), text: text.into() };
    BundleSource {
        policies: vec![file("payments/rules.cedar", rules), file("house.cedar", &house)],
        services: vec![service],
        receivers: ["pagerduty:urgent", "teams:payments"].map(str::to_owned).into(),
        ..BundleSource::default()
    }
}

pub(crate) fn bundle(policies: &str) -> Bundle {
    Bundle::load(&source(policies)).unwrap_or_else(|errors| {
        panic!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(POLICIES).await
    }

    pub(crate) async fn with(policies: &str) -> Self {
        Self::told_by(policies, Vec::new()).await
    }

    /// With other systems that tell of incidents.
    pub(crate) async fn told_by(policies: &str, connectors: Vec<ConnectorSpec>) -> Self {
        let start = "2026-11-22T10:00:00Z".parse().unwrap();
        let clock = Arc::new(HandClock(Mutex::new(start)));
        let folder = tempfile::tempdir().unwrap();
        let (log, provider) = (Arc::new(MemoryLog::default()), Arc::new(Provider::default()));
        let faults = Arc::default();
        let notices = Arc::default();
        let mut world = Self {
            running: None,
            kept: None,
            clock,
            log,
            provider,
            faults,
            notices,
            folder,
            is_indexed: false,
            retention: None,
            connectors,
            seed: 0,
        };
        world.start(policies).await;
        world
    }

    /// Stops and starts again on the same store. Somebody may still refer to who was stopped.
    pub(crate) async fn restart(&mut self, policies: &str) {
        let stopped = self.running.take().unwrap();
        stopped.stop().await;
        self.kept = None;
        self.start(policies).await;
        drop(stopped);
    }

    /// Goes away without a word and starts again on the same store.
    pub(crate) async fn crash(&mut self) {
        self.crash_under(POLICIES).await;
    }

    pub(crate) async fn crash_under(&mut self, policies: &str) {
        drop(self.running.take());
        // What was under way goes no further, as if its process were dead.
        self.kept.take().unwrap().close().await;
        self.faults = Arc::default();
        self.start(policies).await;
    }

    /// A copy of the store, as somebody takes it who may put it back.
    pub(crate) async fn copy(&self) -> Vec<u8> {
        self.kept().scrub().await.unwrap();
        std::fs::read(self.folder.path().join("portcullis.db")).unwrap()
    }

    /// The same, on a store that is set back to `copy`.
    pub(crate) async fn set_back(&mut self, copy: &[u8]) {
        drop(self.running.take());
        self.kept.take().unwrap().close().await;
        std::fs::write(self.folder.path().join("portcullis.db"), copy).unwrap();
        self.start(POLICIES).await;
    }

    async fn start(&mut self, policies: &str) {
        self.seed += 1;
        let store = self.store().await;
        let faults = Arc::clone(&self.faults);
        let store = Arc::new(FaultyStore { store, faults });
        self.kept = Some(Arc::clone(&store));
        let started = Control::start(ControlParts {
            store,
            log: Arc::clone(&self.log) as Arc<dyn EventLog>,
            bundle: bundle(policies),
            bundle_source: source(policies),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            entropy: Arc::new(Counted(AtomicU64::new(self.seed << 40))),
            settings: Settings {
                index: self.is_indexed.then(|| self.folder.path().join("index.db")),
                retention: self.retention.clone(),
                ..settings()
            },
            people: vec![Arc::clone(&self.provider) as Arc<dyn PeopleProvider>],
            workloads: Arc::new(NoWorkloads),
            notifier: Arc::clone(&self.notices) as Arc<dyn Notifier>,
            exports: portcullis_control::export::Exports::default(),
            slack: None,
            alerts: portcullis_control::alerts::Alerts::default(),
            connectors: Connectors::new(self.connectors.clone()),
        });
        let control = started.await.unwrap();
        let works =
            !self.log.full.load(Ordering::Relaxed) && !self.log.broken.load(Ordering::Relaxed);
        if works && self.retention.is_none() {
            // Tests break what it needs for that, at whatever moment.
            control.holding(0..0).await.unwrap();
        }
        self.running = Some(control);
    }

    /// The next who signs in did so by these methods, as the provider says.
    pub(crate) async fn sign_in_by(&self, name: &str, groups: &[&str], amr: &str) -> OpContext {
        let email = format!("{name}@example.com");
        let token = self.token_by(name, &email, groups, amr).await;
        self.op(&token).await
    }

    /// The store's file. After a crash, what ran may need a moment to let go of it.
    async fn store(&self) -> SqliteStore {
        let path = self.folder.path().join("portcullis.db");
        for _ in 0..3000 {
            match SqliteStore::open(&path).await {
                Err(StoreError::InUse(_)) => moment().await,
                opened => return opened.unwrap(),
            }
        }
        panic!("nobody lets go of the store");
    }

    pub(crate) fn kept(&self) -> &FaultyStore {
        self.kept.as_ref().unwrap()
    }

    pub(crate) fn control(&self) -> &Arc<Control> {
        self.running.as_ref().unwrap()
    }

    pub(crate) fn wait(&self, span: SignedDuration) {
        *self.clock.0.lock().unwrap() += span;
    }

    /// Signs `name` in with `groups`; their address is `<name>@example.com`.
    pub(crate) async fn sign_in(&self, name: &str, groups: &[&str]) -> OpContext {
        self.sign_in_as(name, &format!("{name}@example.com"), groups).await
    }

    pub(crate) async fn sign_in_as(&self, name: &str, email: &str, groups: &[&str]) -> OpContext {
        let token = self.token_of(name, email, groups).await;
        self.op(&token).await
    }

    pub(crate) async fn op(&self, token: &Secret) -> OpContext {
        let caller = self.control().authenticate(Some(token.expose())).await.unwrap();
        self.control().context(caller, HOME)
    }

    pub(crate) async fn token_of(&self, name: &str, email: &str, groups: &[&str]) -> Secret {
        self.token_by(name, email, groups, "pwd").await
    }

    pub(crate) async fn token_by(
        &self,
        name: &str,
        email: &str,
        groups: &[&str],
        amr: &str,
    ) -> Secret {
        let person = VerifiedPerson {
            claims: std::collections::BTreeMap::new(),
            subject: name.into(),
            email: (!email.is_empty()).then(|| email.into()),
            email_verified: true,
            name: Some(name.into()),
            groups: groups.iter().map(|group| Arc::from(*group)).collect(),
            amr: [amr.to_owned()].into(),
            auth_time: Some(self.clock.now()),
            session: None,
            renewal: None,
        };
        *self.provider.next.lock().unwrap() = Some(DeviceOutcome::Done(Box::new(person)));
        let begun = self.control().begin_device(None).await.unwrap();
        let polled = self.control().poll_device(begun.device_token.expose(), HOME).await.unwrap();
        let DevicePoll::Done { token, .. } = polled else { panic!("{polled:?}") };
        token
    }

    /// The same caller at the time that it is now.
    pub(crate) fn later(&self, op: &OpContext) -> OpContext {
        self.control().context(op.caller().unwrap().clone(), HOME)
    }

    pub(crate) async fn ask(
        &self,
        op: &OpContext,
        operation: &str,
    ) -> Result<AccessRequestView, ControlError> {
        self.control().ask(&self.later(op), asking(operation, None)).await
    }

    pub(crate) async fn approve(
        &self,
        op: &OpContext,
        id: AccessRequestId,
    ) -> Result<AccessRequestView, ControlError> {
        self.control().review(&self.later(op), id, answer(Decision::Approve)).await
    }

    /// Waits (in real time) until `done`, for what the background does.
    pub(crate) async fn until(&self, done: impl Fn(&Self) -> bool) {
        let begun = std::time::Instant::now();
        while !done(self) {
            assert!(begun.elapsed() < Duration::from_secs(30), "it did not happen within 30 s");
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    pub(crate) fn holds(&self, principal: &PrincipalId) -> usize {
        let now = self.clock.now();
        let snapshot = self.control().snapshots().current();
        snapshot.grants_of(principal).filter(|grant| grant.in_force(now)).count()
    }
}

/// A moment of real time, also where the runtime's own is moved by hand.
pub(crate) async fn moment() {
    let nap = || std::thread::sleep(Duration::from_millis(2));
    tokio::task::spawn_blocking(nap).await.unwrap();
}

/// What keeps the directory.
pub(crate) const DIRECTORY_TOKEN: &str = "a-token-of-the-directory";
pub(crate) const ORIGIN: &str = "https://portcullis.example.com";

fn settings() -> Settings {
    let relying_party = RelyingParty::of(&ORIGIN.parse().unwrap());
    let provisioning = Provisioning {
        token: TokenHash::of(DIRECTORY_TOKEN),
        provider: "corp".into(),
        subject: ScimSubject::ExternalId,
    };
    // The same at every start.
    let content_keys = ContentKeys::default().with_another(&Counted(AtomicU64::new(7)));
    let provisioning = Some(provisioning);
    Settings { relying_party, provisioning, content_keys, ..Settings::default() }
}

pub(crate) fn asking(operation: &str, duration: Option<Window>) -> Ask {
    let operation =
        AskOperation { operation: operation.parse().unwrap(), instance: None, rule: None };
    Ask {
        what: AskFor::Operations(vec![operation]),
        rule: None,
        incident: None,
        reason: "refunds stuck".into(),
        duration,
    }
}

pub(crate) fn answer(decision: Decision) -> ReviewInput {
    ReviewInput {
        decision,
        note: Some("looked at it".into()),
        duration: None,
        scope: Scope::default(),
        passkey: None,
    }
}

pub(crate) fn who(op: &OpContext) -> PrincipalId {
    op.caller().unwrap().principal().id.clone()
}
