//! What strict accepts, the parser above it reads in the same way: the same messages, each with the same
//! method, target, headers, body and trailers, however the bytes arrive.

use std::{
    cell::RefCell,
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    MAX_HEAD, STAND_IN, Strict, Verdict,
    line::{self, Field},
    reader::{Reader, Then},
};

type Fields = Vec<(String, Vec<u8>)>;

/// One message as somebody read it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Seen {
    method: String,
    target: String,
    is_old: bool,
    headers: Fields,
    body: Vec<u8>,
    trailers: Fields,
    is_whole: bool,
}

impl Seen {
    fn has(&self, name: &str, value: &str) -> bool {
        let is = |(key, held): &(String, Vec<u8>)| {
            key == name && held.to_ascii_lowercase() == value.as_bytes()
        };
        self.headers.iter().any(is)
    }

    /// Whether the parser reads nothing behind it.
    fn is_last(&self) -> bool {
        !self.is_whole
            || self.method == "CONNECT"
            || self.has("connection", "close")
            || (self.is_old && !self.has("connection", "keep-alive"))
    }
}

/// Reads sound bytes, by the same lines as the reader.
fn view(mut bytes: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    while let Ok(Some(first)) = line::request_line(bytes) {
        let mut one = Seen {
            method: String::from_utf8(first.method.to_vec()).unwrap(),
            target: target(std::str::from_utf8(first.target).unwrap()),
            is_old: first.is_old,
            ..Seen::default()
        };
        bytes = &bytes[first.length..];
        (one.headers, bytes) = fields(bytes).expect("a sound head is whole");
        let length = one.headers.iter().find(|(name, _)| name == "content-length");
        if one.has("transfer-encoding", "chunked") {
            (one.is_whole, bytes) = chunks(&mut one, bytes);
        } else {
            let length = length.map_or(0, |(_, digits)| line::length(digits).unwrap());
            let here = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len());
            one.body = bytes[..here].to_vec();
            one.is_whole = here as u64 == length;
            bytes = &bytes[here..];
        }
        let is_last = one.is_last();
        seen.push(one);
        if is_last {
            break;
        }
    }
    seen
}

/// Whole URLs as host and path, which is what the parser has of them.
fn target(text: &str) -> String {
    let Some((_, rest)) = text.split_once("://").filter(|_| !text.starts_with('/')) else {
        return text.to_owned();
    };
    let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    format!("{host} {}{path}", if path.starts_with('/') { "" } else { "/" })
}

fn fields(mut bytes: &[u8]) -> Option<(Fields, &[u8])> {
    let mut fields = Vec::new();
    loop {
        match line::field(bytes).unwrap()? {
            Field::Named { name, value, length } => {
                let name = String::from_utf8(name.to_ascii_lowercase()).unwrap();
                fields.push((name, value.to_vec()));
                bytes = &bytes[length..];
            }
            Field::End { length } => return Some((sorted(fields), &bytes[length..])),
        }
    }
}

fn chunks<'a>(one: &mut Seen, mut bytes: &'a [u8]) -> (bool, &'a [u8]) {
    while let Ok(Some(chunk)) = line::chunk_line(bytes, 1 << 20) {
        bytes = &bytes[chunk.length..];
        if chunk.size == 0 {
            let Some((trailers, rest)) = fields(bytes) else { return (false, &[]) };
            one.trailers = trailers;
            return (true, rest);
        }
        let here = usize::try_from(chunk.size).unwrap_or(usize::MAX).min(bytes.len());
        one.body.extend_from_slice(&bytes[..here]);
        bytes = bytes.get(here + 2..).unwrap_or_default();
    }
    (false, &[])
}

/// By name; values of one name stay in their order.
fn sorted(mut fields: Fields) -> Fields {
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    fields
}

fn of_map(map: &HeaderMap) -> Fields {
    let fields = map.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    sorted(fields.collect())
}

/// A client that sends these pieces, one for each read, and closes.
struct Pieces(VecDeque<Vec<u8>>);

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.0.front_mut() {
            // Now and then a client makes its reader wait.
            Some(piece) if piece.is_empty() => {
                self.0.pop_front();
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(piece) => {
                let length = piece.len().min(buffer.remaining());
                buffer.put_slice(&piece[..length]);
                piece.drain(..length);
                if piece.is_empty() {
                    self.0.pop_front();
                }
            }
            None => {}
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What the parser above strict makes of the pieces.
fn parsed(pieces: &[Vec<u8>]) -> Vec<Seen> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let verdict = Arc::<Verdict>::default();
    let io = Strict::of_requests(Pieces(pieces.iter().cloned().collect()), Arc::clone(&verdict));
    let service = service_fn(|request: Request<Incoming>| {
        let (seen, verdict) = (Rc::clone(&seen), Arc::clone(&verdict));
        async move {
            let (head, mut body) = request.into_parts();
            let asks =
                head.headers.contains_key("upgrade") && hyper::body::Body::is_end_stream(&body);
            let mut one = Seen {
                method: head.method.to_string(),
                target: match (head.uri.authority(), head.uri.path_and_query()) {
                    (Some(host), Some(path)) => format!("{host} {path}"),
                    _ => head.uri.to_string(),
                },
                is_old: head.version == http::Version::HTTP_10,
                headers: of_map(&head.headers),
                is_whole: true,
                ..Seen::default()
            };
            while let Some(frame) = body.frame().await {
                match frame.map(hyper::body::Frame::into_data) {
                    Ok(Ok(data)) => one.body.extend_from_slice(&data),
                    Ok(Err(frame)) => one.trailers = of_map(frame.trailers_ref().unwrap()),
                    Err(_) => one.is_whole = false,
                }
            }
            seen.borrow_mut().push(one);
            if asks {
                verdict.settle(false);
            }
            Ok::<_, Infallible>(Response::new(Empty::<bytes::Bytes>::new()))
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut builder = http1::Builder::new();
        builder.half_close(true).header_read_timeout(None).max_header_size(MAX_HEAD);
        let _ = builder.serve_connection(TokioIo::new(io), service).with_upgrades().await;
    });
    let seen = seen.borrow().clone();
    seen
}

/// Checks that both readings are one.
fn check(pieces: &[Vec<u8>]) -> Result<(), TestCaseError> {
    let bytes = pieces.concat();
    let mut reader = Reader::of_requests();
    let (mut sound, mut then) = (0, Then::Wait);
    while then == Then::Wait {
        reader.settle(false);
        let step = reader.read(&bytes[sound..]);
        (sound, then) = (sound + step.sound, step.then);
    }
    let expected = view(&bytes[..sound]);
    let mut found = parsed(pieces);
    let is_ended = expected.last().is_some_and(Seen::is_last);
    if let (Then::Refuse(_), false) = (then, is_ended) {
        let stand_in = found.pop().expect("a refused head is answered");
        prop_assert_eq!((stand_in.method.as_str(), stand_in.target.as_str()), ("-", "*"));
    }
    prop_assert_eq!(expected.len(), found.len(), "{:?}", String::from_utf8_lossy(&bytes));
    for (mut expected, mut found) in expected.into_iter().zip(found) {
        // What is there of a body that broke off depends on how it arrived.
        if !expected.is_whole {
            prop_assert!(expected.body.starts_with(&found.body));
            (expected.body, found.body) = <_>::default();
        }
        prop_assert_eq!(expected, found);
    }
    Ok(())
}

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

/// A message that is mostly sound, and sometimes not at all.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let sound = prop_oneof![9 => Just(true), 1 => Just(false)];
    (sound, method(), a_target(), prop::collection::vec(header(), 0..5), body()).prop_map(
        |(sound, method, target, headers, body)| {
            if sound {
                let headers: String = headers
                    .iter()
                    .filter(|header| header.starts_with("X-") || header.starts_with("Accept"))
                    .map(|header| format!("{header}\r\n"))
                    .collect();
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
            let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
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
        check(&cut(&bytes, &sizes))?;
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
        check(&pieces).unwrap();
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
