//! Who looks at a page: the only way for a page to an `OpContext`.

use std::net::IpAddr;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use portcullis_control::OpContext;
use portcullis_identity::browser::return_path;

use super::{
    Failure,
    frame::{Frame, Section},
    texts,
    theme::Theme,
};
use crate::{
    browser::session::{BY_SCRIPT, Session},
    caller::Source,
    parts::{ApiParts, Shared},
};

/// Somebody who is signed in with this browser. Whoever is not is led to sign in, and back.
#[derive(Debug)]
pub(crate) struct Visitor {
    pub(crate) op: OpContext,
    session: Session,
    theme: Theme,
    /// The page with its query.
    here: String,
    said: Option<String>,
}

impl Visitor {
    /// What stands around a page of `section`, called by the text `title`. It says from where on the page listens
    /// for changes, so it is made before anything that the page shows is read.
    pub(crate) async fn frame(
        &self,
        api: &ApiParts,
        section: Section,
        title: &str,
    ) -> Result<Frame, Failure> {
        let who = api.control.whoami(&self.op).await?;
        Ok(Frame {
            title: texts::say(title, None),
            section: Some(section),
            name: who.name,
            principal: who.principal,
            csrf: self.session.csrf(),
            powers: api.control.powers(&self.op),
            theme: self.theme,
            now: self.op.now(),
            said: self.said.clone(),
            here: self.here.clone(),
            newest: api.control.newest().await?,
        })
    }

    /// Refuses a form that another origin's page sent, or that lacks the token of ours.
    pub(super) fn check(
        &self,
        api: &ApiParts,
        method: &Method,
        headers: &HeaderMap,
        known: Option<&str>,
    ) -> Result<(), Failure> {
        Ok(self.session.check(api, method, headers, known)?)
    }

    async fn of(
        api: &Shared,
        method: &Method,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
        source: IpAddr,
    ) -> Result<Self, Failure> {
        let here = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
        // A form's own address cannot be opened.
        let form = here.strip_suffix("/review").filter(|page| page.starts_with("/requests/"));
        let here = form.map(str::to_owned).unwrap_or(here);
        let Some(session) = Session::find(api, headers, source).await? else {
            return Err(to_sign_in(method, headers, &here));
        };
        // A form is checked again with the token that it brings.
        if matches!(*method, Method::GET | Method::HEAD) {
            session.check(api, method, headers, None)?;
        }
        // Nobody else's link says that something was done.
        let ours = headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin");
        let said = query.filter(|_| ours).and_then(|query| {
            let word = query.split('&').find_map(|pair| pair.strip_prefix("said="))?;
            let key = format!("console-said-{word}");
            texts::has(&key).then(|| texts::say(&key, None))
        });
        let theme = Theme::of(headers);
        Ok(Self { op: session.op.clone(), session, theme, here, said })
    }
}

/// To the sign-in and back to this page. What a script fetched leads nobody away: they may be writing.
fn to_sign_in(method: &Method, headers: &HeaderMap, here: &str) -> Failure {
    let page = if matches!(*method, Method::GET | Method::HEAD) { return_path(here) } else { "/" };
    let address = format!("/sign-in?page={}", utf8_percent_encode(page, NON_ALPHANUMERIC));
    if headers.contains_key(BY_SCRIPT) {
        return Failure::Elsewhere(Box::new(StatusCode::UNAUTHORIZED.into_response()));
    }
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    let mut response = (StatusCode::SEE_OTHER, kind).into_response();
    if let Ok(address) = HeaderValue::from_str(&address) {
        response.headers_mut().insert(header::LOCATION, address);
    }
    Failure::Elsewhere(Box::new(response))
}

impl FromRequestParts<Shared> for Visitor {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, api: &Shared) -> Result<Self, Failure> {
        let Source(source) = Source::from_request_parts(parts, api).await?;
        let (path, query) = (parts.uri.path(), parts.uri.query());
        Self::of(api, &parts.method, path, query, &parts.headers, source).await
    }
}

/// A page that was made.
pub(crate) fn page(template: &impl askama::Template) -> super::Outcome {
    let html = template.render().map_err(|error| {
        tracing::error!(%error, "console.render");
        Failure::Internal
    })?;
    Ok(framed(StatusCode::OK, html))
}

/// Markup with the headers that every page of the console has.
pub(super) fn framed(status: StatusCode, html: String) -> Response {
    const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
    let mut response = (status, axum::response::Html(html)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    // `no-referrer` would make browsers send forms without their origin.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    response
}

/// After a form: the page to look at, and the text `console-said-WORD` on it.
pub(crate) fn done(page: &str, word: &str) -> super::Outcome {
    let joint = if page.contains('?') { '&' } else { '?' };
    let address = HeaderValue::from_str(&format!("{page}{joint}said={word}"));
    let address = address.map_err(|_| Failure::Internal)?;
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, address)]).into_response())
}
