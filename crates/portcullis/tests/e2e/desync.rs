//! Groups A, B and I: requests that read two ways never reach anybody. Each has another request behind it,
//! which somebody who reads it otherwise would take for one.

use crate::{
    people::Person,
    shop::{HOST, Shop},
    upstream::Upstream,
    wire::{Response, Wire},
};

/// What an upstream must never see, wherever a test hides it.
const CANARY: &str = "smuggled";
const AUDITORS: &str = r#"
@id("auditors")
permit (principal is User in Group::"auditors", action == Action::"viewAudit", resource);
"#;

struct Desk {
    shop: Shop,
    upstream: Upstream,
    behind: String,
}

impl Desk {
    fn open() -> Self {
        let upstream = Upstream::start();
        let mut shop =
            Shop::furnished(&upstream.url(), |plan| plan.policy("audit.cedar", AUDITORS));
        shop.token = shop.writer();
        let behind = format!("{}\r\n", shop.head("GET", &format!("/{CANARY}")));
        Self { shop, upstream, behind }
    }

    /// The head of a request that may have a body, whole but for its empty line.
    fn post(&self) -> String {
        self.shop.head("POST", "/page")
    }

    /// Refused with `status` as the only answer, the connection closed, and nothing sent on that is whole.
    #[track_caller]
    fn refused(&self, input: impl AsRef<[u8]>, status: u16) {
        let text = String::from_utf8_lossy(input.as_ref()).into_owned();
        let text: String = text.chars().take(400).collect();
        let answers = self.shop.answers(input);
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [status], "{text:?}");
        assert!(answers[0].closed, "{text:?} must close the connection");
        assert!(answers[0].header("portcullis-request-id").is_some(), "{text:?} is on record");
        assert!(!answers[0].json()["detail"].as_str().unwrap_or_default().is_empty(), "{text:?}");
        assert!(self.upstream.take().is_empty(), "{text:?} reached the upstream");
    }

    /// The same for a request with these fields and nothing in its body, and with another behind it.
    #[track_caller]
    fn refused_with(&self, fields: &str) {
        self.refused(format!("{}{fields}\r\n{}", self.post(), self.behind), 400);
    }

    /// The same for a chunked body.
    #[track_caller]
    fn refused_chunks(&self, chunks: &str) {
        let head = self.post();
        self.refused(
            format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}{}", self.behind),
            400,
        );
    }

    #[track_caller]
    fn served(&self, input: String, body: &[u8]) {
        let answers = self.shop.answers(&input);
        assert_eq!(answers.iter().map(|one| one.status).collect::<Vec<_>>(), [200], "{input:?}");
        let received = self.upstream.take();
        assert_eq!(received.len(), 1);
        assert!(
            received[0].body.windows(body.len().max(1)).any(|part| part == body) || body.is_empty()
        );
    }
}

#[test]
fn a02_a03_a04_transfer_encodings_have_one_spelling() {
    let desk = Desk::open();
    for coding in [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding:",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        "Transfer-Encoding:\r\n chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\n\tidentity",
        " Transfer-Encoding: chunked",
    ] {
        desk.refused(format!("{}{coding}\r\n\r\n0\r\n\r\n{}", desk.post(), desk.behind), 400);
    }
    // Another name for some readers, and none for the upstream.
    for alias in [
        "Transfer_Encoding: chunked",
        "transfer.encoding: chunked",
        "Content_Encoding: chunked",
        "Content.Encoding: chunked",
    ] {
        let answers = desk.shop.answers(format!("{}{alias}\r\n\r\n", desk.post()));
        assert_eq!(answers[0].status, 200, "{alias}");
        assert!(!desk.upstream.take()[0].head.to_ascii_lowercase().contains("encoding: chunked"));
    }
    let chunked =
        format!("{}transfer-encoding:\tCHUNKED \r\n\r\n3\r\nabc\r\n0\r\n\r\n", desk.post());
    desk.served(chunked, b"abc");
}

#[test]
fn a06_lengths_are_plain_numbers() {
    let desk = Desk::open();
    for length in [
        "+5",
        "0x5",
        "5,5",
        "-1",
        "18446744073709551621",
        "",
        "1_0",
        "5 5",
        "05",
        "5;",
        "\"5\"",
        "5\t6",
        "99999999999999999999999",
        "5\r\nContent-Length: 6",
        "5\r\nContent-Length: 5",
        "5\r\ncontent-length: 5",
    ] {
        desk.refused_with(&format!("Content-Length: {length}\r\n"));
    }
    desk.refused_with("Content-Length : 5\r\n");
    desk.served(format!("{}Content-Length:\t3 \r\n\r\nabc", desk.post()), b"abc");
}

#[test]
fn a07_a08_a09_chunks_begin_and_end_in_one_way() {
    let desk = Desk::open();
    for chunks in [
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;\0\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "0\r\nXX",
        "0\n\n",
        "0\r\n\n",
        "0\r\nX : y\r\n\r\n",
    ] {
        desk.refused_chunks(chunks);
    }
    desk.refused_chunks(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(64 * 1024)));
    desk.refused_chunks(&format!("5;{}\r\na\r\n", "e".repeat(200)).repeat(100));
    let sound = format!(
        "{}Transfer-Encoding: chunked\r\n\r\n5;name=\"value\"\r\nhello\r\n0\r\n\r\n",
        desk.post()
    );
    desk.served(sound, b"hello");
}

#[test]
fn a07_a_chunk_that_goes_wrong_late_aborts_the_upstream_too() {
    let desk = Desk::open();
    let mut wire = Wire::connect(desk.shop.house.gate);
    wire.send(format!("{}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", desk.post()));
    wire.send("5\r\nhello");
    wire.send(format!("XX0\r\n\r\n{}", desk.behind));
    let answer = wire.response().expect("an answer");
    assert_eq!((answer.status, answer.closed), (400, true), "{}", answer.text());
    assert!(wire.until_closed().is_some_and(|rest| rest.is_empty()));
    assert!(desk.upstream.take().is_empty(), "it was sent on as if it were whole");
}

#[test]
fn a11_lines_end_with_cr_lf_and_values_have_no_control_characters() {
    let desk = Desk::open();
    for fields in [
        "X: a\n",
        "X: a\r",
        "X: a\rb\r\n",
        "X: a\r\r\n",
        "X: a\0b\r\n",
        "X\0: a\r\n",
        "X: \x7f\r\n",
    ] {
        desk.refused_with(fields);
    }
    let head = desk.shop.head("GET", "/page");
    for wrong in [
        format!("{}\n", head.replace("\r\n", "\n")),
        head.replacen("\r\n", "\n", 1) + "\r\n",
        head.replacen("\r\n", "\r", 1) + "\r\n",
        format!("{head}\n"),
        format!("\r\n{head}\r\n"),
        format!("\n{head}\r\n"),
    ] {
        desk.refused(wrong + &desk.behind, 400);
    }
}

#[test]
fn first_lines_and_hosts_have_one_form() {
    let desk = Desk::open();
    let token = &desk.shop.token;
    let credentials = format!("Authorization: Bearer {token}\r\n");
    for line in [
        "GET x HTTP/1.1",
        "GET /page",
        "GET  /page HTTP/1.1",
        "GET /page  HTTP/1.1",
        "GET\t/page HTTP/1.1",
        "GET /page HTTP/1.1 ",
        "GET /page HTTP/2.0",
        "GET /page HTTP/1.9",
        "GET /page http/1.1",
        " GET /page HTTP/1.1",
        "G(T /page HTTP/1.1",
        "GET /pa ge HTTP/1.1",
        "GET page.html HTTP/1.1",
        "GET * HTTP/1.1",
        "- * HTTP/1.1",
        "GET http://u@shop.example.com/page HTTP/1.1",
        "GET ftp://shop.example.com/page HTTP/1.1",
    ] {
        desk.refused(format!("{line}\r\nHost: {HOST}\r\n{credentials}\r\n{}", desk.behind), 400);
    }
    for hosts in [
        "",
        "Host: shop.example.com\r\nHost: shop.example.com\r\n",
        "Host: a@shop.example.com\r\n",
        "Host: shop.example.com, shop.example.com\r\n",
        "Host:\r\n",
        "Host: shop.example.com/page\r\n",
    ] {
        desk.refused(format!("GET /page HTTP/1.1\r\n{hosts}{credentials}\r\n{}", desk.behind), 400);
    }
    desk.refused(format!("GET /page HTTP/1.0\r\n{credentials}\r\n{}", desk.behind), 400);
}

#[test]
fn b06_b14_targets_have_no_fragment_and_no_raw_bytes() {
    let desk = Desk::open();
    for target in [
        &b"/page#"[..],
        b"/page#/../admin",
        b"/page?a#b",
        b"/#",
        b"#",
        b"/pa\0ge",
        b"/page\0",
        b"/pa\x80ge",
        b"/page?\x80",
        b"/\xc3\xa9",
        b"/page\x7f",
        b"/page\x0b",
        b"/page?a\0b",
        b"/page%00",
    ] {
        let head = desk.shop.head("GET", "TARGET").into_bytes();
        let at = head.windows(6).position(|part| part == b"TARGET").unwrap();
        let input = [&head[..at], target, &head[at + 6..], b"\r\n"].concat();
        let behind = desk.behind.as_bytes();
        desk.refused([&input[..], behind].concat(), 400);
    }
}

#[test]
fn a17_expectations_are_plain_and_poison_no_upstream_connection() {
    let desk = Desk::open();
    for expected in ["y 100-continue", "100-continue, y", "200-ok", "100-continue;x"] {
        desk.refused_with(&format!("Expect: {expected}\r\nContent-Length: 5\r\n"));
    }
    // The upstream answers before it has the body, which never comes: whoever is next gets another
    // connection, or one that is clean.
    let early = portcullis_testkit::upstream::RawUpstream::answering(
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
    );
    let mut shop = Shop::before(&format!("http://{}", early.address()));
    shop.token = shop.writer();
    let mut wire = Wire::connect(shop.house.gate);
    let head = shop.head("POST", "/page");
    wire.send(format!("{head}Expect: 100-continue\r\nContent-Length: 500\r\n\r\n"));
    assert_eq!(wire.response().expect("an answer").status, 403);
    drop(wire);
    assert_eq!(shop.read_as(&shop.token).status, 403);
    assert_eq!(early.wire().len(), 2, "the connection whose request never ended was used again");
    for connection in early.wire() {
        let text = String::from_utf8_lossy(&connection).into_owned();
        assert_eq!(text.matches("HTTP/1.1").count(), 1, "two requests on one connection: {text}");
        assert!(!text.to_ascii_lowercase().contains("expect:"), "{text}");
    }
}

#[test]
fn a24_pipelined_requests_byte_by_byte_are_answered_in_order_and_on_record_once() {
    let desk = Desk::open();
    let mut wire = Wire::connect(desk.shop.house.gate);
    for number in 0..100 {
        let body = if number % 3 == 0 { "Content-Length: 3\r\n" } else { "" };
        let head = desk
            .shop
            .head(if body.is_empty() { "GET" } else { "POST" }, &format!("/page/{number}"));
        wire.send(format!("{head}{body}"));
        for byte in ["\r", "\n"] {
            wire.send(byte);
        }
        if !body.is_empty() {
            wire.send("a").send("bc");
        }
    }
    let answers: Vec<Response> = (0..100).map(|_| wire.response().expect("an answer")).collect();
    assert!(answers.iter().all(|answer| answer.status == 200));
    let asked: Vec<_> =
        answers.iter().filter_map(|one| one.header("portcullis-request-id")).collect();
    let received = desk.upstream.take();
    for (number, received) in received.iter().enumerate() {
        let (target, _) = received.target().split_once('/').unwrap();
        assert_eq!(received.target(), format!("{target}/page/{number}"));
        assert_eq!(received.headers("portcullis-request-id"), [asked[number]], "in another order");
        assert_eq!(received.body, if number % 3 == 0 { &b"abc"[..] } else { b"" });
    }
    assert_eq!(received.len(), 100);
    let sam = desk.shop.house.sign_in(&Person::new("sam", &["auditors"]));
    let count = |events: &[serde_json::Value], id: &str| {
        events.iter().filter(|event| event["type"] == "attempt" && event["request"] == id).count()
    };
    let events =
        desk.shop.house.record(&sam, |events| asked.iter().all(|id| count(events, id) > 0));
    assert!(asked.iter().all(|id| count(&events, id) == 1), "an attempt is on record twice");
}

#[test]
fn what_cannot_be_read_is_on_record_behind_what_can() {
    let desk = Desk::open();
    let sound = format!("{}\r\n", desk.shop.head("GET", "/page"));
    let wrong = format!("{}X : y\r\n\r\n", desk.shop.head("GET", &format!("/{CANARY}")));
    let answers = desk.shop.answers(format!("{sound}{sound}{wrong}{sound}"));
    assert_eq!(answers.iter().map(|one| one.status).collect::<Vec<_>>(), [200, 200, 400]);
    assert!(answers[2].closed);
    assert_eq!(desk.upstream.take().len(), 2);
    let sam = desk.shop.house.sign_in(&Person::new("sam", &["auditors"]));
    let id = answers[2].header("portcullis-request-id").unwrap();
    let events =
        desk.shop.house.record(&sam, |events| events.iter().any(|event| event["request"] == id));
    let attempts: Vec<_> = events.iter().filter(|event| event["request"] == id).collect();
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0]["refusal"], "malformed");
    assert_eq!(attempts[0]["status"], 400);
    assert_eq!(attempts[0]["path"], "", "nothing of it was read");
}

#[test]
fn i09_heads_have_limits() {
    let desk = Desk::open();
    let head = desk.shop.head("GET", "/page");
    let fields =
        |count: usize| (0..count).map(|n| format!("X-{n}: y\r\n")).collect::<Vec<_>>().concat();
    desk.refused(format!("{head}X: {}\r\n\r\n{}", "y".repeat(128 * 1024), desk.behind), 431);
    desk.refused(format!("{head}{}\r\n{}", fields(201), desk.behind), 431);
    desk.refused(format!("{head}{}\r\n{}", fields(99), desk.behind), 431);
    desk.refused(format!("GET /{} HTTP/1.1\r\n", "a".repeat(128 * 1024)), 431);
    desk.served(format!("{head}{}\r\n", fields(98)), b"");
    desk.served(format!("{head}X: {}\r\n\r\n", "y".repeat(60 * 1024)), b"");
    // A head that drips in and is too large in the end.
    let mut wire = Wire::connect(desk.shop.house.gate);
    wire.send(&head);
    for _ in 0..80 {
        wire.send(format!("X: {}\r\n", "y".repeat(1000)));
    }
    assert_eq!(wire.response().expect("an answer").status, 431);
    assert!(desk.upstream.take().is_empty());
}

#[test]
fn a12_bytes_behind_a_handshake_are_the_tunnels_and_arrive_as_they_were_sent() {
    let upstream = portcullis_testkit::upstream::RawUpstream::answering(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    );
    let shop = Shop::before(&format!("http://{}", upstream.address()));
    let head = shop.head("GET", "/page");
    let handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    // No request would get through like this.
    let (early, late) = (&b"\x82\x83\0\0\0\0\n\0\r"[..], &b"\x82\x82\0\0\0\0\n\n"[..]);
    let mut wire = Wire::connect(shop.house.gate);
    wire.send([format!("{head}{handshake}").as_bytes(), early].concat());
    assert_eq!(wire.response().expect("an answer").status, 101);
    wire.send(late);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let sent = [early, late].concat();
    while !upstream.wire().first().is_some_and(|bytes| bytes.ends_with(&sent)) {
        assert!(std::time::Instant::now() < deadline, "{:?}", upstream.wire());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
