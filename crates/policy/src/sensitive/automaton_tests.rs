//! The automaton against a library that has the whole document.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};
use serde_json_path::{JsonPath, NormalizedPath};

use super::*;

fn automaton(paths: &[&str]) -> Automaton {
    let paths: Vec<Path> = paths.iter().map(|path| path.parse().unwrap()).collect();
    Automaton::new(paths.iter().enumerate()).unwrap()
}

/// The scalars of `value`, by JSON Pointer, and what they are.
fn walk(automaton: &Automaton, at: At, value: &Value, here: &str, found: &mut Vec<(String, u64)>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                let next = automaton.member(at, key.as_bytes());
                assert!(!automaton.is_settled(at) || next == at);
                walk(automaton, next, value, &format!("{here}/{key}"), found);
            }
        }
        Value::Array(elements) => {
            for (index, value) in (0_u64..).zip(elements) {
                let next = automaton.element(at, index);
                walk(automaton, next, value, &format!("{here}/{index}"), found);
            }
        }
        _ => found.push((here.to_owned(), automaton.classes(at).0)),
    }
}

fn sensitive(paths: &[&str], value: &Value) -> BTreeSet<String> {
    let automaton = automaton(paths);
    let mut found = Vec::new();
    walk(&automaton, Automaton::root(), value, "", &mut found);
    found.into_iter().filter(|(_, classes)| *classes != 0).map(|(at, _)| at).collect()
}

fn by_library(paths: &[&str], value: &Value) -> BTreeSet<String> {
    let mut all = Vec::new();
    walk(&automaton(&[]), Automaton::root(), value, "", &mut all);
    let selected: Vec<String> = paths
        .iter()
        .flat_map(|path| {
            let path = JsonPath::parse(path).unwrap();
            let places = path.query_located(value);
            places.locations().map(NormalizedPath::to_json_pointer).collect::<Vec<_>>()
        })
        .collect();
    let is_below =
        |place: &str| selected.iter().any(|at| place == at || place.starts_with(&format!("{at}/")));
    all.into_iter().map(|(place, _)| place).filter(|place| is_below(place)).collect()
}

fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(json!(1)), Just(json!("x")), Just(json!(null)), Just(json!(true))];
    leaf.prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-d]", inner, 0..4).prop_map(|members| json!(members)),
        ]
    })
}

fn path() -> impl Strategy<Value = String> {
    let selector = prop_oneof![
        "['][a-d][']",
        Just("*".to_owned()),
        (0..4_u8).prop_map(|index| index.to_string()),
        (0..3_u8, 0..5_u8).prop_map(|(from, until)| format!("{from}:{until}")),
        (0..3_u8).prop_map(|from| format!("{from}:")),
    ];
    let step = prop_oneof![
        4 => "[.][a-d]",
        2 => "[.][.][a-d]",
        1 => Just(".*".to_owned()),
        1 => Just("..*".to_owned()),
        3 => prop::collection::vec(selector.clone(), 1..3).prop_map(|all| format!("[{}]", all.join(","))),
        1 => selector.prop_map(|one| format!("..[{one}]")),
    ];
    prop::collection::vec(step, 0..4).prop_map(|steps| format!("${}", steps.concat()))
}

proptest! {
    /// What is sensitive is what a query of the whole document selects, and all below it.
    #[test]
    fn a_walk_finds_what_a_query_selects(
        value in document(), paths in prop::collection::vec(path(), 1..4),
    ) {
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        prop_assert_eq!(sensitive(&paths, &value), by_library(&paths, &value));
    }
}

#[test]
fn names_are_compared_without_case_and_whatever_they_are_called() {
    let value = json!({"EMAIL": 1, "eMail": 2, "e-mail": 3, "a": {"Email": 4}});
    let found = sensitive(&["$.email"], &value);
    assert_eq!(found, BTreeSet::from(["/EMAIL".to_owned(), "/eMail".to_owned()]));
}

#[test]
fn a_document_that_stands_in_another_starts_again_and_leads_on() {
    let automaton = automaton(&["$.card.number", "$.card.inner.pin"]);
    let card = automaton.member(Automaton::root(), b"card");
    let inner = automaton.within(automaton.member(card, b"inner"));
    assert_eq!(automaton.within(inner), inner);
    let pin = automaton.member(inner, b"pin");
    assert_eq!(automaton.classes(pin), ClassSet(2), "the path leads on");
    let number = automaton.member(automaton.member(inner, b"card"), b"number");
    assert_eq!(automaton.classes(number), ClassSet(1), "the text is a document of its own");
}

#[test]
fn paths_that_multiply_are_refused() {
    let all: Vec<String> = (0..14).map(|n| format!("$..x{n}{}", ".*".repeat(14))).collect();
    let paths: Vec<Path> = all.iter().map(|path| path.parse().unwrap()).collect();
    assert_eq!(Automaton::new(paths.iter().enumerate()), Err(TooComplex));
}
