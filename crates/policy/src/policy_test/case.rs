//! Running cases: from what is written to a query, and from the verdict to what is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{
    AccessRequestId, AttributeValue, ClassName, Grant, GrantId, GrantState, OperationName,
    PolicyId, Principal, PrincipalId, PrincipalKind, RequestId, Resource, Way, Window,
};
use serde_json::Value as Json;

use super::{
    CaseFailure, Report,
    file::{Case, ContextEntry, Expected, GrantEntry, PrincipalEntry, Tests, at_line, line},
    world,
};
use crate::context::InvalidCountry;
use crate::{
    Answer, Bundle, Context, DecisionCache, Known, Query, Record, Snapshot, Source, Subject, Value,
    Verdict,
    catalog::{Operation, RecordType, Type},
    context::Http,
    place::File,
};

/// When a case does not say: any time, but always the same one.
const NOW: &str = "2026-01-01T12:00:00Z";
/// From where: an address that belongs to nobody (RFC 5737).
const SOURCE: [u8; 4] = [192, 0, 2, 1];

/// Runs all cases of one file.
pub(super) fn run_all(snapshot: &Snapshot, file: File<'_>, tests: &Tests, report: &mut Report) {
    let snapshot = &world::told(snapshot, tests);
    let mut subjects = BTreeMap::new();
    for (name, entry) in &tests.principals {
        let known = principal(snapshot.bundle(), entry);
        if let Err(message) = &known {
            let line = line(&entry.id.referenced);
            report.errors.push(at_line(file, line, format!("principal `{name}`: {message}")));
        }
        subjects.insert(name.as_str(), known.ok().map(|known| Subject::new(Arc::new(known))));
    }
    for case in &tests.cases {
        let line = line(&case.name.referenced);
        let subject = match subjects.get(case.principal.as_str()) {
            Some(Some(subject)) => Ok(subject),
            // What is wrong with them has been told.
            Some(None) => continue,
            None => Err(format!("there is no principal `{}`", case.principal)),
        };
        match subject.and_then(|subject| answered(snapshot, case, subject)) {
            Ok(verdict) => {
                report.cases += 1;
                report.failures.extend(failure(case, &verdict, file, line));
            }
            Err(message) => {
                let message = format!("case `{}`: {message}", case.name.value);
                report.errors.push(at_line(file, line, message));
            }
        }
    }
}

fn answered(snapshot: &Snapshot, case: &Case, subject: &Subject) -> Result<Verdict, String> {
    if case.ways.is_some() && case.expect != Expected::Requestable {
        return Err("`ways` are there only where `expect` is requestable".to_owned());
    }
    let catalog = snapshot.bundle().catalog();
    let operation = catalog.operation(&case.operation);
    let operation =
        operation.ok_or_else(|| format!("there is no operation `{}`", case.operation))?;
    let service = case.operation.service().parse().map_err(|error| format!("{error}"))?;
    let resource = Resource { service, instance: case.instance.clone() };
    if snapshot.bundle().places().resource(&resource).is_none() {
        return Err(format!("there is no instance `{resource}`"));
    }
    let mut context = context(snapshot.bundle(), operation, &case.context, subject)?;
    let name = match &case.reveal {
        None => operation.name().clone(),
        Some(class) => seen(case, &resource, class, &mut context)?,
    };
    if !catalog.knows(&name) {
        let class = name.revealed().unwrap_or_default();
        return Err(format!("`{}` has no class of data `{class}`", resource.service));
    }
    let snapshot = match &case.grant {
        Some(entry) => {
            let grant = grant(snapshot.bundle(), entry, subject, &resource, &name, context.now);
            snapshot.clone().with_grant(Arc::new(grant?), context.now)
        }
        None => snapshot.clone(),
    };
    let query = Query {
        subject,
        operation: &name,
        resource: &resource,
        context: &context,
        digest: None,
        incident: None,
        only: None,
    };
    Ok(snapshot.decide(&query, &mut DecisionCache::disabled()))
}

/// What it is to see `class` in the answers of the case's operation: policies about that read nothing
/// else of a request.
fn seen(
    case: &Case,
    resource: &Resource,
    class: &ClassName,
    context: &mut Context,
) -> Result<OperationName, String> {
    if case.context.params.is_some() || case.context.body.is_some() {
        return Err("what is seen depends on no parameters and on no body".to_owned());
    }
    let none = Known::Value(None);
    (context.http, context.params, context.body) = (Known::Value(None), none.clone(), none);
    context.seen_in = Some(case.operation.clone());
    Ok(OperationName::reveal(&resource.service, class))
}

fn principal(bundle: &Bundle, entry: &PrincipalEntry) -> Result<Principal, String> {
    if entry.kind == PrincipalKind::Anonymous {
        return stranger(entry);
    }
    let (issuer, subject) = match entry.id.value.split_once(':') {
        Some((issuer, subject)) if !issuer.is_empty() && !subject.is_empty() => (issuer, subject),
        _ => return Err(format!("`{}` is no name; write it like corp:ana", entry.id.value)),
    };
    for (name, value) in &entry.claims {
        let declared = bundle.claims(entry.kind).get(name);
        let declared = declared.ok_or_else(|| format!("claim `{name}` is not declared"))?;
        if declared != type_of(value) {
            return Err(format!("claim `{name}` is a {}, not a {declared}", type_of(value)));
        }
    }
    Ok(Principal {
        id: PrincipalId::new(entry.kind, issuer, subject),
        person: None,
        name: subject.to_owned(),
        email: entry.email.clone(),
        groups: entry.groups.iter().map(|group| Arc::from(group.as_str())).collect(),
        amr: entry.amr.iter().cloned().collect(),
        issuer: issuer.to_owned(),
        claims: entry.claims.clone(),
    })
}

/// Strangers cannot be told apart: there is nothing to say about one.
fn stranger(entry: &PrincipalEntry) -> Result<Principal, String> {
    let stranger = Principal::anonymous();
    let says_more = !entry.groups.is_empty() || !entry.claims.is_empty() || !entry.amr.is_empty();
    if entry.id.value != *stranger.id.id || says_more || entry.email.is_some() {
        return Err(format!("a stranger is {{type: Anonymous, id: {}}}", stranger.id.id));
    }
    Ok(stranger)
}

fn type_of(value: &AttributeValue) -> &'static str {
    match value {
        AttributeValue::Bool(_) => "Bool",
        AttributeValue::Long(_) => "Long",
        AttributeValue::String(_) => "String",
        AttributeValue::Set(_) => "Set<String>",
    }
}

fn context(
    bundle: &Bundle,
    operation: &Operation,
    entry: &ContextEntry,
    subject: &Subject,
) -> Result<Context, String> {
    let now = entry.now.as_deref().unwrap_or(NOW);
    let now: Timestamp = now.parse().map_err(|_| format!("`{now}` is no time; write {NOW}"))?;
    let age = entry.auth_age.as_deref().map(str::parse::<Window>).transpose();
    let age = age.map_err(|error| error.to_string())?;
    let auth_method = match subject.principal().id.kind {
        PrincipalKind::User => "sign_in",
        PrincipalKind::Workload => "jwt",
        PrincipalKind::Anonymous => "anonymous",
    };
    let country = entry.country.as_deref().map(str::parse).transpose();
    let country = country.map_err(|error: InvalidCountry| error.to_string())?;
    if country.is_some() && !bundle.is_located() {
        return Err("`country` says where an address is, and no `geo` is configured".to_owned());
    }
    let source = Source { ip: entry.source.unwrap_or(SOURCE.into()), country };
    Ok(Context {
        now,
        source: Known::Value(source),
        auth_method,
        auth_age: age.map_or(SignedDuration::ZERO, Window::signed),
        request: Known::Value(RequestId::from_bits(1)),
        http: Known::Value(http(bundle, operation, entry)),
        params: Known::Value(params(operation, entry)?),
        body: Known::Value(body(operation, entry)?),
        seen_in: None,
    })
}

fn http(bundle: &Bundle, operation: &Operation, entry: &ContextEntry) -> Option<Http> {
    if operation.is_connect() {
        return None;
    }
    let mut path = operation.path().unwrap_or_else(|| "/".to_owned());
    for (name, value) in entry.params.iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        path = path.replace(&format!("{{{name}}}"), &text);
    }
    let mut services = bundle.catalog().services().map(crate::catalog::Service::source);
    let service = services.find(|service| service.name.as_str() == operation.name().service());
    let host = service.and_then(|service| service.hosts.first()).cloned().unwrap_or_default();
    Some(Http { method: operation.method().into(), path: path.into(), host: host.into() })
}

fn params(operation: &Operation, entry: &ContextEntry) -> Result<Option<Record>, String> {
    match (&entry.params, operation.params_type()) {
        (None, _) => Ok(None),
        (Some(fields), Some(ty)) => record("params", ty, fields).map(Some),
        (Some(_), None) => Err(format!("`{}` has no parameters", operation.name())),
    }
}

fn body(operation: &Operation, entry: &ContextEntry) -> Result<Option<Record>, String> {
    match (&entry.body, operation.body_type()) {
        (None, _) => Ok(None),
        (Some(Json::Object(fields)), Some(ty)) => record("body", ty, fields).map(Some),
        (Some(_), Some(_)) => Err("`body` is not an object".to_owned()),
        (Some(_), None) => Err(format!("`{}` has no declared body", operation.name())),
    }
}

/// Stricter than the gate: what is not declared is a slip of the pen here.
fn record(
    at: &str,
    ty: &RecordType,
    fields: &serde_json::Map<String, Json>,
) -> Result<Record, String> {
    let mut record = Record::new();
    for (name, json) in fields {
        let at = format!("{at}.{name}");
        let declared = ty.fields.get_key_value(name.as_str());
        let (name, field) = declared.ok_or_else(|| format!("`{at}` is not declared"))?;
        record.insert(Arc::clone(name), value(&at, &field.ty, json)?);
    }
    let missing =
        ty.fields.iter().find(|(name, field)| field.required && !record.contains_key(*name));
    match missing {
        Some((name, _)) => Err(format!("`{at}.{name}` is required and missing")),
        None => Ok(record),
    }
}

fn value(at: &str, ty: &Type, json: &Json) -> Result<Value, String> {
    let wrong = |words: &str| Err(format!("`{at}` is not {words}"));
    match (ty, json) {
        (Type::Bool, Json::Bool(value)) => Ok(Value::Bool(*value)),
        (Type::Long, Json::Number(number)) if number.is_i64() => {
            Ok(Value::Long(number.as_i64().unwrap_or_default()))
        }
        (Type::String, Json::String(text)) => Ok(Value::String(text.clone())),
        (Type::Decimal, Json::Number(number)) => {
            Ok(Value::Decimal(format!("{:.4}", number.as_f64().unwrap_or_default())))
        }
        (Type::Set(item), Json::Array(items)) => {
            let values = items.iter().map(|json| value(&format!("{at}[]"), item, json));
            Ok(Value::Set(values.collect::<Result<_, _>>()?))
        }
        (Type::Record(ty), Json::Object(fields)) => record(at, ty, fields).map(Value::Record),
        (Type::Bool, _) => wrong("true or false"),
        (Type::Long, _) => wrong("a whole number of 64 bits"),
        (Type::String, _) => wrong("a string"),
        (Type::Decimal, _) => wrong("a number"),
        (Type::Set(_), _) => wrong("a list"),
        (Type::Record(_), _) => wrong("an object"),
    }
}

/// The grant that the rule issues, unless the case says otherwise.
fn grant(
    bundle: &Bundle,
    entry: &GrantEntry,
    holder: &Subject,
    resource: &Resource,
    operation: &OperationName,
    now: Timestamp,
) -> Result<Grant, String> {
    let rule = bundle.policies().lookup(entry.rule.as_str());
    let terms = rule.and_then(|(_, rule)| rule.terms);
    let terms = terms.ok_or_else(|| format!("there is no rule `{}`", entry.rule))?;
    let place = bundle.places().operation(operation);
    let longest = place.map_or(terms.max_duration, |place| place.max_grant);
    let reviews = entry.reviews.unwrap_or(terms.reviews);
    Ok(Grant {
        id: GrantId::from_bits(1),
        version: 0,
        access_request: AccessRequestId::from_bits(1),
        principal: holder.principal().id.clone(),
        rule: entry.rule.clone(),
        kind: entry.kind.unwrap_or(terms.kind(reviews)),
        reviews,
        operation: operation.clone(),
        resource: resource.clone(),
        incident: entry.incident.clone(),
        digest: None,
        starts_at: now,
        expires_at: now + terms.max_duration.min(longest).signed(),
        max_uses: terms.max_uses,
        uses: 0,
        idle: terms.idle,
        state: GrantState::InForce,
    })
}

fn failure(
    case: &Case,
    verdict: &Verdict,
    file: File<'_>,
    line: Option<usize>,
) -> Option<CaseFailure> {
    let (answer, ways): (Expected, &[Way]) = match &verdict.answer {
        Answer::Permit(_) => (Expected::Permit, &[]),
        Answer::Requestable(ways) => (Expected::Requestable, ways),
        Answer::Deny(_) => (Expected::Deny, &[]),
    };
    let wanted = |policies: &Vec<PolicyId>| {
        policies.iter().collect::<BTreeSet<_>>() == verdict.policies.iter().collect()
    };
    let holds = answer == case.expect
        && case.policies.as_ref().is_none_or(wanted)
        && case.ways.as_ref().is_none_or(|wanted| {
            wanted.len() == ways.len()
                && wanted.iter().zip(ways).all(|(wanted, way)| {
                    wanted.rule == way.rule
                        && wanted.reviews.is_none_or(|n| n == way.reviews)
                        && (wanted.incident.is_none() || wanted.incident == way.incident)
                })
        });
    (!holds).then(|| CaseFailure {
        file: file.path.to_owned(),
        line,
        name: case.name.value.clone(),
        expected: expected(case),
        actual: told(answer, &verdict.policies, ways),
    })
}

fn expected(case: &Case) -> String {
    let mut text = case.expect.as_str().to_owned();
    let policies = case.policies.iter().flatten().map(PolicyId::as_str);
    append(&mut text, "by", &policies.map(str::to_owned).collect::<Vec<_>>());
    let ways = case.ways.iter().flatten().map(|way| match way.reviews {
        Some(reviews) => format!("{} with {}", way.rule, in_words(reviews)),
        None => way.rule.to_string(),
    });
    append(&mut text, "through", &ways.collect::<Vec<_>>());
    text
}

fn told(answer: Expected, policies: &[PolicyId], ways: &[Way]) -> String {
    let mut text = answer.as_str().to_owned();
    append(&mut text, "by", &policies.iter().map(ToString::to_string).collect::<Vec<_>>());
    let ways = ways.iter().map(|way| format!("{} with {}", way.rule, in_words(way.reviews)));
    append(&mut text, "through", &ways.collect::<Vec<_>>());
    text
}

fn append(text: &mut String, word: &str, parts: &[String]) {
    if !parts.is_empty() {
        text.extend([" ", word, " ", &parts.join(", ")]);
    }
}

fn in_words(reviews: u8) -> String {
    format!("{reviews} review{}", if reviews == 1 { "" } else { "s" })
}
