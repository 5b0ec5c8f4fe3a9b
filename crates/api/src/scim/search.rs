//! `POST …/.search` (RFC 7644, 3.4.3): the same as a `GET`, for those who keep names out of addresses.

use axum::extract::State;
use serde_json::Value;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Answer, ListQuery, Message, Provisioner, Scim, bad, groups, list,
    read::{Attributes, check_schema, get, text},
    users,
};
use crate::parts::Shared;

const SEARCH: &str = "urn:ietf:params:scim:api:messages:2.0:SearchRequest";

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(all)).routes(routes!(of_users)).routes(routes!(of_groups))
}

/// Find users and groups
#[utoipa::path(post, path = "/scim/v2/.search", tag = "scim", operation_id = "scim_search",
    security(("scim" = [])), responses((status = 200)))]
pub(crate) async fn all(
    Provisioner(op): Provisioner,
    State(api): State<Shared>,
    Message(message): Message,
) -> Answer<Scim> {
    let query = query(&message)?;
    let mut found = users::found(&api, &op, &query).await?;
    found.extend(groups::found(&api, &op, &query).await?);
    Ok(list(&query, found))
}

/// Find users, by a body
#[utoipa::path(post, path = "/scim/v2/Users/.search", tag = "scim", operation_id = "scim_search_users",
    security(("scim" = [])), responses((status = 200)))]
pub(crate) async fn of_users(
    Provisioner(op): Provisioner,
    State(api): State<Shared>,
    Message(message): Message,
) -> Answer<Scim> {
    let query = query(&message)?;
    Ok(list(&query, users::found(&api, &op, &query).await?))
}

/// Find groups, by a body
#[utoipa::path(post, path = "/scim/v2/Groups/.search", tag = "scim", operation_id = "scim_search_groups",
    security(("scim" = [])), responses((status = 200)))]
pub(crate) async fn of_groups(
    Provisioner(op): Provisioner,
    State(api): State<Shared>,
    Message(message): Message,
) -> Answer<Scim> {
    let query = query(&message)?;
    Ok(list(&query, groups::found(&api, &op, &query).await?))
}

fn query(message: &Attributes) -> Answer<ListQuery> {
    check_schema(message, SEARCH)?;
    Ok(ListQuery {
        filter: text(message, "filter")?,
        start_index: number(message, "startIndex")?,
        count: number(message, "count")?,
        attributes: names(message, "attributes")?,
        excluded_attributes: names(message, "excludedAttributes")?,
    })
}

fn number(from: &Attributes, name: &str) -> Answer<Option<i64>> {
    let wrong = || bad("invalidValue", format!("`{name}` must be a whole number"));
    get(from, name).map(|value| value.as_i64().ok_or_else(wrong)).transpose()
}

fn names(from: &Attributes, name: &str) -> Answer<Option<String>> {
    let wrong = || bad("invalidValue", format!("`{name}` must be a list of texts"));
    let Some(listed) = get(from, name) else { return Ok(None) };
    let listed = listed.as_array().ok_or_else(wrong)?;
    let texts: Option<Vec<&str>> = listed.iter().map(Value::as_str).collect();
    Ok(Some(texts.ok_or_else(wrong)?.join(",")))
}
