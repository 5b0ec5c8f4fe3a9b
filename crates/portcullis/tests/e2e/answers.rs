//! Group A, the other way round: upstreams whose answers read two ways.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use portcullis_testkit::upstream::RawUpstream;

use crate::{shop::Shop, wire::Wire};

const SECOND: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";

/// What a client gets from the gate in front of an upstream that answers each connection's first request with
/// these bytes; asked three times on one connection, and once with HEAD.
#[track_caller]
fn broken(answer: &str) {
    let upstream = RawUpstream::answering(answer);
    let shop = Shop::before(&format!("http://{}", upstream.address()));
    let shown: String = answer.chars().take(200).collect();
    let mut wire = Wire::connect(shop.house.gate);
    for _ in 0..3 {
        wire.send(format!("{}\r\n", shop.head("GET", "/page")));
        let response = wire.response().unwrap_or_else(|| panic!("no answer: {shown:?}"));
        assert_eq!(response.status, 502, "{shown:?}");
        assert!(!response.text().contains("smuggled"), "{shown:?}");
    }
    let connections = upstream.wire();
    assert_eq!(connections.len(), 3, "a connection was used again: {shown:?}");
}

/// The same where the body comes late: the answer may have been passed on, what is behind it never is.
#[track_caller]
fn never_behind(method: &str, answer: &str) {
    let upstream = RawUpstream::answering(answer);
    let shop = Shop::before(&format!("http://{}", upstream.address()));
    for _ in 0..3 {
        let head = shop.head(method, "/page");
        for response in shop.answers(format!("{head}Connection: close\r\n\r\n")) {
            assert!(!response.text().contains("smuggled"), "{answer:?}");
            assert!(response.header("x-smuggled").is_none(), "{answer:?}");
        }
    }
    assert_eq!(upstream.wire().len(), 3, "a connection was used again: {answer:?}");
}

#[test]
fn a22_answers_that_read_two_ways_are_no_answers() {
    let ok = "HTTP/1.1 200 OK\r\n";
    for answer in [
        format!("{ok}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SECOND}"),
        format!("{ok}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{SECOND}"),
        format!("{ok}Content-Length: 2\r\nContent-Length: 52\r\n\r\nok{SECOND}"),
        format!("{ok}Content-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
        format!("{ok}Content-Length: +2\r\n\r\nok"),
        format!("{ok}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        format!("{ok}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        format!("HTTP/1.1 204 No Content\r\nContent-Length: 53\r\n\r\n{SECOND}"),
        format!("HTTP/1.1 204 No Content\r\n\r\n{SECOND}"),
        format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 53\r\n\r\n{SECOND}"),
        format!("{ok}Content-Length: 0\r\n\r\n{SECOND}"),
        "<html>HTTP/0.9 was like this: smuggled</html>".to_owned(),
        format!("{ok}X: a\nX-Smuggled: b\r\nContent-Length: 0\r\n\r\n"),
        format!("{ok}X: a\rX-Smuggled: b\r\nContent-Length: 0\r\n\r\n"),
        format!("{ok}X: a\0b\r\nContent-Length: 0\r\n\r\n"),
        format!("{ok}X: a\r\n X-Smuggled: b\r\nContent-Length: 0\r\n\r\n"),
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n".to_owned(),
        format!("{ok}X: {}\r\nContent-Length: 0\r\n\r\n", "y".repeat(300_000)),
        format!("{ok}{}Content-Length: 0\r\n\r\n", "X: y\r\n".repeat(300)),
    ] {
        broken(&answer);
    }
}

#[test]
fn a22_bytes_behind_an_answer_answer_nobody() {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: 53\r\n\r\n{SECOND}");
    never_behind("HEAD", &head);
    never_behind("GET", &format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{SECOND}"));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    never_behind("GET", &format!("{chunked}{SECOND}"));
}

#[test]
fn a22_a_chunk_that_goes_wrong_cuts_the_answer_off() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokXX0\r\n\r\n";
    let upstream = RawUpstream::answering(answer);
    let shop = Shop::before(&format!("http://{}", upstream.address()));
    let mut wire = Wire::connect(shop.house.gate);
    wire.send(format!("{}\r\n", shop.head("GET", "/page")));
    let all = wire.until_closed().expect("the gate closes");
    let text = String::from_utf8_lossy(&all);
    assert!(text.starts_with("HTTP/1.1 200") || text.starts_with("HTTP/1.1 502"), "{text}");
    assert!(
        !text.ends_with("0\r\n\r\n") || text.starts_with("HTTP/1.1 502"),
        "as if it were whole: {text}"
    );
}

#[test]
fn a23_a_storm_of_interim_answers_ends() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
    broken(&format!("{}{SECOND}", hints.repeat(10_000)));
    broken(&format!("{}{SECOND}", "HTTP/1.1 100 Continue\r\n\r\n".repeat(65)));
    // A few are what browsers like.
    let few = RawUpstream::answering(format!("{}HTTP/1.1 204 No Content\r\n\r\n", hints.repeat(3)));
    let shop = Shop::before(&format!("http://{}", few.address()));
    assert_eq!(shop.read_as(&shop.token).status, 204);
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// An upstream that speaks HTTP/2, by hand, and says `103` so often before each answer.
fn hinting(hints: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || hint(stream, hints));
        }
    });
    address
}

fn hint(mut stream: TcpStream, hints: usize) -> Option<()> {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    stream.read_exact(&mut [0; 24]).ok()?;
    stream.write_all(&frame(SETTINGS, 0, 0, b"")).ok()?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).ok()?;
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let answer = match (head[3], head[4] & 1) {
            (SETTINGS, 0) => frame(SETTINGS, 1, 0, b""),
            (PING, 0) => frame(PING, 1, 0, &payload),
            // `:status: 103` and `:status: 200`, as RFC 7541 has them.
            (HEADERS, _) => [
                frame(HEADERS, 4, id, b"\x08\x03103").repeat(hints),
                frame(HEADERS, 4, id, b"\x88"),
                frame(DATA, 1, id, b"upstream"),
            ]
            .concat(),
            _ => Vec::new(),
        };
        stream.write_all(&answer).ok()?;
    }
}

#[test]
fn a23_a_storm_of_interim_answers_over_http2_ends() {
    for (hints, status) in [(0, 200), (3, 200), (64, 200), (65, 502), (10_000, 502)] {
        let shop = Shop::before(&format!("h2c://{}", hinting(hints)));
        let mut wire = Wire::connect(shop.house.gate);
        // More requests than there may be interim answers to one: each has its own.
        for _ in 0..if status == 200 { 100 } else { 3 } {
            wire.send(format!("{}\r\n", shop.head("GET", "/page")));
            let response = wire.response().unwrap_or_else(|| panic!("no answer behind {hints}"));
            assert_eq!(response.status, status, "{hints}: {}", response.text());
            assert_eq!(response.text() == "upstream", status == 200, "{hints}");
        }
    }
}
