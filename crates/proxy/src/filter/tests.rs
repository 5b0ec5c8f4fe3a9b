use http::{HeaderMap, HeaderName, HeaderValue};

use super::{trailers::Withheld, *};
use crate::canonical::{Authority, single::Present};

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
    };
    pairs.iter().map(pair).collect()
}

fn names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

fn strip(headers: &mut HeaderMap) {
    let present = Present::of(headers);
    request::strip(headers, present);
}

#[test]
fn c01_c02_identity_headers_are_removed_in_every_spelling() {
    let spellings = [
        "portcullis-principal",
        "Portcullis_Principal",
        "PORTCULLIS.Assertion",
        "x-forwarded-for",
        "X_Forwarded_User",
        "X.Forwarded.Host",
        "forwarded",
        "X-Real-IP",
        "x_real_ip",
        "X-Original-URL",
        "x-original_url",
        "x-envoy-original-path",
        "x-middleware-subrequest",
        "X.Authenticated.User",
        "x-auth-request-email",
        "remote-user",
        "REMOTE_USER",
        "x-remote-user",
        "_x-forwarded-user",
        "x-http-method-override",
        "x-rewrite-url",
        "content_length",
        "Transfer.Encoding",
        "authorization_",
        "Content_Encoding",
        "content.encoding",
        "content.type",
        "ex_pect",
        "grpc_timeout",
        "Grpc.Timeout",
        "upgrade_",
        "x-client-cert",
        "x-forwarded-client-certificate-with-a-very-long-name",
    ];
    for spelling in spellings {
        let mut sent = headers(&[(spelling, "admin"), ("accept", "*/*")]);
        strip(&mut sent);
        assert_eq!(names(&sent), ["accept"], "{spelling}");
    }
}

#[test]
fn ordinary_headers_pass() {
    let ordinary = [
        ("accept", "*/*"),
        ("content-type", "a/b"),
        ("cookie", "a=b"),
        ("x-request-id", "1"),
        ("prefer", "wait=1"),
        ("range", "bytes=0-1"),
        ("referer", "r"),
        ("x-api-key", "k"),
    ];
    let mut sent = headers(&ordinary);
    strip(&mut sent);
    assert_eq!(sent.len(), ordinary.len());
}

#[test]
fn c04_nominated_headers_leave_and_ours_stay() {
    let mut sent = headers(&[
        ("connection", "x-forwarded-for, Portcullis-Principal, x-hop, close"),
        ("x-hop", "1"),
        ("te", "trailers"),
        ("keep-alive", "timeout=5"),
        ("accept", "*/*"),
    ]);
    strip(&mut sent);
    assert_eq!(names(&sent), ["accept"]);
    let text = HeaderValue::from_static;
    let (principal, id, client) = (text("corp:ana"), text("R"), text("192.0.2.1"));
    let authority = Authority::parse("payments.test", 80).unwrap();
    let own = request::Own {
        principal: &principal,
        assertion: None,
        request_id: &id,
        traceparent: None,
        client: &client,
        forwarded: "for=192.0.2.1;proto=http",
        tls: false,
        authority: &authority,
    };
    request::add(&mut sent, own);
    assert_eq!(sent["portcullis-principal"], "corp:ana");
    assert_eq!(sent["x-forwarded-for"], "192.0.2.1");
    assert_eq!(sent["forwarded"], "for=192.0.2.1;proto=http;host=\"payments.test\"");
}

#[test]
fn n01_a_token_of_ours_never_leaves_even_unused() {
    let mut sent = headers(&[("authorization", "Bearer pc_sign_abc")]);
    strip(&mut sent);
    assert!(sent.is_empty());
    let mut own = headers(&[("authorization", "Bearer upstream-key")]);
    strip(&mut own);
    assert_eq!(own.len(), 1);
}

#[test]
fn c14_an_upstream_cannot_speak_in_the_gates_name() {
    let mut answer = headers(&[
        ("portcullis-grant", "forged"),
        ("Portcullis_Request_Id", "forged"),
        ("etag", "x"),
        ("connection", "x-hop"),
        ("x-hop", "1"),
    ]);
    response::filter(&mut answer, &HeaderValue::from_static("R"), None);
    assert_eq!(names(&answer), ["etag", "portcullis-request-id"]);
    assert_eq!(answer["portcullis-request-id"], "R");
}

#[test]
fn a10_trailers_cannot_become_headers_that_decide() {
    let mut trailers = headers(&[
        ("content-length", "5"),
        ("host", "evil"),
        ("authorization", "x"),
        ("x-checksum", "1"),
        ("portcullis-principal", "root"),
        ("x_forwarded_for", "1"),
        ("transfer-encoding", "chunked"),
    ]);
    trailers::of_request(&mut trailers, None);
    assert_eq!(names(&trailers), ["x-checksum"]);
    let declared =
        portcullis_policy::catalog::HeaderParams::of([HeaderName::from_static("x-tenant-id")]);
    let mut trailers = headers(&[("x-tenant-id", "9"), ("x_tenant.id", "9"), ("x-checksum", "1")]);
    let withheld = Withheld { declared, rules: None, nominated: Vec::new() };
    trailers::of_request(&mut trailers, Some(&withheld));
    assert_eq!(names(&trailers), ["x-checksum"], "policy read the header");
}

fn rules(text: &str) -> std::sync::Arc<portcullis_policy::edge::HeaderRules> {
    std::sync::Arc::new(serde_json::from_str(text).unwrap())
}

#[test]
fn a10_c02_trailers_cannot_become_what_was_changed_or_nominated_in_the_head() {
    let mut head = headers(&[("connection", "X-Hop, close, keep-alive"), ("x-hop", "1")]);
    let present = Present::of(&head);
    let nominated = request::strip(&mut head, present);
    assert_eq!(nominated, ["x-hop"]);
    let rules = rules(
        r#"{"request": {"set": {"X-Team": "shop"}, "remove": ["X-Debug"], "add": {"Via": "2"}}, "response": {}}"#,
    );
    let withheld = Withheld { declared: None, rules: Some(rules), nominated };
    let mut sent = headers(&[
        ("x-team", "evil"),
        ("x_team", "evil"),
        ("X.Debug", "evil"),
        ("x-debug", "evil"),
        ("x-hop", "evil"),
        ("x_hop", "evil"),
        ("via", "1"),
        ("x-checksum", "1"),
    ]);
    trailers::of_request(&mut sent, Some(&withheld));
    assert_eq!(names(&sent), ["via", "x-checksum"]);
}

#[test]
fn c14_trailers_of_answers_say_no_more_than_their_heads() {
    let mut head = headers(&[("connection", "x-hop"), ("x-hop", "1"), ("etag", "x")]);
    let nominated = response::filter(&mut head, &HeaderValue::from_static("R"), None);
    let rules = rules(
        r#"{"request": {}, "response": {"set": {"Cache-Control": "no-store"}, "remove": ["Server"]}}"#,
    );
    let withheld = Withheld { declared: None, rules: Some(rules), nominated };
    let sent = headers(&[
        ("portcullis-grant", "forged"),
        ("set-cookie", "any=1"),
        ("connection", "x-other"),
        ("x-other", "1"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("te", "trailers"),
        ("x-hop", "1"),
        ("server", "old/1.0"),
        ("cache-control", "public"),
        ("grpc-status", "0"),
        ("x-checksum", "1"),
    ]);
    let mut left = sent.clone();
    trailers::of_answer(&mut left, Some(&withheld));
    assert_eq!(names(&left), ["grpc-status", "x-checksum"]);
    let mut left = sent;
    trailers::of_answer(&mut left, None);
    assert_eq!(names(&left), ["cache-control", "grpc-status", "server", "x-checksum", "x-hop"]);
}

#[test]
fn an_assertion_verifies_under_the_published_key() {
    use aws_lc_rs::{rand::SystemRandom, signature as sig};
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let pkcs8 = sig::EcdsaKeyPair::generate_pkcs8(
        &sig::ECDSA_P256_SHA256_FIXED_SIGNING,
        &SystemRandom::new(),
    )
    .unwrap();
    let signer = assertion::AssertionSigner::new(pkcs8.as_ref(), "https://gate.test/").unwrap();
    let principal: portcullis_model::Principal = serde_json::from_value(serde_json::json!({
        "id": {"type": "User", "id": "corp:ana"}, "name": "Ana", "groups": ["oncall"],
        "issuer": "corp",
    }))
    .unwrap();
    let now = jiff::Timestamp::from_second(1_000).unwrap();
    let token = signer.sign(&principal, &"payments".parse().unwrap(), None, now).unwrap();
    let jwk = signer.jwk();
    let key = jsonwebtoken::DecodingKey::from_ec_components(
        jwk["x"].as_str().unwrap(),
        jwk["y"].as_str().unwrap(),
    )
    .unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let alg = jsonwebtoken::Algorithm::ES256;
    assert!(jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key, alg).unwrap());
    let claims = URL_SAFE_NO_PAD.decode(message.split('.').nth(1).unwrap()).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["iss"], "https://gate.test");
    assert_eq!(claims["aud"], "payments");
    assert_eq!(claims["sub"], "corp:ana");
    assert_eq!(claims["exp"], 1_120);
}

#[test]
fn c04_a_header_called_close_is_nominated_by_the_word() {
    let mut headers = headers(&[("connection", "close"), ("close", "a"), ("accept", "b")]);
    strip(&mut headers);
    assert_eq!(names(&headers), ["accept"]);
}
