use std::{collections::HashMap, sync::Arc};

use serde_json::Value;

use super::{Addresses, USUAL, files, start_services};

fn client() -> reqwest::Client {
    let _installed_before = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client")
}

async fn json(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("json"))
}

async fn provider() -> (reqwest::Client, String) {
    let addresses = start_services(true).await.expect("services");
    (client(), format!("http://{}", addresses.provider))
}

fn claims(token: &str) -> Value {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let payload = token.split('.').nth(1).expect("a payload");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64")).expect("json")
}

#[test]
fn the_demo_files_are_a_sound_configuration() {
    let folder = files::Folder::open(None).expect("a folder");
    folder.write(USUAL).expect("written");
    let loaded = crate::config::load(&folder.config());
    let loaded = loaded.map_err(|errors| crate::diagnostics::render(&errors, folder.path()));
    let loaded = loaded.map_err(|text| panic!("{text}")).expect("loads");
    assert_eq!(loaded.config.services.len(), 4);
    assert_eq!(loaded.bundle.claims.len(), 4);
    let bundle = Arc::new(crate::check::load_bundle(&loaded).expect("a bundle"));
    let report = portcullis_policy::policy_test::run(&bundle, &loaded.policy_tests);
    assert!(report.is_ok() && report.cases > 0, "{report:#?}");
}

#[test]
fn free_ports_replace_usual_ones_even_if_they_cross() {
    let swapped = Addresses { gate: USUAL.control, control: USUAL.gate, ..USUAL };
    let text = swapped.put_into("127.0.0.1:8080 http://payments.localhost:8080 127.0.0.1:8600");
    assert_eq!(text, "127.0.0.1:8600 http://payments.localhost:8600 127.0.0.1:8080");
}

#[tokio::test]
async fn a_device_signs_in_through_the_form() {
    let (client, issuer) = provider().await;
    let form = [("client_id", "portcullis"), ("scope", "openid")];
    let (status, begun) =
        json(client.post(format!("{issuer}/device_authorization")).form(&form)).await;
    assert_eq!(status, 200);
    let device_code = begun["device_code"].as_str().expect("a code").to_owned();
    let poll = || {
        let fields = HashMap::from([
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("client_id", "portcullis"),
            ("device_code", device_code.as_str()),
        ]);
        json(client.post(format!("{issuer}/token")).form(&fields))
    };
    assert_eq!(poll().await.1["error"], "authorization_pending");

    let complete = begun["verification_uri_complete"].as_str().expect("a URL");
    let page = client.get(complete).send().await.expect("a page").text().await.expect("text");
    assert!(page.contains("<button name=\"person\" value=\"ana\">"), "{page}");
    let fields = [("user_code", begun["user_code"].as_str().expect("a code")), ("person", "ana")];
    let done = client.post(format!("{issuer}/device")).form(&fields).send().await.expect("a page");
    assert!(done.status().is_success());

    let (status, tokens) = poll().await;
    assert_eq!(status, 200);
    let claims = claims(tokens["id_token"].as_str().expect("a token"));
    assert_eq!(claims["sub"], "ana");
    assert_eq!(claims["iss"], issuer);
    assert!(claims["groups"].as_array().expect("groups").contains(&"payments-oncall".into()));
    assert_eq!(poll().await.1["error"], "invalid_grant", "a code is good once");

    let access = tokens["access_token"].as_str().expect("a token");
    let (_, info) = json(client.get(format!("{issuer}/userinfo")).bearer_auth(access)).await;
    assert_eq!(info["email"], "ana@demo.example");
    let denied = client.get(format!("{issuer}/userinfo")).bearer_auth("x").send().await;
    assert_eq!(denied.expect("an answer").status(), 401);
}

#[tokio::test]
async fn the_code_flow_needs_the_verifier_and_a_loopback_redirect() {
    let (client, issuer) = provider().await;
    // The example of RFC 7636, appendix B.
    let (verifier, challenge) = (
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
    );
    let ask = |redirect: &str| {
        let fields = HashMap::from([
            ("response_type", "code".to_owned()),
            ("client_id", "portcullis".to_owned()),
            ("redirect_uri", redirect.to_owned()),
            ("state", "s".to_owned()),
            ("nonce", "n".to_owned()),
            ("code_challenge", challenge.to_owned()),
            ("code_challenge_method", "S256".to_owned()),
            ("person", "lea".to_owned()),
        ]);
        client.post(format!("{issuer}/authorize")).form(&fields).send()
    };
    assert_eq!(ask("https://evil.example/").await.expect("an answer").status(), 400);

    for (presented, works) in [("wrong", false), (verifier, true)] {
        let answer = ask("http://127.0.0.1:1/back").await.expect("an answer");
        let location = answer.headers()["location"].to_str().expect("text").parse::<url::Url>();
        let location = location.expect("a URL");
        let pairs: HashMap<_, _> = location.query_pairs().into_owned().collect();
        assert_eq!((pairs["state"].as_str(), &pairs["iss"]), ("s", &issuer));
        let fields = HashMap::from([
            ("grant_type", "authorization_code"),
            ("client_id", "portcullis"),
            ("redirect_uri", "http://127.0.0.1:1/back"),
            ("code", pairs["code"].as_str()),
            ("code_verifier", presented),
        ]);
        let (_, tokens) = json(client.post(format!("{issuer}/token")).form(&fields)).await;
        if works {
            let claims = claims(tokens["id_token"].as_str().expect("a token"));
            assert_eq!(
                (claims["sub"].as_str(), claims["nonce"].as_str()),
                (Some("lea"), Some("n"))
            );
        } else {
            assert_eq!(tokens["error"], "invalid_grant");
        }
    }
}

#[tokio::test]
async fn tokens_verify_with_the_published_key() {
    let (client, issuer) = provider().await;
    let discovery = client.get(format!("{issuer}/.well-known/openid-configuration"));
    let (_, discovery) = json(discovery).await;
    let (_, keys) = json(client.get(discovery["jwks_uri"].as_str().expect("a URL"))).await;
    let key = serde_json::from_value(keys["keys"][0].clone()).expect("a JWK");
    let key = jsonwebtoken::DecodingKey::from_jwk(&key).expect("a key");
    let fields = [("grant_type", "client_credentials"), ("audience", "portcullis")];
    let token = client.post(format!("{issuer}/ci/token")).form(&fields).send().await;
    let token = token.expect("an answer").text().await.expect("text");
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
    validation.set_audience(&["portcullis"]);
    validation.set_issuer(&[&issuer]);
    let data = jsonwebtoken::decode::<Value>(&token, &key, &validation).expect("verifies");
    assert_eq!(data.claims["repository"], "demo/payments");
}

#[tokio::test]
async fn a_port_in_use_is_told_with_what_to_do() {
    let taken = super::bind(super::loopback(0)).await.expect("a port");
    let error = super::bind(taken.local_addr().expect("an address")).await.expect_err("taken");
    assert!(format!("{error:#}").contains("start with --free-ports"), "{error:#}");
}
