//! Group A: bytes that two readers could take for two different sequences of requests.

use portcullis_testkit::upstream::RawUpstream;

use crate::{
    shop::Shop,
    upstream::Upstream,
    wire::{Response, Wire},
};

/// What an upstream must never see, wherever a test hides it.
const CANARY: &str = "smuggled";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nupstream";
const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn statuses(answers: &[Response]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

/// Refused with `status`, and the connection ends behind it: what follows is never read as a request.
#[track_caller]
fn refused_and_closed(answers: &[Response], status: u16, input: &str) {
    assert_eq!(statuses(answers), [status], "{input:?}");
    assert!(answers[0].closed, "{input:?} must close the connection");
}

fn shop() -> (Shop, Upstream) {
    let upstream = Upstream::start();
    (Shop::before(&upstream.url()), upstream)
}

#[test]
fn a01_content_length_and_transfer_encoding() {
    let (mut shop, upstream) = shop();
    shop.token = shop.writer();
    let behind = format!("GET /{CANARY} HTTP/1.1\r\nHost: shop.example.com\r\n\r\n");
    let length = format!("Content-Length: {}\r\n", 5 + behind.len());
    let head = shop.head("POST", "/page");
    let both = ["Transfer-Encoding: chunked\r\n".to_owned(), length];
    for order in [[0, 1], [1, 0]] {
        let [first, second] = order.map(|at| both[at].as_str());
        let answers = shop.answers(format!("{head}{first}{second}\r\n0\r\n\r\n{behind}"));
        refused_and_closed(&answers, 400, first);
        assert!(upstream.take().is_empty(), "{first}");
    }
}

#[test]
fn a05_a_transfer_encoding_before_http_1_1() {
    let (shop, upstream) = shop();
    let head = shop.head("POST", "/page").replace("HTTP/1.1", "HTTP/1.0");
    let input =
        format!("{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /{CANARY} HTTP/1.1\r\n\r\n");
    let answers = shop.answers(&input);
    refused_and_closed(&answers, 400, &input);
    // A body that ends where the connection does: of no length, so of none.
    let writer = shop.writer();
    let unframed = format!(
        "POST /page HTTP/1.0\r\nHost: shop.example.com\r\nAuthorization: Bearer {writer}\r\n\r\nGET /{CANARY} HTTP/1.1\r\n\r\n"
    );
    let mut wire = Wire::connect(shop.house.gate);
    wire.send(&unframed);
    let answer = wire.response().expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(wire.until_closed().as_deref(), Some(&b""[..]), "what stands behind is no request");
    let received = upstream.take();
    assert_eq!(received.len(), 1, "{received:?}");
    assert_eq!((received[0].target(), received[0].body.as_slice()), ("POST /page", &b""[..]));
    assert!(!received[0].head.contains(CANARY), "{}", received[0].head);
}

#[test]
fn a10_trailers_are_never_merged_into_what_decides() {
    let upstream = Upstream::start();
    let rules = "headers: {request: {set: {X-Team: shop}, remove: [X-Debug]}}";
    let mut shop = Shop::with(&format!("{{instances: {{s-1: \"{}\"}}}}\n{rules}", upstream.url()));
    shop.token = shop.writer();
    let trailers = [
        "Content-Length: 4",
        "Transfer-Encoding: chunked",
        "Host: smuggled.example.com",
        "Authorization: Bearer smuggled",
        "Cookie: session=smuggled",
        "Portcullis-Principal: smuggled",
        "Portcullis_Assertion: smuggled",
        "X-Forwarded-User: smuggled",
        "X.Authenticated.User: smuggled",
        "Content-Encoding: smuggled",
        "Trailer: smuggled",
        // What the service's rules set and remove in heads, and what this head nominates.
        "X-Team: smuggled",
        "X_Team: smuggled",
        "X-Debug: smuggled",
        "X.Debug: smuggled",
        "X-Hop: smuggled",
        "X_Hop: smuggled",
    ];
    let head = format!("{}Connection: X-Hop\r\nX-Hop: 1\r\n", shop.head("POST", "/page"));
    let ask = |trailer: &str| {
        let name = trailer.split_once(':').unwrap().0;
        let answers = shop.answers(format!(
            "{head}TE: trailers\r\nTrailer: {name}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n{trailer}\r\n\r\n\
             GET /after HTTP/1.1\r\nHost: shop.example.com\r\n\r\n"
        ));
        assert_eq!(statuses(&answers), [200, 401], "{trailer}");
        let mut received = upstream.take();
        assert_eq!(received.len(), 1, "{trailer}");
        let received = received.remove(0);
        assert_eq!(received.headers("portcullis-principal"), ["builds:writer"]);
        assert_eq!(received.headers("x-team"), ["shop"]);
        let body = String::from_utf8_lossy(&received.body).into_owned();
        assert!(body.contains("abc"), "{body}");
        (received, body)
    };
    let (_, body) = ask("X-Checksum: 900150983cd24fb0");
    assert!(
        body.to_ascii_lowercase().contains("x-checksum: 900150983cd24fb0"),
        "others pass: {body}"
    );
    for trailer in trailers {
        let (received, body) = ask(trailer);
        for part in [&received.head, &body] {
            assert!(!part.contains(CANARY), "{trailer} arrived:\n{part}");
        }
        let name = trailer.split_once(':').unwrap().0;
        assert!(!body.to_ascii_lowercase().contains(&name.to_ascii_lowercase()), "{body}");
    }
}

#[test]
fn a12_a_tunnel_begins_with_a_101_for_an_allowed_protocol_and_never_before() {
    let upstream = RawUpstream::answering(OK);
    let shop = Shop::before(&format!("http://{}", upstream.address()));
    let behind = format!("GET /{CANARY} HTTP/1.1\r\nHost: shop.example.com\r\n\r\n");
    for protocol in
        ["foo", "TLS/1.0", "HTTP/2.0", "websocket, foo", "foo, websocket", "\"websocket\""]
    {
        let head = shop.head("GET", "/page");
        let answers = shop
            .answers(format!("{head}Connection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n{behind}"));
        refused_and_closed(&answers, 400, protocol);
    }
    assert!(upstream.wire().is_empty());
    // The upstream declines: no tunnel. What stands behind is a request, and decided like any other.
    let answers = shop.answers(format!("{}{HANDSHAKE}\r\n{behind}", shop.head("GET", "/page")));
    assert_eq!(statuses(&answers), [200, 401]);
    assert_eq!(upstream.wire().len(), 1);
    // It may still believe in a tunnel: its connection is not used again.
    assert_eq!(shop.read_as(&shop.token).status, 200);
    let wire = upstream.wire();
    assert_eq!(wire.len(), 2, "a connection that declined an upgrade was used again");
    assert!(wire.iter().all(|bytes| !String::from_utf8_lossy(bytes).contains(CANARY)));
}

#[test]
fn a12_an_upstream_cannot_switch_protocols_unasked_or_to_another_one() {
    for protocol in ["foo", "h2c"] {
        let upstream = RawUpstream::answering(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\nSec-WebSocket-Accept: x\r\n\r\n"
        ));
        let shop = Shop::before(&format!("http://{}", upstream.address()));
        for headers in ["", HANDSHAKE] {
            let answers =
                shop.answers(format!("{}{headers}\r\n{CANARY}", shop.head("GET", "/page")));
            assert_eq!(
                answers.first().map(|first| first.status),
                Some(502),
                "{protocol}: {answers:?}"
            );
        }
        let wire = upstream.wire();
        assert!(wire.iter().all(|bytes| !String::from_utf8_lossy(bytes).contains(CANARY)));
    }
}

#[test]
fn a13_an_upgrade_to_h2c_is_stripped_and_never_tunnelled() {
    let (shop, upstream) = shop();
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0smuggled";
    for (connection, protocol) in
        [("Upgrade, HTTP2-Settings", "h2c"), ("upgrade", "H2C"), ("HTTP2-Settings", "h2c")]
    {
        let answers = shop.answers(format!(
            "{}Connection: {connection}\r\nUpgrade: {protocol}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n{preface}",
            shop.head("GET", "/page")
        ));
        assert_eq!(answers.first().map(|first| first.status), Some(200), "{answers:?}");
        assert!(answers.iter().skip(1).all(|answer| answer.status >= 400), "{answers:?}");
        let received = upstream.take();
        assert_eq!(received.len(), 1);
        for name in ["upgrade", "http2-settings", "connection"] {
            assert!(received[0].headers(name).is_empty(), "{name}: {}", received[0].head);
        }
    }
    let both = format!(
        "{}Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n\r\n{preface}",
        shop.head("GET", "/page")
    );
    refused_and_closed(&shop.answers(both), 400, "h2c and websocket");
    assert!(upstream.take().is_empty());
}

#[test]
fn a14_connect_is_refused_and_its_early_data_is_nothing() {
    let (shop, upstream) = shop();
    let early = format!("{}\r\n", shop.head("GET", &format!("/{CANARY}")));
    for target in ["shop.example.com:443", "shop.example.com:80", "127.0.0.1:22"] {
        let head =
            shop.head("CONNECT", target).replace("shop.example.com\r\n", &format!("{target}\r\n"));
        refused_and_closed(&shop.answers(format!("{head}\r\n{early}")), 405, target);
    }
    let answers = shop.answers(format!("{}\r\n{early}", shop.head("CONNECT", "/page")));
    assert!(answers.iter().all(|answer| [400, 405].contains(&answer.status)), "{answers:?}");
    assert!(answers.len() < 2, "{answers:?}");
    assert!(upstream.take().is_empty());
}

#[test]
fn a15_framing_headers_cannot_be_nominated_away() {
    let (mut shop, upstream) = shop();
    shop.token = shop.writer();
    let behind = format!("{}\r\n", shop.head("GET", &format!("/{CANARY}")));
    let chunked =
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{behind}\r\n0\r\n\r\n", behind.len());
    let sized = format!("Content-Length: {}\r\n\r\n{behind}", behind.len());
    for (nominated, rest) in [
        ("Transfer-Encoding", &chunked),
        ("transfer-encoding, close", &chunked),
        ("Content-Length", &sized),
        ("keep-alive, CONTENT-LENGTH", &sized),
        ("Host", &sized),
    ] {
        let head = shop.head("POST", "/page");
        let answers = shop.answers(format!("{head}Connection: {nominated}\r\n{rest}"));
        refused_and_closed(&answers, 400, nominated);
    }
    assert!(upstream.take().is_empty());
}

#[test]
fn a16_a_refused_body_is_never_read_as_requests() {
    let (shop, upstream) = shop();
    let hidden = format!("\r\n\r\n{}\r\n", shop.head("GET", &format!("/{CANARY}")));
    let large = hidden.repeat(3 * 1024 * 1024 / hidden.len());
    let behind = format!("{}\r\n", shop.head("GET", "/behind"));
    let head = shop.head("POST", "/page");
    let sized = format!("{head}Content-Length: {}\r\n\r\n{large}{behind}", large.len());
    refused_and_closed(&shop.answers(sized), 403, "3 MiB with a length");
    let chunk = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}{behind}");
    refused_and_closed(&shop.answers(chunked), 403, "3 MiB in a chunk");
    // A client that announces a gigabyte and goes on sending is cut off.
    let endless = format!("{head}Content-Length: 1073741824\r\n\r\n{}", large.repeat(3));
    refused_and_closed(&shop.answers(endless), 403, "1 GiB");
    assert!(upstream.take().is_empty());
    // A small one is read away, and what stands behind it is a request.
    let small = format!("{head}Content-Length: {}\r\n\r\n{hidden}{behind}", hidden.len());
    assert_eq!(statuses(&shop.answers(small)), [403, 200]);
    let received = upstream.take();
    assert_eq!(
        received.iter().map(|one| one.target().to_owned()).collect::<Vec<_>>(),
        ["GET /behind"]
    );
}
