//! What holds for any bytes that strangers send, wherever they are read. Fuzz targets call this with bytes
//! of their choice; the tests here call it for seconds, with bytes that are made to be interesting.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "what does not hold fails by panicking"
)]

pub mod masking;

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use portcullis_policy::{Catalog, ServiceSource};
use serde_json::json;

use crate::{
    canonical::{framing::tokens, path, single::Present},
    filter::{self, fold},
    listener::proxy_protocol,
    serve::strict::reading,
};

/// The strict reader: what it accepts, the parser reads the same way. The first byte says how the others
/// are cut.
pub fn strict(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let size = usize::from(*cut).max(1);
    let pieces: Vec<Vec<u8>> = bytes.chunks(size).map(<[u8]>::to_vec).collect();
    reading::check(&pieces);
}

/// Targets: one that reads one way is forwarded as it was written, and leads to the same place however it is
/// read again.
pub fn target(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(uri) = text.parse::<Uri>() else { return };
    let Ok(target) = path::of(&uri) else { return };
    let path = target.path();
    assert!(path.starts_with('/') && !path.contains("//"), "{text:?}");
    assert!(target.as_str().starts_with(path), "{text:?} is not sent as it is decided on");
    assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{text:?}");
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8().expect("UTF-8");
    assert!(
        decoded.split(['/', '\\']).all(|segment| segment != "." && segment != ".."),
        "{text:?}"
    );
    assert_eq!(decoded.matches('/').count(), path.matches('/').count(), "{text:?}");
    assert_eq!(path::check(path), Ok(()), "{text:?}");
    CATALOG.with(|catalog| {
        let Some(routed) = catalog.route("shop.test", path) else {
            return assert!(!within(path, "/api") && !within(path, "/"), "{text:?} leads nowhere");
        };
        let service = routed.service.source();
        let expected = if within(path, "/api") { "api" } else { "shop" };
        assert_eq!(service.name.as_str(), expected, "{text:?}");
        if let Some(matched) = routed.service.matching("GET", path) {
            let template = matched.operation.path().expect("all of them have one");
            assert!(fits(&template, path), "{text:?} is not {template}");
        }
    });
}

/// Whether `path` is at or below `prefix`, segment by segment.
fn within(path: &str, prefix: &str) -> bool {
    let rest = path.strip_prefix(prefix.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether `path` is what `template` says, by the plainest reading there is.
fn fits(template: &str, path: &str) -> bool {
    let (wanted, given) = (template.split('/'), path.split('/'));
    let is_same = |(wanted, given): (&str, &str)| {
        wanted.starts_with('{') && !given.is_empty() || wanted == given
    };
    wanted.clone().count() == given.clone().count() && wanted.zip(given).all(is_same)
}

thread_local! {
    static CATALOG: Catalog = catalog();
}

fn catalog() -> Catalog {
    let service = |name: &str, prefix: Option<&str>, operations: serde_json::Value| {
        serde_json::from_value::<ServiceSource>(json!({
            "name": name, "hosts": ["shop.test"], "path_prefix": prefix, "labels": {},
            "instances": {"one": "http://127.0.0.1:1"}, "addressed_only": [],
            "operations": {"Inline": operations}, "groups": {}, "max_grant": "8h",
            "strict_audit": false, "place": ["services.yaml", null],
        }))
        .expect("a service")
    };
    let shop = json!({"page": "GET /page", "item": "GET /item/{id}", "part": "GET /item/{id}/part/{part}"});
    let api = json!({"list": "GET /api/list", "one": "GET /api/list/{id}"});
    Catalog::load(&[service("shop", None, shop), service("api", Some("/api"), api)])
        .expect("services")
}

const OF_ONE_HOP: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
    "host",
    "expect",
];

/// Header sections: nothing that only the gate may say, and nothing that belongs to one hop, is left of one.
pub fn headers(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(100) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else { continue };
        let (name, value) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let came = headers.clone();
    filter::request::strip(&mut headers, Present::of(&came));
    let nominated: Vec<&[u8]> = tokens(&came, &header::CONNECTION).collect();
    for (name, value) in &headers {
        assert!(!OF_ONE_HOP.contains(&name.as_str()), "{name}");
        let folded: String = name.as_str().replace(['-', '_', '.'], "");
        for reserved in
            ["portcullis", "xforwarded", "forwarded", "xauthenticated", "xoriginal", "xmiddleware"]
        {
            assert!(!folded.starts_with(reserved), "{name}");
        }
        assert!(!fold::is_reserved(name), "{name}");
        let is_nominated = |token: &&[u8]| token.eq_ignore_ascii_case(name.as_str().as_bytes());
        let kept = nominated.iter().copied().find(|token| is_nominated(token));
        assert!(kept.is_none(), "{name} was nominated");
        assert!(came.get_all(name).iter().any(|sent| sent == value), "{name} was made up");
    }
}

/// The PROXY protocol: a header ends at one place, however much of it has arrived, and says one thing.
pub fn proxy(bytes: &[u8]) {
    proxy_protocol::examine(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    fn joined(words: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![
            6 => prop::sample::select(words).prop_map(|word| word.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 1..3),
        ];
        prop::collection::vec(word, 0..most).prop_map(|words| words.concat())
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_strictly(
            bytes in joined(
                &["GET ", "/a", " HTTP/1.1\r\n", "Host: a\r\n", "\r\n", "\n", "Content-Length: 3\r\n", "abc",
                  "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n", "0\r\n", "Upgrade: x\r\n", ":", " ", "\r"],
                20,
            ),
            cut in any::<u8>(),
        ) {
            super::strict(&[&[cut][..], &bytes].concat());
        }

        #[test]
        fn any_target_leads_to_one_place(
            bytes in joined(
                &["/", "/api", "/item/", "/page", "/part/", "list", "..", ".", "%2e", "%2F", "%", "//", "\\", ";", "?", "a", "%c3%a9"],
                10,
            )
        ) {
            super::target(&bytes);
        }

        #[test]
        fn any_header_section_is_stripped(
            bytes in joined(
                &["Connection: ", "X-Forwarded-For", "x_forwarded.user", "Portcullis-", "PORTCULLIS_principal", "Host",
                  ": a", "\n", ",", "Authorization", "TE", "accept", "x.authenticated-user", "close", "Expect"],
                20,
            )
        ) {
            super::headers(&bytes);
        }

        #[test]
        fn any_header_of_a_balancer_ends_at_one_place(
            bytes in joined(
                &["PROXY ", "TCP4 ", "TCP6 ", "UNKNOWN", "1.2.3.4 ", "::1 ", "80 ", "\r\n", "\n",
                  "\r\n\r\n\0\r\nQUIT\n", "\x21\x11\0\x0c", "\x20\0\0\0", "\x7f\0\0\x01\x7f\0\0\x01\0\x50\0\x51"],
                8,
            )
        ) {
            super::proxy(&bytes);
        }
    }
}
