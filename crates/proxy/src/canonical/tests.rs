use http::{Request, Version};

use super::*;

fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Canonical, Refusal> {
    read_with(Version::HTTP_11, method, target, headers, None)
}

fn read_with(
    version: Version,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    tls: Option<&Sni>,
) -> Result<Canonical, Refusal> {
    let mut builder = Request::builder().version(version).method(method).uri(target);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let (parts, ()) = builder.body(()).unwrap().into_parts();
    let present = Present::of(&parts.headers);
    read(parts, present, tls, &LastHost::default())
}

fn at(path: &str) -> Result<Canonical, Refusal> {
    request("GET", path, &[("host", "payments.test")])
}

fn host(host: &str) -> Result<Canonical, Refusal> {
    request("GET", "/", &[("host", host)])
}

fn is_malformed(read: &Result<Canonical, Refusal>) -> bool {
    matches!(read, Err(Refusal::Malformed(_)))
}

#[test]
fn b01_dot_segments_are_refused_in_every_spelling() {
    for path in ["/a/../b", "/..", "/a/.", "/a/%2e%2e/b", "/a/.%2e/b", "/a/%2E./b", "/./a"] {
        assert!(is_malformed(&at(path)), "{path}");
    }
    assert!(at("/a/...").is_ok());
    assert!(at("/a/.well-known").is_ok());
}

#[test]
fn b02_encoded_slashes_and_backslashes_are_refused() {
    for path in ["/a%2fb", "/a%2Fb", "/a%5cb", "/a\\b"] {
        assert!(is_malformed(&at(path)), "{path}");
    }
}

#[test]
fn b03_empty_segments_are_refused() {
    for path in ["//admin", "/a//b", "/a//"] {
        assert!(is_malformed(&at(path)), "{path}");
    }
}

#[test]
fn b04_path_parameters_are_refused() {
    assert!(is_malformed(&at("/admin;x=1/")));
    assert!(is_malformed(&at("/;/admin")));
}

#[test]
fn b05_a_path_is_decoded_at_most_once_and_forwarded_verbatim() {
    for path in ["/a/%252e%252e/b", "/%2525", "/caf%C3%a9"] {
        assert_eq!(at(path).unwrap().target.as_str(), path);
    }
}

#[test]
fn b07_a_query_and_an_encoded_question_mark_do_not_move_the_path() {
    assert_eq!(at("/a?x=/admin").unwrap().path(), "/a");
    assert_eq!(at("/a%3fx=/admin").unwrap().path(), "/a%3fx=/admin");
}

#[test]
fn b08_an_absolute_target_must_agree_with_host() {
    let agreeing = request("GET", "http://payments.test/a", &[("host", "Payments.test:80")]);
    assert_eq!(agreeing.unwrap().authority.host(), "payments.test");
    assert!(is_malformed(&request("GET", "http://ledger.test/", &[("host", "payments.test")])));
    assert!(is_malformed(&request("GET", "http://payments.test/", &[])));
}

#[test]
fn b11_e12_an_empty_path_is_refused_as_it_would_not_be_sent_as_it_is_decided_on() {
    let host = [("host", "payments.test")];
    for target in ["http://payments.test?", "http://payments.test?x=1", "https://payments.test?/"] {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let read = read_with(version, "GET", target, &host, None);
            assert!(is_malformed(&read), "{target} in {version:?}");
        }
    }
    // As the library puts a `:path` together.
    for path in ["?", "?x=1", "*", "x"] {
        let uri = http::Uri::builder().scheme("http").authority("payments.test");
        let Ok(uri) = uri.path_and_query(path).build() else { continue };
        assert!(path::of(&uri).is_err(), "{path}");
    }
    for target in ["http://payments.test", "http://payments.test/"] {
        let read = request("GET", target, &host).unwrap();
        assert_eq!(read.target.as_str(), "/", "{target}");
    }
}

#[test]
fn b09_a_connection_made_for_another_host_is_misdirected() {
    let sni = Sni(Some("payments.test".to_owned()));
    let read = |host| read_with(Version::HTTP_11, "GET", "/", &[("host", host)], Some(&sni));
    assert!(read("payments.test").is_ok());
    assert!(read("payments.test:443").is_ok());
    assert_eq!(read("ledger.test").unwrap_err(), Refusal::Misdirected);
}

#[test]
fn b10_a_host_has_one_canonical_form_or_none() {
    for text in ["payments.test", "PAYMENTS.test", "payments.test.", "payments.test:80"] {
        assert_eq!(host(text).unwrap().authority.as_str(), "payments.test", "{text}");
    }
    assert_eq!(host("payments.test.:8080").unwrap().authority.as_str(), "payments.test:8080");
    assert_eq!(host("payments.test:8080").unwrap().authority.host(), "payments.test");
    assert_eq!(host("[::1]:8080").unwrap().authority.as_str(), "[::1]:8080");
    let refused = [
        "",
        ".",
        "a..b",
        "u@payments.test",
        "a,b",
        "a b",
        "a/b",
        "a?b",
        "a#b",
        "a\\b",
        "a:",
        "a:0",
        "a:65536",
        "a:+80",
        "a:80:80",
        "[::1",
        "[::1]x",
        "[a]",
        "a%2e",
        "payments.test..",
    ];
    for text in refused {
        assert!(is_malformed(&host(text)), "{text}");
    }
    assert!(is_malformed(&request("GET", "/", &[])));
    assert!(is_malformed(&request("GET", "/", &[("host", "a"), ("host", "a")])));
}

#[test]
fn a21_an_h2_host_must_agree_with_its_authority() {
    let read = |headers: &[(&str, &str)]| {
        read_with(Version::HTTP_2, "GET", "http://payments.test/", headers, None)
    };
    assert!(read(&[]).is_ok());
    assert!(read(&[("host", "payments.test")]).is_ok());
    assert!(is_malformed(&read(&[("host", "ledger.test")])));
}

#[test]
fn b12_methods_are_an_exact_list() {
    for method in ["get", "TRACE", "CONNECT", "PROPFIND", "Get"] {
        let target = if method == "CONNECT" { "payments.test:80" } else { "/" };
        let read = request(method, target, &[("host", "payments.test")]);
        assert_eq!(read.unwrap_err(), Refusal::MethodNotAllowed, "{method}");
    }
}

#[test]
fn b13_a_path_that_is_not_utf8_is_refused_and_case_is_kept() {
    assert!(is_malformed(&at("/%c0%af")));
    assert!(is_malformed(&at("/%ff")));
    assert_eq!(at("/%E2%82%aC").unwrap().path(), "/%E2%82%aC");
}

#[test]
fn b14_control_characters_and_broken_escapes_are_refused() {
    for path in ["/%00", "/%0a", "/%7f", "/%", "/%a", "/%zz", "/a%2"] {
        assert!(is_malformed(&at(path)), "{path}");
    }
}

#[test]
fn c11_a_header_that_decides_is_there_once() {
    let twice = |name| request("GET", "/", &[("host", "a"), (name, "x"), (name, "y")]);
    for name in ["authorization", "portcullis-authorization", "portcullis-instance", "content-type"]
    {
        assert!(is_malformed(&twice(name)), "{name}");
    }
    assert!(twice("accept").is_ok());
}

#[test]
fn c12_a_header_that_decides_is_plain_ascii() {
    assert!(is_malformed(&request("GET", "/", &[("host", "a"), ("authorization", "é")])));
    assert!(request("GET", "/", &[("host", "a"), ("x-note", "é")]).is_ok());
}

#[test]
fn a15_framing_headers_cannot_be_nominated_away() {
    for nominated in ["content-length", "Transfer-Encoding", "x, HOST"] {
        let read = request("GET", "/", &[("host", "a"), ("connection", nominated)]);
        assert!(is_malformed(&read), "{nominated}");
    }
}

#[test]
fn a01_a03_a05_framing_that_reads_two_ways_is_refused() {
    let post = |headers: &[(&str, &str)]| {
        let mut all = vec![("host", "a")];
        all.extend_from_slice(headers);
        request("POST", "/", &all)
    };
    assert!(is_malformed(&post(&[("transfer-encoding", "chunked"), ("content-length", "3")])));
    assert!(is_malformed(&post(&[("transfer-encoding", "gzip, chunked")])));
    assert!(is_malformed(&post(&[("te", "gzip")])));
    assert!(is_malformed(&post(&[("expect", "y 100-continue")])));
    let old = [("host", "a"), ("transfer-encoding", "chunked")];
    assert!(is_malformed(&read_with(Version::HTTP_10, "POST", "/", &old, None)));
}

#[test]
fn a12_a13_only_websockets_upgrade_and_h2c_is_dropped() {
    let upgrade = |method, protocol: &str| {
        request(method, "/", &[("host", "a"), ("connection", "upgrade"), ("upgrade", protocol)])
    };
    assert_eq!(upgrade("GET", "websocket").unwrap().speaks, Speaks::WebSocket);
    assert!(is_malformed(&upgrade("POST", "websocket")));
    assert!(is_malformed(&upgrade("GET", "foo")));
    assert!(is_malformed(&upgrade("GET", "h2c, websocket")));
    let stripped = upgrade("GET", "h2c").unwrap();
    assert_eq!(stripped.speaks, Speaks::Http);
    assert!(!stripped.headers.contains_key("upgrade"));
}
