//! Inspection of parameters and bodies.

use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};

use super::*;
use crate::{
    catalog::InspectError::{self, Malformed, NotRepresentable},
    context::{Record, Value},
};

fn of_type(kind: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))])
}

fn json() -> HeaderMap {
    of_type("application/json")
}

fn body(text: &str) -> Result<Option<Record>, InspectError> {
    operation(&payments(openapi(DOCUMENT)), "createRefund").body(&json(), None, text.as_bytes())
}

fn amount(amount: &str) -> Result<Option<Record>, InspectError> {
    body(&format!(r#"{{"amount": {amount}, "currency": "EUR", "rate": 1}}"#))
}

fn rate(rate: &str) -> Result<Value, InspectError> {
    let found = body(&format!(r#"{{"amount": 1, "currency": "EUR", "rate": {rate}}}"#))?;
    Ok(found.unwrap()["rate"].clone())
}

fn query(query: &str) -> Result<Record, InspectError> {
    let found = operation(&payments(openapi(DOCUMENT)), "searchRefunds").params(
        &[],
        Some(query),
        &HeaderMap::new(),
    )?;
    Ok(found.unwrap())
}

#[test]
fn n04_two_amounts_in_one_body_are_malformed() {
    let both = body(r#"{"amount": 1, "amount": 2, "currency": "EUR", "rate": 1}"#);
    assert!(
        matches!(&both, Err(Malformed(what)) if what.contains("`amount` stands twice")),
        "{both:?}"
    );
    let deep =
        body(r#"{"amount": 1, "currency": "EUR", "rate": 1, "x": [{"y": {"a": 1, "a": 1}}]}"#);
    assert!(matches!(deep, Err(Malformed(_))), "also where nothing is declared");
    let last = body(r#"{"amount": 1.5, "x": 1, "x": 2}"#);
    assert!(matches!(last, Err(Malformed(_))), "malformed goes before not representable");
}

#[test]
fn n04_an_undeclared_property_stays_out() {
    let text = r#"{"amount": 5, "currency": "EUR", "rate": 1, "secret": true, "either": 3, "parent": {"amount": "x"}}"#;
    let found = body(text).unwrap().unwrap();
    let names: Vec<&str> = found.keys().map(|name| &**name).collect();
    assert_eq!(names, ["amount", "currency", "rate"]);
    assert_eq!(found["amount"], Value::Long(5));
}

#[test]
fn n04_a_float_is_no_long() {
    for text in [
        "1.0",
        "1.5",
        "1e2",
        "9223372036854775808",
        "-9223372036854775809",
        "\"1\"",
        "null",
        "true",
        "[1]",
    ] {
        let found = amount(text);
        assert!(
            matches!(&found, Err(NotRepresentable(what)) if what.contains("`amount`")),
            "{text}: {found:?}"
        );
    }
    for (text, expected) in
        [("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN), ("0", 0)]
    {
        assert_eq!(amount(text).unwrap().unwrap()["amount"], Value::Long(expected));
    }
}

#[test]
fn a_decimal_is_held_exactly_or_not_at_all() {
    for (text, expected) in [
        ("1", "1.0"),
        ("12.50", "12.5"),
        ("-0.0001", "-0.0001"),
        ("1.5e-3", "0.0015"),
        ("1e2", "100.0"),
        ("-0", "0.0"),
        ("0.10000000", "0.1"),
        ("922337203685477.5807", "922337203685477.5807"),
        ("100e-2", "1.0"),
        ("0e999999999", "0.0"),
        ("-922337203685477.5808", "-922337203685477.5808"),
        ("1000000", "1000000.0"),
    ] {
        assert_eq!(rate(text), Ok(Value::Decimal(expected.to_owned())), "{text}");
        assert!(cedar_reads(expected), "{expected}");
    }
    for text in [
        "0.00001",
        "1.00000000000000000001",
        "922337203685477.5808",
        "1e30",
        "1e-5",
        "1e99999999999999999999",
        "\"1\"",
    ] {
        assert!(matches!(rate(text), Err(NotRepresentable(_))), "{text}");
    }
}

fn cedar_reads(text: &str) -> bool {
    let expression = cedar_policy::RestrictedExpression::new_decimal(text);
    let pairs = [("value".to_owned(), expression)];
    cedar_policy::Context::from_pairs(pairs).is_ok()
}

#[test]
fn sets_and_records_are_typed_inside() {
    let found = body(
        r#"{"amount": 1, "currency": "EUR", "rate": 1, "tags": ["a", "a"], "note": null,
            "lines": [{"sku": "x", "pieces": 2, "other": 1}, {"sku": "y", "pieces": null}]}"#,
    );
    let found = found.unwrap().unwrap();
    let text = |text: &str| Value::String(text.to_owned());
    assert_eq!(found["tags"], Value::Set(vec![text("a"), text("a")]));
    assert!(!found.contains_key("note"), "null is absence");
    let Value::Set(lines) = &found["lines"] else { panic!("{found:?}") };
    assert_eq!(
        lines[0],
        Value::Record(Record::from([("sku".into(), text("x")), ("pieces".into(), Value::Long(2))]))
    );
    assert_eq!(lines[1], Value::Record(Record::from([("sku".into(), text("y"))])));
    let wrong = body(r#"{"amount": 1, "currency": "EUR", "rate": 1, "lines": [{"pieces": 1}]}"#);
    assert_eq!(wrong, Err(NotRepresentable("`lines[].sku` is required and missing".to_owned())));
}

#[test]
fn a_name_that_differs_in_case_only_is_malformed() {
    for key in ["Amount", "AMOUNT", "\\u0041mount"] {
        let found = body(&format!(r#"{{"amount": 1, "{key}": 9, "currency": "EUR", "rate": 1}}"#));
        assert!(
            matches!(&found, Err(Malformed(what)) if what.contains("case")),
            "{key}: {found:?}"
        );
    }
    assert!(matches!(query("tenant=1&Tenant=2"), Err(Malformed(_))));
}

#[test]
fn content_types_other_than_json_in_utf8_are_refused() {
    let catalog = payments(openapi(DOCUMENT));
    let text = br#"{"amount": 1, "currency": "EUR", "rate": 1}"#;
    let with = |kind| operation(&catalog, "createRefund").body(&of_type(kind), None, text);
    for good in [
        "application/json",
        "Application/JSON; charset=UTF-8",
        "application/json;charset=\"utf-8\"",
    ] {
        assert!(with(good).is_ok(), "{good}");
    }
    for bad in ["application/json; charset=utf-16", "application/json; v=1"] {
        assert!(matches!(with(bad), Err(Malformed(_))), "{bad}");
    }
    for undeclared in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/merge-patch+json",
        "+json",
        "",
    ] {
        assert!(matches!(with(undeclared), Err(NotRepresentable(_))), "{undeclared}");
    }
    let create = operation(&catalog, "createRefund");
    assert!(
        matches!(create.body(&HeaderMap::new(), None, text), Err(Malformed(_))),
        "nothing said"
    );
    let mut twice = json();
    twice.append(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    assert!(matches!(create.body(&twice, None, text), Err(Malformed(_))), "two content types");
}

#[test]
fn bodies_that_are_absent_broken_or_no_object() {
    assert!(matches!(body(""), Err(NotRepresentable(_))));
    assert!(matches!(body("[]"), Err(NotRepresentable(_))));
    assert!(matches!(body("{\"amount\": 1"), Err(Malformed(_))));
    let catalog = payments(openapi(DOCUMENT));
    assert!(matches!(
        operation(&catalog, "createRefund").body(&json(), None, b"{\"a\": \"\xff\"}"),
        Err(Malformed(_))
    ));
    assert_eq!(
        operation(&catalog, "searchRefunds").body(&HeaderMap::new(), None, b"anything"),
        Ok(None)
    );
    let optional =
        DOCUMENT.replace("required: true\n      content", "required: false\n      content");
    assert_eq!(
        operation(&payments(openapi(&optional)), "createRefund").body(&HeaderMap::new(), None, b""),
        Ok(None)
    );
}

#[test]
fn query_parameters_are_typed_by_declaration() {
    let found = query("tenant=7&tag=a+b&tag=c%2Bd&ids=1,2&least=2.50&open=true&other=%zz").unwrap();
    let text = |text: &str| Value::String(text.to_owned());
    let expected = Record::from([
        ("tenant".into(), Value::Long(7)),
        ("tag".into(), Value::Set(vec![text("a b"), text("c+d")])),
        ("ids".into(), Value::Set(vec![Value::Long(1), Value::Long(2)])),
        ("least".into(), Value::Decimal("2.5".to_owned())),
        ("open".into(), Value::Bool(true)),
    ]);
    assert_eq!(found, expected);
    assert_eq!(query("tenant=1").unwrap().len(), 1);
}

#[test]
fn queries_that_have_two_readings_are_malformed() {
    for text in [
        "tenant=1&tenant=1",
        "tenant=1&%74enant=2",
        "tenant=%zz",
        "tenant=%2",
        "tenant=1&tag=%ff",
        "tenant=1&%ff=1",
        "tenant=1&ids=1&ids=2",
    ] {
        assert!(matches!(query(text), Err(Malformed(_))), "{text}: {:?}", query(text));
    }
    for text in [
        "",
        "other=1",
        "tenant=",
        "tenant",
        "tenant=1.0",
        "tenant=%2B1",
        "tenant=01",
        "tenant=9223372036854775808",
        "tenant=1&open=yes",
        "tenant=1&ids=1,x",
    ] {
        assert!(matches!(query(text), Err(NotRepresentable(_))), "{text}: {:?}", query(text));
    }
    assert_eq!(query(""), Err(NotRepresentable("`tenant` is required and missing".to_owned())));
}

#[test]
fn path_parameters_are_decoded_once() {
    let catalog = payments(inline(&[("item", "GET /items/{id}")]));
    let read = |raw: &str| {
        let found = operation(&catalog, "item").params(
            &[("id", raw.to_owned())],
            None,
            &HeaderMap::new(),
        )?;
        Ok(found.unwrap()["id"].clone())
    };
    assert_eq!(read("a%2Fb+c"), Ok(Value::String("a/b+c".to_owned())));
    assert_eq!(read("%2525"), Ok(Value::String("%25".to_owned())));
    for raw in ["%", "%4", "%g0", "%ff", "%c0%af"] {
        assert!(matches!(read(raw), Err(Malformed(_))), "{raw}");
    }
}
