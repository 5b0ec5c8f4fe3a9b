//! How strict and the parser above it read the same bytes, side by side; for properties and for fuzzing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests fail by panicking"
)]

use std::{
    cell::RefCell,
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    MAX_HEAD, Strict, Verdict,
    line::{self, Field},
    reader::{Reader, Then},
};

type Fields = Vec<(String, Vec<u8>)>;

/// One message as somebody read it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Seen {
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
        !self.is_whole || self.method == "CONNECT" || !self.stays()
    }

    /// Whether the parser takes the connection for one that stays: each line is a list, and one `close` is enough.
    fn stays(&self) -> bool {
        let names = |word: &str| {
            let lines = self.headers.iter().filter(|(name, _)| name == "connection");
            let mut texts = lines.filter_map(|(_, value)| std::str::from_utf8(value).ok());
            texts.any(|text| {
                text.is_ascii() && text.split(',').any(|one| one.trim().eq_ignore_ascii_case(word))
            })
        };
        !names("close") && (!self.is_old || names("keep-alive"))
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
    // Without a path, a query stays one: whoever decides on it has to see that.
    format!("{host} {}", if path.is_empty() { "/" } else { path })
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

/// However busy the machine is, a message is read by then.
const LONGEST: Duration = Duration::from_mins(1);

/// What the parser above strict makes of the pieces.
pub(super) fn parsed(pieces: &[Vec<u8>]) -> Vec<Seen> {
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
                    (Some(host), Some(path)) => format!("{host} {}", path.as_str()),
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
        let served = builder.serve_connection(TokioIo::new(io), service).with_upgrades();
        // Nothing here waits for anybody: what is not over by then never is, and says on what.
        let over = tokio::time::timeout(LONGEST, served).await;
        let bytes =
            || pieces.iter().map(|piece| String::from_utf8_lossy(piece)).collect::<Vec<_>>();
        assert!(over.is_ok(), "it is read for ever: {:?}", bytes());
    });
    seen.borrow().clone()
}

/// Checks that both readings are one.
pub(crate) fn check(pieces: &[Vec<u8>]) {
    let bytes = pieces.concat();
    let mut reader = Reader::of_requests();
    let (mut sound, mut then) = (0, Then::Wait);
    let mut waited = 0;
    while then == Then::Wait {
        assert!(waited <= bytes.len(), "it waits for ever: {:?}", String::from_utf8_lossy(&bytes));
        waited += 1;
        reader.settle(false);
        let step = reader.read(&bytes[sound..]);
        (sound, then) = (sound + step.sound, step.then);
    }
    let expected = view(&bytes[..sound]);
    let mut found = parsed(pieces);
    let is_ended = expected.last().is_some_and(Seen::is_last);
    if let (Then::Refuse(_), false) = (then, is_ended) {
        let stand_in = found.pop().expect("a refused head is answered");
        assert_eq!((stand_in.method.as_str(), stand_in.target.as_str()), ("-", "*"));
    }
    assert_eq!(expected.len(), found.len(), "{:?}", String::from_utf8_lossy(&bytes));
    for (mut expected, mut found) in expected.into_iter().zip(found) {
        // What is there of a body that broke off depends on how it arrived.
        if !expected.is_whole {
            assert!(expected.body.starts_with(&found.body));
            (expected.body, found.body) = <_>::default();
        }
        assert_eq!(expected, found);
    }
}
