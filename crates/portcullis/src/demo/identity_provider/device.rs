//! Device authorization (RFC 8628): a code on the terminal, a form in the browser.

use axum::{
    Form, Json,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::json;

use super::{CLIENT, IdentityProvider, Shared, page, people, people::Person, token};

/// A device that waits for its person.
#[derive(Debug)]
pub(super) struct Device {
    user_code: String,
    pub(super) state: DeviceState,
    pub(super) expires_at: Timestamp,
}

/// Whether the person has come.
#[derive(Debug)]
pub(super) enum DeviceState {
    /// Not yet.
    Waiting,
    /// Yes, at that time.
    Approved {
        /// Who.
        person: &'static Person,
        /// When.
        at: Timestamp,
    },
}

/// How long a device waits.
const WAITS: SignedDuration = SignedDuration::from_mins(10);
/// Seconds between polls.
const INTERVAL: u32 = 1;

/// A client begins.
#[derive(Debug, Deserialize)]
pub(super) struct Begin {
    #[serde(default)]
    client_id: String,
}

/// The form's code, from a link or typed.
#[derive(Debug, Deserialize)]
pub(super) struct Shown {
    #[serde(default)]
    user_code: String,
}

/// The form's answer.
#[derive(Debug, Deserialize)]
pub(super) struct Chosen {
    user_code: String,
    person: String,
}

/// Gives a device its two codes.
pub(super) async fn begin(State(provider): State<Shared>, Form(begin): Form<Begin>) -> Response {
    if begin.client_id != CLIENT {
        return token::error(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    let (device_code, user_code) = (provider.random_text(), provider.user_code());
    let now = provider.now();
    let device = Device {
        user_code: user_code.clone(),
        state: DeviceState::Waiting,
        expires_at: now + WAITS,
    };
    {
        let mut memory = provider.memory();
        memory.devices.retain(|_, device| now < device.expires_at);
        memory.devices.insert(device_code.clone(), device);
    }
    let uri = format!("{}/device", provider.issuer);
    Json(json!({
        "device_code": device_code,
        "user_code": user_code,
        "verification_uri": uri,
        "verification_uri_complete": format!("{uri}?user_code={user_code}"),
        "expires_in": WAITS.as_secs(),
        "interval": INTERVAL,
    }))
    .into_response()
}

/// The form: first the code, then who.
pub(super) async fn show(State(provider): State<Shared>, Query(shown): Query<Shown>) -> Response {
    if shown.user_code.is_empty() {
        return page::ask_for_code();
    }
    if !provider.has_waiting(&shown.user_code) {
        return unknown_code();
    }
    let code = canonical(&shown.user_code);
    let intro = format!("Go on only if your terminal shows the code {code}.");
    page::choose("/device", &intro, &[("user_code", &code)])
}

/// The person has chosen.
pub(super) async fn choose(State(provider): State<Shared>, Form(chosen): Form<Chosen>) -> Response {
    let Some(person) = people::lookup(&chosen.person) else {
        return page::say(StatusCode::BAD_REQUEST, "Who?", "Nobody here has that name.");
    };
    let now = provider.now();
    let code = canonical(&chosen.user_code);
    let mut memory = provider.memory();
    let waiting = memory.devices.values_mut().find(|device| device.waits_for(&code, now));
    let Some(device) = waiting else { return unknown_code() };
    device.state = DeviceState::Approved { person, at: now };
    let text = format!("You are {}. Go back to your terminal.", person.name);
    page::say(StatusCode::OK, "Signed in", &text)
}

fn unknown_code() -> Response {
    let text = "No device waits with that code: it was used, or its ten minutes are over.";
    page::say(StatusCode::NOT_FOUND, "Unknown code", text)
}

impl Device {
    fn waits_for(&self, user_code: &str, now: Timestamp) -> bool {
        let waiting = matches!(self.state, DeviceState::Waiting);
        waiting && self.user_code == user_code && now < self.expires_at
    }
}

impl IdentityProvider {
    fn has_waiting(&self, user_code: &str) -> bool {
        let (now, code) = (self.now(), canonical(user_code));
        self.memory().devices.values().any(|device| device.waits_for(&code, now))
    }

    /// RFC 8628, 6.1: consonants only, so that no words appear.
    fn user_code(&self) -> String {
        const LETTERS: [char; 20] = [
            'B', 'C', 'D', 'F', 'G', 'H', 'J', 'K', 'L', 'M', 'N', 'P', 'Q', 'R', 'S', 'T', 'V',
            'W', 'X', 'Z',
        ];
        let mut bytes = [0; 8];
        self.entropy.fill(&mut bytes);
        let letters = bytes.iter().filter_map(|byte| LETTERS.get(usize::from(*byte) % 20));
        let mut code: String = letters.collect();
        code.insert(4, '-');
        code
    }
}

/// As people type it: any case, with or without the hyphen.
fn canonical(user_code: &str) -> String {
    let letters = user_code.chars().filter(char::is_ascii_alphabetic);
    let mut code: String = letters.map(|c| c.to_ascii_uppercase()).take(8).collect();
    if code.len() == 8 {
        code.insert(4, '-');
    }
    code
}
