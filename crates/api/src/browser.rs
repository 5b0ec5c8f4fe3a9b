//! Signing in with a browser: `/sign-in`, `/sign-in/callback` and `/sign-out`.
//!
//! Pages and redirects, so nothing of it is in the OpenAPI document. Control is the only client of the
//! identity providers; a gate sends browsers here and gets them back with a code.

use std::fmt::Write as _;

use axum::{
    Form, Router,
    extract::{Path, RawForm, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use portcullis_control::{
    ControlError, OpContext,
    browser::{Answer, Begin, GateWish, Wish},
};
use portcullis_identity::browser::{Cookie, return_path};
use portcullis_model::{Secret, TokenKind};
use serde::Deserialize;

use crate::{
    caller::Source,
    extract::Search,
    pages::{Page, document, escaped},
    parts::{ApiParts, Shared},
};

mod failed;
pub(crate) mod session;

pub(crate) use failed::Failed;
use session::Session;

/// From the first page of a sign-in to the last, in seconds.
const LONGEST_SIGN_IN: u64 = 600;

type Outcome = Result<Response, Failed>;

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/sign-in", get(sign_in))
        .route("/sign-in/callback", get(callback))
        .route("/sign-in/{provider}/logged-out", post(logged_out))
        .route("/sign-out", post(sign_out))
}

/// What `/sign-in` is called with.
#[derive(Debug, Deserialize)]
struct SignInQuery {
    gate: Option<String>,
    challenge: Option<String>,
    page: Option<String>,
    provider: Option<String>,
    #[serde(default)]
    fresh: bool,
}

impl SignInQuery {
    fn wish(&self) -> Result<Wish, ControlError> {
        let gate = match (&self.gate, &self.challenge) {
            (None, None) => None,
            (Some(origin), Some(challenge)) if is_challenge(challenge) => {
                Some(GateWish { origin: origin.clone(), challenge: challenge.clone() })
            }
            _ => {
                let message = "a gate sends its address and a challenge; open the page again";
                return Err(ControlError::Invalid { field: "gate", message: message.to_owned() });
            }
        };
        let page = return_path(self.page.as_deref().unwrap_or("/")).to_owned();
        Ok(Wish { gate, page, fresh: self.fresh })
    }

    /// The same with a provider chosen.
    fn with_provider(&self, name: &str) -> String {
        let mut address = format!("/sign-in?provider={}", encoded(name));
        let pairs = [("gate", &self.gate), ("challenge", &self.challenge), ("page", &self.page)];
        for (name, value) in pairs {
            if let Some(value) = value {
                let _ = write!(address, "&{name}={}", encoded(value));
            }
        }
        if self.fresh {
            address.push_str("&fresh=true");
        }
        address
    }
}

/// A SHA-256 in base64url.
fn is_challenge(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// Begins to sign in; leads on at once whoever is signed in.
async fn sign_in(
    State(api): State<Shared>,
    Source(source): Source,
    headers: HeaderMap,
    Search(query): Search<SignInQuery>,
) -> Outcome {
    let wish = query.wish()?;
    if !wish.fresh
        && let Some(session) = Session::find(&api, &headers, source).await?
    {
        return onwards(&api, &session.op, &wish).await;
    }
    let providers = api.control.providers();
    if query.provider.is_none() && providers.len() > 1 {
        return Ok(choice(&query, &providers).into_response());
    }
    let browser = begun(&api, &headers)?;
    let browser = browser.unwrap_or_else(|| TokenKind::Browser.issue(api.entropy.as_ref()));
    let redirect_uri = redirect_uri(&api);
    let beginning = Begin {
        provider: query.provider.as_deref(),
        browser: &browser,
        redirect_uri: &redirect_uri,
        wish,
    };
    let address = api.control.begin_browser(beginning).await?;
    let cookie = Cookie::ControlBegun.set(api.cleartext(), browser.expose(), LONGEST_SIGN_IN);
    Ok(lead_to(&address, cookie))
}

/// What this browser is known by while it signs in.
fn begun(api: &Shared, headers: &HeaderMap) -> Result<Option<Secret>, Failed> {
    let begun = api.cookie(headers, Cookie::ControlBegun)?;
    Ok(begun.filter(|begun| TokenKind::Browser.fits(begun.expose())))
}

fn choice(query: &SignInQuery, providers: &[String]) -> Page {
    let mut body = "<p>Who vouches for you?</p><ul class=\"choice\">".to_owned();
    for name in providers {
        let (address, name) = (escaped(&query.with_provider(name)), escaped(name));
        let _ = write!(body, "<li><a class=\"button\" href=\"{address}\">{name}</a></li>");
    }
    body += "</ul>";
    document("Sign in", &body)
}

/// What the provider sends a browser back with (RFC 6749, 4.1.2; RFC 9207).
#[derive(Debug, Deserialize)]
struct Callback {
    state: String,
    code: Option<String>,
    error: Option<String>,
    iss: Option<String>,
}

async fn callback(
    State(api): State<Shared>,
    Source(source): Source,
    headers: HeaderMap,
    Search(query): Search<Callback>,
) -> Outcome {
    let browser = begun(&api, &headers)?.ok_or(Failed::NOT_BEGUN)?;
    let code = match (&query.code, &query.error) {
        (Some(code), None) => Ok(code.as_str()),
        (None, Some(error)) => Err(error.as_str()),
        _ => return Err(Failed::NOT_BEGUN),
    };
    let before = api.cookie(&headers, Cookie::Control)?;
    let answer = Answer {
        browser: &browser,
        state: &query.state,
        code,
        issuer: query.iss.as_deref(),
        redirect_uri: &redirect_uri(&api),
        origin: api.origin(),
        replaces: before.as_ref(),
        source,
    };
    let entered = api.control.finish_browser(answer).await?;
    let lives = entered.sign_in.expires_at.duration_since(api.clock.now()).as_secs();
    let cookie = Cookie::Control.set(api.cleartext(), entered.token.expose(), lives.unsigned_abs());
    let caller = api.control.authenticate_cookie(entered.token.expose(), api.origin()).await?;
    let op = api.control.context(caller, source);
    // Signed in they are, whether or not there is something where they came from.
    let mut response = match onwards(&api, &op, &entered.wish).await {
        Ok(response) => response,
        Err(failed) => failed.into_response(),
    };
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Back to the gate that sent the browser, or to a page of control's own.
async fn onwards(api: &ApiParts, op: &OpContext, wish: &Wish) -> Outcome {
    let address = match &wish.gate {
        None => format!("{}{}", api.origin(), wish.page),
        Some(gate) => {
            let code = api.control.gate_code(op, gate).await?;
            let (code, page) = (encoded(code.expose()), encoded(&wish.page));
            format!("{}/.portcullis/signed-in?code={code}&page={page}", gate.origin)
        }
    };
    Ok(lead_to(&address, None))
}

#[derive(Debug, Deserialize)]
struct SignOut {
    csrf: String,
}

async fn sign_out(
    State(api): State<Shared>,
    Source(source): Source,
    method: Method,
    headers: HeaderMap,
    Form(form): Form<SignOut>,
) -> Outcome {
    if let Some(session) = Session::find(&api, &headers, source).await? {
        session.check(&api, &method, &headers, Some(&form.csrf))?;
        api.control.sign_out(&session.op).await?;
    }
    let body = "<p>So are you at the services that this browser opened.</p>\
                <p><a class=\"button\" href=\"/sign-in\">Sign in again</a></p>";
    let mut response = document("You are signed out", body).into_response();
    for gone in [Cookie::Control, Cookie::ControlBegun] {
        if let Some(gone) = gone.forget(api.cleartext()) {
            response.headers_mut().append(header::SET_COOKIE, gone);
        }
    }
    Ok(response)
}

/// Back-channel logout: the provider itself calls (OpenID Connect Back-Channel Logout 1.0, 2.5).
async fn logged_out(
    State(api): State<Shared>,
    Source(source): Source,
    Path(provider): Path<String>,
    RawForm(form): RawForm,
) -> Response {
    let token = form
        .split(|byte| *byte == b'&')
        .find_map(|pair| pair.strip_prefix(b"logout_token="))
        .and_then(|value| percent_decode(value).decode_utf8().ok());
    let ended = match token {
        Some(token) => api.control.back_channel_logout(&provider, &token, source).await,
        None => Err(ControlError::Invalid { field: "logout_token", message: "is missing".into() }),
    };
    match ended {
        Ok(ended) => {
            tracing::info!(provider, ended, "an identity provider signed somebody out");
            StatusCode::OK.into_response()
        }
        Err(error) => {
            tracing::warn!(provider, %error, "a logout token is refused");
            let invalid =
                !matches!(error, ControlError::Unavailable(_) | ControlError::Internal(_));
            let status =
                if invalid { StatusCode::BAD_REQUEST } else { StatusCode::SERVICE_UNAVAILABLE };
            let error = if invalid { "invalid_request" } else { "temporarily_unavailable" };
            (status, axum::Json(serde_json::json!({ "error": error }))).into_response()
        }
    }
}

fn redirect_uri(api: &ApiParts) -> String {
    format!("{}/sign-in/callback", api.base_url)
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn lead_to(address: &str, cookie: Option<HeaderValue>) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    if let Ok(address) = HeaderValue::from_str(address) {
        headers.insert(header::LOCATION, address);
    }
    if let Some(cookie) = cookie {
        headers.append(header::SET_COOKIE, cookie);
    }
    response
}

impl ApiParts {
    /// Where pages of ours are: the base URL without a path.
    pub(crate) fn origin(&self) -> &str {
        let after_scheme = self.base_url.find("://").map_or(0, |at| at + 3);
        let rest = self.base_url.get(after_scheme..).unwrap_or_default();
        let end = rest.find('/').map_or(self.base_url.len(), |at| after_scheme + at);
        self.base_url.get(..end).unwrap_or(&self.base_url)
    }

    /// Without TLS, on loopback: the demo, and tests.
    pub(crate) fn cleartext(&self) -> bool {
        let host = self.origin().strip_prefix("http://");
        host.is_some_and(|host| {
            ["127.", "localhost", "[::1]"].iter().any(|loopback| host.starts_with(loopback))
        })
    }

    /// The cookie called `which`, if it is there once.
    pub(crate) fn cookie(
        &self,
        headers: &HeaderMap,
        which: Cookie,
    ) -> Result<Option<Secret>, Failed> {
        let name = which.name(self.cleartext());
        let found = portcullis_identity::browser::cookie(headers, name);
        let found = found.map_err(|_| Failed::TWICE)?;
        Ok(found.and_then(|value| std::str::from_utf8(value).ok()).map(Secret::new))
    }
}
