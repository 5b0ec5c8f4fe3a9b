//! An upstream that speaks HTTP/2 and refuses streams: it says that it has not begun with them.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    shop::Shop,
    wire::{Response, Wire},
};

use super::metric;

pub(super) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const ACK: u8 = 1;
const REFUSED_STREAM: u32 = 7;
const INTERNAL_ERROR: u32 = 2;

/// What it answers to streams, by hand: the frames are the point.
#[derive(Debug, Clone)]
struct Refusing {
    port: u16,
    /// So many streams are still reset, with this code.
    resets: Arc<AtomicUsize>,
    code: u32,
    streams: Arc<AtomicUsize>,
}

impl Refusing {
    fn start(code: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let refusing = Self { port, resets: Arc::default(), code, streams: Arc::default() };
        let own = refusing.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let own = own.clone();
                thread::spawn(move || own.talk(stream));
            }
        });
        refusing
    }

    fn talk(&self, mut stream: TcpStream) -> Option<()> {
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).ok()?;
        send(&mut stream, SETTINGS, 0, 0, &[])?;
        loop {
            let (kind, flags, id, payload) = receive(&mut stream)?;
            match kind {
                SETTINGS if flags & ACK == 0 => send(&mut stream, SETTINGS, ACK, 0, &[])?,
                PING if flags & ACK == 0 => send(&mut stream, PING, ACK, 0, &payload)?,
                HEADERS => {
                    self.streams.fetch_add(1, Ordering::SeqCst);
                    let taken =
                        self.resets.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                            left.checked_sub(1)
                        });
                    if taken.is_ok() {
                        send(&mut stream, RST_STREAM, 0, id, &self.code.to_be_bytes())?;
                    } else {
                        // `:status: 200`, the end of the headers and of the stream.
                        send(&mut stream, HEADERS, 5, id, &[0x88])?;
                    }
                }
                _ => {}
            }
        }
    }

    fn shop(&self) -> Shop {
        let port = self.port;
        Shop::with(&format!("{{url: \"h2c://127.0.0.1:{port}\", ejection: {{failures: 0}}}}"))
    }
}

pub(super) fn send(
    stream: &mut TcpStream,
    kind: u8,
    flags: u8,
    id: u32,
    payload: &[u8],
) -> Option<()> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let frame = [&length[1..], &[kind, flags], &id.to_be_bytes(), payload].concat();
    stream.write_all(&frame).ok()
}

/// The next frame: its kind, its flags, its stream, and what is in it.
pub(super) fn receive(stream: &mut TcpStream) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).ok()?;
    let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Some((head[3], head[4], id, payload))
}

pub(super) fn ask(shop: &Shop, wire: &mut Wire, method: &str) -> Response {
    let head = shop.head(method, "/page").replace(&shop.token, &shop.writer());
    wire.send(format!("{head}Content-Length: 0\r\n\r\n"));
    wire.response().unwrap()
}

#[test]
fn a_refused_stream_is_sent_again_whatever_its_method() {
    let refusing = Refusing::start(REFUSED_STREAM);
    let shop = refusing.shop();
    for (method, made) in [("GET", 1), ("POST", 2)] {
        refusing.resets.store(1, Ordering::SeqCst);
        let answer = ask(&shop, &mut Wire::connect(shop.house.gate), method);
        assert_eq!(answer.status, 200, "{method}: {}", answer.text());
        let retries = "upstream_retries_total{service=\"shop\",what=\"made\"}";
        assert_eq!(metric(&shop, retries), made, "{method}");
    }
    assert_eq!(refusing.streams.load(Ordering::SeqCst), 4);
}

#[test]
fn a_stream_that_had_begun_is_not() {
    let refusing = Refusing::start(INTERNAL_ERROR);
    let shop = refusing.shop();
    refusing.resets.store(1, Ordering::SeqCst);
    let answer = ask(&shop, &mut Wire::connect(shop.house.gate), "POST");
    assert_eq!((answer.status, refusing.streams.load(Ordering::SeqCst)), (502, 1));
}
