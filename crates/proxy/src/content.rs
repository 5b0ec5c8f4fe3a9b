//! What a policy's `@record` has kept of a request: its headers, its body, or both, as people may see them. It
//! is safe before the intent that commits to it is on record, and so before anything is forwarded.
//!
//! All sensitive data is masked, whoever may see it. Credentials are named and never kept. A body that is too
//! large, or that cannot be looked into where it would have to be masked, is kept by its size.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use portcullis_model::{Base64Url, KeptBody, KeptHeader, RequestContent};
use portcullis_policy::Pass;
use sha2::{Digest, Sha256};

use crate::{
    canonical::Canonical,
    exchange::Exchange,
    filter::mask::{Rules, beside, tells},
    hold,
    inspect::Payload,
    ports::RecordBroken,
    reveal,
};

/// The largest body that is kept, and the most that is kept of headers.
const LONGEST: usize = 64 * 1024;
/// What stands in the name of a header whose value lets somebody in somewhere.
const CREDENTIALS: [&str; 12] = [
    "auth",
    "cookie",
    "token",
    "secret",
    "passw",
    "credential",
    "api-key",
    "apikey",
    "session",
    "signature",
    "assertion",
    "jwt",
];

/// Keeps what `pass` says of the request, and notes in the exchange what the record says of it.
pub(crate) async fn keep(
    exchange: &mut Exchange,
    pass: &Pass,
    request: &Canonical,
    payload: &Payload,
) -> Result<(), RecordBroken> {
    let parts = pass.record();
    let content = RequestContent {
        headers: parts.headers.then(|| headers(exchange, &request.headers)),
        body: payload.whole().filter(|_| parts.body).and_then(|it| body(exchange, request, it)),
    };
    let contents = Arc::clone(&exchange.core.parts.contents);
    exchange.content = Some(Box::new(contents.keep(exchange.id, parts, content).await?));
    Ok(())
}

fn headers(exchange: &Exchange, headers: &HeaderMap) -> Vec<KeptHeader> {
    let rules = hold::rules(exchange);
    let mut room = LONGEST;
    let kept = headers.iter().map(|(name, value)| {
        let value = value_of(name, value, rules.as_ref()).filter(|value| value.len() <= room);
        room -= value.as_ref().map_or(0, String::len);
        KeptHeader { name: name.as_str().to_owned(), value }
    });
    kept.collect()
}

/// A value as people see it; none of a credential.
fn value_of(name: &HeaderName, value: &HeaderValue, rules: Option<&Rules>) -> Option<String> {
    let name = name.as_str();
    let is_key = name.ends_with("-key") && name != "idempotency-key";
    if is_key || value.is_sensitive() || CREDENTIALS.iter().any(|part| name.contains(part)) {
        return None;
    }
    let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
    let Some(rules) = rules else { return Some(text) };
    // The page that led here has parameters of its own, which nobody declared.
    if name == "referer" {
        return None;
    }
    let shown = beside::masked(name, &text, rules).unwrap_or(text);
    Some(shown).filter(|shown| !tells(shown.as_bytes(), rules))
}

/// A body as people see it; none if there is none.
fn body(exchange: &Exchange, request: &Canonical, body: &[u8]) -> Option<KeptBody> {
    if body.is_empty() {
        return None;
    }
    let content_type = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let mut kept = KeptBody {
        size: body.len() as u64,
        content_type: content_type.map(|kind| kind.chars().take(200).collect()),
        text: None,
        bytes: None,
        sha256: None,
        masked: Vec::new(),
    };
    if let Some((sensitive, _)) = reveal::masked(exchange) {
        kept.text = hold::shown_body(exchange, request, body).map(|shown| shown.text);
        kept.masked = sensitive.names(sensitive.all()).cloned().collect();
    } else if body.len() > LONGEST {
        kept.sha256 = Some(Base64Url(Sha256::digest(body).to_vec()).to_string());
    } else if let Ok(text) = std::str::from_utf8(body) {
        kept.text = Some(text.to_owned());
    } else {
        kept.bytes = Some(Base64Url(body.to_vec()));
    }
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j07_credentials_are_named_and_not_kept() {
        let value = |name: &'static str| {
            let (name, value) = (HeaderName::from_static(name), HeaderValue::from_static("v"));
            value_of(&name, &value, None)
        };
        for name in ["authorization", "cookie", "x-api-key", "x-amz-security-token", "x-session-id"]
        {
            assert_eq!(value(name), None, "{name}");
        }
        for name in ["content-type", "idempotency-key", "x-request-id", "accept"] {
            assert_eq!(value(name).as_deref(), Some("v"), "{name}");
        }
    }
}
