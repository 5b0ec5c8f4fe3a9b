//! What the identity step costs for a caller who is known, at 64 connections that take turns on one
//! core, each with a credential of its own: from the request's headers to the identity.
//!
//! Worth something in release only:
//! `cargo test --release -p portcullis-proxy --lib -- --ignored --nocapture identity_cost`.

use std::{hint::black_box, time::Instant};

use http::HeaderMap;
use portcullis_identity::{
    Introspection, JwtIssuer, Mapping, OpaqueIssuer, Pace, ProviderClient, TokenCache, Workloads,
};
use portcullis_model::{Clock, PersonId, PrincipalKind, Secret, SignInId};
use portcullis_policy::{Bundle, BundleSource};
use portcullis_testkit::{Issuer, ManualClock, ambient::machine_time};

use super::*;

const CONNECTIONS: usize = 64;
const ROUNDS: usize = 5_000;

#[test]
#[ignore = "it measures; see the module"]
fn identity_cost() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let issuer = Issuer::start();
    let now = machine_time();
    let workloads = workloads(&issuer, runtime.handle());
    let tokens: Vec<String> = (0..CONNECTIONS).map(|n| minted(&issuer, n, now)).collect();
    runtime.block_on(workloads.authenticate(&tokens[0], now)).unwrap();
    let mut cache = TokenCache::new(1024);
    report("workload token", &tokens, |headers| {
        let (name, presented) = presented(headers)?;
        let known = cache.try_authenticate(&workloads, presented.ok()?.token, now).ok()?;
        headers.remove(name);
        Some(known)
    });
    let opaque = opaque(&issuer, runtime.handle());
    let tokens: Vec<String> = (0..CONNECTIONS).map(|n| format!("at_{n:043}")).collect();
    for token in &tokens {
        runtime.block_on(opaque.authenticate(token, now)).unwrap();
    }
    let mut cache = TokenCache::new(1024);
    report("opaque token", &tokens, |headers| {
        let (name, presented) = presented(headers)?;
        let known = cache.try_authenticate(&opaque, presented.ok()?.token, now).ok()?;
        headers.remove(name);
        Some(known)
    });
    let (snapshot, tokens) = signed_in(now);
    report("sign-in", &tokens, |headers| {
        let (name, presented) = presented(headers)?;
        let (known, token) = (Known(&snapshot), presented.ok()?.token);
        let known = sign_ins::authenticate(&known, token, Audience::Gate, now).ok()?;
        headers.remove(name);
        Some(Arc::new(known))
    });
}

/// Runs `step` for each of `tokens` in turn, each after it was seen once.
fn report(
    what: &str,
    tokens: &[String],
    mut step: impl FnMut(&mut HeaderMap) -> Option<Arc<Authenticated>>,
) {
    let identities = Identities::default();
    let requests: Vec<HeaderMap> = tokens.iter().map(|token| headers(token)).collect();
    let mut times = Vec::with_capacity(tokens.len() * ROUNDS);
    for round in 0..=ROUNDS {
        for request in &requests {
            let mut headers = request.clone();
            let started = Instant::now();
            let known = black_box(step(black_box(&mut headers)));
            let identity = known.as_ref().map(|known| identities.of(known.principal()));
            let took = started.elapsed().as_nanos();
            assert!(black_box(identity).is_some(), "numbers about a refusal are worth nothing");
            assert!(!headers.contains_key(header::AUTHORIZATION));
            if round > 0 {
                times.push(took);
            }
        }
    }
    times.sort_unstable();
    let at = |percent: usize| times[times.len() * percent / 100];
    println!("{what:<16} p50 {:>6} ns   p90 {:>6} ns   p99 {:>6} ns", at(50), at(90), at(99));
}

/// What curl and most libraries send.
fn headers(token: &str) -> HeaderMap {
    let bearer = format!("Bearer {token}");
    let pairs = [
        ("host", "payments.example.com"),
        ("user-agent", "curl/8.11.1"),
        ("accept", "*/*"),
        ("accept-encoding", "gzip, br"),
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let pairs = pairs.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    pairs.into_iter().collect::<HeaderMap<HeaderValue>>()
}

fn workloads(issuer: &Issuer, control: &tokio::runtime::Handle) -> Workloads {
    let config = JwtIssuer::new("builds", issuer.url().parse().unwrap(), "portcullis");
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::stopped_now());
    let client = ProviderClient::new().unwrap();
    Workloads::new(vec![config], &client, &clock, Pace::default(), control).unwrap()
}

/// Workloads of an issuer that vouches for every opaque token.
fn opaque(issuer: &Issuer, control: &tokio::runtime::Handle) -> Workloads {
    let page = "/introspect";
    let answer = serde_json::json!({"active": true, "token_type": "Bearer", "sub": "job"});
    issuer.set_page(page, 200, answer);
    let config = OpaqueIssuer {
        name: "batch".to_owned(),
        introspection: Introspection::At {
            endpoint: format!("{}{page}", issuer.url()).parse().unwrap(),
            issuer: None,
        },
        client_id: "portcullis".to_owned(),
        client_secret: Secret::new("s"),
        prefix: None,
        audience: None,
        scopes: Vec::new(),
        mapping: Mapping::default(),
        answer: std::time::Duration::from_secs(30),
    };
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::stopped_now());
    let client = ProviderClient::new().unwrap();
    let workloads = Workloads::new(Vec::new(), &client, &clock, Pace::default(), control).unwrap();
    workloads.with_opaque(vec![config], &client, &clock, control).unwrap()
}

fn minted(issuer: &Issuer, n: usize, now: Timestamp) -> String {
    let draft = issuer.token(now).claim("aud", "portcullis").claim("sub", format!("job-{n}"));
    draft.claim("groups", vec!["builders", "deployers"]).mint()
}

/// A snapshot with as many sign-ins, and their tokens.
fn signed_in(now: Timestamp) -> (Snapshot, Vec<String>) {
    let bundle = Arc::new(Bundle::load(&BundleSource::default()).unwrap());
    let mut snapshot = Snapshot::new(bundle, 1);
    let mut tokens = Vec::new();
    for n in 0..CONNECTIONS as u128 {
        let principal = person(n);
        let token = Secret::new(format!("pc_sign_{n:043}"));
        let sign_in = SignIn {
            id: SignInId::from_bits(n),
            audience: Audience::Gate,
            principal: principal.id.clone(),
            person: Some(PersonId::from_bits(n)),
            authenticated_at: now,
            created_at: now,
            expires_at: now + jiff::SignedDuration::from_mins(10),
            parent: None,
            service: None,
            held: portcullis_model::Held::Token,
            provider_session: None,
            run: None,
        };
        let hash = TokenHash::of(token.expose());
        snapshot = snapshot.with_principal(principal).with_sign_in(hash, Arc::new(sign_in));
        tokens.push(token.expose().to_owned());
    }
    (snapshot, tokens)
}

fn person(n: u128) -> Arc<Principal> {
    Arc::new(Principal {
        id: PrincipalId::new(PrincipalKind::User, "corp", &format!("person-{n}")),
        person: Some(PersonId::from_bits(n)),
        name: format!("person {n}"),
        email: Some(format!("person-{n}@example.com")),
        groups: ["engineering", "oncall", "payments"].map(Arc::from).into(),
        amr: ["pwd".to_owned()].into(),
        issuer: "corp".into(),
        claims: std::collections::BTreeMap::new(),
    })
}
