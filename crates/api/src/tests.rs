use std::collections::BTreeSet;

use serde_json::Value;

use crate::{documented, openapi};

/// Everything that may be called without credentials in a header. This list only shrinks.
const PUBLIC: [&str; 12] = [
    "get /.well-known/jwks.json",
    "get /healthz",
    "get /metrics",
    "get /readyz",
    "get /v1/audit/key",
    "post /connectors/slack/commands",
    "post /connectors/slack/interactions",
    "post /v1/connectors/{name}/events",
    "post /v1/decisions/{system}",
    "post /v1/device",
    "post /v1/device/token",
    "post /v1/tokens/redeem",
];

fn document() -> Value {
    let (_, document) = documented().split_for_parts();
    openapi::finish(document, "https://portcullis.example.com")
}

fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, _)| {
        let item: &serde_json::Map<String, Value> = Value::as_object(item).unwrap();
        item.iter().map(|(method, it)| (format!("{method} {path}"), it)).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

#[test]
fn what_is_public_is_on_the_list() {
    let document = document();
    assert_eq!(document["security"], serde_json::json!([{"bearer": []}]));
    let needs_none =
        |security: &Value| security[0].as_object().is_none_or(serde_json::Map::is_empty);
    let public = operations(&document)
        .into_iter()
        .filter(|(_, it)| it.get("security").is_some_and(needs_none));
    let public: BTreeSet<_> = public.map(|(name, _)| name).collect();
    assert_eq!(public, PUBLIC.map(str::to_owned).into());
}

#[test]
fn every_operation_can_answer_with_a_problem_and_has_a_name_of_its_own() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let operations = operations(&document);
    let names: BTreeSet<_> =
        operations.iter().map(|(_, it)| it["operationId"].as_str().unwrap()).collect();
    assert_eq!(names.len(), operations.len());
    for (name, operation) in operations {
        let problem = &operation["responses"]["default"]["$ref"];
        assert_eq!(problem, "#/components/responses/Problem", "{name}");
    }
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    let document = document();
    let mut open = vec![&document];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(members) => {
                if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                    let pointer = reference.trim_start_matches('#');
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                }
                open.extend(members.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
}
