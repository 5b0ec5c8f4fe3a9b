//! What becomes of a token's claims.

use std::collections::BTreeMap;

use portcullis_identity::{AuthMethod, ClaimType, Rule};
use portcullis_model::{AttributeValue, PrincipalKind};
use portcullis_testkit::Issuer;
use serde_json::json;

use crate::Scene;

fn ci() -> Scene {
    Scene::with(Issuer::start(), |mut config| {
        config.mapping.subject = "ci:{repository}".parse().unwrap();
        config.mapping.claims = BTreeMap::from([
            ("ref".to_owned(), ClaimType::String),
            ("attempt".to_owned(), ClaimType::Long),
            ("protected".to_owned(), ClaimType::Bool),
            ("teams".to_owned(), ClaimType::Set),
        ]);
        let deployers = vec!["deployers".into()];
        config.mapping.groups = vec![Rule::parse("environment=production", deployers).unwrap()];
        config
    })
}

#[tokio::test]
async fn claims_become_a_name_attributes_and_groups() {
    let scene = ci();
    let token = scene
        .issuer
        .token(scene.now())
        .claim("repository", "shop/cart")
        .claim("environment", "production")
        .claim("ref", "main")
        .claim("attempt", 2)
        .claim("protected", true)
        .claim("teams", json!(["b", "a"]))
        .claim("unmapped", "x");
    let authenticated = scene.present(&token.mint()).await.unwrap();
    let principal = authenticated.principal();
    assert_eq!(principal.id.id.as_ref(), "builds:ci:shop/cart");
    assert_eq!(principal.id.kind, PrincipalKind::Workload);
    assert_eq!(principal.groups.iter().map(AsRef::as_ref).collect::<Vec<_>>(), ["deployers"]);
    let names: Vec<_> = principal.claims.keys().map(String::as_str).collect();
    assert_eq!(names, ["attempt", "protected", "ref", "teams"]);
    assert_eq!(principal.claims["attempt"], AttributeValue::Long(2));
    assert_eq!(authenticated.method(), AuthMethod::Jwt);
    assert_eq!(authenticated.authenticated_at(), scene.now());
}

#[tokio::test]
async fn a_group_rule_wants_exactly_its_value() {
    let scene = ci();
    let token = scene.issuer.token(scene.now()).claim("repository", "shop");
    for other in [json!("Production"), json!("production-2"), json!({"production": 1}), json!(1)] {
        let token = token.clone().claim("environment", other);
        let authenticated = scene.present(&token.mint()).await.unwrap();
        assert!(authenticated.principal().groups.is_empty());
    }
}

#[tokio::test]
async fn a_claim_of_another_type_than_configured_is_refused() {
    let scene = ci();
    let token = scene.issuer.token(scene.now()).claim("repository", "shop");
    for (name, value) in [
        ("ref", json!(1)),
        ("attempt", json!("2")),
        ("attempt", json!(2.5)),
        ("protected", json!("true")),
        ("teams", json!("a")),
        ("teams", json!(["a", 1])),
    ] {
        let refusal = scene.refusal(&token.clone().claim(name, value).mint()).await;
        assert!(refusal.contains("another type"), "{name}: {refusal}");
    }
}

#[tokio::test]
async fn a_subject_that_is_missing_or_no_text_names_nobody() {
    let scene = ci();
    let token = scene.issuer.token(scene.now());
    for value in [json!(7), json!(null), json!(""), json!("a\u{0}b"), json!("a".repeat(513))] {
        let refusal = scene.refusal(&token.clone().claim("repository", value).mint()).await;
        assert!(refusal.contains("subject"), "{refusal}");
    }
    assert!(scene.refusal(&token.mint()).await.contains("subject"));
}

#[tokio::test]
async fn n12_groups_that_were_left_out_are_an_error_that_says_so() {
    let scene = Scene::with(Issuer::start(), |mut config| {
        config.mapping.groups_claim = Some("groups".to_owned());
        config
    });
    let token = scene.issuer.token(scene.now());
    let sound = token.clone().claim("groups", json!(["ops"])).mint();
    assert_eq!(scene.present(&sound).await.unwrap().principal().groups.len(), 1);
    let empty = token.clone().claim("groups", json!([])).mint();
    assert!(scene.present(&empty).await.unwrap().principal().groups.is_empty());

    assert!(scene.refusal(&token.mint()).await.contains("lacks the groups claim"));
    let elsewhere = token.clone().claim("_claim_names", json!({"groups": "src1"})).mint();
    assert!(scene.refusal(&elsewhere).await.contains("too many"));
    let flagged = token.clone().claim("hasgroups", true).mint();
    assert!(scene.refusal(&flagged).await.contains("too many"));
    let text = token.claim("groups", "ops").mint();
    assert!(scene.refusal(&text).await.contains("not a list"));
}
