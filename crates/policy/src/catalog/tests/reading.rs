//! The JSON reader against a library.

use proptest::prelude::*;
use serde_json::json;

use crate::catalog::json::{Json, is_number, parse};

fn as_library(value: &Json<'_>) -> serde_json::Value {
    match value {
        Json::Null => serde_json::Value::Null,
        Json::Bool(value) => json!(value),
        Json::Number(text) => serde_json::from_str(text).unwrap(),
        Json::Text(text) => json!(text),
        Json::List(items) => items.iter().map(as_library).collect(),
        Json::Object(entries) => {
            let entry = |(key, value): &(std::borrow::Cow<'_, str>, Json<'_>)| {
                (key.clone().into_owned(), as_library(value))
            };
            serde_json::Value::Object(entries.iter().map(entry).collect())
        }
    }
}

fn document() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        (-1e300..1e300).prop_map(|value: f64| json!(value)),
        ".{0,12}".prop_map(|value| json!(value)),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::Array),
            prop::collection::hash_map(".{0,6}", inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_document_without_duplicates_is_what_the_library_reads(value in document(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let text = text.unwrap();
        let library: serde_json::Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(as_library(&parse(&text).unwrap()), library);
    }

    #[test]
    fn what_the_library_refuses_is_refused(text in r#"[\[\]{}:,"0-9eE.+\-tfnrualse \\]{0,24}"#) {
        let library = serde_json::from_str::<serde_json::Value>(&text);
        match (parse(&text), library) {
            (Ok(own), Ok(library)) => prop_assert_eq!(as_library(&own), library),
            (Ok(_), Err(error)) => prop_assert!(error.to_string().contains("out of range"), "{text}: {error}"),
            (Err(what), Ok(_)) => prop_assert!(what.contains("twice"), "{text}: {what}"),
            (Err(_), Err(_)) => {}
        }
    }
}

#[test]
fn broken_documents_are_refused() {
    for text in [
        "",
        " ",
        "{",
        "{}x",
        "{} {}",
        "[1,]",
        "{\"a\":1,}",
        "{'a':1}",
        "{a:1}",
        "01",
        "+1",
        "1.",
        ".5",
        "1e",
        "NaN",
        "nul",
        "\"\u{1}\"",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"a",
        "\u{feff}{}",
        "[1 2]",
        "{\"a\" 1}",
        "// c\n1",
    ] {
        assert!(parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn escapes_are_undone_before_keys_are_compared() {
    let what = parse(r#"{"a": {"amount": 1, "\u0061mount": 2}}"#).unwrap_err();
    assert!(what.contains("`amount` stands twice"), "{what}");
}

#[test]
fn depth_and_size_are_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(&nested(64)).is_ok());
    assert!(parse(&nested(65)).unwrap_err().contains("nested more than 64 deep"));
    assert!(parse(&"[".repeat(1_000_000)).is_err());
    let long = format!("[{}0]", "0,".repeat(100_000));
    assert!(parse(&long).unwrap_err().contains("more than 100000 values"));
}

#[test]
fn numbers_are_those_of_json() {
    for text in ["0", "-0", "12", "1.50", "1e5", "1E+5", "-1.2e-3"] {
        assert!(is_number(text), "{text}");
    }
    for text in
        ["", "-", "+1", "00", "01", "1.", ".1", "1e", "1e+", "0x1", "1_0", " 1", "1.2.3", "1e1e1"]
    {
        assert!(!is_number(text), "{text}");
    }
}
