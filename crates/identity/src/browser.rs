//! What browsers send along by themselves, and what it is worth.
//!
//! A cookie comes with every request to its host, whoever caused it. So it identifies somebody only
//! where the request also says that a page of the same origin, or the person, caused it.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// The longest page address that a sign-in leads back to.
const LONGEST_RETURN: usize = 1024;

/// A cookie of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cookie {
    /// A sign-in for the gate, at one host of it.
    Gate,
    /// What binds a sign-in that was begun at the gate to this browser.
    GateBegun,
    /// A sign-in for control.
    Control,
    /// What binds a sign-in that was begun at control to this browser.
    ControlBegun,
}

impl Cookie {
    /// Its name. The prefix makes browsers keep it from other hosts, also from sibling domains
    /// (RFC 6265bis, 4.1.3.2); it takes TLS, which the demo on loopback does not have.
    pub const fn name(self, cleartext: bool) -> &'static str {
        match (self, cleartext) {
            (Self::Gate, false) => "__Host-portcullis",
            (Self::GateBegun, false) => "__Host-portcullis-begun",
            (Self::Control, false) => "__Host-portcullis-control",
            (Self::ControlBegun, false) => "__Host-portcullis-control-begun",
            (Self::Gate, true) => "portcullis",
            (Self::GateBegun, true) => "portcullis-begun",
            (Self::Control, true) => "portcullis-control",
            (Self::ControlBegun, true) => "portcullis-control-begun",
        }
    }

    /// The `Set-Cookie` that makes a browser keep `value` for `seconds`; none makes it forget.
    pub fn set(self, cleartext: bool, value: &str, seconds: u64) -> Option<HeaderValue> {
        let name = self.name(cleartext);
        let secure = if cleartext { "" } else { "; Secure" };
        let text =
            format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The `Set-Cookie` that makes a browser forget it.
    pub fn forget(self, cleartext: bool) -> Option<HeaderValue> {
        self.set(cleartext, "", 0)
    }
}

/// The cookie is there twice: one of them is somebody else's, and nobody knows which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cookie of ours is there twice")]
pub struct Twice;

/// The value of the cookie called `name`.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a [u8]>, Twice> {
    let mut named = pairs(headers).filter(|(other, _)| *other == name.as_bytes());
    match (named.next(), named.next()) {
        (_, Some(_)) => Err(Twice),
        (found, None) => Ok(found.map(|(_, value)| value)),
    }
}

/// Removes cookies of ours, in whatever spelling: no upstream may have them.
pub fn remove_ours(headers: &mut HeaderMap) {
    if !pairs(headers).any(|(name, _)| is_ours(name)) {
        return;
    }
    let kept = pairs(headers).filter(|(name, _)| !is_ours(name)).map(|(name, value)| {
        if value.is_empty() && !name.is_empty() {
            return [name, b"="].concat();
        }
        if name.is_empty() { value.to_vec() } else { [name, b"=", value].concat() }
    });
    let kept = kept.collect::<Vec<_>>().join(&b"; "[..]);
    headers.remove(header::COOKIE);
    if let (false, Ok(value)) = (kept.is_empty(), HeaderValue::from_bytes(&kept)) {
        headers.insert(header::COOKIE, value);
    }
}

/// Whether an upstream's `Set-Cookie` would set one of ours.
pub fn sets_ours(value: &HeaderValue) -> bool {
    let pair = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    // A cookie without a name is sent back as its value alone, which then reads as a name.
    let pair = pair.trim_ascii().trim_ascii_start();
    let pair = pair.strip_prefix(b"=").unwrap_or(pair);
    is_ours(split(pair).0)
}

/// Names and values of all cookies.
fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let fields = headers.get_all(header::COOKIE).into_iter();
    fields
        .flat_map(|field| field.as_bytes().split(|byte| *byte == b';'))
        .map(split)
        .filter(|(name, value)| !(name.is_empty() && value.is_empty()))
}

fn split(pair: &[u8]) -> (&[u8], &[u8]) {
    match pair.iter().position(|byte| *byte == b'=').and_then(|at| pair.split_at_checked(at)) {
        Some((name, value)) => {
            (name.trim_ascii(), value.strip_prefix(b"=").unwrap_or(value).trim_ascii())
        }
        None => (b"", pair.trim_ascii()),
    }
}

/// Whatever folds to our prefix is reserved, as header names are.
fn is_ours(name: &[u8]) -> bool {
    let name = name.trim_ascii().to_ascii_lowercase();
    let name = name.as_slice();
    let bare = name.strip_prefix(b"__host-").or_else(|| name.strip_prefix(b"__secure-"));
    bare.unwrap_or(name).starts_with(b"portcullis")
}

/// What a request says about who caused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A page of the same origin, or the person themselves.
    Own,
    /// A page of another origin, or nobody says.
    Other,
}

/// Who caused a request that a browser sent to `origin`, by `Origin` and Fetch Metadata. A link on
/// another site's page is the person's own doing as long as it only opens a page.
pub fn cause(method: &Method, headers: &HeaderMap, origin: &str, websocket: bool) -> Cause {
    let own_origin = headers.get(header::ORIGIN).map(|value| value.as_bytes() == origin.as_bytes());
    let is = |name: HeaderName, wanted: &[u8]| {
        headers.get(name).is_some_and(|value| value.as_bytes() == wanted)
    };
    let site = headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
    let opens_page = matches!(*method, Method::GET | Method::HEAD)
        && !websocket
        && is(SEC_FETCH_MODE, b"navigate")
        && is(SEC_FETCH_DEST, b"document");
    let by_site = match site {
        Some(b"same-origin" | b"none") => Some(true),
        Some(_) => Some(opens_page),
        None => None,
    };
    let fits = match (own_origin, by_site) {
        (Some(own), Some(site)) => own && site,
        // The handshake of a WebSocket always names its origin.
        (None, _) if websocket => false,
        (Some(own), None) => own,
        (None, Some(site)) => site,
        (None, None) => false,
    };
    if fits { Cause::Own } else { Cause::Other }
}

/// Whether a browser wants to open a page with this request, so that it can be led elsewhere.
pub fn opens_page(method: &Method, headers: &HeaderMap) -> bool {
    let absent_or = |name: HeaderName, wanted: &[u8]| {
        headers.get(name).is_none_or(|value| value.as_bytes() == wanted)
    };
    matches!(*method, Method::GET | Method::HEAD)
        && absent_or(SEC_FETCH_MODE, b"navigate")
        && absent_or(SEC_FETCH_DEST, b"document")
}

/// A path on the same host to lead back to, with its query; `/` for anything that is none.
///
/// The answer is always put behind an origin of ours. What browsers would read as another host when it
/// stands alone is refused all the same: somebody may put it there one day.
pub fn return_path(text: &str) -> &str {
    let plain = text.bytes().all(|byte| (b'!'..=b'~').contains(&byte) && byte != b'\\');
    let absolute = text.starts_with('/') && !text.starts_with("//");
    let lower = text.to_ascii_lowercase();
    let hidden = ["/%09", "/%0a", "/%0d", "/%2f", "/%5c"].iter().any(|bad| lower.starts_with(bad));
    let ours = text.starts_with("/.portcullis/");
    if plain && absolute && !hidden && !ours && text.len() <= LONGEST_RETURN { text } else { "/" }
}

#[cfg(test)]
mod tests;
