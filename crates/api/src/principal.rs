//! Principals, on the wire.

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
