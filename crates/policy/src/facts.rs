//! The context of a query: for Cedar to evaluate, and for the cache to compare.
//!
//! Only what the policies of a slice read is ever built or compared.

use std::{net::IpAddr, sync::Arc};

use cedar_policy::{RestrictedExpression, pst::SmolStr};
use jiff::{SignedDuration, Timestamp};
use portcullis_model::{Grant, GrantKind, Incident};

use crate::{
    clocks::{Clocks, Shown},
    context::{Context, Http, Known, Record, Source, Value},
    entities::{TYPES, uid},
    reads::{Part, Read, Reads},
};

/// A grant as policies see it, and nothing else of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GrantFacts<'a> {
    pub(crate) kind: GrantKind,
    pub(crate) reviews: u8,
    pub(crate) expires: Timestamp,
    pub(crate) incident: Option<&'a Incident>,
}

impl<'a> GrantFacts<'a> {
    /// Of a grant that is for `incident`.
    pub(crate) fn of(grant: &Grant, incident: Option<&'a Incident>) -> Self {
        let (kind, reviews, expires) = (grant.kind, grant.reviews, grant.expires_at);
        Self { kind, reviews, expires, incident }
    }
}

/// A context that cannot be built; the query is denied.
pub(crate) type NoContext = Box<dyn std::error::Error + Send + Sync>;

/// The parts of `context` that `reads` names, and the grant.
pub(crate) fn cedar_context(
    clocks: &Clocks,
    reads: &Reads,
    context: &Context,
    grant: Option<GrantFacts<'_>>,
) -> Result<cedar_policy::Context, NoContext> {
    let mut pairs = Vec::new();
    for part in reads.parts() {
        let value = match part {
            Part::Now => Some(datetime(context.now)),
            Part::Source => match &context.source {
                Known::Value(source) => Some(place_record(source)?),
                Known::Unknown => None,
            },
            Part::Auth => Some(auth_record(context.auth_method, context.auth_age)?),
            Part::Request => match &context.request {
                Known::Value(id) => {
                    let id = string(&id.to_string());
                    Some(RestrictedExpression::new_record([("id".to_owned(), id)])?)
                }
                Known::Unknown => None,
            },
            Part::Http => match &context.http {
                Known::Value(Some(http)) => Some(http_record(http)?),
                Known::Value(None) | Known::Unknown => None,
            },
            Part::Clock => clocks.record(context.now)?,
            Part::Operation => context.seen_in.as_ref().map(|name| string(name.as_str())),
            Part::Params => inspected(&context.params)?,
            Part::Body => inspected(&context.body)?,
            Part::Grant => grant.map(|grant| grant_record(grant, reads)).transpose()?,
        };
        pairs.extend(value.map(|value| (part.as_str().to_owned(), value)));
    }
    Ok(cedar_policy::Context::from_pairs(pairs)?)
}

fn place_record(source: &Source) -> Result<RestrictedExpression, NoContext> {
    let ip = ("ip".to_owned(), RestrictedExpression::new_ip(source.ip.to_string()));
    let country = source.country.map(|country| ("country".to_owned(), string(country.as_str())));
    Ok(RestrictedExpression::new_record(std::iter::once(ip).chain(country))?)
}

pub(crate) fn source_record(ip: IpAddr) -> Result<RestrictedExpression, NoContext> {
    let ip = RestrictedExpression::new_ip(ip.to_string());
    Ok(RestrictedExpression::new_record([("ip".to_owned(), ip)])?)
}

pub(crate) fn auth_record(
    method: &str,
    age: SignedDuration,
) -> Result<RestrictedExpression, NoContext> {
    let fields = [("method".to_owned(), string(method)), ("age".to_owned(), duration(age))];
    Ok(RestrictedExpression::new_record(fields)?)
}

/// Cedar counts in milliseconds.
pub(crate) fn datetime(at: Timestamp) -> RestrictedExpression {
    RestrictedExpression::new_datetime(datetime_text(at))
}

pub(crate) fn datetime_text(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

pub(crate) fn duration(span: SignedDuration) -> RestrictedExpression {
    RestrictedExpression::new_duration(format!("{}ms", span.as_millis()))
}

pub(crate) fn string(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

fn http_record(http: &Http) -> Result<RestrictedExpression, NoContext> {
    let fields = [
        ("method".to_owned(), string(&http.method)),
        ("path".to_owned(), string(&http.path)),
        ("host".to_owned(), string(&http.host)),
    ];
    Ok(RestrictedExpression::new_record(fields)?)
}

/// The end is read from text each time: it is there only if some policy asks for it.
fn grant_record(grant: GrantFacts<'_>, reads: &Reads) -> Result<RestrictedExpression, NoContext> {
    let kind = || Some(string(grant.kind.as_str()));
    let reviews = || Some(RestrictedExpression::new_long(i64::from(grant.reviews)));
    let expires = || Some(datetime(grant.expires));
    let incident = || {
        let incident = uid(&TYPES.incident, grant.incident?.id.as_str());
        Some(RestrictedExpression::new_entity_uid(incident))
    };
    let fields: [(&str, &dyn Fn() -> Option<RestrictedExpression>); 4] =
        [("kind", &kind), ("reviews", &reviews), ("expires", &expires), ("incident", &incident)];
    let read = fields.iter().filter(|(name, _)| reads.includes_field(Part::Grant, name));
    let fields: Vec<_> =
        read.filter_map(|(name, value)| Some(((*name).to_owned(), value()?))).collect();
    Ok(RestrictedExpression::new_record(fields)?)
}

fn inspected(part: &Known<Option<Record>>) -> Result<Option<RestrictedExpression>, NoContext> {
    match part {
        Known::Value(Some(fields)) => record(fields).map(Some),
        Known::Value(None) | Known::Unknown => Ok(None),
    }
}

fn record(fields: &Record) -> Result<RestrictedExpression, NoContext> {
    let fields = fields.iter().map(|(name, field)| Ok((name.to_string(), value(field)?)));
    let fields: Vec<_> = fields.collect::<Result<_, NoContext>>()?;
    Ok(RestrictedExpression::new_record(fields)?)
}

fn value(of: &Value) -> Result<RestrictedExpression, NoContext> {
    Ok(match of {
        Value::Bool(value) => RestrictedExpression::new_bool(*value),
        Value::Long(value) => RestrictedExpression::new_long(*value),
        Value::String(text) => string(text),
        Value::Decimal(text) => RestrictedExpression::new_decimal(text),
        Value::Set(items) => {
            let items: Vec<_> = items.iter().map(value).collect::<Result<_, _>>()?;
            RestrictedExpression::new_set(items)
        }
        Value::Record(fields) => record(fields)?,
    })
}

/// Whether a policy that reads `read` has to wait for the request.
pub(crate) fn is_unknown(read: &Read, context: &Context) -> bool {
    // A gate always knows the address; who does not asks ahead of time, and then neither the time of
    // the request nor how its sender will have authenticated is known.
    let ahead = context.source == Known::Unknown;
    match read.part {
        Part::Now | Part::Source | Part::Auth | Part::Clock => ahead,
        Part::Operation => ahead && context.seen_in.is_none(),
        Part::Request => context.request == Known::Unknown,
        Part::Http => context.http == Known::Unknown,
        Part::Params => context.params == Known::Unknown,
        Part::Body => context.body == Known::Unknown,
        Part::Grant => false,
    }
}

/// The value of one attribute, borrowed from a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Look<'a> {
    Absent,
    Present,
    Ip(IpAddr),
    Source(&'a Source),
    Text(&'a str),
    Http(&'a Http),
    Record(&'a Record),
    Value(&'a Value),
    Clock(Shown),
}

/// The same, kept in a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    Absent,
    Present,
    Ip(IpAddr),
    Source(Source),
    Text(Arc<str>),
    Http(Http),
    Record(Record),
    Value(Value),
    Clock(Shown),
}

impl Kept {
    pub(crate) fn is(&self, look: Look<'_>) -> bool {
        match (self, look) {
            (Self::Absent, Look::Absent) | (Self::Present, Look::Present) => true,
            (Self::Ip(kept), Look::Ip(ip)) => *kept == ip,
            (Self::Source(kept), Look::Source(source)) => kept == source,
            (Self::Text(kept), Look::Text(text)) => **kept == *text,
            (Self::Http(kept), Look::Http(http)) => kept == http,
            (Self::Record(kept), Look::Record(record)) => kept == record,
            (Self::Value(kept), Look::Value(value)) => kept == value,
            (Self::Clock(kept), Look::Clock(shown)) => *kept == shown,
            _ => false,
        }
    }
}

impl From<Look<'_>> for Kept {
    fn from(look: Look<'_>) -> Self {
        match look {
            Look::Absent => Self::Absent,
            Look::Present => Self::Present,
            Look::Ip(ip) => Self::Ip(ip),
            Look::Source(source) => Self::Source(source.clone()),
            Look::Text(text) => Self::Text(text.into()),
            Look::Http(http) => Self::Http(http.clone()),
            Look::Record(record) => Self::Record(record.clone()),
            Look::Value(value) => Self::Value(value.clone()),
            Look::Clock(shown) => Self::Clock(shown),
        }
    }
}

impl Look<'_> {
    /// Roughly how many bytes keeping it takes: bodies can be large.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Look::Absent | Look::Present | Look::Ip(_) | Look::Source(_) | Look::Clock(_) => 0,
            Look::Text(text) => text.len(),
            Look::Http(http) => http.method.len() + http.path.len() + http.host.len(),
            Look::Record(record) => record_weight(record),
            Look::Value(value) => value_weight(value),
        }
    }
}

fn record_weight(record: &Record) -> usize {
    record.iter().map(|(name, value)| 64 + name.len() + value_weight(value)).sum()
}

fn value_weight(value: &Value) -> usize {
    match value {
        Value::Bool(_) | Value::Long(_) => 0,
        Value::String(text) | Value::Decimal(text) => text.len(),
        Value::Set(items) => items.iter().map(|item| 32 + value_weight(item)).sum(),
        Value::Record(record) => record_weight(record),
    }
}

/// What `read` finds in `context`. Time, the request's id and unknown parts never come here: slices
/// that read them are not cached.
pub(crate) fn look<'a>(read: &Read, context: &'a Context, clocks: &Clocks) -> Look<'a> {
    match read.part {
        Part::Now | Part::Request | Part::Grant => Look::Present,
        Part::Source => match &context.source {
            Known::Value(source) => source_field(read, source),
            Known::Unknown => Look::Absent,
        },
        Part::Auth | Part::Clock if read.presence => Look::Present,
        Part::Auth => Look::Text(context.auth_method),
        Part::Http => match &context.http {
            Known::Value(Some(_)) if read.presence => Look::Present,
            Known::Value(Some(http)) => http_field(read, http),
            Known::Value(None) | Known::Unknown => Look::Absent,
        },
        Part::Clock => {
            let name = read.path.first().map_or("", SmolStr::as_str);
            clocks.shown(name, context.now).map_or(Look::Absent, Look::Clock)
        }
        Part::Operation => {
            context.seen_in.as_ref().map_or(Look::Absent, |name| Look::Text(name.as_str()))
        }
        Part::Params => inspected_field(read, &context.params),
        Part::Body => inspected_field(read, &context.body),
    }
}

fn source_field<'a>(read: &Read, source: &'a Source) -> Look<'a> {
    match read.path.first().map(SmolStr::as_str) {
        Some("country") => match &source.country {
            None => Look::Absent,
            Some(_) if read.presence => Look::Present,
            Some(country) => Look::Text(country.as_str()),
        },
        _ if read.presence => Look::Present,
        Some("ip") => Look::Ip(source.ip),
        _ => Look::Source(source),
    }
}

fn http_field<'a>(read: &Read, http: &'a Http) -> Look<'a> {
    match read.path.first().map(SmolStr::as_str) {
        Some("method") => Look::Text(&http.method),
        Some("path") => Look::Text(&http.path),
        Some("host") => Look::Text(&http.host),
        _ => Look::Http(http),
    }
}

fn inspected_field<'a>(read: &Read, part: &'a Known<Option<Record>>) -> Look<'a> {
    let Known::Value(Some(record)) = part else { return Look::Absent };
    let mut found = Look::Record(record);
    for name in &read.path {
        let inside = match found {
            Look::Record(record) | Look::Value(Value::Record(record)) => record.get(name.as_str()),
            _ => None,
        };
        match inside {
            Some(value) => found = Look::Value(value),
            None => return Look::Absent,
        }
    }
    if read.presence { Look::Present } else { found }
}
