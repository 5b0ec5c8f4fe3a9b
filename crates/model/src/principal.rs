//! Who asks: people, workloads, and what is known of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::PersonId;

/// The Cedar type of a principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PrincipalKind {
    /// A person.
    User,
    /// A service or a CI run.
    Workload,
    /// A caller without credentials, at a service that lets such in.
    Anonymous,
}

impl PrincipalKind {
    /// The Cedar entity type's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Workload => "Workload",
            Self::Anonymous => "Anonymous",
        }
    }
}

/// A principal's name: its type, and `<issuer name>:<subject>`.
///
/// Identity is (issuer, subject) and never an e-mail address or a display name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PrincipalId {
    /// Person, workload or stranger.
    #[serde(rename = "type")]
    pub kind: PrincipalKind,
    /// `<issuer name>:<subject>`, for example `corp:ana`.
    pub id: Arc<str>,
}

/// The id of callers without credentials. Nobody else has it: all others' have a colon.
const ANONYMOUS: &str = "anonymous";
/// The issuer of systems that decide access requests; no issuer in configuration may be called so.
pub const DECISIONS: &str = "decisions";

impl PrincipalId {
    /// The principal that `issuer` (its name in configuration) calls `subject`.
    pub fn new(kind: PrincipalKind, issuer: &str, subject: &str) -> Self {
        Self { kind, id: format!("{issuer}:{subject}").into() }
    }

    /// All callers without credentials, who cannot be told apart.
    pub fn anonymous() -> Self {
        Self { kind: PrincipalKind::Anonymous, id: ANONYMOUS.into() }
    }

    /// The name of the issuer in configuration, which has no colon.
    pub fn issuer(&self) -> &str {
        self.id.split_once(':').map_or(&self.id, |(issuer, _)| issuer)
    }

    /// Whether it is a system that the configuration accepts decisions of.
    pub fn is_decider(&self) -> bool {
        self.kind == PrincipalKind::Workload && self.issuer() == DECISIONS
    }

    /// What the issuer calls it.
    pub fn subject(&self) -> &str {
        self.id.split_once(':').map_or("", |(_, subject)| subject)
    }
}

impl fmt::Display for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::\"{}\"", self.kind.as_str(), self.id.escape_default())
    }
}

impl fmt::Debug for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The name of a group.
pub type Group = Arc<str>;

/// A typed attribute of a principal, mapped from a claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AttributeValue {
    /// Cedar `Bool`.
    Bool(bool),
    /// Cedar `Long`.
    Long(i64),
    /// Cedar `String`.
    String(String),
    /// Cedar `Set<String>`.
    Set(BTreeSet<String>),
}

/// All that decisions know of a principal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Principal {
    /// The name.
    pub id: PrincipalId,
    /// The human being behind it; workloads have none. One person may have several principals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<PersonId>,
    /// What to call it on screen: a person's name or e-mail, a workload's subject.
    pub name: String,
    /// A verified e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Groups, as the provider or the mapping rules say.
    pub groups: BTreeSet<Group>,
    /// How a person authenticated (RFC 8176).
    #[serde(default)]
    pub amr: BTreeSet<String>,
    /// The issuer's name in configuration.
    pub issuer: String,
    /// Mapped claims of a workload.
    #[serde(default)]
    pub claims: BTreeMap<String, AttributeValue>,
}

impl Principal {
    /// A caller without credentials.
    pub fn anonymous() -> Self {
        Self {
            id: PrincipalId::anonymous(),
            person: None,
            name: ANONYMOUS.to_owned(),
            email: None,
            groups: BTreeSet::new(),
            amr: BTreeSet::new(),
            issuer: String::new(),
            claims: BTreeMap::new(),
        }
    }

    /// Whether `self` and `other` are one human being, or one and the same workload.
    pub fn same_as(&self, other: &PrincipalId, other_person: Option<PersonId>) -> bool {
        self.id == *other || (self.person.is_some() && self.person == other_person)
    }
}
