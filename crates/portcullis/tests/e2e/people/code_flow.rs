//! The provider's code flow: whoever arrived is who signs in, without a form.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Json,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Person, Shared, tokens};

/// What the provider knows of browsers.
#[derive(Debug, Default)]
pub(crate) struct Browsers {
    /// Who sits in front of it.
    person: Mutex<Option<Person>>,
    /// Claims that ID tokens get on top; `null` leaves one out.
    claims: Mutex<Value>,
    codes: Mutex<HashMap<String, Code>>,
    /// Refresh tokens, and what the provider says of their people by now.
    directory: Mutex<HashMap<String, Option<Person>>>,
    asked: Mutex<Vec<HashMap<String, String>>>,
}

#[derive(Debug)]
struct Code {
    person: Person,
    asked: HashMap<String, String>,
}

impl Browsers {
    /// `person` sits in front of the browser from now on.
    pub(crate) fn seat(&self, person: &Person) {
        *self.person.lock().unwrap() = Some(person.clone());
        let name = person.subject.clone();
        self.directory.lock().unwrap().insert(name, Some(person.clone()));
    }

    /// The provider knows `person` like this from now on.
    pub(crate) fn change(&self, person: &Person) {
        self.directory.lock().unwrap().insert(person.subject.clone(), Some(person.clone()));
    }

    /// The account called `subject` is disabled.
    pub(crate) fn disable(&self, subject: &str) {
        self.directory.lock().unwrap().insert(subject.to_owned(), None);
    }

    /// ID tokens have these claims on top from now on.
    pub(crate) fn claim(&self, claims: Value) {
        *self.claims.lock().unwrap() = claims;
    }

    /// The parameters that browsers came with.
    pub(crate) fn asked(&self) -> Vec<HashMap<String, String>> {
        self.asked.lock().unwrap().clone()
    }
}

pub(super) async fn authorize(
    State(state): State<Arc<Shared>>,
    Query(asked): Query<HashMap<String, String>>,
) -> Response {
    let browsers = &state.browsers;
    browsers.asked.lock().unwrap().push(asked.clone());
    let person = browsers.person.lock().unwrap().clone().expect("somebody sits there");
    let mut codes = browsers.codes.lock().unwrap();
    let code = format!("code-{}", codes.len());
    let back = format!(
        "{}?code={code}&state={}&iss={}",
        asked["redirect_uri"],
        asked["state"],
        state.issuer.url().replace(':', "%3A").replace('/', "%2F")
    );
    codes.insert(code, Code { person, asked });
    (StatusCode::SEE_OTHER, [(header::LOCATION, back)]).into_response()
}

pub(super) fn redeem(state: &Shared, form: &HashMap<String, String>) -> (StatusCode, Json<Value>) {
    let refused = |why: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": why })));
    let Some(code) = state.browsers.codes.lock().unwrap().remove(&form["code"]) else {
        return refused("invalid_grant");
    };
    let Some(verifier) = form.get("code_verifier") else { return refused("invalid_request") };
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
    let fits = code.asked["code_challenge"] == challenge
        && code.asked["code_challenge_method"] == "S256"
        && code.asked["redirect_uri"] == form["redirect_uri"];
    if !fits {
        return refused("invalid_grant");
    }
    let mut claims = json!({
        "nonce": code.asked["nonce"], "sid": format!("session-of-{}", code.person.subject)
    });
    let more = state.browsers.claims.lock().unwrap().clone();
    claims.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    let mut answer = tokens(state, &code.person, Some(claims));
    answer["refresh_token"] = json!(code.person.subject);
    (StatusCode::OK, Json(answer))
}

pub(super) fn refresh(state: &Shared, form: &HashMap<String, String>) -> (StatusCode, Json<Value>) {
    let directory = state.browsers.directory.lock().unwrap();
    match directory.get(&form["refresh_token"]) {
        Some(Some(person)) => {
            let more = state.browsers.claims.lock().unwrap().clone();
            (StatusCode::OK, Json(tokens(state, person, Some(more))))
        }
        _ => (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"}))),
    }
}
