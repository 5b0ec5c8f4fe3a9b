//! What this server can do (RFC 7644, 4): `ServiceProviderConfig`, `ResourceTypes`, `Schemas`.

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use portcullis_control::ControlError;
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Answer, GROUP, LARGEST_PAGE, LIST, Provisioner, Scim, USER};
use crate::parts::Shared;

const CONFIG: &str = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig";
const TYPE: &str = "urn:ietf:params:scim:schemas:core:2.0:ResourceType";
const SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Schema";

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(config))
        .routes(routes!(resource_types))
        .routes(routes!(resource_type))
        .routes(routes!(schemas))
        .routes(routes!(schema))
}

/// What this server can do
#[utoipa::path(get, path = "/scim/v2/ServiceProviderConfig", tag = "scim", operation_id = "scim_config",
    security(("scim" = [])), responses((status = 200)))]
pub(crate) async fn config(Provisioner(_op): Provisioner, State(api): State<Shared>) -> Scim {
    let no = json!({"supported": false});
    let body = json!({
        "schemas": [CONFIG],
        "patch": {"supported": true},
        "bulk": {"supported": false, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": true, "maxResults": LARGEST_PAGE},
        "changePassword": no, "sort": no, "etag": no,
        "authenticationSchemes": [{
            "type": "oauthbearertoken", "name": "Bearer token", "primary": true,
            "description": "The token that the configuration names as identity.scim.token.",
        }],
        "meta": {
            "resourceType": "ServiceProviderConfig",
            "location": format!("{}/scim/v2/ServiceProviderConfig", api.base_url),
        },
    });
    Scim(StatusCode::OK, body)
}

/// Users and groups
#[utoipa::path(get, path = "/scim/v2/ResourceTypes", tag = "scim", operation_id = "scim_resource_types",
    security(("scim" = [])), responses((status = 200)))]
pub(crate) async fn resource_types(
    Provisioner(_op): Provisioner,
    State(api): State<Shared>,
) -> Scim {
    whole(&["User", "Group"].map(|name| type_of(&api.base_url, name)))
}

/// Users, or groups
#[utoipa::path(get, path = "/scim/v2/ResourceTypes/{name}", tag = "scim",
    operation_id = "scim_resource_type", security(("scim" = [])), params(("name" = String, Path)),
    responses((status = 200)))]
pub(crate) async fn resource_type(
    Provisioner(_op): Provisioner,
    State(api): State<Shared>,
    Path(name): Path<String>,
) -> Answer<Scim> {
    match name.as_str() {
        "User" | "Group" => Ok(Scim(StatusCode::OK, type_of(&api.base_url, &name))),
        _ => Err(ControlError::NotFound("the resource type").into()),
    }
}

/// The attributes of users and groups
#[utoipa::path(get, path = "/scim/v2/Schemas", tag = "scim", operation_id = "scim_schemas",
    security(("scim" = [])), responses((status = 200)))]
pub(crate) async fn schemas(Provisioner(_op): Provisioner, State(api): State<Shared>) -> Scim {
    whole(&[USER, GROUP].map(|id| schema_of(&api.base_url, id)))
}

/// The attributes of users, or of groups
#[utoipa::path(get, path = "/scim/v2/Schemas/{id}", tag = "scim", operation_id = "scim_schema",
    security(("scim" = [])), params(("id" = String, Path)), responses((status = 200)))]
pub(crate) async fn schema(
    Provisioner(_op): Provisioner,
    State(api): State<Shared>,
    Path(id): Path<String>,
) -> Answer<Scim> {
    match id.as_str() {
        USER | GROUP => Ok(Scim(StatusCode::OK, schema_of(&api.base_url, &id))),
        _ => Err(ControlError::NotFound("the schema").into()),
    }
}

fn whole(resources: &[Value]) -> Scim {
    let body = json!({
        "schemas": [LIST], "totalResults": resources.len(), "startIndex": 1,
        "itemsPerPage": resources.len(), "Resources": resources,
    });
    Scim(StatusCode::OK, body)
}

fn type_of(base_url: &str, name: &str) -> Value {
    let schema = if name == "User" { USER } else { GROUP };
    json!({
        "schemas": [TYPE], "id": name, "name": name, "endpoint": format!("/{name}s"), "schema": schema,
        "schemaExtensions": [],
        "meta": {
            "resourceType": "ResourceType",
            "location": format!("{base_url}/scim/v2/ResourceTypes/{name}"),
        },
    })
}

fn schema_of(base_url: &str, id: &str) -> Value {
    let (name, attributes) = if id == USER { ("User", of_user()) } else { ("Group", of_group()) };
    json!({
        "schemas": [SCHEMA], "id": id, "name": name, "attributes": attributes,
        "meta": {
            "resourceType": "Schema", "location": format!("{base_url}/scim/v2/Schemas/{id}"),
        },
    })
}

fn of_user() -> Value {
    json!([
        attribute("userName", "string", &json!({"required": true, "uniqueness": "server"})),
        attribute("externalId", "string", &json!({"caseExact": true})),
        attribute("displayName", "string", &json!({})),
        attribute(
            "name",
            "complex",
            &json!({"subAttributes": [
                attribute("formatted", "string", &json!({})),
                attribute("givenName", "string", &json!({})),
                attribute("familyName", "string", &json!({})),
            ]})
        ),
        attribute(
            "emails",
            "complex",
            &json!({"multiValued": true, "subAttributes": [
                attribute("value", "string", &json!({"required": true})),
                attribute("type", "string", &json!({})),
                attribute("primary", "boolean", &json!({})),
            ]})
        ),
        attribute("active", "boolean", &json!({})),
        attribute(
            "groups",
            "complex",
            &json!({
                "multiValued": true, "mutability": "readOnly", "subAttributes": [
                    attribute("value", "string", &json!({"mutability": "readOnly"})),
                    attribute("display", "string", &json!({"mutability": "readOnly"})),
                ],
            })
        ),
    ])
}

fn of_group() -> Value {
    json!([
        attribute(
            "displayName",
            "string",
            &json!({"required": true, "caseExact": true, "uniqueness": "server"})
        ),
        attribute("externalId", "string", &json!({"caseExact": true})),
        attribute(
            "members",
            "complex",
            &json!({"multiValued": true, "subAttributes": [
                attribute("value", "string", &json!({"required": true, "mutability": "immutable"})),
                attribute("$ref", "reference", &json!({"mutability": "immutable", "referenceTypes": ["User"]})),
            ]})
        ),
    ])
}

/// An attribute (RFC 7643, 7), with what differs from most.
fn attribute(name: &str, kind: &str, more: &Value) -> Value {
    let mut attribute = json!({
        "name": name, "type": kind, "multiValued": false, "description": name, "required": false,
        "caseExact": false, "mutability": "readWrite", "returned": "default", "uniqueness": "none",
    });
    if let (Some(attribute), Some(more)) = (attribute.as_object_mut(), more.as_object()) {
        attribute.extend(more.clone());
    }
    attribute
}
