//! Browsers at the gate: their cookie is an identity only where the request was caused by a page of the
//! same origin or by the person, and whoever has none is led to sign in.
//!
//! Signing in happens at control; the pages under `/.portcullis/` (`serve/sign_in.rs`) end it here.

use std::{cell::RefCell, collections::HashMap, hash::Hash, net::Ipv4Addr, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use portcullis_identity::{
    Authenticated,
    browser::{self, Cause, Cookie},
    sign_ins,
};
use portcullis_model::{Audience, Refusal, Secret, TokenKind};
use sha2::{Digest, Sha256};

use crate::{
    body::DownBody,
    canonical::{Authority, Speaks, single::Present},
    core::Core,
    exchange::Exchange,
    identify::Known,
};

/// From the first page of a sign-in to the last, in seconds.
const LONGEST_SIGN_IN: u64 = 600;
/// Sign-ins whose last use one core remembers.
const REMEMBERED: usize = 16_384;

/// What is known of the browser behind a request.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing that was seen")]
pub(crate) struct Browser {
    /// Where it thinks it is: `https://payments.example.com`.
    pub(crate) origin: Option<String>,
    /// Cookies go without TLS: the demo, on loopback.
    pub(crate) cleartext: bool,
    /// It wants to open a page, so it can be led to another.
    opens_page: bool,
    /// What it holds of a sign-in that was begun.
    pub(crate) begun: Option<Secret>,
    /// Its cookie says who asks.
    known: bool,
    /// Its sign-in has ended.
    ended: bool,
    /// Its cookie is none of ours and in the way.
    forget: bool,
}

impl Browser {
    /// A browser that addresses `authority`. A listener without TLS stands behind something that has
    /// it, except in the demo.
    pub(crate) fn at(core: &Core, tls: bool, authority: &Authority) -> Self {
        let demo = core.config.browsers.is_some_and(|browsers| browsers.cleartext);
        let cleartext = demo && !tls && is_loopback(authority.host());
        let scheme = if cleartext { "http" } else { "https" };
        let origin = Some(format!("{scheme}://{}", authority.as_str()));
        Self { origin, cleartext, ..Self::default() }
    }

    /// The cookie called `which`, if it is there once.
    pub(crate) fn cookie<'a>(
        &self,
        headers: &'a HeaderMap,
        which: Cookie,
    ) -> Result<Option<&'a [u8]>, Refusal> {
        browser::cookie(headers, which.name(self.cleartext))
            .map_err(|browser::Twice| Refusal::Malformed("a cookie of the gate is there twice"))
    }
}

/// Reads what browsers send along, and removes from it what no upstream may have. The sign-in that
/// a cookie holds comes back as it is written there.
pub(crate) fn read(
    exchange: &mut Exchange,
    authority: &Authority,
    headers: &mut HeaderMap,
) -> Result<Option<Vec<u8>>, Refusal> {
    let has_cookies = exchange.present.has(Present::COOKIE);
    if !has_cookies && !exchange.prefers_html {
        return Ok(None);
    }
    let mut found = Browser::at(&exchange.core, exchange.peer.tls.is_some(), authority);
    found.opens_page = exchange.prefers_html && browser::opens_page(&exchange.method, headers);
    let cookie = found.cookie(headers, Cookie::Gate)?.map(<[u8]>::to_vec);
    let begun = found.cookie(headers, Cookie::GateBegun)?.and_then(begun_with);
    found.begun = begun;
    exchange.browser = found;
    if has_cookies {
        browser::remove_ours(headers);
    }
    Ok(cookie.filter(|_| exchange.core.config.browsers.is_some()))
}

/// What a browser that began to sign in holds, unless it is nonsense.
pub(crate) fn begun_with(value: &[u8]) -> Option<Secret> {
    let text = std::str::from_utf8(value).ok()?;
    TokenKind::Browser.fits(text).then(|| Secret::new(text))
}

/// Who the sign-in in a browser's cookie is, if this request may use it.
pub(crate) fn authenticate(
    exchange: &mut Exchange,
    headers: &HeaderMap,
    cookie: Option<Vec<u8>>,
) -> Result<Arc<Authenticated>, Refusal> {
    let (Some(cookie), Some(origin)) = (cookie, &exchange.browser.origin) else {
        return Err(Refusal::Unauthenticated);
    };
    let websocket = matches!(exchange.speaks, Speaks::WebSocket | Speaks::Tcp);
    if browser::cause(&exchange.method, headers, origin, websocket) == Cause::Other {
        return Err(Refusal::CrossOrigin);
    }
    let Some(token) = std::str::from_utf8(&cookie).ok().filter(|t| TokenKind::SignIn.fits(t))
    else {
        exchange.browser.forget = true;
        return Err(Refusal::BadCredentials("the cookie is damaged; open the page again"));
    };
    let known = Known(&exchange.snapshot);
    let found = sign_ins::authenticate_cookie(&known, token, Audience::Gate, origin, exchange.now);
    let Ok(authenticated) = found else {
        exchange.browser.ended = true;
        return Err(Refusal::BadCredentials("the sign-in has ended; sign in again"));
    };
    if let Some(id) = authenticated.sign_in() {
        let core = &exchange.core;
        if core.seen.is_new(core, id) {
            core.parts.browsers.seen(id);
        }
    }
    exchange.browser.known = true;
    Ok(Arc::new(authenticated))
}

/// Leads a browser that wants to open a page to where its person can sign in.
pub(crate) fn lead(exchange: &Exchange, refusal: &Refusal) -> Option<Response<DownBody>> {
    let signs_in = match refusal {
        Refusal::Unauthenticated => true,
        Refusal::BadCredentials(_) => exchange.browser.ended,
        _ => false,
    };
    let leads = signs_in && exchange.browser.opens_page;
    exchange.core.config.browsers.filter(|_| leads)?;
    to_sign_in(exchange, exchange.target.as_ref().map_or("/", |target| target.as_str()), false)
}

/// Leads to control's sign-in and back to `page`; `fresh` asks the person to authenticate anew.
pub(crate) fn to_sign_in(
    exchange: &Exchange,
    page: &str,
    fresh: bool,
) -> Option<Response<DownBody>> {
    let browser = &exchange.browser;
    let origin = browser.origin.as_deref()?;
    let entropy = exchange.core.parts.entropy.as_ref();
    let begun = browser.begun.clone().unwrap_or_else(|| TokenKind::Browser.issue(entropy));
    let location = format!(
        "{}/sign-in?gate={}&challenge={}&page={}{}",
        exchange.core.config.control_url,
        encoded(origin),
        URL_SAFE_NO_PAD.encode(Sha256::digest(begun.expose())),
        encoded(browser::return_path(page)),
        if fresh { "&fresh=true" } else { "" },
    );
    let mut response = Response::new(DownBody::whole(bytes::Bytes::new()));
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, HeaderValue::from_str(&location).ok()?);
    let cookie = Cookie::GateBegun.set(browser.cleartext, begun.expose(), LONGEST_SIGN_IN);
    headers.insert(header::SET_COOKIE, cookie?);
    Some(response)
}

/// Where a person who was denied can authenticate anew, in case that is what a rule asks for.
pub(crate) fn step_up(exchange: &Exchange, refusal: &Refusal) -> Option<String> {
    let denied = matches!(refusal, Refusal::Denied(_) | Refusal::Requestable(_));
    let page = match exchange.method {
        Method::GET => exchange.target.as_ref().map_or("/", |target| target.as_str()),
        _ => "/",
    };
    let known = denied && exchange.browser.known;
    known.then(|| format!("/.portcullis/sign-in?fresh=true&page={}", encoded(page)))
}

/// Where a person can ask for what was refused: `ask`, with the page to come back to if it can be opened
/// again just so.
pub(crate) fn ask(exchange: &Exchange, ask: &str) -> String {
    let target = exchange.target.as_ref().map(http::uri::PathAndQuery::as_str);
    let page = target.filter(|target| browser::return_path(target) == *target);
    let browser = &exchange.browser;
    match (page, &browser.origin) {
        (Some(page), Some(origin)) if browser.opens_page => {
            format!("{ask}?page={}", encoded(&format!("{origin}{page}")))
        }
        (Some(_) | None, _) => ask.to_owned(),
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Takes a cookie away that would be in the way for ever.
pub(crate) fn clean_up(exchange: &Exchange, headers: &mut HeaderMap) {
    if exchange.browser.forget
        && let Some(gone) = Cookie::Gate.forget(exchange.browser.cleartext)
    {
        headers.append(header::SET_COOKIE, gone);
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host == "[::1]"
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

/// Which sign-ins or grants this core has said were used, and in which second.
#[derive(Debug)]
pub(crate) struct Seen<K>(RefCell<HashMap<K, i64>>);

impl<K> Default for Seen<K> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<K: Copy + Eq + Hash> Seen<K> {
    /// Whether nobody has been told in this second.
    pub(crate) fn is_new(&self, core: &Core, id: K) -> bool {
        let mut seen = self.0.borrow_mut();
        let second = core.now().as_second();
        if seen.get(&id) == Some(&second) {
            return false;
        }
        if seen.len() >= REMEMBERED {
            seen.clear();
        }
        seen.insert(id, second);
        true
    }
}
