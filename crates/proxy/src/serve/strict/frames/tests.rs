use std::{collections::VecDeque, convert::Infallible, sync::Mutex};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Frame, Incoming};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;

use super::*;
use crate::detect::LocalExecutor;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// What the library gets to see of `bytes`, cut into pieces of that size.
fn seen(bytes: &[u8], size: usize, window: &Arc<Window>) -> Result<Vec<u8>, io::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes].concat();
    let (mut client, server) = tokio::io::duplex(size);
    runtime.block_on(async {
        let sent = async move {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut client, &bytes).await;
        };
        let read = async {
            let (mut framed, mut all) = (Framed::new(server, Arc::clone(window)), Vec::new());
            let mut reading =
                std::pin::pin!(tokio::io::AsyncReadExt::read_to_end(&mut framed, &mut all));
            let read = std::future::poll_fn(|cx| {
                window.polled();
                reading.as_mut().poll(cx)
            })
            .await;
            read.map(|_| all.split_off(24))
        };
        tokio::join!(read, sent).0
    })
}

/// A block: `:method: GET`, `:scheme: http`, `:path` by its literal value, to be remembered.
fn block(path: &str) -> Vec<u8> {
    [&[0x82, 0x86, 0x44, u8::try_from(path.len()).unwrap()], path.as_bytes()].concat()
}

#[test]
fn a_block_that_is_not_sound_gets_a_field_that_no_request_may_have() {
    let window = Arc::default();
    let whole = END_HEADERS | 1;
    let sound = frame(HEADERS, whole, 1, &block("/a"));
    assert_eq!(seen(&sound, 7, &window).unwrap(), sound);
    let poisoned = frame(HEADERS, whole, 1, &[&block("/a#b")[..], POISON].concat());
    // The path is remembered, and still wrong when it is named by its place.
    let again = |stream, poison: &[u8]| {
        frame(HEADERS, whole, stream, &[&[0x82, 0x86, 0xbe], poison].concat())
    };
    let sent =
        [frame(HEADERS, whole, 1, &block("/a#b")), again(3, b""), frame(0, 1, 1, b"data")].concat();
    let expected = [poisoned, again(3, POISON), frame(0, 1, 1, b"data")].concat();
    for size in [1, 5, 9, 1000] {
        assert_eq!(seen(&sent, size, &window).unwrap(), expected);
    }
    // Padding stays behind the field; a block may take several frames.
    let path = block("/a#b");
    let padded = |block: &[u8]| frame(HEADERS, whole | PADDED, 1, &[&[3], block, &[0; 3]].concat());
    assert_eq!(seen(&padded(&path), 6, &window).unwrap(), padded(&[&path[..], POISON].concat()));
    let parts = |last: &[u8]| {
        [
            frame(HEADERS, 1, 1, &path[..5]),
            frame(CONTINUATION, 0, 1, b""),
            frame(CONTINUATION, END_HEADERS, 1, last),
        ]
        .concat()
    };
    let poisoned = [&path[5..], POISON].concat();
    assert_eq!(seen(&parts(&path[5..]), 4, &window).unwrap(), parts(&poisoned));
}

#[test]
fn trailers_have_no_pseudo_headers() {
    let whole = END_HEADERS | 1;
    let head = frame(HEADERS, END_HEADERS, 1, &block("/a"));
    let trailers = |fields: &[u8]| [head.clone(), frame(HEADERS, whole, 1, fields)].concat();
    let sound = trailers(b"\0\x01x\x01y");
    assert_eq!(seen(&sound, 50, &Arc::default()).unwrap(), sound);
    for wrong in [&b"\x82"[..], b"\0\x05:path\x01/", b"\x01\x01a", b"\x10\x01:\x01a", b"\xbe"] {
        let expected = trailers(&[wrong, POISON].concat());
        assert_eq!(seen(&trailers(wrong), 50, &Arc::default()).unwrap(), expected, "{wrong:?}");
    }
}

#[test]
fn what_cannot_be_followed_ends_the_connection() {
    for wrong in [
        frame(CONTINUATION, END_HEADERS, 1, b""),
        frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff\x01"),
        frame(HEADERS, END_HEADERS, 1, b"\xbe"),
        frame(HEADERS, END_HEADERS, 1, b"\x80"),
        frame(HEADERS, END_HEADERS, 1, b"\x3f\xe2\x1f"),
        frame(HEADERS, END_HEADERS, 1, b"\x44\x05/a"),
        frame(HEADERS, END_HEADERS, 1, b"\x44\x84\xff\xff\xff\xff"),
        frame(HEADERS, END_HEADERS | PADDED, 1, b"\x09a"),
        frame(HEADERS, END_HEADERS, 1, &vec![0x82; MAX_FRAME + 1]),
    ] {
        seen(&wrong, 4096, &Arc::default()).unwrap_err();
    }
}

/// A stream of which no more is read at once.
struct Cut<S>(S, usize);

impl<S: AsyncRead + Unpin> AsyncRead for Cut<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut room = vec![0; self.1.min(buffer.remaining())];
        let mut piece = ReadBuf::new(&mut room);
        let read = Pin::new(&mut self.0).poll_read(cx, &mut piece);
        buffer.put_slice(piece.filled());
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cut<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A body of these frames.
struct Sent(VecDeque<Frame<bytes::Bytes>>);

impl Body for Sent {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

proptest! {
    #[test]
    fn the_last_window_counts_however_the_frames_are_cut(
        windows in prop::collection::vec(0_u32..3000, 1..5),
        size in 1_usize..40,
    ) {
        let mut bytes = Vec::new();
        for window in &windows {
            let own = [&[0, 4][..], &window.to_be_bytes()].concat();
            bytes.extend(frame(SETTINGS, 1, 0, b""));
            bytes.extend(frame(SETTINGS, 0, 0, &[&[0, 3, 0, 0, 0, 9][..], &own, &[0, 1, 0, 0, 0, 0]].concat()));
            // Data that looks like settings.
            bytes.extend(frame(0, 0, 1, &frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])));
        }
        let window = Arc::<Window>::default();
        prop_assert_eq!(seen(&bytes, size, &window).unwrap(), bytes);
        prop_assert_eq!(window.is_tight(), *windows.last().unwrap() < 1024);
    }

    /// Whatever a client's own library sends is followed to the end: nothing is broken off or poisoned.
    #[test]
    fn what_a_library_sends_arrives(
        requests in prop::collection::vec(
            ("/[a-z]{0,9}", prop::collection::vec(("[a-c]{1,3}", "[ -~]{0,30}"), 0..12), 0_usize..3000, any::<bool>()),
            1..12,
        ),
        size in prop::sample::select(vec![1_usize, 9, 100, 70_000]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let local = tokio::task::LocalSet::new();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let arrived = Arc::clone(&seen);
        local.block_on(&runtime, async move {
            // Less room than this, and both ends wait for the other to read.
            let (client, server) = tokio::io::duplex(1 << 20);
            let window = Arc::<Window>::default();
            let framed = TokioIo::new(Framed::new(Cut(server, size), Arc::clone(&window)));
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let arrived = Arc::clone(&arrived);
                async move {
                    let path = request.uri().path().to_owned();
                    let fields: Vec<_> = request.headers().iter().map(|(n, v)| (n.clone(), v.clone())).collect();
                    let body = request.into_body().collect().await.expect("a whole body");
                    let trailers = body.trailers().cloned();
                    arrived.lock().unwrap().push((path, fields, body.to_bytes().len(), trailers));
                    Ok::<_, Infallible>(Response::new(Empty::<bytes::Bytes>::new()))
                }
            });
            let mut served = Box::pin(hyper::server::conn::http2::Builder::new(LocalExecutor).serve_connection(framed, service));
            tokio::task::spawn_local(std::future::poll_fn(move |cx| {
                window.polled();
                served.as_mut().poll(cx)
            }));
            let builder = hyper::client::conn::http2::Builder::new(LocalExecutor);
            let (mut sender, connection) = builder.handshake(TokioIo::new(client)).await.unwrap();
            tokio::task::spawn_local(connection);
            for (path, fields, length, has_trailers) in requests {
                let mut headers = HeaderMap::new();
                for (name, value) in &fields {
                    let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                    headers.append(name, HeaderValue::from_str(value).unwrap());
                }
                let trailers = has_trailers.then(|| HeaderMap::from_iter([(
                    HeaderName::from_static("x-after"), HeaderValue::from_static("1"),
                )]));
                let data = bytes::Bytes::from(vec![b'x'; length]);
                let mut frames = VecDeque::from([Frame::data(data)]);
                frames.extend(trailers.clone().map(Frame::trailers));
                let body = Sent(frames);
                let mut request = Request::post(format!("http://shop.test{path}")).body(body).unwrap();
                *request.headers_mut() = headers.clone();
                let response = sender.send_request(request).await.expect("an answer");
                assert_eq!(response.status(), 200);
                let sent: Vec<_> = headers.iter().map(|(n, v)| (n.clone(), v.clone())).collect();
                let (path, fields, received, after) = seen.lock().unwrap().pop().expect("it arrived");
                let own = |field: &&(HeaderName, HeaderValue)| field.0 != http::header::CONTENT_LENGTH;
                assert_eq!(fields.iter().filter(own).collect::<Vec<_>>(), sent.iter().collect::<Vec<_>>());
                assert_eq!((path.is_empty(), received, after), (false, length, trailers));
            }
        });
    }
}

/// Reads what is there in one poll of the connection.
fn poll_once<S: AsyncRead + Unpin>(framed: &mut Framed<S>) -> io::Result<Option<Vec<u8>>> {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut all = Vec::new();
    framed.window.polled();
    loop {
        let mut room = vec![0; 100_000];
        let mut buffer = ReadBuf::new(&mut room);
        match Pin::new(&mut *framed).poll_read(&mut cx, &mut buffer) {
            Poll::Pending => return Ok(Some(all)),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Ok(None),
            Poll::Ready(Ok(())) => all.extend_from_slice(buffer.filled()),
            Poll::Ready(Err(error)) => return Err(error),
        }
    }
}

fn connected(bytes: &[u8]) -> (tokio::io::DuplexStream, Framed<tokio::io::DuplexStream>) {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes].concat();
    let written = tokio::io::AsyncWriteExt::write_all(&mut client, &bytes);
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(std::pin::pin!(written).poll(&mut cx).is_ready());
    (client, Framed::new(server, Arc::default()))
}

#[test]
fn i06_few_heads_are_handed_on_at_a_time_and_fewer_to_whoever_takes_nothing() {
    let head = |stream| frame(HEADERS, END_HEADERS | 1, stream, &block("/a"));
    let length = head(1).len();
    for (tight, at_once) in [(false, AT_ONCE), (true, AT_ONCE_WHILE_TIGHT)] {
        let own = [&[0, 4][..], &(if tight { 0_u32 } else { 65_535 }).to_be_bytes()].concat();
        let settings = frame(SETTINGS, 0, 0, &own);
        let all: Vec<u8> = (0..100).flat_map(|n| head(2 * n + 1)).collect();
        let (_client, mut framed) = connected(&[&settings[..], &all].concat());
        let mut seen = Vec::new();
        let mut polls = 0;
        while seen.len() < all.len() + settings.len() + 24 {
            let read = poll_once(&mut framed).unwrap().expect("there is more");
            let most = at_once as usize * length + if polls == 0 { settings.len() + 24 } else { 0 };
            assert!(!read.is_empty() && read.len() <= most, "{} of {most}", read.len());
            seen.extend(read);
            polls += 1;
        }
        assert_eq!(seen[24 + settings.len()..], all);
        assert_eq!(polls, 100_u32.div_ceil(at_once));
    }
}

#[test]
fn i08_frames_that_ask_for_nothing_are_counted_and_then_nothing_more_is_read() {
    let ping = frame(6, 0, 0, &[0; 8]);
    let settings = frame(SETTINGS, 1, 0, b"");
    let priority = frame(2, 0, 3, &[0; 5]);
    let empty = frame(DATA, 0, 1, b"");
    let unknown = frame(77, 0, 1, b"abc");
    let padded = frame(DATA, PADDED, 1, b"\x02\0\0");
    let ends = frame(DATA, END_STREAM, 1, b"");
    let widens = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
    for chatter in [ping, settings, priority, empty, unknown, padded, ends, widens] {
        let (mut client, mut framed) = connected(&[]);
        let mut passed = 0;
        let ended = (0..300).any(|round| {
            // A hundred from one look to the next are always fine.
            let many = if round < 100 { 500 } else { 2000 };
            let bytes = chatter.repeat(many);
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let written = tokio::io::AsyncWriteExt::write_all(&mut client, &bytes);
            assert!(std::pin::pin!(written).poll(&mut cx).is_ready());
            let seen = poll_once(&mut framed).unwrap().expect("it is open");
            passed += seen.len() / chatter.len();
            framed.window.look();
            framed.over
        });
        assert!(ended && passed > 100 * 500 && passed < 100 * 500 + 25_000, "{passed}");
        assert!(poll_once(&mut framed).unwrap().expect("no end is told of").is_empty());
    }
    let (_client, mut framed) = connected(&frame(RST_STREAM, 0, 1, &[0; 4]).repeat(2600));
    poll_once(&mut framed).unwrap();
    assert!(framed.over, "a stream that is given up weighs more");
}

#[test]
fn i08_a_body_may_end_by_a_frame_of_its_own_and_an_answer_may_be_measured() {
    let send = |client: &mut tokio::io::DuplexStream, bytes: &[u8]| {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let written = tokio::io::AsyncWriteExt::write_all(client, bytes);
        assert!(std::pin::pin!(written).poll(&mut cx).is_ready());
    };
    let (mut client, mut framed) = connected(&[]);
    for round in 0..30_000 {
        let stream = 2 * round + 1;
        let head = frame(HEADERS, END_HEADERS, stream, &[0x82, 0x86, 0x84]);
        let end = frame(DATA, END_STREAM, stream, b"");
        send(&mut client, &[head, end].concat());
        framed.window.polled();
        poll_once(&mut framed).unwrap();
    }
    assert!(!framed.over, "bodies that end");
    let (mut client, mut framed) = connected(&[]);
    let ping = frame(6, 0, 0, &[0; 8]);
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let (mut answered, part) = ([0; 100], [0; 100]);
    for _ in 0..30_000 {
        assert!(Pin::new(&mut framed).poll_write(&mut cx, &part).is_ready());
        let mut read = ReadBuf::new(&mut answered);
        assert!(Pin::new(&mut client).poll_read(&mut cx, &mut read).is_ready());
        send(&mut client, &ping);
        poll_once(&mut framed).unwrap();
    }
    assert!(!framed.over, "pings that answers are measured by");
}

#[test]
fn i08_what_was_sent_may_be_said_to_be_taken_and_no_more() {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let update = |stream| frame(WINDOW_UPDATE, 0, stream, &[0, 0, 0, 9]);
    let taken = [update(0), update(1)].concat();
    // Two frames in three pieces, as the library writes them; the second has no content.
    let sent = [frame(DATA, 0, 1, b"some bytes"), frame(DATA, END_STREAM, 1, b"")].concat();
    let parts = [&sent[..4], &sent[4..15], &sent[15..]].map(io::IoSlice::new);
    let (mut client, mut framed) = connected(&[]);
    let mut room = [0; 1000];
    for round in 0..30_000 {
        let parts = if round % 2 == 0 { &parts[..] } else { &[io::IoSlice::new(&sent)] };
        let left: usize = parts.iter().map(|part| part.len()).sum();
        let wrote = Pin::new(&mut framed).poll_write_vectored(&mut cx, parts);
        let Poll::Ready(Ok(wrote)) = wrote else { panic!("there is room") };
        if wrote < left {
            let rest = Pin::new(&mut framed).poll_write(&mut cx, &sent[wrote..]);
            assert!(matches!(rest, Poll::Ready(Ok(rest)) if rest == left - wrote));
        }
        let mut read = ReadBuf::new(&mut room);
        assert!(Pin::new(&mut client).poll_read(&mut cx, &mut read).is_ready());
        let written = tokio::io::AsyncWriteExt::write_all(&mut client, &taken);
        assert!(std::pin::pin!(written).poll(&mut cx).is_ready());
        poll_once(&mut framed).unwrap();
    }
    assert!(!framed.over, "what is taken is said for the stream and for the connection");
    let more = taken.repeat(6000);
    let written = tokio::io::AsyncWriteExt::write_all(&mut client, &more);
    assert!(std::pin::pin!(written).poll(&mut cx).is_ready());
    poll_once(&mut framed).unwrap();
    assert!(framed.over, "nobody sent so much");
}

#[test]
fn i01_a_head_of_http2_that_is_not_whole_is_noticed() {
    let head = frame(HEADERS, END_HEADERS | 1, 1, &block("/a"));
    let next = frame(HEADERS, END_HEADERS | 1, 3, &block("/b"));
    let begun = frame(HEADERS, 1, 3, &block("/b"));
    let end = frame(CONTINUATION, END_HEADERS, 3, b"");
    for (part, rest) in [(&next[..5], &next[5..]), (&next[..12], &next[12..]), (&begun, &end)] {
        let (mut client, mut framed) = connected(&[&head, part].concat());
        poll_once(&mut framed).unwrap();
        assert!((1..50).all(|looks| framed.window.look() == looks), "{part:?}");
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let written = tokio::io::AsyncWriteExt::write_all(&mut client, rest);
        assert!(std::pin::pin!(written).poll(&mut cx).is_ready());
        poll_once(&mut framed).unwrap();
        assert_eq!(framed.window.look(), 0, "it is whole now");
    }
}
