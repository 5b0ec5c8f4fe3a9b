//! The authorization endpoint: code flow with PKCE (RFC 6749, RFC 7636), S256 only.

use axum::{
    Form,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::{CLIENT, Shared, page, people, people::Person};

/// An authorization code that has not been exchanged yet.
#[derive(Debug)]
pub(super) struct Code {
    pub(super) person: &'static Person,
    pub(super) redirect_uri: String,
    pub(super) challenge: String,
    pub(super) nonce: Option<String>,
    pub(super) expires_at: Timestamp,
}

/// What a client asks with.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    response_type: String,
    #[serde(default)]
    client_id: String,
    #[serde(default)]
    redirect_uri: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    code_challenge: String,
    #[serde(default)]
    code_challenge_method: String,
    nonce: Option<String>,
}

/// The answer of the form: what was asked, and who.
#[derive(Debug, Deserialize)]
pub(super) struct Chosen {
    #[serde(flatten)]
    wanted: Wanted,
    person: String,
}

/// Asks who it is.
pub(super) async fn show(Query(wanted): Query<Wanted>) -> Response {
    if let Err(message) = wanted.check() {
        return page::say(StatusCode::BAD_REQUEST, "Not a request", message);
    }
    let fields = [
        ("response_type", wanted.response_type.as_str()),
        ("client_id", wanted.client_id.as_str()),
        ("redirect_uri", wanted.redirect_uri.as_str()),
        ("state", wanted.state.as_str()),
        ("code_challenge", wanted.code_challenge.as_str()),
        ("code_challenge_method", wanted.code_challenge_method.as_str()),
    ];
    let nonce = wanted.nonce.as_deref().map(|nonce| ("nonce", nonce));
    let fields: Vec<_> = fields.into_iter().chain(nonce).collect();
    page::choose("/authorize", "Portcullis asks who you are.", &fields)
}

/// Sends the person back with a code.
pub(super) async fn choose(State(provider): State<Shared>, Form(chosen): Form<Chosen>) -> Response {
    let wanted = chosen.wanted;
    let redirect = match wanted.check() {
        Ok(url) => url,
        Err(message) => return page::say(StatusCode::BAD_REQUEST, "Not a request", message),
    };
    let Some(person) = people::lookup(&chosen.person) else {
        return page::say(StatusCode::BAD_REQUEST, "Who?", "Nobody here has that name.");
    };
    let code = provider.random_text();
    let expires_at = provider.now() + SignedDuration::from_secs(60);
    let redirect = with_answer(redirect, &code, &wanted.state, &provider.issuer);
    provider.memory().codes.insert(
        code,
        Code {
            person,
            redirect_uri: wanted.redirect_uri,
            challenge: wanted.code_challenge,
            nonce: wanted.nonce,
            expires_at,
        },
    );
    (StatusCode::SEE_OTHER, [(header::LOCATION, redirect.to_string())]).into_response()
}

fn with_answer(mut redirect: Url, code: &str, state: &str, issuer: &str) -> Url {
    redirect
        .query_pairs_mut()
        .append_pair("code", code)
        .append_pair("state", state)
        // RFC 9207: the client sees which issuer answered.
        .append_pair("iss", issuer);
    redirect
}

impl Wanted {
    /// Where to go afterwards, if the request is in order. Only loopback: it is a demo.
    fn check(&self) -> Result<Url, &'static str> {
        if self.client_id != CLIENT {
            return Err("This client is not registered.");
        }
        if self.response_type != "code" {
            return Err("Only the code flow is offered.");
        }
        if self.code_challenge_method != "S256" || self.code_challenge.len() != 43 {
            return Err("PKCE with S256 is required.");
        }
        let redirect: Url = self.redirect_uri.parse().map_err(|_| "The redirect URI is no URL.")?;
        let loopback = match redirect.host() {
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        if loopback { Ok(redirect) } else { Err("The redirect URI is not registered.") }
    }
}
