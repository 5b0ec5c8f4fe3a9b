//! Dark or light: what the system says, unless somebody chose.

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::IntoResponse,
    routing::post,
};
use portcullis_identity::browser::return_path;
use serde::Deserialize;

use super::{Failure, Outcome, form::Filled};
use crate::parts::Shared;

const COOKIE: &str = "portcullis-theme";

/// How pages look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Theme {
    /// As the system does.
    #[default]
    System,
    Light,
    Dark,
}

impl Theme {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// What the browser's cookie says. It is a taste and no secret: a forged one changes colours.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let is = |wanted: Self| {
            let wanted = format!("{COOKIE}={}", wanted.as_str());
            headers.get_all(header::COOKIE).iter().any(|cookies| {
                let cookies = cookies.to_str().unwrap_or_default();
                cookies.split(';').any(|cookie| cookie.trim() == wanted)
            })
        };
        [Self::Light, Self::Dark].into_iter().find(|theme| is(*theme)).unwrap_or_default()
    }
}

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/theme", post(choose))
}

#[derive(Debug, Deserialize)]
struct Chosen {
    theme: Theme,
    page: String,
}

async fn choose(State(api): State<Shared>, Filled(_, chosen): Filled<Chosen>) -> Outcome {
    let secure = if api.cleartext() { "" } else { "; Secure" };
    let theme = chosen.theme.as_str();
    let cookie =
        format!("{COOKIE}={theme}; Path=/; Max-Age=31536000; SameSite=Lax; HttpOnly{secure}");
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| Failure::Internal);
    let back = value(return_path(&chosen.page))?;
    let headers = [(header::LOCATION, back), (header::SET_COOKIE, value(&cookie)?)];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}
