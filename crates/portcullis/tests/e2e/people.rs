//! An identity provider with device and code flow, on the testkit's issuer: people sign in when the test
//! says so.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Form, Json, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use portcullis_testkit::{Issuer, ambient::machine_time};
use serde_json::{Value, json};

use crate::secrecy::handed_out;

/// Of no use to anybody.
const ACCESS_TOKEN: &str = "an-access-token-of-no-use-here";

mod code_flow;

/// The provider; stops with the test's process.
#[derive(Debug, Clone)]
pub(crate) struct People {
    state: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    issuer: Issuer,
    /// Device code to the person who confirmed it, if somebody has.
    devices: Mutex<HashMap<String, Option<Person>>>,
    /// What concerns browsers.
    pub(crate) browsers: code_flow::Browsers,
}

/// Somebody with an account.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) subject: String,
    pub(crate) email: String,
    pub(crate) email_verified: bool,
    pub(crate) groups: Vec<String>,
    /// Further claims.
    pub(crate) more: Value,
}

impl Person {
    /// `name@example.com`, verified, in `groups`.
    pub(crate) fn new(name: &str, groups: &[&str]) -> Self {
        Self {
            subject: name.to_owned(),
            email: format!("{name}@example.com"),
            email_verified: true,
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            more: json!({}),
        }
    }
}

impl People {
    pub(crate) fn start() -> Self {
        let (issuer, devices) = (Issuer::start(), Mutex::default());
        let state = Arc::new(Shared { issuer, devices, browsers: code_flow::Browsers::default() });
        let address = serve(Arc::clone(&state));
        let endpoint = |path: &str| format!("http://{address}{path}");
        let issuer = &state.issuer;
        issuer.set_discovery("device_authorization_endpoint", endpoint("/device"));
        issuer.set_discovery("token_endpoint", endpoint("/token"));
        issuer.set_discovery("authorization_endpoint", endpoint("/authorize"));
        issuer.set_discovery("authorization_response_iss_parameter_supported", true);
        Self { state }
    }

    pub(crate) fn issuer(&self) -> &Issuer {
        &self.state.issuer
    }

    /// What concerns browsers.
    pub(crate) fn browsers(&self) -> &code_flow::Browsers {
        &self.state.browsers
    }

    /// `person` types `user_code` and confirms.
    pub(crate) fn confirm(&self, user_code: &str, person: &Person) {
        let mut devices = self.state.devices.lock().unwrap();
        let device = devices.get_mut(user_code).expect("the provider gave out this code");
        *device = Some(person.clone());
    }
}

fn serve(state: Arc<Shared>) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let routes = Router::new().route("/device", post(device)).route("/token", post(token));
            let routes = routes.route("/authorize", get(code_flow::authorize));
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, routes.with_state(state)).await.unwrap();
        });
    });
    address
}

async fn device(State(state): State<Arc<Shared>>) -> Json<Value> {
    let mut devices = state.devices.lock().unwrap();
    let code = format!("CODE-{}", devices.len());
    devices.insert(code.clone(), None);
    Json(json!({
        "device_code": code, "user_code": code, "interval": 1, "expires_in": 600,
        "verification_uri": "http://127.0.0.1/device",
    }))
}

async fn token(
    State(state): State<Arc<Shared>>,
    Form(form): Form<HashMap<String, String>>,
) -> (StatusCode, Json<Value>) {
    match form["grant_type"].as_str() {
        "authorization_code" => return code_flow::redeem(&state, &form),
        "refresh_token" => return code_flow::refresh(&state, &form),
        _ => {}
    }
    let devices = state.devices.lock().unwrap();
    let Some(Some(person)) = devices.get(&form["device_code"]) else {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "authorization_pending"})));
    };
    (StatusCode::OK, Json(tokens(&state, person, None)))
}

/// What the token endpoint says of `person`, and `more` claims of its ID token.
fn tokens(state: &Shared, person: &Person, more: Option<Value>) -> Value {
    let now = machine_time();
    let mut id_token = state.issuer.token(now).claim("aud", "portcullis");
    for (name, value) in person.more.as_object().into_iter().flatten() {
        id_token = id_token.claim(name, value.clone());
    }
    let mut id_token = id_token
        .claim("sub", person.subject.as_str())
        .claim("name", person.subject.as_str())
        .claim("email", person.email.as_str())
        .claim("email_verified", person.email_verified)
        .claim("groups", person.groups.clone())
        .claim("auth_time", now.as_second());
    for (name, value) in more.iter().filter_map(Value::as_object).flatten() {
        id_token = if value.is_null() {
            id_token.without(name)
        } else {
            id_token.claim(name, value.clone())
        };
    }
    let answer = json!({
        "access_token": ACCESS_TOKEN, "token_type": "Bearer", "expires_in": 300,
        "id_token": id_token.mint(),
    });
    for token in ["access_token", "id_token"] {
        handed_out(answer[token].as_str().unwrap());
    }
    answer
}
