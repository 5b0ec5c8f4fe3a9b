//! The OpenAPI 3.1 document: what the handlers say of themselves, and what holds for all of them.

use serde_json::{Value, json};
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder};

/// What the document says before any route.
pub(crate) fn preamble() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Portcullis control API")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Asking for access, reviewing, granting, watching and proving. Errors are problems by \
             RFC 9457; their types are pages of this server.",
        ))
        .build();
    OpenApiBuilder::new().info(info).build()
}

/// Adds the server, the bearer credential that every operation needs unless it says otherwise,
/// and the problem that every operation can answer with.
pub(crate) fn finish(document: OpenApi, base_url: &str) -> Value {
    let mut document = serde_json::to_value(document).unwrap_or_default();
    merge(&mut document, "/servers", json!([{"url": base_url}]));
    merge(&mut document, "/security", json!([{"bearer": []}]));
    merge(&mut document, "/components/securitySchemes", security_schemes());
    merge(&mut document, "/components/schemas/Problem", problem_schema());
    merge(&mut document, "/components/responses", json!({"Problem": problem_response()}));
    for operation in operations(&mut document) {
        merge(operation, "/responses/default", json!({"$ref": "#/components/responses/Problem"}));
    }
    document
}

/// Every operation of the document.
pub(crate) fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    let items = paths.into_iter().flat_map(|paths| paths.values_mut());
    items.filter_map(Value::as_object_mut).flat_map(|item| item.values_mut())
}

/// Sets the member at `pointer`, making the objects on the way.
fn merge(document: &mut Value, pointer: &str, value: Value) {
    let mut place = document;
    for key in pointer.split('/').skip(1) {
        if !place.is_object() {
            *place = json!({});
        }
        let Some(object) = place.as_object_mut() else { return };
        place = object.entry(key).or_insert(Value::Null);
    }
    *place = value;
}

fn security_schemes() -> Value {
    json!({"bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A control sign-in, or the JWT of a configured workload issuer."
    }, "scim": {
        "type": "http",
        "scheme": "bearer",
        "description": "The token of the identity provider that keeps users and groups."
    }})
}

fn problem_response() -> Value {
    json!({
        "description": "What is wrong, where, and what to do.",
        "content": {"application/problem+json": {
            "schema": {"$ref": "#/components/schemas/Problem"}
        }}
    })
}

fn problem_schema() -> Value {
    json!({
        "type": "object",
        "required": ["type", "title", "status"],
        "properties": {
            "type": {"type": "string", "format": "uri", "description": "The page that explains it."},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "field": {"type": "string", "description": "The field that makes no sense."},
            "request": {"type": "string", "description": "The request id."},
            "passkey": {"type": "object", "description": "What a reviewer's passkey has to sign: publicKey for the browser, and the statement that its challenge stands for."},
            "ways": {"type": "array", "items": {"$ref": "#/components/schemas/Way"}}
        }
    })
}
