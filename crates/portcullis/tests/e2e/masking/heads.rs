//! Heads: what says something about a text that the client does not get is gone.

use super::{CANARY, DOCUMENT, House, MASKED, sized};

#[test]
fn g04_no_part_is_asked_for_or_passed() {
    let house = House::open();
    let ask = "Range: bytes=0-40\r\nIf-Range: \"a\"\r\nIf-None-Match: \"a\"\r\nIf-Modified-Since: Sun, 22 Nov 2026 00:00:00 GMT\r\n";
    let whole = sized("application/json", "", DOCUMENT.as_bytes());
    assert_eq!(house.answer("GET", ask, &whole).unwrap().text(), MASKED);
    let heard = house.heard();
    for name in ["range", "if-range", "if-none-match", "if-modified-since"] {
        assert!(!heard.contains(&format!("\r\n{name}:")), "{heard}");
    }
    let part = &DOCUMENT[..40];
    for head in [
        format!(
            "HTTP/1.1 206 Partial Content\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Range: bytes 0-39/70\r\nContent-Length: 40\r\n\r\n{part}"
        ),
        format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Range: bytes 0-39/70\r\nContent-Length: 40\r\n\r\n{part}"
        ),
        "HTTP/1.1 304 Not Modified\r\nConnection: close\r\nETag: \"a\"\r\n\r\n".to_owned(),
    ] {
        assert_eq!(house.answer("GET", ask, &[head.into_bytes()]).unwrap().status, 502);
    }
    let change = house.answer("PUT", "If-Match: \"a\"\r\nContent-Length: 0\r\n", &whole);
    assert_ne!(change.unwrap().status, 200);
}

#[test]
fn g05_lengths_tags_and_digests_say_nothing_of_what_is_masked() {
    let house = House::open();
    let telling = "ETag: \"4111111111111111\"\r\nDigest: a\r\nContent-Digest: a\r\nRepr-Digest: a\r\nContent-MD5: a\r\nLast-Modified: Sun, 22 Nov 2026 00:00:00 GMT\r\nAccept-Ranges: bytes\r\n";
    for method in ["GET", "HEAD"] {
        let body = if method == "HEAD" { "" } else { DOCUMENT };
        let head = format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n{telling}Content-Length: {}\r\n\r\n{body}",
            DOCUMENT.len()
        );
        let response = house.answer(method, "", &[head.into_bytes()]).unwrap();
        assert_eq!(response.status, 200);
        for name in [
            "etag",
            "digest",
            "content-digest",
            "repr-digest",
            "content-md5",
            "last-modified",
            "accept-ranges",
        ] {
            assert_eq!(response.header(name), None, "{method}");
        }
        assert_ne!(response.header("content-length"), Some(DOCUMENT.len().to_string().as_str()));
    }
}

#[test]
fn g12_errors_headers_reasons_trailers_and_hints_are_masked_or_gone() {
    let house = House::open();
    for status in ["400 4111111111111111", "404 No", "500 Oh", "302 There"] {
        let answer = format!(
            "HTTP/1.1 103 Early Hints\r\nLink: </{CANARY}>\r\n\r\nHTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: application/problem+json\r\n\
             Location: /cards/{CANARY}?x=4111%201111%201111%201111\r\nX-Card: {CANARY}\r\nSet-Cookie: card={CANARY}\r\nSet-Cookie: session=abc\r\n\
             Content-Disposition: attachment; filename={CANARY}\r\nWarning: 199 - {CANARY}\r\nTransfer-Encoding: chunked\r\nTrailer: X-Card\r\n\r\n\
             {:x}\r\n{DOCUMENT}\r\n0\r\nX-Card: {CANARY}\r\n\r\n",
            DOCUMENT.len()
        );
        let response = house.answer("GET", "TE: trailers\r\n", &[answer.into_bytes()]).unwrap();
        assert_eq!(response.status.to_string(), status[..3]);
        assert_eq!(response.text(), MASKED);
        assert_eq!(response.header("set-cookie"), Some("session=abc"));
        assert_eq!(response.header("location"), None);
    }
}

#[test]
fn g15_whatever_is_asked_the_answer_is_masked() {
    let house = House::open();
    for method in ["POST", "DELETE", "PATCH"] {
        let writer = house.shop.writer();
        let mut wire = crate::wire::Wire::connect(house.shop.house.gate);
        *house.mouth.words.lock().unwrap() = sized("application/json", "", DOCUMENT.as_bytes());
        wire.send(format!(
            "{method} /order HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {writer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            crate::shop::HOST
        ));
        let response = wire.response().unwrap();
        assert_eq!((response.status, response.text().as_str()), (200, MASKED), "{method}");
    }
}
