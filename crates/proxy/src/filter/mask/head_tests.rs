//! What of heads passes, and what is asked for.

use std::sync::Arc;

use portcullis_policy::{
    Sensitive,
    sensitive::{ClassSource, Mask, Recogniser, SensitiveSource},
};

use super::*;

fn asked(method: &Method, pairs: &[(&'static str, &str)]) -> Result<Vec<String>, &'static str> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, value.parse().unwrap());
    }
    of_request(method, &mut headers)?;
    let mut left: Vec<_> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    left.sort();
    Ok(left)
}

#[test]
fn g01_g04_g05_nothing_is_asked_for_that_could_not_be_masked() {
    let all = [
        ("accept-encoding", "br;q=1, zstd, x, dcb;q=0.5, GZIP"),
        ("range", "bytes=0-3"),
        ("if-range", "\"a\""),
        ("if-none-match", "\"a\""),
        ("if-match", "\"a\""),
        ("if-modified-since", "Sun, 22 Nov 2026 00:00:00 GMT"),
        ("accept", "*/*"),
    ];
    let left = asked(&Method::GET, &all).unwrap();
    assert_eq!(left, ["accept-encoding: br;q=1, GZIP", "accept: */*"]);
    assert_eq!(asked(&Method::GET, &[]).unwrap(), ["accept-encoding: identity"]);
    assert!(asked(&Method::PUT, &[("if-match", "\"a\"")]).is_err());
    assert!(asked(&Method::PUT, &[("if-none-match", "\"a\"")]).is_err());
    let left = asked(&Method::PUT, &[("if-match", "*"), ("range", "bytes=0-3")]).unwrap();
    assert_eq!(left, ["accept-encoding: identity", "if-match: *"]);
    assert_eq!(asked(&Method::PUT, &[("if-none-match", "*")]).unwrap().len(), 2);
}

fn rules() -> Rules {
    let (name, paths) = ("pci".parse().unwrap(), vec!["$..pin".to_owned()]);
    let class = ClassSource { name, paths, mask: Mask::Full, recognise: vec![Recogniser::Token] };
    let sensitive = Sensitive::new(&SensitiveSource { classes: vec![class] }).unwrap();
    let all = sensitive.all();
    Rules::new(Arc::new(sensitive), all)
}

fn answered(status: u16, pairs: &[(&'static str, &str)]) -> (Result<Kind, Trouble>, Vec<String>) {
    let (mut head, ()) = Response::new(()).into_parts();
    head.status = StatusCode::from_u16(status).unwrap();
    for (name, value) in pairs {
        head.headers.append(*name, value.parse().unwrap());
    }
    let kind = of_answer(&Method::GET, &mut head, &rules());
    let names =
        head.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
    (kind, names.collect())
}

#[test]
fn g05_g12_what_says_something_about_a_body_or_may_say_anything_is_gone() {
    let (kind, left) = answered(
        200,
        &[
            ("content-type", "application/json; charset=UTF-8"),
            ("content-length", "10"),
            ("etag", "\"abc\""),
            ("digest", "x"),
            ("content-md5", "x"),
            ("repr-digest", "x"),
            ("content-digest", "x"),
            ("last-modified", "Sun, 22 Nov 2026 00:00:00 GMT"),
            ("accept-ranges", "bytes"),
            ("content-encoding", "gzip"),
            ("content-disposition", "attachment; filename=\"4111111111111111\""),
            ("x-card", "4111111111111111"),
            ("x-request-id", "7"),
            ("location", "/people?email=ana%40example.com"),
            ("set-cookie", "session=abc"),
            ("set-cookie", "card=4111-1111-1111-1111"),
            ("set-cookie", "cart={\"pin\":\"4111\"}; Path=/"),
            ("set-cookie", "token=ghp_0123456789abcdefghij"),
            ("trailer", "x"),
        ],
    );
    assert_eq!(kind, Ok(Kind::Json(super::super::Framing::One)));
    assert_eq!(
        left,
        [
            "content-type: application/json; charset=UTF-8",
            "x-request-id: 7",
            "set-cookie: session=abc"
        ]
    );
}

#[test]
fn g04_g05_g06_parts_and_other_kinds_are_refused() {
    for (status, pairs) in [
        (206, &[("content-type", "application/json")][..]),
        (304, &[]),
        (200, &[("content-range", "bytes 0-1/2")]),
        (200, &[("content-type", "application/json; charset=utf-16")]),
        (200, &[("content-type", "application/json"), ("content-type", "application/json")]),
    ] {
        assert!(answered(status, pairs).0.is_err(), "{status} {pairs:?}");
    }
    for other in
        ["text/plain", "text/html", "multipart/byteranges; boundary=x", "application/jsonx", ""]
    {
        assert_eq!(answered(200, &[("content-type", other)]).0, Ok(Kind::Nothing), "{other}");
    }
    assert_eq!(answered(404, &[]).0, Ok(Kind::Nothing));
}

#[test]
fn g11_g12_what_agrees_to_another_protocol_and_what_ends_a_call_say_nothing_either() {
    let mut response = Response::new(());
    response.extensions_mut().insert("words beside a status");
    response.headers_mut().insert("x-card", "4111111111111111".parse().unwrap());
    of_upgrade(&mut response, &rules());
    assert!(response.extensions().is_empty() && response.headers().is_empty());
    let mut trailers = HeaderMap::new();
    for (name, value) in [
        ("grpc-status", "5"),
        ("grpc-message", "no %7B%22pin%22:%224111%22%7D"),
        ("x-card", "4111"),
    ] {
        trailers.insert(name, value.parse().unwrap());
    }
    of_trailers(&mut trailers, &rules());
    assert_eq!(trailers.len(), 1);
}
