//! What becomes of a request's head on its way to the gate, and of an answer's on its way back.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use portcullis_model::Secret;

/// Where our credentials are: a tool's own stay out of their way.
const OURS: HeaderName = HeaderName::from_static("portcullis-authorization");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Takes out what is of one connection (RFC 9110, 7.6.1), but for `upgrade`.
pub(super) fn strip(headers: &mut HeaderMap, upgrade: Option<&HeaderValue>) {
    let nominated = headers.get_all(header::CONNECTION).iter();
    let nominated = nominated.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    let nominated: Vec<HeaderName> =
        nominated.filter_map(|name| name.trim().parse().ok()).collect();
    let trailers = headers.get(header::TE).is_some_and(|te| te.as_bytes() == b"trailers");
    for name in nominated.into_iter().chain([
        header::CONNECTION,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::PROXY_AUTHORIZATION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
    ]) {
        headers.remove(name);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Some(upgrade) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, upgrade.clone());
    }
}

/// The WebSocket that a request, or its answer, wants to become. There is no other upgrade: one to HTTP/2 would
/// be out of everybody's sight.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let wanted = headers.get(header::UPGRADE)?;
    wanted.as_bytes().eq_ignore_ascii_case(b"websocket").then(|| wanted.clone())
}

/// Puts our credentials in. Whether the tool had some of its own, which are not passed on.
pub(super) fn authorize(headers: &mut HeaderMap, token: &Secret, passes: bool) -> bool {
    let is_withheld = !passes && headers.remove(header::AUTHORIZATION).is_some();
    headers.remove(OURS);
    if let Ok(mut value) = HeaderValue::try_from(format!("Bearer {}", token.expose())) {
        value.set_sensitive(true);
        headers.insert(OURS, value);
    }
    is_withheld
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let named =
            |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        headers.iter().map(named).collect()
    }

    #[test]
    fn c04_what_is_of_one_connection_stays_there() {
        let mut headers = map(&[
            ("connection", "close, x-mine"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "Basic x"),
            ("accept", "*/*"),
        ]);
        let wanted = upgrade(&headers);
        strip(&mut headers, wanted.as_ref());
        assert_eq!(headers, map(&[("accept", "*/*"), ("te", "trailers")]));
        let mut headers = map(&[("connection", "Upgrade"), ("upgrade", "WebSocket")]);
        let wanted = upgrade(&headers);
        strip(&mut headers, wanted.as_ref());
        assert_eq!(headers, map(&[("connection", "upgrade"), ("upgrade", "WebSocket")]));
    }

    #[test]
    fn n01_a_tools_own_credentials_are_passed_on_only_if_that_was_said() {
        let token = Secret::new("pc_sign_x");
        let sent = [("authorization", "Bearer own"), ("portcullis-authorization", "Bearer forged")];
        let mut headers = map(&sent);
        assert!(authorize(&mut headers, &token, false));
        assert_eq!(headers, map(&[("portcullis-authorization", "Bearer pc_sign_x")]));
        let mut headers = map(&sent);
        assert!(!authorize(&mut headers, &token, true));
        assert_eq!(headers.get("authorization").unwrap(), "Bearer own");
        assert_eq!(headers.get_all("portcullis-authorization").iter().count(), 1);
        assert!(!format!("{headers:?}").contains("pc_sign_x"), "it prints no token");
    }
}
