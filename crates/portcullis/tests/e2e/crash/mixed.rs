//! kill -9 under everything at once: reads, held requests of one use, reviews, one-time tokens that race,
//! revocations, incidents. Nothing that was acknowledged is lost, nothing of one use runs twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{every_leaf, runs};
use crate::{
    mesh::eventually,
    payments::{Payments, ana, ben, grant, id, lea, leo},
    upstream::Upstream,
    wire::{Response, Wire},
};

const POLICIES: &str = r#"
@id("payout.incident") @reviews("0") @max_duration("20m")
permit (principal is User in Group::"engineering", action == Action::"payments.createPayout", resource in Service::"payments")
when { context has grant && context.grant has incident && context.grant.incident.open &&
  context.grant.incident.services.contains(Service::"payments") };

@id("incidents")
permit (principal is User in Group::"leads", action == Action::"manageIncident", resource);
"#;

const HOST: &str = "payments.example.com";
/// A gate sign-in lives ten minutes.
const ENTER_AGAIN: Duration = Duration::from_mins(4);
/// The first life goes on until something of each kind has happened, however slow the disk is.
const LONGEST_LIFE: Duration = Duration::from_mins(1);

/// What was acknowledged before the process died.
#[derive(Debug, Default)]
struct Told {
    reads: AtomicUsize,
    /// Refunds that were held and answered with 200, by their marks.
    refunded: Mutex<BTreeSet<String>>,
    /// The state of access requests after an answer to a review.
    reviewed: Mutex<BTreeMap<String, String>>,
    /// One-time tokens that were redeemed, and how often.
    redeemed: Mutex<BTreeMap<String, usize>>,
    /// Grants whose end was acknowledged.
    ended: Mutex<BTreeSet<String>>,
    /// Grant tokens that must be dead, because revoking their grant was acknowledged.
    dead: Mutex<BTreeSet<String>>,
    /// Incidents whose end was acknowledged, and the grants that were for them.
    closed: Mutex<BTreeMap<String, String>>,
}

impl Told {
    /// How much of each kind was acknowledged.
    fn counts(&self) -> [usize; 6] {
        [
            self.reads.load(Ordering::Relaxed),
            self.refunded.lock().unwrap().len(),
            self.reviewed.lock().unwrap().len(),
            self.redeemed.lock().unwrap().len(),
            self.ended.lock().unwrap().len(),
            self.closed.lock().unwrap().len(),
        ]
    }
}

/// Everybody, signed in at control and at the gate.
struct Cast {
    ana: (String, String),
    ben: (String, String),
    lea: String,
    leo: String,
    since: Instant,
}

impl Cast {
    fn enter(payments: &Payments) -> Self {
        let both = |person| {
            let visitor = payments.enter(person);
            (visitor.control, visitor.gate)
        };
        let (ana, ben) = (both(&ana()), both(&ben()));
        let (lea, leo) = (payments.enter(&lea()).control, payments.enter(&leo()).control);
        Self { ana, ben, lea, leo, since: Instant::now() }
    }
}

/// The load of one life.
struct Load<'a> {
    payments: &'a Payments,
    cast: &'a Cast,
    told: &'a Told,
    run: u64,
    stop: AtomicBool,
}

#[test]
fn k10_l07_e18_kill_9_under_a_mixed_load_loses_nothing_and_runs_nothing_twice() {
    let mut payments =
        Payments::furnished(Upstream::start(), |plan| plan.policy("mixed.cedar", POLICIES));
    let mut cast = Cast::enter(&payments);
    let told = Told::default();
    println!("{} lives", runs());
    for run in 0..runs() {
        if cast.since.elapsed() > ENTER_AGAIN {
            cast = Cast::enter(&payments);
        }
        // Random enough: where in its work each actor is by then, nobody knows.
        live(&payments, &cast, &told, run, Duration::from_millis(200 + run * 61 % 700));
        payments.house.kill();
        payments.house.restart();
        dead_stay_dead(&payments, &told);
    }
    let cast = Cast::enter(&payments);
    nothing_is_lost(&payments, &cast, &told);
    nothing_ran_twice(&payments, &told);
    the_record_has_it(&payments, &told);
}

/// Works until the process is killed after `life`.
fn live(payments: &Payments, cast: &Cast, told: &Told, run: u64, life: Duration) {
    let load = Load { payments, cast, told, run, stop: AtomicBool::new(false) };
    let actors: [&(dyn Fn(usize) + Sync); 6] = [
        &|round| load.read(round),
        &|round| load.hand_over(round),
        &|round| load.refund(round),
        &|round| load.refund(round),
        &|round| load.review(round, &cast.lea),
        &|round| load.incident(round),
    ];
    std::thread::scope(|scope| {
        for (n, actor) in actors.into_iter().enumerate() {
            let load = &load;
            scope.spawn(move || {
                let mut round = n * 1_000_000;
                while !load.stop.load(Ordering::Relaxed) {
                    round += 1;
                    // The process may die under any call; what counts is what it had answered before.
                    let _died = catch_unwind(AssertUnwindSafe(|| actor(round)));
                }
            });
        }
        std::thread::sleep(life);
        let begun = Instant::now();
        while told.counts().contains(&0) && begun.elapsed() < LONGEST_LIFE {
            std::thread::sleep(Duration::from_millis(10));
        }
        let pid = payments.house.pid().to_string();
        let killed = std::process::Command::new("kill").args(["-9", &pid]).status();
        assert!(killed.unwrap().success());
        load.stop.store(true, Ordering::Relaxed);
    });
}

fn reviews(request: &str) -> String {
    format!("/v1/access-requests/{request}/reviews")
}

impl Load<'_> {
    fn api(&self, method: &str, path: &str, token: &str, body: Option<Value>) -> Response {
        self.payments.house.api(method, path, Some(token), body)
    }

    /// What standing policy permits.
    fn read(&self, _: usize) {
        let gate = &self.cast.ana.1;
        let answer = self.payments.house.gate(HOST, "GET", "/v1/refunds", Some(gate), None);
        self.told.reads.fetch_add(usize::from(answer.status == 200), Ordering::Relaxed);
    }

    /// Ana gets a grant, hands it over by a one-time token that two try to redeem, and lea revokes it.
    fn hand_over(&self, round: usize) {
        let (control, gate) = &self.cast.ana;
        let house = &self.payments.house;
        let body = json!({"amount": 1, "currency": "EUR"});
        let refused = house.gate(HOST, "POST", "/v1/refunds", Some(gate), Some(body.clone()));
        if let Some(left) = refused.header("portcullis-grant") {
            self.revoke(left);
            return;
        }
        let ask = json!({"refusal": refused.json()["refusal"], "reason": "load"});
        let granted = grant(&self.api("POST", "/v1/access-requests", control, Some(ask)).json());
        let made = self.api("POST", &format!("/v1/grants/{granted}/tokens"), control, None).json();
        let Some(once) = made["token"].as_str() else { return };
        let redeem = || {
            let body = json!({ "token": once });
            let answer = house.api("POST", "/v1/tokens/redeem", None, Some(body));
            let token = (answer.status < 300).then(|| answer.json()["token"].clone());
            if token.is_some() {
                *self.told.redeemed.lock().unwrap().entry(once.to_owned()).or_default() += 1;
            }
            token
        };
        let tokens: Vec<String> = std::thread::scope(|scope| {
            let racing = [scope.spawn(redeem), scope.spawn(redeem)];
            let won = racing.into_iter().filter_map(|one| one.join().ok().flatten());
            won.filter_map(|token| token.as_str().map(str::to_owned)).collect()
        });
        for token in &tokens {
            house.gate(HOST, "POST", "/v1/refunds", Some(token), Some(body.clone()));
        }
        // Now and then it is left for the next life.
        if round % 4 != 0 && self.revoke(&granted) {
            self.told.dead.lock().unwrap().extend(tokens);
        }
    }

    fn revoke(&self, grant: &str) -> bool {
        let path = format!("/v1/grants/{grant}/revoke");
        let revoked = self.api("POST", &path, &self.cast.lea, None).status == 200;
        if revoked {
            self.told.ended.lock().unwrap().insert(grant.to_owned());
        }
        revoked
    }

    /// Ben's request of one use, which waits for a review. Its mark is in the body that is sent.
    fn refund(&self, round: usize) {
        let mark = format!("mark-{}-{round}.", self.run);
        let body = json!({"amount": 40_000, "currency": "EUR", "note": mark}).to_string();
        let mut wire = Wire::connect(self.payments.house.gate);
        wire.send(format!(
            "POST /v1/refunds HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nPrefer: wait=20\r\nContent-Length: {}\r\n\r\n{body}",
            self.cast.ben.1,
            body.len()
        ));
        if wire.response().is_some_and(|answer| answer.status == 200) {
            self.told.refunded.lock().unwrap().insert(mark);
        }
    }

    /// Answers everything that waits; leo tries at the same moment, and both may say no.
    fn review(&self, round: usize, reviewer: &str) {
        let page = self.api("GET", "/v1/access-requests?filter=to-review", reviewer, None).json();
        for (n, request) in page["access_requests"].as_array().unwrap().iter().enumerate() {
            let answer = |who: &str, no: bool| {
                let body = if no {
                    json!({"decision": "decline", "note": "not this one"})
                } else {
                    json!({"decision": "approve"})
                };
                let path = reviews(id(request));
                let answered = self.api("POST", &path, who, Some(body));
                (answered.status < 300).then(|| answered.json()["state"].clone())
            };
            let no = (round + n) % 7 == 0;
            let (one, other) = std::thread::scope(|scope| {
                let other = scope.spawn(|| answer(&self.cast.leo, false));
                (answer(reviewer, no), other.join().ok().flatten())
            });
            assert!(one.is_none() || other.is_none(), "one review ends it, two counted");
            if let Some(Value::String(state)) = one.or(other) {
                self.told.reviewed.lock().unwrap().insert(id(request).to_owned(), state);
            }
        }
    }

    /// Opens an incident, asks and pays out under it, and closes it.
    fn incident(&self, round: usize) {
        let named = format!("mixed-{}-{round}", self.run);
        let lea = &self.cast.lea;
        let new =
            json!({"id": named, "title": "load", "severity": "sev1", "services": ["payments"]});
        if self.api("POST", "/v1/incidents", lea, Some(new)).status != 201 {
            return;
        }
        let ask = json!({"queries": [{"operation": "payments.createPayout"}], "incident": named,
            "reason": "load"});
        let asked = self.api("POST", "/v1/access-requests", &self.cast.ben.0, Some(ask));
        assert!(asked.status < 300, "{}", asked.text());
        let granted = grant(&asked.json());
        let gate = &self.cast.ben.1;
        self.payments.house.gate(HOST, "POST", "/v1/payouts", Some(gate), None);
        let path = format!("/v1/incidents/{named}/close");
        if self.api("POST", &path, lea, None).status == 200 {
            self.told.closed.lock().unwrap().insert(named, granted);
        }
    }
}

/// After the restart, nothing that an acknowledged revocation cut opens anything.
fn dead_stay_dead(payments: &Payments, told: &Told) {
    for token in std::mem::take(&mut *told.dead.lock().unwrap()) {
        let body = json!({"amount": 1, "currency": "EUR"});
        let answer = payments.house.gate(HOST, "POST", "/v1/refunds", Some(&token), Some(body));
        assert!((401..=403).contains(&answer.status), "{}: {}", answer.status, answer.text());
    }
}

fn nothing_is_lost(payments: &Payments, cast: &Cast, told: &Told) {
    let found = |path: String| payments.house.api("GET", &path, Some(&cast.lea), None).json();
    let reviewed = told.reviewed.lock().unwrap();
    for (request, state) in reviewed.iter() {
        assert_eq!(found(format!("/v1/access-requests/{request}"))["state"], **state, "{request}");
    }
    let closed = told.closed.lock().unwrap();
    for (incident, grant) in closed.iter() {
        assert_eq!(found(format!("/v1/incidents/{incident}"))["state"], "closed", "{incident}");
        let grant = found(format!("/v1/grants/{grant}"));
        assert_eq!(grant["end"], "incident_resolved", "{grant:#}");
    }
    let ended = told.ended.lock().unwrap();
    for grant in ended.iter() {
        let grant = found(format!("/v1/grants/{grant}"));
        assert_eq!(grant["state"], "ended", "{grant:#}");
    }
    let redeemed = told.redeemed.lock().unwrap();
    for (once, times) in redeemed.iter() {
        assert_eq!(*times, 1, "a one-time token was redeemed twice");
        let body = json!({ "token": once });
        let again = payments.house.api("POST", "/v1/tokens/redeem", None, Some(body));
        assert_eq!(again.status, 401, "{}", again.text());
    }
    drop((reviewed, closed, ended, redeemed));
    let [reads, refunded, reviewed, redeemed, ended, closed] = told.counts();
    println!(
        "acknowledged: {reads} reads, {reviewed} reviews, {refunded} held requests sent, {redeemed} \
         redemptions, {ended} revocations, {closed} incidents closed"
    );
    assert!(!told.counts().contains(&0), "each kind of load did something: {:?}", told.counts());
}

fn nothing_ran_twice(payments: &Payments, told: &Told) {
    let mut sent = BTreeMap::<String, usize>::new();
    for request in payments.upstream.received() {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let mark = body.split("mark-").nth(1).and_then(|rest| rest.split('.').next());
        if let Some(mark) = mark {
            *sent.entry(format!("mark-{mark}.")).or_default() += 1;
        }
    }
    let twice: Vec<_> = sent.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "sent more than once: {twice:?}");
    for mark in told.refunded.lock().unwrap().iter() {
        assert_eq!(sent.get(mark), Some(&1), "{mark} was answered with 200");
    }
    println!("single-use requests that reached the upstream: {}, each once", sent.len());
}

/// It verifies, and has every acknowledged change once, and every request that was answered.
fn the_record_has_it(payments: &Payments, told: &Told) {
    let reads = told.reads.load(Ordering::Relaxed);
    let refunded = told.refunded.lock().unwrap().len();
    let mut leaves = Vec::new();
    let count = |leaves: &[Value], operation: &str| {
        let of = |leaf: &&Value| leaf["type"] == "attempt" && leaf["operation"] == operation;
        leaves.iter().filter(of).count()
    };
    eventually("all that was answered is in the record", || {
        leaves = every_leaf(payments);
        count(&leaves, "payments.listRefunds") >= reads
            && count(&leaves, "payments.createRefund") >= refunded
    });
    super::verifies(payments);
    let mut times = BTreeMap::<(String, String), usize>::new();
    for leaf in &leaves {
        let kind = leaf["type"].as_str().unwrap_or_default();
        let of = match kind {
            "access_requested" | "access_request_ended" => "access_request",
            "grant_started" | "grant_ended" | "token_redeemed" => "grant",
            "incident_opened" | "incident_closed" => "incident",
            "grant_used" => "request",
            _ => continue,
        };
        let of = leaf[of].as_str().unwrap_or_default().to_owned();
        *times.entry((kind.to_owned(), of)).or_default() += 1;
    }
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "on record more than once: {twice:?}");
    let once = |kind: &str, of: &str| {
        assert_eq!(times.get(&(kind.to_owned(), of.to_owned())), Some(&1), "{kind} of {of}");
    };
    for request in told.reviewed.lock().unwrap().keys() {
        once("access_requested", request);
        once("access_request_ended", request);
    }
    for grant in told.ended.lock().unwrap().iter() {
        once("grant_started", grant);
        once("grant_ended", grant);
    }
    for (incident, grant) in told.closed.lock().unwrap().iter() {
        once("incident_opened", incident);
        once("incident_closed", incident);
        once("grant_ended", grant);
    }
}
