//! What the tests of this crate decide about.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use indexmap::IndexMap;
use jiff::{SignedDuration, Timestamp};
use portcullis_model::{
    AccessRequestId, AttributeValue, Grant, GrantId, GrantKind, GrantState, Incident,
    IncidentSource, IncidentState, OperationName, PolicyId, Principal, PrincipalId, PrincipalKind,
    RequestId, Resource, Schedule, Way, Window,
};

use crate::{
    Answer, Bundle, BundleSource, Context, DecisionCache, Known, LoadError, PolicySource, Query,
    Record, ServiceSource, Snapshot, Source, Subject, Value, Verdict,
    bundle::OperationsSource,
    context::Http,
    sensitive::{ClassSource, Mask, SensitiveSource},
};

const OPENAPI: &str = r#"{
  "openapi": "3.0.3", "info": {"title": "payments", "version": "1"},
  "paths": {
    "/refunds/{id}": {"get": {"operationId": "getRefund",
      "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}],
      "responses": {"200": {"description": "ok"}}}},
    "/refunds": {"post": {"operationId": "createRefund",
      "requestBody": {"content": {"application/json": {"schema": {"type": "object",
        "required": ["amount", "currency"],
        "properties": {"amount": {"type": "integer", "format": "int64"}, "currency": {"type": "string"}}}}}},
      "responses": {"200": {"description": "ok"}}}}
  }
}"#;

/// Two services: payments (high criticality, instances p-1, p-2 and the addressed p-9) and ledger.
pub(crate) fn source(policies: &str) -> BundleSource {
    BundleSource {
        geo: false,
        policies: vec![PolicySource { path: "all.cedar".to_owned(), text: policies.to_owned() }],
        services: vec![service("payments", "high"), service("ledger", "low")],
        labels: BTreeMap::new(),
        claims: BTreeMap::from([("repository".to_owned(), "String".to_owned())]),
        user_claims: BTreeMap::new(),
        clocks: BTreeMap::from([("office".to_owned(), "Europe/Lisbon".to_owned())]),
        rotations: BTreeMap::new(),
        receivers: BTreeSet::new(),
        decisions: false,
    }
}

fn service(name: &str, criticality: &str) -> ServiceSource {
    let url = |instance: &str| (instance.parse().unwrap(), format!("http://127.0.0.1/{instance}"));
    let labels = [("env", "prod"), ("criticality", criticality)];
    let operations = OperationsSource::OpenApi { path: "api.json".into(), text: OPENAPI.into() };
    let inline = IndexMap::from([("getEntry".to_owned(), "GET /entries/{id}".to_owned())]);
    let is_payments = name == "payments";
    ServiceSource {
        name: name.parse().unwrap(),
        hosts: vec![format!("{name}.example.com")],
        path_prefix: None,
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        instances: IndexMap::from(["p-1", "p-2", "p-9"].map(url).map(|(name, url)| {
            let url = url.split_at(16).0.to_owned();
            (name, url)
        })),
        addressed_only: vec!["p-9".parse().unwrap()],
        operations: if is_payments { operations } else { OperationsSource::Inline(inline) },
        groups: BTreeMap::new(),
        max_grant: Window::minutes(8 * 60),
        max_hold: ServiceSource::MAX_HOLD,
        max_body: ServiceSource::MAX_BODY,
        max_bodies: BTreeMap::new(),
        upstream: crate::upstream::UpstreamSource::default(),
        strict_audit: false,
        anonymous: false,
        edge: crate::edge::EdgeSource {
            sensitive: Some(sensitive(if is_payments { &["pci", "pii"] } else { &["pci"] })),
            ..crate::edge::EdgeSource::default()
        },
        place: ("portcullis.yaml".to_owned(), Some(1)),
    }
}

/// These classes, each somewhere.
pub(crate) fn sensitive(classes: &[&str]) -> SensitiveSource {
    let class = |name: &&str| ClassSource {
        name: name.parse().unwrap(),
        paths: vec![format!("$.{name}")],
        mask: Mask::Full,
        recognise: Vec::new(),
    };
    SensitiveSource { classes: classes.iter().map(class).collect() }
}

pub(crate) fn bundle(policies: &str) -> Arc<Bundle> {
    Arc::new(Bundle::load(&source(policies)).unwrap_or_else(|errors| panic!("{errors:#?}")))
}

pub(crate) fn load_errors(policies: &str) -> Vec<LoadError> {
    Bundle::load(&source(policies)).err().unwrap_or_default()
}

pub(crate) fn snapshot(policies: &str) -> Snapshot {
    Snapshot::new(bundle(policies), 1)
}

pub(crate) fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

pub(crate) fn person(name: &str, groups: &[&str]) -> Principal {
    Principal {
        id: PrincipalId::new(PrincipalKind::User, "corp", name),
        person: None,
        name: name.to_owned(),
        email: None,
        groups: groups.iter().map(|group| Arc::from(*group)).collect(),
        amr: ["pwd".to_owned()].into(),
        issuer: "corp".to_owned(),
        claims: BTreeMap::new(),
    }
}

/// A build, with these claims.
pub(crate) fn workload(claims: &[(&str, &str)]) -> Principal {
    let claim = |(name, value): &(&str, &str)| {
        ((*name).to_owned(), AttributeValue::String((*value).to_owned()))
    };
    Principal {
        id: PrincipalId::new(PrincipalKind::Workload, "ci", "build"),
        issuer: "ci".to_owned(),
        claims: claims.iter().map(claim).collect(),
        ..person("build", &[])
    }
}

pub(crate) fn subject(name: &str, groups: &[&str]) -> Subject {
    Subject::new(Arc::new(person(name, groups)))
}

pub(crate) fn context(amount: i64) -> Context {
    let body: Record = [
        (Arc::from("amount"), Value::Long(amount)),
        (Arc::from("currency"), Value::String("EUR".to_owned())),
    ]
    .into();
    Context {
        now: now(),
        source: Known::Value(Source { ip: "10.0.0.1".parse().unwrap(), country: None }),
        auth_method: "sign-in",
        auth_age: SignedDuration::from_secs(60),
        request: Known::Value(RequestId::from_bits(1)),
        http: Known::Value(Some(Http {
            method: "POST".into(),
            path: "/refunds".into(),
            host: "payments.example.com".into(),
        })),
        params: Known::Value(None),
        body: Known::Value(Some(body)),
        seen_in: None,
    }
}

/// What is known where data is seen in the answers of `operation`.
pub(crate) fn seen_in(operation: &str) -> Context {
    Context {
        http: Known::Value(None),
        params: Known::Value(None),
        body: Known::Value(None),
        seen_in: Some(operation.parse().unwrap()),
        ..context(1)
    }
}

pub(crate) fn ahead() -> Context {
    Context {
        source: Known::Unknown,
        request: Known::Unknown,
        http: Known::Unknown,
        params: Known::Unknown,
        body: Known::Unknown,
        ..context(0)
    }
}

pub(crate) fn grant(holder: &Subject, rule: &str, reviews: u8) -> Grant {
    Grant {
        id: GrantId::from_bits(7),
        version: 0,
        access_request: AccessRequestId::from_bits(1),
        principal: holder.principal().id.clone(),
        rule: rule.parse().unwrap(),
        kind: if reviews == 0 { GrantKind::Automatic } else { GrantKind::Review },
        reviews,
        operation: "payments.createRefund".parse().unwrap(),
        resource: Resource { service: "payments".parse().unwrap(), instance: None },
        incident: None,
        digest: None,
        starts_at: now(),
        expires_at: now() + SignedDuration::from_mins(15),
        max_uses: None,
        uses: 0,
        idle: None,
        state: GrantState::InForce,
    }
}

/// An incident of `services`, opened by lea.
pub(crate) fn incident(id: &str, services: &[&str]) -> Incident {
    let principal = PrincipalId::new(PrincipalKind::User, "corp", "lea");
    Incident {
        id: id.parse().unwrap(),
        version: 0,
        title: "refunds are stuck".to_owned(),
        severity: "sev1".parse().unwrap(),
        services: services.iter().map(|name| name.parse().unwrap()).collect(),
        source: IncidentSource { door: "api".to_owned(), principal },
        responders: BTreeSet::new(),
        opened_at: now(),
        updated_at: now(),
        fresh_until: None,
        elsewhere: None,
        state: IncidentState::Open,
    }
}

/// A schedule that these people are on.
pub(crate) fn schedule(name: &str, people: &[&str], until: Option<Timestamp>) -> Arc<Schedule> {
    let id = |name: &&str| PrincipalId::new(PrincipalKind::User, "corp", name);
    Arc::new(Schedule {
        name: name.parse().unwrap(),
        version: 0,
        people: people.iter().map(id).collect(),
        since: None,
        until,
        source: "test".to_owned(),
    })
}

/// Asks about one operation of the service that its name says.
pub(crate) fn ask(
    snapshot: &Snapshot,
    subject: &Subject,
    operation: &str,
    context: &Context,
    cache: &mut DecisionCache,
) -> Verdict {
    let operation: OperationName = operation.parse().unwrap();
    let service = operation.service().parse().unwrap();
    let resource = Resource { service, instance: None };
    let query = Query {
        subject,
        operation: &operation,
        resource: &resource,
        context,
        digest: None,
        incident: None,
        only: None,
    };
    snapshot.decide(&query, cache)
}

/// The same with nothing remembered, told short: `permit`, `permit by grant`, `requestable: …`, `deny: …`.
pub(crate) fn told(
    snapshot: &Snapshot,
    subject: &Subject,
    operation: &str,
    context: &Context,
) -> String {
    tell(&ask(snapshot, subject, operation, context, &mut DecisionCache::disabled()))
}

pub(crate) fn tell(verdict: &Verdict) -> String {
    match &verdict.answer {
        Answer::Permit(pass) if pass.grant().is_some() => "permit by grant".to_owned(),
        Answer::Permit(_) => "permit".to_owned(),
        Answer::Requestable(ways) => {
            let way = |way: &Way| {
                let incident = way.incident.as_ref().map(|id| format!("@{id}"));
                let incident = incident.unwrap_or_default();
                format!(" {}/{}/{}{incident}", way.rule, way.kind.as_str(), way.reviews)
            };
            format!("requestable:{}", ways.iter().map(way).collect::<String>())
        }
        Answer::Deny(denial) => format!("deny: {denial:?}"),
    }
}

pub(crate) fn ids(verdict: &Verdict) -> Vec<&str> {
    verdict.policies.iter().map(PolicyId::as_str).collect()
}
