//! Tokens with one defect each. The sound token beside them is accepted, so it is the defect that
//! is refused.

use portcullis_testkit::{Issuer, SigningKey, TokenDraft};
use serde_json::{Value, json};

use crate::{Scene, config, workloads};

/// A scene, and its sound token, shown to be sound.
async fn scene() -> (Scene, TokenDraft) {
    let scene = Scene::new(Issuer::start());
    let sound = scene.issuer.token(scene.now());
    scene.present(&sound.mint()).await.unwrap();
    (scene, sound)
}

async fn refused(scene: &Scene, token: &str, because: &str) {
    let refusal = scene.refusal(token).await;
    assert!(refusal.contains(because), "{refusal}");
}

#[tokio::test]
async fn every_supported_algorithm_is_verified() {
    for alg in ["ES256", "ES384", "EdDSA", "RS256", "PS256"] {
        let scene = Scene::new(Issuer::start_signing(alg));
        let sound = scene.issuer.token(scene.now());
        let authenticated = scene.present(&sound.mint()).await.unwrap();
        assert_eq!(authenticated.principal().id.id.as_ref(), "builds:builder");
        let forged = sound.signed_by(&SigningKey::generate("key-1", alg));
        refused(&scene, &forged, "signature is not sound").await;
    }
}

#[tokio::test]
async fn d01_unsigned_tokens_are_refused() {
    let (scene, sound) = scene().await;
    for alg in ["none", "nOnE", "NONE", ""] {
        refused(&scene, &sound.clone().header("alg", alg).unsigned(), "algorithm").await;
        refused(&scene, &sound.clone().header("alg", alg).mint(), "algorithm").await;
    }
    refused(&scene, &sound.clone().without_header("alg").mint(), "algorithm").await;
    refused(&scene, &sound.unsigned(), "signature is not sound").await;
    let half = sound.mint();
    refused(&scene, half.get(..half.len() - 30).unwrap(), "signature is not sound").await;
}

#[tokio::test]
async fn d02_a_public_key_is_no_shared_secret() {
    for alg in ["RS256", "ES256"] {
        let scene = Scene::new(Issuer::start_signing(alg));
        let sound = scene.issuer.token(scene.now());
        let secret = scene.issuer.key().public_bytes();
        let forged = sound.clone().header("alg", "HS256").hmac_signed(&secret);
        refused(&scene, &forged, "algorithm is not its key's").await;
        refused(&scene, &sound.hmac_signed(&secret), "signature is not sound").await;
    }
}

#[tokio::test]
async fn d02_one_key_serves_one_algorithm() {
    let scene = Scene::new(Issuer::start_signing("RS256"));
    let sound = scene.issuer.token(scene.now());
    refused(&scene, &sound.header("alg", "PS256").mint(), "algorithm is not its key's").await;
}

#[tokio::test]
async fn d03_a_key_id_is_only_looked_up() {
    let (scene, sound) = scene().await;
    for kid in ["../../etc/passwd", "' OR 1=1 --", "https://evil.example/jwks", "", "KEY-1"] {
        refused(&scene, &sound.clone().header("kid", kid).mint(), "not one of its issuer's").await;
    }
    refused(&scene, &sound.header("kid", json!(["key-1"])).mint(), "wrong type").await;
}

#[tokio::test]
async fn d03_keys_that_a_token_brings_along_are_ignored() {
    let (scene, sound) = scene().await;
    let evil = Issuer::start();
    let own = sound
        .header("jwk", evil.key().jwk())
        .header("jku", format!("{}/jwks", evil.url()))
        .header("x5u", format!("{}/jwks", evil.url()));
    refused(&scene, &own.signed_by(&evil.key()), "signature is not sound").await;
    scene.present(&own.mint()).await.unwrap();
    assert_eq!(evil.key_fetches() + evil.discoveries(), 0);
}

#[tokio::test]
async fn d04_tokens_for_others_are_refused() {
    let (scene, sound) = scene().await;
    let audiences: [Value; 8] = [
        json!("other"),
        json!("portcullis "),
        json!("PORTCULLIS"),
        json!(["a", "b"]),
        json!([]),
        json!(["portcullis", 7]),
        json!({"portcullis": true}),
        Value::Null,
    ];
    for audience in audiences {
        let token = sound.clone().claim("aud", audience).mint();
        refused(&scene, &token, "another audience").await;
    }
    refused(&scene, &sound.clone().without("aud").mint(), "another audience").await;
    scene.present(&sound.claim("aud", json!(["a", "portcullis"])).mint()).await.unwrap();
}

#[tokio::test]
async fn d05_tokens_of_another_purpose_are_refused() {
    let (scene, sound) = scene().await;
    for typ in ["logout+jwt", "secevent+jwt", "dpop+jwt", "id_token+jwt", "JOSE"] {
        refused(&scene, &sound.clone().header("typ", typ).mint(), "another purpose").await;
    }
    for claim in ["nonce", "at_hash", "c_hash", "events"] {
        refused(&scene, &sound.clone().claim(claim, "x").mint(), "another purpose").await;
    }
    refused(&scene, &sound.clone().claim("token_use", "id").mint(), "another purpose").await;
    refused(&scene, &sound.clone().claim("typ", "Refresh").mint(), "another purpose").await;
    for typ in ["JWT", "at+jwt", "application/at+jwt"] {
        scene.present(&sound.clone().header("typ", typ).mint()).await.unwrap();
    }
}

#[tokio::test]
async fn d05_one_issuer_cannot_speak_for_another() {
    let (one, two) = (Issuer::start(), Issuer::start());
    let mut second = config(&two);
    second.name = "mesh".to_owned();
    let scene = Scene::new(one);
    let both = workloads(
        vec![config(&scene.issuer), second],
        &scene.clock,
        portcullis_identity::Pace::default(),
    );
    let scene = Scene { workloads: both, ..scene };
    let sound = scene.issuer.token(scene.now());
    scene.present(&sound.mint()).await.unwrap();
    refused(&scene, &sound.signed_by(&two.key()), "signature is not sound").await;
    let strangers = ["https://other.example", &format!("{}/", scene.issuer.url()), ""];
    for stranger in strangers {
        refused(&scene, &sound.clone().claim("iss", stranger).mint(), "not configured").await;
    }
    refused(&scene, &sound.clone().without("iss").mint(), "names no issuer").await;
    let list = sound.claim("iss", json!([scene.issuer.url()]));
    refused(&scene, &list.mint(), "names no issuer").await;
}

#[tokio::test]
async fn d06_times_of_a_wrong_type_are_refused() {
    let (scene, sound) = scene().await;
    let later = (scene.now().as_second() + 300).to_string();
    for name in ["exp", "nbf", "iat"] {
        for value in [
            json!(later),
            json!(1.5),
            json!(1e300),
            json!(-1),
            json!(null),
            json!([1]),
            json!(true),
        ] {
            let token = sound.clone().claim(name, value.clone()).mint();
            refused(&scene, &token, "whole number of seconds").await;
        }
        for letters in ["1e300", "4e9", "4000000000.0", "18446744073709551616", "NaN", "-0.0"] {
            let claims = sound.clone().claim(name, "HERE").claims_json();
            let claims = claims.replace("\"HERE\"", letters);
            scene.refusal(&sound.clone().raw_claims(&claims).mint()).await;
        }
    }
    refused(&scene, &sound.without("exp").mint(), "never expires").await;
}

#[tokio::test]
async fn d07_clocks_may_be_30_seconds_apart_and_no_more() {
    let (scene, sound) = scene().await;
    let now = scene.now().as_second();
    for (name, good, bad) in [("exp", now - 29, now - 30), ("nbf", now + 30, now + 31)] {
        scene.present(&sound.clone().claim(name, good).mint()).await.unwrap();
        scene.refusal(&sound.clone().claim(name, bad).mint()).await;
    }
    refused(&scene, &sound.clone().claim("iat", now + 31).mint(), "not valid yet").await;
    let late = scene.present(&sound.claim("exp", now - 1).mint()).await.unwrap();
    assert!(late.ends_at() > scene.now(), "what is accepted has not ended yet");
    assert_eq!(late.ends_at().as_second(), now + 29);
}

#[tokio::test]
async fn critical_extensions_and_repeated_names_are_refused() {
    let (scene, sound) = scene().await;
    refused(&scene, &sound.clone().header("crit", json!(["b64"])).mint(), "critical").await;
    refused(&scene, &sound.clone().header("b64", false).mint(), "plain signed").await;
    let twice = sound.claims_json().replacen('{', "{\"aud\":\"other\",", 1);
    refused(&scene, &sound.clone().raw_claims(&twice).mint(), "not a signed JWT").await;
    let long = sound.claim("pad", "a".repeat(20_000)).mint();
    refused(&scene, &long, "larger than 16 KiB").await;
}
