//! Principals, on the wire.

use portcullis_control::views::KnownAs;
use portcullis_model::{PrincipalId, PrincipalKind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A principal's type and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Principal)]
pub struct PrincipalBody {
    /// `User`, `Workload` or `Anonymous`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: PrincipalKind,
    /// `<issuer name>:<subject>`, for example `corp:ana`; `anonymous` for strangers.
    pub id: String,
}

/// A principal, and what it is called as far as that is known now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = NamedPrincipal)]
pub struct NamedPrincipalBody {
    /// `User`, `Workload` or `Anonymous`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: PrincipalKind,
    /// `<issuer name>:<subject>`.
    pub id: String,
    /// What to call them. They may have chosen it themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A verified e-mail address, or the directory's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

impl NamedPrincipalBody {
    pub(crate) fn new(principal: &PrincipalId, known_as: KnownAs) -> Self {
        let KnownAs { name, email } = known_as;
        Self { kind: principal.kind, id: principal.id.to_string(), name, email }
    }

    /// Whether it is this one.
    pub fn is(&self, principal: &PrincipalBody) -> bool {
        self.kind == principal.kind && self.id == principal.id
    }
}

impl From<&PrincipalId> for PrincipalBody {
    fn from(principal: &PrincipalId) -> Self {
        Self { kind: principal.kind, id: principal.id.to_string() }
    }
}

impl From<PrincipalBody> for PrincipalId {
    fn from(body: PrincipalBody) -> Self {
        Self { kind: body.kind, id: body.id.into() }
    }
}
