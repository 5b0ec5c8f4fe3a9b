//! `/scim/v2/Users` (RFC 7643, 4.1). Whoever is deactivated loses sign-ins and grants at once.

use axum::{
    extract::{Path, Query, State},
    http::StatusCode,
};
use portcullis_control::{
    OpContext, UserAttributes,
    views::{DirectoryUser, StoredEmail, StoredName},
};
use portcullis_model::DirectoryId;
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Answer, ListQuery, Message, Provisioner, Scim, USER, bad,
    filter::Filter,
    list, meta, patch,
    read::{Attributes, check_schema, flag, object, objects, text},
    retried,
};
use crate::{error::ApiError, extract::named, parts::Shared};

/// What a patch may change.
const KNOWN: &[&str] = &["userName", "externalId", "displayName", "name", "emails", "active"];

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(find, create)).routes(routes!(one, replace, change, delete))
}

/// Find users
#[utoipa::path(get, path = "/scim/v2/Users", tag = "scim", operation_id = "scim_users",
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
    let mut all = api.control.directory_users(op).await;
    if let Some(filter) = query.filter.as_deref().map(Filter::read).transpose()? {
        let wanted = filter.value.to_lowercase();
        match filter.attribute.as_str() {
            "username" => all.retain(|one| one.user.folded_name() == wanted),
            "externalid" => all.retain(|one| one.user.external_id.as_ref() == Some(&filter.value)),
            "id" => all.retain(|one| one.user.id.to_string() == filter.value),
            _ => return filter.unknown(),
        }
    }
    Ok(all.iter().map(|user| body(&api.base_url, user)).collect())
}

/// Create a user
#[utoipa::path(post, path = "/scim/v2/Users", tag = "scim", operation_id = "scim_create_user",
    security(("scim" = [])), responses((status = 201)))]
pub(crate) async fn create(
    Provisioner(op): Provisioner,
    State(api): State<Shared>,
    Message(message): Message,
) -> Answer<Scim> {
    let made = api.control.put_directory_user(&op, None, attributes(&message)?).await?;
    Ok(Scim(StatusCode::CREATED, body(&api.base_url, &made)))
}

/// One user
#[utoipa::path(get, path = "/scim/v2/Users/{id}", tag = "scim", operation_id = "scim_user",
    security(("scim" = [])), params(("id" = String, Path), ListQuery), responses((status = 200)))]
pub(crate) async fn one(
    Provisioner(op): Provisioner,
    State(api): State<Shared>,
    Path(id): Path<String>,
    Query(query): Query<ListQuery>,
) -> Answer<Scim> {
    let user = api.control.directory_user(&op, id_of(&id)?).await?;
    Ok(Scim(StatusCode::OK, query.cut(body(&api.base_url, &user))))
}

/// Replace a user
#[utoipa::path(put, path = "/scim/v2/Users/{id}", tag = "scim", operation_id = "scim_replace_user",
    security(("scim" = [])), params(("id" = String, Path)), responses((status = 200)))]
pub(crate) async fn replace(
    Provisioner(op): Provisioner,
    State(api): State<Shared>,
    Path(id): Path<String>,
    Message(message): Message,
) -> Answer<Scim> {
    let wanted = attributes(&message)?;
    let seen = api.control.directory_user(&op, id_of(&id)?).await?;
    let user = api.control.put_directory_user(&op, Some(&seen.user), wanted).await?;
    Ok(Scim(StatusCode::OK, body(&api.base_url, &user)))
}

/// Change parts of a user
#[utoipa::path(patch, path = "/scim/v2/Users/{id}", tag = "scim", operation_id = "scim_patch_user",
    security(("scim" = [])), params(("id" = String, Path)), responses((status = 200)))]
pub(crate) async fn change(
    Provisioner(op): Provisioner,
    State(api): State<Shared>,
    Path(id): Path<String>,
    message: Message,
) -> Answer<Scim> {
    let id = id_of(&id)?;
    let user = retried(|| async {
        let seen = api.control.directory_user(&op, id).await?;
        let Value::Object(before) = body(&api.base_url, &seen) else {
            return Err(ApiError::NoSuchPath.into());
        };
        let wanted = attributes(&patch::apply(before, &message, KNOWN)?)?;
        Ok(api.control.put_directory_user(&op, Some(&seen.user), wanted).await)
    });
    Ok(Scim(StatusCode::OK, body(&api.base_url, &user.await?)))
}

/// Delete a user
#[utoipa::path(delete, path = "/scim/v2/Users/{id}", tag = "scim", operation_id = "scim_delete_user",
    security(("scim" = [])), params(("id" = String, Path)), responses((status = 204)))]
pub(crate) async fn delete(
    Provisioner(op): Provisioner,
    State(api): State<Shared>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    api.control.delete_directory_user(&op, id_of(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) fn id_of(text: &str) -> Answer<DirectoryId> {
    Ok(named(text, "the user")?)
}

fn attributes(from: &Attributes) -> Answer<UserAttributes> {
    check_schema(from, USER)?;
    let name = object(from, "name")?;
    let emails = objects(from, "emails")?;
    let email = |email: &Attributes| {
        let value = text(email, "value")?;
        let value = value.ok_or_else(|| bad("invalidValue", "an e-mail address lacks `value`"))?;
        let primary = flag(email, "primary")?.unwrap_or(false);
        Ok(StoredEmail { value, kind: text(email, "type")?, primary })
    };
    Ok(UserAttributes {
        user_name: text(from, "userName")?
            .ok_or_else(|| bad("invalidValue", "`userName` is missing"))?,
        external_id: text(from, "externalId")?,
        display_name: text(from, "displayName")?,
        name: StoredName {
            formatted: text(&name, "formatted")?,
            given: text(&name, "givenName")?,
            family: text(&name, "familyName")?,
        },
        emails: emails.iter().map(email).collect::<Answer<_>>()?,
        active: flag(from, "active")?.unwrap_or(true),
    })
}

fn body(base_url: &str, view: &DirectoryUser) -> Value {
    let user = &view.user;
    let id = user.id.to_string();
    let emails = user.emails.iter().map(|email| {
        present(json!({"value": email.value, "type": email.kind, "primary": email.primary}))
    });
    let groups =
        view.groups.iter().map(|(id, name)| json!({"value": id.to_string(), "display": name}));
    let name = present(json!({
        "formatted": user.name.formatted, "givenName": user.name.given, "familyName": user.name.family,
    }));
    present(json!({
        "schemas": [USER],
        "id": id,
        "externalId": user.external_id,
        "userName": user.user_name,
        "displayName": user.display_name,
        "name": Some(name).filter(|name| name != &json!({})),
        "emails": emails.collect::<Vec<_>>(),
        "active": user.active,
        "groups": groups.collect::<Vec<_>>(),
        "meta": meta(base_url, "User", &id, user.created_at, user.changed_at, user.version),
    }))
}

/// Without what is not there.
pub(super) fn present(mut value: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.retain(|_, value| !value.is_null());
    }
    value
}
