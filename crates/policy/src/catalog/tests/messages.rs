//! Messages that are small and say much, and declarations that would mislead policies.

use super::{
    protobuf::{described, field, read, set},
    *,
};
use crate::catalog::InspectError::Malformed;

/// A service whose method `Create` takes a `Message`, which `declared` is of.
fn taking(syntax: &str, declared: &str) -> Catalog {
    let service = "service Shop { rpc Create(Message) returns (Message); }";
    let text = format!("syntax = \"{syntax}\";\npackage shop;\n{service}\n{declared}");
    payments(described(&set(&text), &[]))
}

#[test]
fn what_stands_for_absent_fields_is_counted() {
    let fields: Vec<_> = (1..=200).map(|number| format!("int64 f{number} = {number};")).collect();
    let fields = fields.concat();
    let catalog = taking(
        "proto3",
        &format!("message Message {{ repeated Line lines = 1; }} message Line {{ {fields} }}"),
    );
    let lines = |count: usize| field(1, 2, &[0]).repeat(count);
    assert!(read(&catalog, &lines(400)).is_ok());
    let found = read(&catalog, &lines(1_000));
    assert!(
        matches!(&found, Err(Malformed(what)) if what.contains("100000 values")),
        "200 values for two bytes each"
    );
}

#[test]
fn what_is_required_and_not_mapped_is_there_once() {
    let catalog =
        taking("proto2", "message Message { required bytes blob = 1; optional string note = 2; }");
    let blob = field(1, 2, &[1, 7]);
    assert!(read(&catalog, &blob).is_ok());
    let found = read(&catalog, &blob.repeat(2));
    assert!(matches!(&found, Err(Malformed(what)) if what.contains("`blob`")), "{found:?}");
}

#[test]
fn an_enum_whose_numbers_have_two_names_is_left_out() {
    let catalog = taking(
        "proto3",
        "message Message { Coin coin = 1; Size size = 2; } enum Size { SMALL = 0; } \
         enum Coin { option allow_alias = true; NONE = 0; EUR = 1; EURO = 1; }",
    );
    let ty = operation(&catalog, "Create").body_type().unwrap();
    let names: Vec<&str> = ty.fields.keys().map(|name| &**name).collect();
    assert_eq!(names, ["size"], "`coin == \"EURO\"` would never hold");
    assert!(read(&catalog, &field(1, 0, &[1])).is_ok());
}
