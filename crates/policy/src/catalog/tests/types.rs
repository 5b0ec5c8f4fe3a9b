//! Types from schemas.

use std::fmt::Write as _;

use super::*;
use crate::catalog::{Field, RecordType, Type};

pub(super) fn shown(record: &RecordType) -> String {
    let field = |(name, field): (&std::sync::Arc<str>, &Field)| {
        format!("{name}{}: {}", if field.required { "" } else { "?" }, named(&field.ty))
    };
    format!("{{{}}}", record.fields.iter().map(field).collect::<Vec<_>>().join(", "))
}

fn named(ty: &Type) -> String {
    match ty {
        Type::Bool => "Bool".to_owned(),
        Type::Long => "Long".to_owned(),
        Type::String => "String".to_owned(),
        Type::Decimal => "decimal".to_owned(),
        Type::Set(item) => format!("Set<{}>", named(item)),
        Type::Record(record) => shown(record),
    }
}

#[test]
fn a_document_becomes_operations_with_types() {
    let catalog = payments(openapi(DOCUMENT));
    let service = catalog.service(&"payments".parse().unwrap()).unwrap();
    let names: Vec<_> = service
        .operations()
        .map(|found| (found.name().local(), found.method(), found.path().unwrap()))
        .collect();
    assert_eq!(
        names,
        [
            ("GET_/refunds/{id}", "GET", "/v1/refunds/{id}".to_owned()),
            ("createRefund", "POST", "/v1/refunds".to_owned()),
            ("searchRefunds", "GET", "/v1/refunds".to_owned()),
        ]
    );
    assert_eq!(matched(&catalog, "GET", "/v1/refunds/7"), Some("GET_/refunds/{id}"));
    assert_eq!(matched(&catalog, "GET", "/refunds"), None);
    assert_eq!(
        shown(operation(&catalog, "searchRefunds").params_type().unwrap()),
        "{X-Trace?: String, filter?: {a?: String}, ids?: Set<Long>, least?: decimal, open?: Bool, tag?: Set<String>, tenant: Long}"
    );
    assert_eq!(
        shown(operation(&catalog, "GET_/refunds/{id}").params_type().unwrap()),
        "{id: Long}"
    );
    assert_eq!(
        shown(operation(&catalog, "createRefund").body_type().unwrap()),
        "{amount: Long, currency: String, id?: String, lines?: Set<{pieces?: Long, sku: String}>, \
         note?: String, rate: decimal, tags?: Set<String>, urgent?: Bool}"
    );
    assert_eq!(
        shown(operation(&catalog, "createRefund").params_type().unwrap()),
        "{tenant?: String}",
        "declared for the path, and replaced by its GET alone"
    );
    assert!(operation(&catalog, "searchRefunds").body_type().is_none());
}

fn body(schema: &str) -> Option<String> {
    let document = format!(
        "{{\"openapi\": \"3.1.0\",\t\"paths\": {{\"/x\": {{\"post\": {{\"operationId\": \"x\", \"requestBody\": \
         {{\"content\": {{\"application/json\": {{\"schema\": {schema}}}}}}}}}}}}}, \"components\": {{\"schemas\": \
         {{\"Node\": {{\"type\": \"object\", \"properties\": {{\"next\": {{\"$ref\": \"#/components/schemas/Node\"}}, \"v\": {{\"type\": \"integer\"}}}}}}}}}}}}"
    );
    let catalog = payments(openapi(&document));
    operation(&catalog, "x").body_type().map(shown)
}

#[test]
fn schemas_map_exactly_or_not_at_all() {
    let table = [
        (
            r#"{"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "required": ["a"]}"#,
            Some("{a?: String}"),
        ),
        (
            r#"{"properties": {"a": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}, "required": ["a"]}"#,
            Some("{a?: Long}"),
        ),
        (
            r#"{"properties": {"a": {"type": ["string", "integer"]}, "b": {"type": "boolean"}}}"#,
            Some("{b?: Bool}"),
        ),
        (
            r#"{"properties": {"a": {"enum": ["x", "y"]}, "b": {"enum": [1, "y"]}, "c": {"const": true}}}"#,
            Some("{a?: String, c?: Bool}"),
        ),
        (
            r#"{"properties": {"a": {"allOf": [{"type": "string"}, {"minLength": 3}]}}}"#,
            Some("{a?: String}"),
        ),
        (
            r#"{"allOf": [{"properties": {"a": {"type": "string"}}}, {"properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}]}"#,
            Some("{b?: String}"),
        ),
        (
            r#"{"properties": {"a": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}}, "b": {"type": "string"}}}"#,
            Some("{b?: String}"),
        ),
        (r##"{"$ref": "#/components/schemas/Node"}"##, Some("{v?: Long}")),
        (r#"{"type": "object", "additionalProperties": {"type": "string"}}"#, None),
        (r#"{"type": "array", "items": {"type": "string"}}"#, None),
        (
            r#"{"oneOf": [{"properties": {"a": {"type": "string"}}}, {"properties": {"b": {"type": "string"}}}]}"#,
            None,
        ),
        ("{}", None),
    ];
    for (schema, expected) in table {
        assert_eq!(body(schema).as_deref(), expected, "{schema}");
    }
}

#[test]
fn a_schema_that_unfolds_without_end_is_a_mistake() {
    let mut schemas = String::from("    S0: {type: object, properties: {v: {type: string}}}\n");
    for level in 1..12 {
        let below = format!("{{$ref: '#/components/schemas/S{}'}}", level - 1);
        writeln!(schemas, "    S{level}: {{type: object, properties: {{a: {below}, b: {below}, c: {below}, d: {below}}}}}").unwrap();
    }
    let text = format!(
        "openapi: 3.0.0\npaths:\n  /x:\n    post:\n      requestBody: {{content: {{application/json: {{schema: {{$ref: '#/components/schemas/S11'}}}}}}}}\ncomponents:\n  schemas:\n{schemas}"
    );
    let found = errors(&[service("payments", openapi(&text))]);
    assert!(found[0].message.contains("more than 4096 schemas"), "{found:?}");
}

#[test]
fn groups_follow_methods_and_are_overridden() {
    use crate::bundle::OperationGroup::{Admin, Read, Write};
    let mut source = service(
        "payments",
        inline(&[
            ("see", "GET /a"),
            ("make", "POST /a"),
            ("search", "POST /s"),
            ("wipe", "DELETE /a"),
        ]),
    );
    source.groups.insert("search".to_owned(), Read);
    source.groups.insert("wipe".to_owned(), Admin);
    let catalog = Catalog::load(&[source]).unwrap();
    let group = |name| operation(&catalog, name).group();
    assert_eq!(
        [group("see"), group("make"), group("search"), group("wipe")],
        [Read, Write, Read, Admin]
    );
    assert_eq!(shown(&RecordType::default()), "{}");
}
