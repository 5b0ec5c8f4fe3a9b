//! What a query is about beside its principal, operation and resource.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{OperationName, RequestId};

pub use crate::subject::Subject;

/// A part of the context that is known, or not yet: asked ahead of time, nothing of a request is.
#[derive(Debug, Clone, PartialEq)]
pub enum Known<T> {
    /// It is this.
    Value(T),
    /// It will be known when the request comes. Not the same as absent.
    Unknown,
}

/// A typed value from a parameter or a body.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// Cedar `Bool`.
    Bool(bool),
    /// Cedar `Long`.
    Long(i64),
    /// Cedar `String`.
    String(String),
    /// Cedar `decimal`, as its canonical text.
    Decimal(String),
    /// Cedar `Set`.
    Set(Vec<Value>),
    /// Cedar record; undeclared properties are not in it.
    Record(Record),
}

/// Named typed values.
pub type Record = BTreeMap<Arc<str>, Value>;

/// Where a request came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Source {
    /// The caller's address.
    pub ip: IpAddr,
    /// The country that it is in; `None` where the database does not say.
    pub country: Option<Country>,
}

/// A country by its two letters (ISO 3166-1).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Country([u8; 2]);

/// A text that is no country.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a country has two capital letters, like PT")]
pub struct InvalidCountry;

impl Country {
    /// `PT`.
    pub fn as_str(&self) -> &str {
        // INVARIANT: capital letters.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::str::FromStr for Country {
    type Err = InvalidCountry;

    fn from_str(text: &str) -> Result<Self, InvalidCountry> {
        let letters: [u8; 2] = text.as_bytes().try_into().map_err(|_| InvalidCountry)?;
        letters.iter().all(u8::is_ascii_uppercase).then_some(Self(letters)).ok_or(InvalidCountry)
    }
}

impl std::fmt::Debug for Country {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What of HTTP policies may read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Http {
    /// The method.
    pub method: Arc<str>,
    /// The canonical path, without the query.
    pub path: Arc<str>,
    /// The canonical host.
    pub host: Arc<str>,
}

/// The runtime context of a query, without grants: those the PDP adds itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Context {
    /// The time of the decision.
    pub now: Timestamp,
    /// Where it came from.
    pub source: Known<Source>,
    /// How the caller authenticated: `context.auth.method`.
    pub auth_method: &'static str,
    /// How long ago: `context.auth.age`.
    pub auth_age: SignedDuration,
    /// The request's id.
    pub request: Known<RequestId>,
    /// Method, path, host; none where no HTTP is spoken to the service.
    pub http: Known<Option<Http>>,
    /// Declared parameters, if the operation has any.
    pub params: Known<Option<Record>>,
    /// Declared body, if the operation has one.
    pub body: Known<Option<Record>>,
    /// The operation in which a class of data is seen, where that is the question:
    /// `context.operation`. Not known ahead of time.
    pub seen_in: Option<OperationName>,
}
