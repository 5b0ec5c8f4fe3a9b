//! `/v1/policy`: questions about the policies in force.

use axum::{Json, extract::State};
use portcullis_control::views::Explain;
use portcullis_model::{InstanceName, OperationName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    caller::Caller,
    error::Answer,
    extract::Body,
    parts::Shared,
    principal::PrincipalBody,
    way::{self, WayBody},
};

/// What would happen if.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainBody {
    /// Who; the caller if absent. Naming another needs `viewAudit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<PrincipalBody>,
    /// What.
    #[schema(value_type = String)]
    pub operation: OperationName,
    /// On which addressed instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub instance: Option<InstanceName>,
}

/// What the PDP would answer, and why.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Explanation)]
pub struct ExplanationBody {
    /// `permit`, `requestable` or `deny`.
    pub answer: String,
    /// How the principal is taken to authenticate: what `context.auth.method` is.
    pub auth_method: String,
    /// The policies that decide.
    pub policies: Vec<String>,
    /// What would open it.
    pub ways: Vec<WayBody>,
    /// What is still to be checked when the request comes, in words.
    pub to_be_checked: Vec<String>,
    /// The digest of the bundle that answered.
    pub bundle: String,
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(explain))
}

/// What would happen, and why
#[utoipa::path(post, path = "/v1/policy/explain", tag = "policy", request_body = ExplainBody,
    responses((status = 200, body = ExplanationBody)))]
pub(crate) async fn explain(
    Caller(op): Caller,
    State(api): State<Shared>,
    Body(body): Body<ExplainBody>,
) -> Answer<Json<ExplanationBody>> {
    let question = Explain {
        principal: body.principal.map(Into::into),
        operation: body.operation,
        instance: body.instance,
    };
    let explanation = api.control.explain(&op, question).await?;
    Ok(Json(ExplanationBody {
        answer: explanation.answer.to_owned(),
        auth_method: explanation.auth_method.to_owned(),
        policies: explanation.policies.iter().map(ToString::to_string).collect(),
        ways: way::all(explanation.ways),
        to_be_checked: explanation.to_be_checked,
        bundle: explanation.bundle.to_string(),
    }))
}
