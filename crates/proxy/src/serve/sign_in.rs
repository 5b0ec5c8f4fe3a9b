//! The gate's own pages: `/.portcullis/sign-in`, `/.portcullis/signed-in`, where a browser comes back from
//! signing in at control, and `/.portcullis/sign-out`. Nothing else is served here, and nothing of it goes upstream.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use percent_encoding::percent_decode_str;
use portcullis_identity::{
    browser::{Cause, Cookie, cause, return_path},
    sign_ins,
};
use portcullis_model::{Audience, Refusal, Secret, TokenKind, refusal::Unavailable};

use crate::{
    body::DownBody,
    browser::{self, Browser, begun_with},
    canonical,
    exchange::Exchange,
    filter::request::REQUEST_ID,
    identify::Known,
    ports::{CodeExchange, NotExchanged},
    refuse::html,
};

/// Whatever is below it is the gate's own, on every host.
const PREFIX: &str = "/.portcullis/";

/// Whether a request is for a page of the gate's own.
pub(crate) fn is_here(uri: &Uri) -> bool {
    is_own(uri.path())
}

/// Whether `path` is one of them.
pub(crate) fn is_own(path: &str) -> bool {
    path.starts_with(PREFIX)
}

/// Serves it.
pub(crate) async fn serve(
    exchange: &mut Exchange,
    parts: http::request::Parts,
) -> Result<Response<DownBody>, Refusal> {
    let peer = &exchange.peer;
    let request = canonical::read(parts, exchange.present, peer.tls.as_ref(), &peer.last_host)?;
    exchange.reads_as(&request);
    exchange.core.config.browsers.ok_or(Refusal::NotFound)?;
    let tls = exchange.peer.tls.is_some();
    exchange.browser = Browser::at(&exchange.core, tls, &request.authority);
    let mut response = match (request.path().strip_prefix(PREFIX), &request.method) {
        (Some("signed-in"), &Method::GET) => {
            signed_in(exchange, request.target.query().unwrap_or_default(), &request.headers).await
        }
        (Some("sign-in"), &Method::GET) => {
            let begun = exchange.browser.cookie(&request.headers, Cookie::GateBegun)?;
            exchange.browser.begun = begun.and_then(begun_with);
            sign_in(exchange, request.target.query().unwrap_or_default())
        }
        (Some("sign-out"), &Method::GET) => Ok(ask()),
        (Some("sign-out"), &Method::POST) => sign_out(exchange, &request.headers).await,
        (Some("sign-in" | "signed-in" | "sign-out"), _) => Err(Refusal::MethodNotAllowed),
        _ => Err(Refusal::NotFound),
    }?;
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, exchange.id_header.clone());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // `no-referrer` would make browsers send forms of ours without their origin.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    Ok(response)
}

/// A person signs in, or signs in again.
fn sign_in(exchange: &Exchange, query: &str) -> Result<Response<DownBody>, Refusal> {
    let page = parameter(query, "page")?;
    let fresh = parameter(query, "fresh")?.is_some_and(|fresh| fresh == "true");
    browser::to_sign_in(exchange, page.as_deref().unwrap_or("/"), fresh)
        .ok_or(Refusal::Unavailable(Unavailable::Internal))
}

/// A browser comes back with a code from control, and gets its cookie.
async fn signed_in(
    exchange: &Exchange,
    query: &str,
    headers: &HeaderMap,
) -> Result<Response<DownBody>, Refusal> {
    const BEGIN_AGAIN: Refusal = Refusal::BadCredentials(
        "the sign-in was begun in another browser, or took too long; open the page again",
    );
    let (browser, core) = (&exchange.browser, &exchange.core);
    let origin = browser.origin.as_deref().unwrap_or_default();
    let brought = parameter(query, "code")?.filter(|code| TokenKind::Code.fits(code));
    let page = parameter(query, "page")?.unwrap_or_default();
    let verifier = browser.cookie(headers, Cookie::GateBegun)?.and_then(begun_with);
    let (Some(brought), Some(verifier)) = (brought, verifier) else { return Err(BEGIN_AGAIN) };
    let before = browser.cookie(headers, Cookie::Gate)?;
    let before = before.and_then(|before| std::str::from_utf8(before).ok());
    let asked = CodeExchange {
        code: Secret::new(brought),
        origin: origin.to_owned(),
        verifier,
        replaces: before.filter(|before| TokenKind::SignIn.fits(before)).map(Secret::new),
        source: exchange.peer.ip,
    };
    let made = core.parts.browsers.exchange(asked).await.map_err(|error| match error {
        NotExchanged::Bad => BEGIN_AGAIN,
        NotExchanged::Unavailable => Refusal::Unavailable(Unavailable::Store),
    })?;
    let seconds = made.expires_at.duration_since(exchange.now).as_secs().unsigned_abs();
    let location = format!("{origin}{}", return_path(&page));
    let broken = || Refusal::Unavailable(Unavailable::Internal);
    let mut response = Response::new(DownBody::whole(Bytes::new()));
    *response.status_mut() = StatusCode::SEE_OTHER;
    let cookie = Cookie::Gate.set(browser.cleartext, made.token.expose(), seconds);
    let location = HeaderValue::from_str(&location).map_err(|_| broken())?;
    response.headers_mut().insert(header::LOCATION, location);
    response.headers_mut().insert(header::SET_COOKIE, cookie.ok_or_else(broken)?);
    Ok(response)
}

fn ask() -> Response<DownBody> {
    html::document(
        "Sign out",
        "<p>This ends your sign-in here, at all other services that this browser opened, and at \
         Portcullis itself. Open streams are cut.</p>\
         <form method=\"post\" action=\"/.portcullis/sign-out\"><button>Sign out</button></form>",
    )
}

/// Ends the sign-in, and all that hangs on the same one. Whose has ended already is signed out too.
async fn sign_out(exchange: &Exchange, headers: &HeaderMap) -> Result<Response<DownBody>, Refusal> {
    let browser = &exchange.browser;
    let origin = browser.origin.as_deref().unwrap_or_default();
    if cause(&exchange.method, headers, origin, false) == Cause::Other {
        return Err(Refusal::CrossOrigin);
    }
    let cookie = browser.cookie(headers, Cookie::Gate)?;
    let token = cookie.and_then(|cookie| std::str::from_utf8(cookie).ok()).unwrap_or_default();
    let known = Known(&exchange.snapshot);
    let caller = sign_ins::authenticate_cookie(&known, token, Audience::Gate, origin, exchange.now);
    if let Some(id) = caller.ok().and_then(|caller| caller.sign_in()) {
        let ended = exchange.core.parts.browsers.sign_out(id, exchange.peer.ip).await;
        ended.map_err(|_| Refusal::Unavailable(Unavailable::Store))?;
    }
    let mut response = html::document(
        "You are signed out",
        "<p>Close the window, or open a page to sign in again.</p>",
    );
    for gone in [Cookie::Gate, Cookie::GateBegun] {
        if let Some(gone) = gone.forget(browser.cleartext) {
            response.headers_mut().append(header::SET_COOKIE, gone);
        }
    }
    Ok(response)
}

/// A parameter that stands there once at most.
fn parameter(query: &str, name: &str) -> Result<Option<String>, Refusal> {
    let mut values =
        query.split('&').filter_map(|pair| pair.split_once('=')).filter(|p| p.0 == name);
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(Refusal::Malformed("a parameter of the sign-in is there twice")),
        (None, None) => Ok(None),
        (Some((_, value)), None) => {
            let text = percent_decode_str(value).decode_utf8();
            let text = text.map_err(|_| Refusal::Malformed("a parameter is not text"))?;
            Ok(Some(text.into_owned()))
        }
    }
}
