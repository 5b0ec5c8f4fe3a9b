//! `/v1/access-requests`: asking, reviewing, withdrawing.

mod body;

use std::collections::BTreeSet;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use portcullis_control::{
    ControlError,
    views::{AccessRequestFilter, Ask, AskFor, AskOperation, ReviewInput},
};
use portcullis_identity::passkey::AuthenticationResponse;
use portcullis_model::{
    AccessRequestId, ClassName, Decision, IncidentId, InstanceName, OperationName, PolicyId,
    RefusalId, Scope, Window,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

pub use body::{AccessRequestBody, HeldBody, QueryBody, ReviewBody};

use crate::{
    caller::Caller,
    error::Answer,
    extract::{Body, Search, named},
    idempotency::IDEMPOTENCY_KEY,
    page,
    parts::Shared,
};

/// What is asked for: either a `refusal` or `queries`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AskBody {
    /// The code of a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub refusal: Option<RefusalId>,
    /// Operations of one service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queries: Option<Vec<AskQueryBody>>,
    /// The way to take, for all of it; the first one of each if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub rule: Option<PolicyId>,
    /// The open incident that it is for; any, or none, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub incident: Option<IncidentId>,
    /// Why; must not be empty.
    pub reason: String,
    /// For how long, like `30m`; the way's longest if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub duration: Option<Window>,
}

/// One operation asked for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AskQueryBody {
    /// The operation.
    #[schema(value_type = String)]
    pub operation: OperationName,
    /// On one addressed instance only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub instance: Option<InstanceName>,
    /// A class of sensitive data to see in its answers, as well: `pci`. What is open already is not
    /// asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reveal: Option<ClassName>,
    /// The way to take to this one; the first one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub rule: Option<PolicyId>,
}

/// Less than was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Scope)]
pub struct ScopeBody {
    /// Only these operations; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub operations: Option<BTreeSet<OperationName>>,
    /// Only on this instance; wherever was asked for if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub instance: Option<InstanceName>,
}

/// A review to be given.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GiveReviewBody {
    /// `approve` or `decline`.
    #[schema(value_type = String)]
    pub decision: Decision,
    /// Why; a decline needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// A shorter window than was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub duration: Option<Window>,
    /// Less than was asked for. What is issued is what all approvals have in common.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<ScopeBody>,
    /// The passkey's answer to the challenge of a `passkey-needed` problem: what
    /// `navigator.credentials.get` returned, by `toJSON`. The rest is as it was then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub passkey: Option<AuthenticationResponse>,
}

/// Which access requests to list.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = AccessRequestFilter)]
pub enum FilterBody {
    /// One's own.
    #[default]
    Mine,
    /// Those that the caller could review now.
    ToReview,
    /// All that the caller may see.
    All,
}

/// Which part of which list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// `mine` (if absent), `to-review` or `all`.
    #[serde(default)]
    #[param(inline)]
    pub filter: FilterBody,
    /// The `next` of the part before; the beginning if absent.
    pub cursor: Option<String>,
    /// At most so many items, 1 to 500; 50 if absent.
    pub limit: Option<usize>,
}

impl AskBody {
    pub(crate) fn into_ask(self) -> Answer<Ask> {
        let what = match (self.refusal, self.queries) {
            (Some(refusal), None) => AskFor::Refusal(refusal),
            (None, Some(queries)) => AskFor::Operations(operations(queries)?),
            (Some(_), Some(_)) => return Err(invalid("queries", "a refusal is named already")),
            (None, None) => return Err(invalid("refusal", "name a refusal, or queries")),
        };
        let Self { rule, incident, reason, duration, .. } = self;
        Ok(Ask { what, rule, incident, reason, duration })
    }
}

/// To see data is to be asked for like an operation, beside the one in whose answers it is.
fn operations(queries: Vec<AskQueryBody>) -> Answer<Vec<AskOperation>> {
    let mut operations: Vec<AskOperation> = Vec::new();
    for AskQueryBody { operation, instance, reveal, rule } in queries {
        let seen = match &reveal {
            None => None,
            Some(class) => {
                let service = operation.service().parse();
                let service = service.map_err(|_| invalid("queries", "no such service"))?;
                Some(OperationName::reveal(&service, class))
            }
        };
        let again = |other: &AskOperation| {
            other.operation == operation && other.instance == instance && other.rule == rule
        };
        // One operation is named once for each class.
        if seen.is_none() || !operations.iter().any(again) {
            let (instance, rule) = (instance.clone(), rule.clone());
            operations.push(AskOperation { operation, instance, rule });
        }
        // A rule is for whichever of the two it is a way to.
        operations.extend(seen.map(|operation| AskOperation { operation, instance, rule }));
    }
    Ok(operations)
}

/// A part of a list of access requests, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = AccessRequests)]
pub struct AccessRequestsBody {
    /// The access requests.
    pub access_requests: Vec<AccessRequestBody>,
    /// The cursor of the next part; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

pub(crate) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list, ask))
        .routes(routes!(access_request))
        .routes(routes!(review))
        .routes(routes!(withdraw))
}

/// Ask for access. An automatic way is granted in the answer
#[utoipa::path(post, path = "/v1/access-requests", tag = "access", request_body = AskBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "A key of the caller's own. \
        The same call under the same key gets the same access request, for 24 hours; another call \
        under it is a conflict.")),
    responses((status = 201, body = AccessRequestBody)))]
pub(crate) async fn ask(
    Caller(op): Caller,
    State(api): State<Shared>,
    headers: HeaderMap,
    Body(body): Body<AskBody>,
) -> Answer<(StatusCode, Json<AccessRequestBody>)> {
    let ask = body.into_ask()?;
    let view = match idempotency_key(&headers)? {
        Some(key) => api.control.ask_once(&op, key, ask).await?,
        None => api.control.ask(&op, ask).await?,
    };
    Ok((StatusCode::CREATED, Json(view.into())))
}

/// Access requests, newest first
#[utoipa::path(get, path = "/v1/access-requests", tag = "access", operation_id = "access_requests", params(ListQuery),
    responses((status = 200, body = AccessRequestsBody)))]
pub(crate) async fn list(
    Caller(op): Caller,
    State(api): State<Shared>,
    Search(query): Search<ListQuery>,
) -> Answer<Json<AccessRequestsBody>> {
    let filter = match query.filter {
        FilterBody::Mine => AccessRequestFilter::Mine,
        FilterBody::ToReview => AccessRequestFilter::ToReview,
        FilterBody::All => AccessRequestFilter::All,
    };
    let (limit, before) = (page::limit(query.limit)?, page::cursor(query.cursor.as_deref())?);
    let (found, next) = api.control.access_requests_after(&op, filter, before, limit).await?;
    let access_requests = found.into_iter().map(AccessRequestBody::from).collect();
    Ok(Json(AccessRequestsBody { access_requests, next: next.map(|id| id.to_string()) }))
}

/// One access request
#[utoipa::path(get, path = "/v1/access-requests/{id}", tag = "access", params(("id" = String, Path)),
    responses((status = 200, body = AccessRequestBody)))]
pub(crate) async fn access_request(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
) -> Answer<Json<AccessRequestBody>> {
    Ok(Json(api.control.access_request(&op, id_of(&id)?).await?.into()))
}

/// Approve or decline
#[utoipa::path(post, path = "/v1/access-requests/{id}/reviews", tag = "access",
    params(("id" = String, Path)), request_body = GiveReviewBody,
    responses((status = 201, body = AccessRequestBody)))]
pub(crate) async fn review(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
    Body(body): Body<GiveReviewBody>,
) -> Answer<(StatusCode, Json<AccessRequestBody>)> {
    let GiveReviewBody { decision, note, duration, scope, passkey } = body;
    let ScopeBody { operations, instance } = scope.unwrap_or_default();
    let scope = Scope { operations, instance };
    let input = ReviewInput { decision, note, duration, scope, passkey: passkey.map(Box::new) };
    let view = api.control.review(&op, id_of(&id)?, input).await?;
    Ok((StatusCode::CREATED, Json(view.into())))
}

/// Take my own access request back
#[utoipa::path(post, path = "/v1/access-requests/{id}/withdraw", tag = "access",
    params(("id" = String, Path)), responses((status = 200, body = AccessRequestBody)))]
pub(crate) async fn withdraw(
    Caller(op): Caller,
    State(api): State<Shared>,
    Path(id): Path<String>,
) -> Answer<Json<AccessRequestBody>> {
    Ok(Json(api.control.withdraw(&op, id_of(&id)?).await?.into()))
}

/// The caller's key. Two of them are refused: nobody could say which one counts.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Answer<Option<&str>> {
    let mut fields = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    if fields.next().is_some() {
        return Err(invalid(IDEMPOTENCY_KEY, "was sent more than once"));
    }
    let key = field.to_str().map_err(|_| invalid(IDEMPOTENCY_KEY, "is not printable ASCII"))?;
    Ok(Some(key))
}

fn id_of(text: &str) -> Answer<AccessRequestId> {
    named(text, "the access request")
}

fn invalid(field: &'static str, message: &str) -> crate::error::ApiError {
    ControlError::Invalid { field, message: message.to_owned() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(json: serde_json::Value) -> Answer<Ask> {
        serde_json::from_value::<AskBody>(json).unwrap().into_ask()
    }

    #[test]
    fn an_ask_names_a_refusal_or_queries_and_never_both() {
        let query = serde_json::json!([{"operation": "payments.refund"}]);
        assert!(ask(serde_json::json!({"reason": "r"})).is_err());
        assert!(
            ask(serde_json::json!({"reason": "r", "refusal": "7K2M", "queries": query})).is_err()
        );
        assert!(ask(serde_json::json!({"reason": "r", "refusal": "7k2m"})).is_ok());
        assert!(ask(serde_json::json!({"reason": "r", "queries": query})).is_ok());
    }

    #[test]
    fn an_idempotency_key_is_one_printable_text() {
        let with = |values: &[&'static [u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                let value = axum::http::HeaderValue::from_bytes(value).unwrap();
                headers.append("idempotency-key", value);
            }
            headers
        };
        assert_eq!(idempotency_key(&with(&[])).unwrap(), None);
        assert_eq!(idempotency_key(&with(&[b"k-1"])).unwrap(), Some("k-1"));
        assert!(idempotency_key(&with(&[b"k-1", b"k-1"])).is_err());
        assert!(idempotency_key(&with(&[b"\xff"])).is_err());
    }

    #[test]
    fn each_query_may_name_its_own_way() {
        let ask = ask(serde_json::json!({"reason": "r", "queries": [
            {"operation": "payments.a", "rule": "x"}, {"operation": "payments.b"}]}));
        let AskFor::Operations(operations) = ask.unwrap().what else { panic!() };
        let rules: Vec<_> = operations.into_iter().map(|one| one.rule).collect();
        assert_eq!(rules, [Some("x".parse().unwrap()), None]);
    }

    #[test]
    fn e30_a_duration_of_zero_is_no_ask() {
        let zero = serde_json::json!({"refusal": "7K2M", "reason": "r", "duration": "0m"});
        assert!(serde_json::from_value::<AskBody>(zero).is_err());
    }
}
