//! What one decision costs, in a bundle of a thousand policies with distinct heads and a snapshot of
//! a hundred thousand grants, where at most four policies can matter to a query.
//!
//! Worth something in release only: `cargo run --release -p portcullis-policy --example decision_cost`.

use std::{collections::BTreeMap, error::Error, hint::black_box, sync::Arc, time::Instant};

use indexmap::IndexMap;
use jiff::{SignedDuration, Timestamp};
use portcullis_model::{
    AccessRequestId, Grant, GrantId, GrantKind, GrantState, OperationName, Principal, PrincipalId,
    PrincipalKind, RequestId, Resource, Window,
};
use portcullis_policy::{
    Answer, Bundle, BundleSource, Context, DecisionCache, Known, PolicySource, Query,
    ServiceSource, Snapshot, Source, Subject, bundle::OperationsSource, context::Http,
};

/// Each has four policies of its own.
const TEAMS: usize = 250;
const OPERATIONS: usize = 50;
const PEOPLE: usize = 25_000;
const GRANTS_EACH: usize = 4;
/// Who asks: few enough for one core to remember their slices.
const ASKING: usize = 500;
const ROUNDS: usize = 40;

type Failed = Box<dyn Error>;

fn main() -> Result<(), Failed> {
    let started = Instant::now();
    let bundle = Bundle::load(&source()?).map_err(|errors| format!("{errors:?}"))?;
    println!("{} policies loaded in {:?}", bundle.policy_ids().count(), started.elapsed());
    let started = Instant::now();
    let snapshot = snapshot(Arc::new(bundle))?;
    println!("{} grants published in {:?}", PEOPLE * GRANTS_EACH, started.elapsed());
    println!("{:<16} {:<24} {:>10} {:>10}", "answer", "remembered", "p50", "p99");
    for (answer, questions) in [
        ("standing permit", questions("get", 0)?),
        ("permit by grant", questions("create", 0)?),
        ("requestable", questions("create", PEOPLE)?),
    ] {
        check(&snapshot, &questions, answer)?;
        report(answer, "nothing", cold(&snapshot, &questions));
        report(answer, "slices", warm(&snapshot, &questions, DecisionCache::disabled()));
        report(
            answer,
            "slices and outcomes",
            warm(&snapshot, &questions, DecisionCache::default()),
        );
    }
    Ok(())
}

/// A query, and everything that it borrows.
struct Question {
    subject: Subject,
    operation: OperationName,
    resource: Resource,
    context: Context,
}

impl Question {
    fn query(&self) -> Query<'_> {
        Query {
            subject: &self.subject,
            operation: &self.operation,
            resource: &self.resource,
            context: &self.context,
            digest: None,
            incident: None,
            only: None,
        }
    }
}

/// Every decision with a cache of its own.
fn cold(snapshot: &Snapshot, questions: &[Question]) -> Vec<u128> {
    let mut times = Vec::with_capacity(questions.len() * ROUNDS);
    for _ in 0..ROUNDS {
        times.extend(questions.iter().map(|question| {
            let mut cache = DecisionCache::disabled();
            timed(snapshot, question, &mut cache)
        }));
    }
    times
}

/// Every decision with `cache`, after each was asked once.
fn warm(snapshot: &Snapshot, questions: &[Question], mut cache: DecisionCache) -> Vec<u128> {
    for question in questions {
        timed(snapshot, question, &mut cache);
    }
    let mut times = Vec::with_capacity(questions.len() * ROUNDS);
    for _ in 0..ROUNDS {
        times.extend(questions.iter().map(|question| timed(snapshot, question, &mut cache)));
    }
    times
}

fn timed(snapshot: &Snapshot, question: &Question, cache: &mut DecisionCache) -> u128 {
    let started = Instant::now();
    black_box(snapshot.decide(black_box(&question.query()), cache));
    started.elapsed().as_nanos()
}

fn report(answer: &str, remembered: &str, mut times: Vec<u128>) {
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    println!("{answer:<16} {remembered:<24} {:>7} ns {:>7} ns", at(50), at(99));
}

/// Numbers about the wrong answer would be worth nothing.
fn check(snapshot: &Snapshot, questions: &[Question], answer: &str) -> Result<(), Failed> {
    for question in questions {
        let verdict = snapshot.decide(&question.query(), &mut DecisionCache::disabled());
        let found = match &verdict.answer {
            Answer::Permit(pass) if pass.grant().is_some() => "permit by grant",
            Answer::Permit(_) => "standing permit",
            Answer::Requestable(_) => "requestable",
            Answer::Deny(_) => "deny",
        };
        if found != answer {
            return Err(format!("{}: {found} instead of {answer}", question.operation).into());
        }
    }
    Ok(())
}

fn policies() -> String {
    let team = |team: usize| {
        let number = team % OPERATIONS;
        let head = format!("principal in Group::\"team-{team}\", action == Action::\"shop.");
        let inside = "context.source.ip.isInRange(ip(\"10.0.0.0/8\"))";
        format!(
            "@id(\"{team}.read\") permit ({head}get{number}\", resource in Service::\"shop\")\n\
             when {{ {inside} }};\n\
             @id(\"{team}.automatic\") @reviews(\"0\")\n\
             permit ({head}create{number}\", resource in Service::\"shop\")\n\
             when {{ context has grant && context.http.method == \"POST\" }};\n\
             @id(\"{team}.reviewed\") @reviews(\"2\") @max_uses(\"1\")\n\
             permit ({head}create{number}\", resource == Service::\"shop\") when {{ context has grant }};\n\
             @id(\"{team}.floor\") forbid ({head}create{number}\", resource)\n\
             when {{ resource has labels && resource.labels has env && resource.labels.env == \"prod\" }}\n\
             unless {{ context has grant && (context.grant.reviews >= 2 || context.grant.kind == \"automatic\") }};\n"
        )
    };
    (0..TEAMS).map(team).collect::<Vec<_>>().concat()
}

fn source() -> Result<BundleSource, Failed> {
    let operations = (0..OPERATIONS).flat_map(|number| {
        [
            (format!("get{number}"), format!("GET /things/{number}/{{id}}")),
            (format!("create{number}"), format!("POST /things/{number}")),
        ]
    });
    let shop = ServiceSource {
        name: "shop".parse()?,
        hosts: vec!["shop.example.com".to_owned()],
        path_prefix: None,
        labels: BTreeMap::from([("env".to_owned(), "prod".to_owned())]),
        instances: IndexMap::from([("s-1".parse()?, "http://127.0.0.1:8001".to_owned())]),
        addressed_only: Vec::new(),
        operations: OperationsSource::Inline(operations.collect()),
        groups: BTreeMap::new(),
        max_grant: Window::minutes(60),
        max_hold: ServiceSource::MAX_HOLD,
        max_body: ServiceSource::MAX_BODY,
        max_bodies: BTreeMap::new(),
        upstream: portcullis_policy::upstream::UpstreamSource::default(),
        strict_audit: false,
        anonymous: false,
        edge: portcullis_policy::edge::EdgeSource::default(),
        place: ("portcullis.yaml".to_owned(), None),
    };
    Ok(BundleSource {
        policies: vec![PolicySource { path: "shop.cedar".to_owned(), text: policies() }],
        services: vec![shop],
        ..BundleSource::default()
    })
}

fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 365 * 56)
}

fn person(number: usize) -> Principal {
    let groups = [format!("team-{}", number % TEAMS), "everybody".to_owned(), "staff".to_owned()];
    Principal {
        id: PrincipalId::new(PrincipalKind::User, "corp", &format!("person-{number}")),
        person: None,
        name: format!("Person {number}"),
        email: Some(format!("person-{number}@example.com")),
        groups: groups.into_iter().map(Arc::from).collect(),
        amr: ["pwd".to_owned(), "hwk".to_owned()].into(),
        issuer: "corp".to_owned(),
        claims: BTreeMap::new(),
    }
}

/// Everybody holds one grant for what their team may ask for, and others for something else.
fn snapshot(bundle: Arc<Bundle>) -> Result<Snapshot, Failed> {
    let mut snapshot = Snapshot::new(bundle, 1);
    let mut bits = 0;
    for number in 0..PEOPLE {
        let (person, team) = (person(number), number % TEAMS);
        for held in 0..GRANTS_EACH {
            bits += 1;
            let grant = Grant {
                id: GrantId::from_bits(bits),
                version: 0,
                access_request: AccessRequestId::from_bits(bits),
                principal: person.id.clone(),
                rule: format!("{team}.automatic").parse()?,
                kind: GrantKind::Automatic,
                reviews: 0,
                operation: format!("shop.create{}", (team + held) % OPERATIONS).parse()?,
                resource: Resource { service: "shop".parse()?, instance: None },
                incident: None,
                digest: None,
                starts_at: now(),
                expires_at: now() + SignedDuration::from_mins(30),
                max_uses: None,
                uses: 0,
                idle: None,
                state: GrantState::InForce,
            };
            snapshot = snapshot.with_grant(Arc::new(grant), now());
        }
    }
    Ok(snapshot)
}

/// One question each of people from number `first` on, about what their team works with.
fn questions(verb: &str, first: usize) -> Result<Vec<Question>, Failed> {
    let question = |number: usize| {
        let operation = format!("shop.{verb}{}", number % TEAMS % OPERATIONS);
        let method = if verb == "get" { "GET" } else { "POST" };
        Ok(Question {
            subject: Subject::new(Arc::new(person(number))),
            operation: operation.parse()?,
            resource: Resource { service: "shop".parse()?, instance: None },
            context: Context {
                now: now(),
                source: Known::Value(Source { ip: "10.0.0.1".parse()?, country: None }),
                auth_method: "sign_in",
                auth_age: SignedDuration::from_mins(5),
                request: Known::Value(RequestId::from_bits(1)),
                http: Known::Value(Some(Http {
                    method: method.into(),
                    path: "/things".into(),
                    host: "shop.example.com".into(),
                })),
                params: Known::Value(None),
                body: Known::Value(None),
                seen_in: None,
            },
        })
    };
    (first..first + ASKING).map(question).collect()
}
