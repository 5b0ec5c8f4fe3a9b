//! `/scim/v2/Groups` (RFC 7643, 4.2). A group's name is its name in policies.

use axum::{
    extract::{Path, Query, State},
    http::StatusCode,
};
use portcullis_control::{GroupAttributes, OpContext, views::StoredGroup};
use portcullis_model::DirectoryId;
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Answer, GROUP, ListQuery, Message, Provisioner, Scim, bad,
    filter::Filter,
    list, meta, patch,
    read::{Attributes, check_schema, objects, text},
    retried,
    users::present,
};
use crate::{error::ApiError, extract::named, parts::Shared};

/// What a patch may change.
const KNOWN: &[&str] = &["displayName", "externalId", "members"];

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(find, create)).routes(routes!(one, replace, change, delete))
}

/// Find groups
#[utoipa::path(get, path = "/scim/v2/Groups", tag = "scim", operation_id = "scim_groups",
    security(("scim" = [])), params(ListQuery), responses((status = 200)))]
pub(crate) async fn find(
    Provisioner(op): Provisioner,
    State(api): State<Shared>,
    Query(query): Query<ListQuery>,
) -> Answer<Scim> {
    Ok(list(&query, found(&api, &op, &query).await?))
}

/// Those that `query` filters.
pub(super) async fn found(api: &Shared, op: &OpContext, query: &ListQuery) -> Answer<Vec<Value>> {
    let mut all = api.control.directory_groups(op).await;
    if let Some(filter) = query.filter.as_deref().map(Filter::read).transpose()? {
        match filter.attribute.as_str() {
            "displayname" => all.retain(|one| one.name == filter.value),
            "externalid" => all.retain(|one| one.external_id.as_ref() == Some(&filter.value)),
            "id" => all.retain(|one| one.id.to_string() == filter.value),
            _ => return filter.unknown(),
        }
    }
    Ok(all.iter().map(|group| body(&api.base_url, group)).collect())
}

/// Create a group
#[utoipa::path(post, path = "/scim/v2/Groups", tag = "scim", operation_id = "scim_create_group",
    security(("scim" = [])), responses((status = 201)))]
pub(crate) async fn create(
    Provisioner(op): Provisioner,
    State(api): State<Shared>,
    Message(message): Message,
) -> Answer<Scim> {
    let made = api.control.put_directory_group(&op, None, attributes(&message)?).await?;
    Ok(Scim(StatusCode::CREATED, body(&api.base_url, &made)))
}

/// One group
#[utoipa::path(get, path = "/scim/v2/Groups/{id}", tag = "scim", operation_id = "scim_group",
    security(("scim" = [])), params(("id" = String, Path), ListQuery), responses((status = 200)))]
pub(crate) async fn one(
    Provisioner(op): Provisioner,
    State(api): State<Shared>,
    Path(id): Path<String>,
    Query(query): Query<ListQuery>,
) -> Answer<Scim> {
    let group = api.control.directory_group(&op, id_of(&id)?).await?;
    Ok(Scim(StatusCode::OK, query.cut(body(&api.base_url, &group))))
}

/// Replace a group
#[utoipa::path(put, path = "/scim/v2/Groups/{id}", tag = "scim", operation_id = "scim_replace_group",
    security(("scim" = [])), params(("id" = String, Path)), responses((status = 200)))]
pub(crate) async fn replace(
    Provisioner(op): Provisioner,
    State(api): State<Shared>,
    Path(id): Path<String>,
    Message(message): Message,
) -> Answer<Scim> {
    let wanted = attributes(&message)?;
    let seen = api.control.directory_group(&op, id_of(&id)?).await?;
    let group = api.control.put_directory_group(&op, Some(&seen), wanted).await?;
    Ok(Scim(StatusCode::OK, body(&api.base_url, &group)))
}

/// Change parts of a group
#[utoipa::path(patch, path = "/scim/v2/Groups/{id}", tag = "scim", operation_id = "scim_patch_group",
    security(("scim" = [])), params(("id" = String, Path)), responses((status = 200)))]
pub(crate) async fn change(
    Provisioner(op): Provisioner,
    State(api): State<Shared>,
    Path(id): Path<String>,
    message: Message,
) -> Answer<Scim> {
    let id = id_of(&id)?;
    let group = retried(|| async {
        let seen = api.control.directory_group(&op, id).await?;
        let Value::Object(before) = body(&api.base_url, &seen) else {
            return Err(ApiError::NoSuchPath.into());
        };
        let wanted = attributes(&patch::apply(before, &message, KNOWN)?)?;
        Ok(api.control.put_directory_group(&op, Some(&seen), wanted).await)
    });
    Ok(Scim(StatusCode::OK, body(&api.base_url, &group.await?)))
}

/// Delete a group
#[utoipa::path(delete, path = "/scim/v2/Groups/{id}", tag = "scim", operation_id = "scim_delete_group",
    security(("scim" = [])), params(("id" = String, Path)), responses((status = 204)))]
pub(crate) async fn delete(
    Provisioner(op): Provisioner,
    State(api): State<Shared>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.control.delete_directory_group(&op, id_of(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn id_of(text: &str) -> Answer<DirectoryId> {
    Ok(named(text, "the group")?)
}

fn attributes(from: &Attributes) -> Answer<GroupAttributes> {
    check_schema(from, GROUP)?;
    let member = |member: &Attributes| {
        let id = text(member, "value")?.unwrap_or_default();
        id.parse::<DirectoryId>()
            .map_err(|_| bad("invalidValue", format!("`members`: there is no user `{id}`")))
    };
    Ok(GroupAttributes {
        name: text(from, "displayName")?
            .ok_or_else(|| bad("invalidValue", "`displayName` is missing"))?,
        external_id: text(from, "externalId")?,
        members: objects(from, "members")?.iter().map(member).collect::<Answer<_>>()?,
    })
}

fn body(base_url: &str, group: &StoredGroup) -> Value {
    let id = group.id.to_string();
    let members = group.members.iter().map(|member| {
        let id = member.to_string();
        let location = format!("{base_url}/scim/v2/Users/{id}");
        json!({"value": id, "$ref": location})
    });
    present(json!({
        "schemas": [GROUP],
        "id": id,
        "externalId": group.external_id,
        "displayName": group.name,
        "members": members.collect::<Vec<_>>(),
        "meta": meta(base_url, "Group", &id, group.created_at, group.changed_at, group.version),
    }))
}
