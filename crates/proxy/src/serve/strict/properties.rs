//! What strict accepts, the parser above it reads in the same way: the same messages, each with the same
//! method, target, headers, body and trailers, however the bytes arrive.

use proptest::prelude::*;

use super::{
    STAND_IN,
    reader::{Reader, Then},
    reading::{check, parsed},
};

fn method() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "GET", "POST", "HEAD", "OPTIONS", "PUT", "BREW", "CONNECT", "get", "-",
    ])
}

fn a_target() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "/",
        "/a/b?c=d&e=%2f",
        "*",
        "http://shop.test/a",
        "HTTPS://shop.test:8443?x",
        "/a#b",
        "//a",
        "/%00",
        "shop.test:443",
        "http://u@shop.test/",
        "/\u{e9}",
        "x",
        "/a;b=c/{d}\"|^",
        "/?`{}|^[]",
        "http://",
        "/very/long/path/that/goes/on/and/on/and/on?with=a&query=that&does=so&too=yes",
        "",
    ])
}

fn header() -> impl Strategy<Value = String> {
    let fixed = prop::sample::select(vec![
        "Host: shop.test",
        "Host: other.test:80",
        "Host: u@shop.test",
        "Host: [::1]:8",
        "host:shop.test\t",
        "Connection: close",
        "Connection: keep-alive",
        "Upgrade: websocket",
        "Expect: 100-continue",
        "Content-Length: 0",
        "Content-Length: 5",
        "content-length:5 ",
        "Content-Length: +5",
        "Content-Length: 5,5",
        "Content-Length: 05",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: Chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: \u{b}chunked",
        "Transfer-Encoding: identity",
        "X-Empty:",
        "X-Tabs:\ta\tb\t",
        "X-High: \u{fc}\u{ff}",
        "Trailer: X-After",
        "TE: trailers",
        "X: a\r\n folded",
        "X: a\nY: b",
        "X: a\rb",
        "X\u{0}: y",
        "X: \u{7f}",
        ": nameless",
        "X_y.z: 1",
        "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
    ]);
    prop_oneof![4 => fixed.prop_map(str::to_owned), 1 => "[!-~]{1,9}:[ -~]{0,40}"]
}

fn body() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        "",
        "",
        "hello",
        "0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "5;a=b\r\nhello\r\n0\r\nX-After: 1\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\r\nhelloXX0\r\n\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        "A\r\n0123456789\r\n0\r\n\r\n",
        "5;a\n=b\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nhello",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0\r\nX-After : 1\r\n\r\n",
        "0\r\nXX",
    ])
}

fn lines<'a>(headers: impl Iterator<Item = &'a String>) -> String {
    headers.flat_map(|header| [header.as_str(), "\r\n"]).collect()
}

/// A message that is mostly sound, and sometimes not at all.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let sound = prop_oneof![2 => Just(true), 1 => Just(false)];
    (sound, method(), a_target(), prop::collection::vec(header(), 0..5), body()).prop_map(
        |(sound, method, target, headers, body)| {
            if sound {
                let is_plain =
                    |header: &&String| header.starts_with("X-") || header.starts_with("Accept");
                let headers = lines(headers.iter().filter(is_plain));
                let framing = match body {
                    "" => String::new(),
                    "hello" => "Content-Length: 5\r\n".to_owned(),
                    _ => "Transfer-Encoding: chunked\r\n".to_owned(),
                };
                return format!(
                    "POST /a HTTP/1.1\r\nHost: shop.test\r\n{headers}{framing}\r\n{body}"
                )
                .into();
            }
            let headers = lines(headers.iter());
            // As Latin-1, so that single high bytes occur.
            let text =
                format!("{method} {target} HTTP/1.1\r\nHost: shop.test\r\n{headers}\r\n{body}");
            text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect()
        },
    )
}

/// Bytes that matter to readers, put anywhere.
fn mutation() -> impl Strategy<Value = (prop::sample::Index, u8, u8)> {
    let bytes = b"\r\n\0 \t:;,#/?0159afxX\x80\xff\x0b-+@.".to_vec();
    (any::<prop::sample::Index>(), 0_u8..3, prop::sample::select(bytes))
}

/// Cuts `bytes` into pieces of these sizes, over and over; zero is a pause.
fn cut(bytes: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
    let (mut rest, mut pieces) = (bytes, Vec::new());
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*size).min(rest.len()));
        pieces.push(piece.to_vec());
        rest = after;
    }
    pieces
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        Just(vec![1]),
        Just(vec![usize::MAX]),
        Just(vec![1, 0]),
        prop::collection::vec(0_usize..60, 1..8).prop_map(|mut sizes| {
            sizes.push(7);
            sizes
        }),
    ]
}

proptest! {
    #[test]
    fn what_strict_accepts_the_parser_reads_the_same_way(
        messages in prop::collection::vec(message(), 1..6),
        mutations in prop_oneof![2 => Just(Vec::new()), 3 => prop::collection::vec(mutation(), 1..3)],
        sizes in sizes(),
    ) {
        let mut bytes = messages.concat();
        for (at, how, byte) in mutations {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        check(&cut(&bytes, &sizes));
    }

    /// Whatever the bytes, how they are cut changes nothing, and no byte is made up or left out.
    #[test]
    fn bytes_are_sound_or_not_however_they_are_cut(
        messages in prop::collection::vec(message(), 1..4),
        noise in prop::collection::vec(any::<u8>(), 0..40),
        sizes in sizes(),
    ) {
        let mut bytes = messages.concat();
        bytes.extend(noise);
        let whole = Reader::of_requests().read(&bytes);
        let mut reader = Reader::of_requests();
        let (mut kept, mut sound, mut then) = (Vec::new(), 0, Then::More);
        for piece in cut(&bytes, &sizes) {
            kept.extend(piece);
            let step = reader.read(&kept);
            kept.drain(..step.sound);
            sound += step.sound;
            then = step.then;
            if !matches!(then, Then::More) {
                break;
            }
        }
        prop_assert_eq!((whole.sound, whole.then), (sound, then));
    }
}

/// A24: a hundred requests in a row, a byte at a time, with and without pauses.
#[test]
fn a_hundred_pipelined_requests_arrive_byte_by_byte() {
    let one = b"POST /a?b HTTP/1.1\r\nHost: shop.test\r\nX-One: 1\r\nContent-Length: 3\r\n\r\nabc\
                POST /c HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let bytes = one.repeat(50);
    for sizes in [vec![1], vec![1, 0], vec![one.len() - 1], vec![usize::MAX]] {
        let pieces = cut(&bytes, &sizes);
        check(&pieces);
        assert_eq!(parsed(&pieces).len(), 100);
    }
}

#[test]
fn what_stands_in_for_a_request_is_one_that_no_client_can_send() {
    let step = Reader::of_requests().read(STAND_IN);
    assert_eq!(step.sound, 0);
    assert!(matches!(step.then, Then::Refuse(_)));
    let mut pieces = cut(STAND_IN, &[usize::MAX]);
    pieces.extend(cut(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n", &[usize::MAX]));
    assert_eq!(parsed(&pieces).len(), 1);
}

/// Found by fuzzing: this reading took a list for one word, and the parser went on behind it.
#[test]
fn a_connection_field_is_a_list() {
    let next = "GET /b HTTP/1.1\r\nHost: shop.test\r\n\r\n";
    for (version, connection) in [
        ("1.0", ",keep-alive"),
        ("1.0", "x, Keep-Alive"),
        ("1.0", "x\r\nConnection: keep-alive"),
        ("1.0", "keep-alive, close"),
        ("1.0", "x"),
        ("1.1", "x, close"),
        ("1.1", "close\r\nConnection: keep-alive"),
        ("1.1", "x"),
    ] {
        let first =
            format!("GET /a HTTP/{version}\r\nHost: shop.test\r\nConnection: {connection}\r\n\r\n");
        check(&[format!("{first}{next}").into_bytes()]);
    }
}
