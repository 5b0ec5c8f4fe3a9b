//! The walls between the crates, where `cargo deny` cannot see them.

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

/// Who may depend on whom; development dependencies may also use the testkit and whatever stands below.
const FLOORS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("log", &["model"]),
    ("identity", &["model"]),
    ("policy", &["model"]),
    ("store", &["model"]),
    ("control", &["identity", "log", "model", "policy", "store"]),
    ("proxy", &["identity", "model", "policy"]),
    ("api", &["control", "identity", "model"]),
    ("testkit", &["model"]),
    ("portcullis", &["api", "control", "identity", "log", "model", "policy", "proxy", "store"]),
];

/// What a crate must not use at all: the words do no IO, and SQL has one home.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("model", &["tokio", "async-trait", "hyper", "sqlx", "axum"]),
    ("policy", &["tokio", "hyper", "sqlx", "axum", "reqwest"]),
    ("log", &["hyper", "sqlx", "axum", "reqwest"]),
    ("identity", &["hyper", "sqlx", "axum", "cedar-policy"]),
    ("store", &["hyper", "axum", "cedar-policy"]),
    ("control", &["hyper", "axum", "sqlx", "cedar-policy"]),
    ("proxy", &["axum", "sqlx", "cedar-policy"]),
    ("api", &["sqlx", "cedar-policy"]),
];

#[test]
fn arrows_point_down_only() {
    let found = normal_dependencies();
    assert_eq!(found.len(), FLOORS.len(), "a crate is missing from the plan: {:?}", found.keys());
    for (name, allowed) in FLOORS {
        let house =
            found[*name].iter().filter_map(|dependency| dependency.strip_prefix("portcullis-"));
        for dependency in house {
            assert!(allowed.contains(&dependency), "{name} must not depend on {dependency}");
        }
    }
    for (name, forbidden) in FORBIDDEN {
        for dependency in &found[*name] {
            assert!(!forbidden.contains(&dependency.as_str()), "{name} must not use {dependency}");
        }
    }
}

fn normal_dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let name = package["name"].as_str().unwrap();
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let normal = dependencies.filter(|dependency| dependency["kind"].is_null());
            let normal = normal.map(|dependency| dependency["name"].as_str().unwrap().to_owned());
            (name.trim_start_matches("portcullis-").to_owned(), normal.collect())
        })
        .collect()
}
