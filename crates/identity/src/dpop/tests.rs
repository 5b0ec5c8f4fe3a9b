use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use portcullis_model::Entropy;
use portcullis_testkit::SigningKey;
use serde_json::{Value, json};

use super::*;

const TOKEN: &str = "pc_grant_0123456789";
const SECOND: i64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(SECOND).unwrap()
}

fn url(text: &str) -> Url {
    text.parse().unwrap()
}

fn minted(key: &SigningKey, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn header(key: &SigningKey) -> Value {
    json!({"typ": "dpop+jwt", "alg": key.alg(), "jwk": key.jwk()})
}

fn claims() -> Value {
    json!({
        "jti": "one", "htm": "POST", "htu": "https://payments.example.com/v1/refunds",
        "iat": SECOND, "ath": Thumbprint::of(TOKEN.as_bytes()).to_string(),
    })
}

fn verified(proof: &str) -> Result<Proof, AuthError> {
    let urls = [url("https://payments.example.com/v1/refunds?limit=3")];
    verify(proof, &Asked { method: "POST", urls: &urls, token: Some(TOKEN) }, now())
}

#[test]
fn a_proof_of_every_algorithm_holds() {
    for alg in ["ES256", "ES384", "EdDSA", "RS256", "PS256"] {
        let key = SigningKey::generate("k", alg);
        let proof = verified(&minted(&key, &header(&key), &claims())).unwrap();
        assert_eq!(proof.made, now(), "{alg}");
        assert!(CHALLENGE.contains(alg));
    }
}

#[test]
fn a_thumbprint_is_that_of_the_rfc() {
    // The key and the thumbprint of RFC 9449, sections 4.1 and 6.1.
    let jwk = json!({
        "kty": "EC", "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
        "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA", "crv": "P-256", "kid": "other",
    });
    let print = Key::brought(jwk).unwrap().thumbprint();
    assert_eq!(print.to_string(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
}

#[test]
fn what_a_proof_says_must_be_this_very_request() {
    let key = SigningKey::generate("k", "ES256");
    let with = |claim: &str, value: Value| {
        let mut claims = claims();
        claims[claim] = value;
        verified(&minted(&key, &header(&key), &claims))
    };
    let good = "https://payments.example.com";
    for same in ["/v1/refunds?x=1#y", ":443/v1/refunds"] {
        assert!(with("htu", json!(format!("{good}{same}"))).is_ok(), "{same}");
    }
    assert!(with("htu", json!("HTTPS://PAYMENTS.example.com/v1/refunds")).is_ok());
    for age in [-30, 0, 59, 60] {
        assert!(with("iat", json!(SECOND - age)).is_ok(), "{age}");
    }
    let wrong = [
        ("htm", json!("GET")),
        ("htm", json!("post")),
        ("htm", Value::Null),
        ("htu", json!("http://payments.example.com/v1/refunds")),
        ("htu", json!("https://payments.example.com:8443/v1/refunds")),
        ("htu", json!("https://other.example.com/v1/refunds")),
        ("htu", json!("https://payments.example.com@evil.example/v1/refunds")),
        ("htu", json!("https://x@payments.example.com/v1/refunds")),
        ("htu", json!("https://payments.example.com/v1/refunds/")),
        ("htu", json!("https://payments.example.com/v1/Refunds")),
        ("htu", json!("/v1/refunds")),
        ("htu", Value::Null),
        ("ath", json!("pc_grant_0123456789")),
        ("ath", Value::Null),
        ("iat", json!(SECOND - 61)),
        ("iat", json!(SECOND + 31)),
        ("iat", json!(SECOND.to_string())),
        ("iat", json!(1.8e9 + 0.5)),
        ("iat", json!(i64::MAX)),
        ("iat", json!(u64::MAX)),
        ("iat", Value::Null),
        ("jti", json!("")),
        ("jti", json!(7)),
        ("jti", json!("x".repeat(257))),
        ("jti", Value::Null),
    ];
    for (claim, value) in wrong {
        assert!(with(claim, value.clone()).is_err(), "{claim} {value}");
    }
}

#[test]
fn d01_d02_d03_only_its_own_public_key_signs_a_proof() {
    let (key, other) = (SigningKey::generate("k", "ES256"), SigningKey::generate("k", "ES256"));
    let with = |member: &str, value: Value| {
        let mut header = header(&key);
        header[member] = value;
        verified(&minted(&key, &header, &claims()))
    };
    let mut private = key.jwk();
    private["d"] = json!("AAAA");
    let wrong = [
        ("typ", json!("JWT")),
        ("typ", json!("at+jwt")),
        ("typ", Value::Null),
        ("alg", json!("none")),
        ("alg", json!("HS256")),
        ("alg", json!("EdDSA")),
        ("jwk", other.jwk()),
        ("jwk", private),
        ("jwk", json!({"kty": "oct", "k": "AAAA"})),
        ("jwk", json!({})),
        ("jwk", json!("https://evil.example/key")),
        ("jwk", Value::Null),
        ("crit", json!(["exp"])),
    ];
    for (member, value) in wrong {
        assert!(with(member, value.clone()).is_err(), "{member} {value}");
    }
    let proof = minted(&key, &header(&key), &claims());
    let (message, _) = proof.rsplit_once('.').unwrap();
    for cut in [message.to_owned(), format!("{message}."), String::new()] {
        assert!(verified(&cut).is_err(), "{cut}");
    }
}

#[test]
fn the_tools_own_proofs_hold_and_each_is_another() {
    #[derive(Debug)]
    struct Counted(std::sync::atomic::AtomicU8);
    impl Entropy for Counted {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        }
    }
    let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    let key = ProofKey::from_pem(pem(made.unwrap().as_ref()).as_bytes()).unwrap();
    let entropy = Counted(std::sync::atomic::AtomicU8::new(0));
    let at = url("https://payments.example.com/v1/refunds?x=1#y");
    let prove = || key.prove("POST", &at, Some(TOKEN), now(), &entropy).unwrap();
    let (one, two) = (verified(&prove()).unwrap(), verified(&prove()).unwrap());
    assert_eq!(one.key, two.key);
    assert_ne!(one.id, two.id);
    for bad in [String::new(), pem(b"no key"), "-----BEGIN PRIVATE KEY-----".to_owned()] {
        assert!(ProofKey::from_pem(bad.as_bytes()).is_err());
    }
}

fn pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
}
