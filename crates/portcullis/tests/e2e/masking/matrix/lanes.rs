//! Both protocols on both sides of the gate, by hand: an upstream that says exactly this, and all that a
//! client gets of it.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use hyper::body::Body as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis_testkit::net::free_port;

use crate::wire::Wire;

/// What an upstream says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said {
    /// Headers of a 103 before it.
    pub(crate) hints: Vec<(String, String)>,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) pieces: Vec<Vec<u8>>,
    pub(crate) trailers: Vec<(String, String)>,
    /// It goes on for as long as somebody listens; over HTTP/2 only.
    pub(crate) goes_on: bool,
}

/// What a client got.
#[derive(Debug, Clone, Default)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Everything, the headers too.
    pub(crate) all: Vec<u8>,
    /// Whether it came to its end.
    pub(crate) whole: bool,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Said {
    /// RFC 9112.
    pub(crate) fn over_http1(&self) -> Vec<Vec<u8>> {
        let lines = |headers: &[(String, String)]| -> String {
            let line = |(name, value): &(String, String)| [name, ": ", value, "\r\n"].concat();
            headers.iter().map(line).collect()
        };
        let mut head = String::new();
        if !self.hints.is_empty() {
            head += &format!("HTTP/1.1 103 Early\r\n{}\r\n", lines(&self.hints));
        }
        head += &format!("HTTP/1.1 {} Said\r\nConnection: close\r\n", self.status);
        head += &format!("Transfer-Encoding: chunked\r\n{}\r\n", lines(&self.headers));
        let chunk = |piece: &Vec<u8>| {
            [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()
        };
        let end = format!("0\r\n{}\r\n", lines(&self.trailers)).into_bytes();
        let chunks = self.pieces.iter().filter(|piece| !piece.is_empty()).map(chunk);
        [head.into_bytes()].into_iter().chain(chunks).chain([end]).collect()
    }

    /// RFC 9113. The connection is not used again.
    fn over_http2(&self, stream: u32) -> Vec<Vec<u8>> {
        let mut frames = vec![frame(7, 0, 0, &[stream.to_be_bytes(), [0; 4]].concat())];
        let section = |status: Option<u16>, headers: &[(String, String)]| {
            let status = status.map(|status| field(":status", &status.to_string()));
            let fields = headers.iter().map(|(name, value)| field(&name.to_lowercase(), value));
            status.into_iter().chain(fields).collect::<Vec<_>>().concat()
        };
        if !self.hints.is_empty() {
            frames.push(frame(1, 4, stream, &section(Some(103), &self.hints)));
        }
        frames.push(frame(1, 4, stream, &section(Some(self.status), &self.headers)));
        frames.extend(self.pieces.iter().map(|piece| frame(0, 0, stream, piece)));
        if self.goes_on {
            return frames;
        }
        frames.push(if self.trailers.is_empty() {
            frame(0, 1, stream, b"")
        } else {
            frame(1, 5, stream, &section(None, &self.trailers))
        });
        frames
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// RFC 7541 section 6.2.2: a literal that no table keeps.
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| {
        let mut length = Vec::new();
        if let Ok(short @ ..=126) = u8::try_from(text.len()) {
            length.push(short);
        } else {
            let mut rest = text.len() - 127;
            length.push(127);
            while rest > 127 {
                length.push(0x80 | u8::try_from(rest & 127).unwrap());
                rest >>= 7;
            }
            length.push(u8::try_from(rest).unwrap());
        }
        [&length, text.as_bytes()].concat()
    };
    [vec![0], text(name), text(value)].concat()
}

/// An upstream over HTTP/2 that says what it is told, whatever it is asked.
pub(crate) struct Mouth2 {
    pub(crate) address: SocketAddr,
    pub(crate) says: Arc<Mutex<Said>>,
}

impl Mouth2 {
    pub(crate) fn open() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let listener = TcpListener::bind(address).unwrap();
        let says = Arc::new(Mutex::new(Said::default()));
        let said = Arc::clone(&says);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let said = Arc::clone(&said);
                thread::spawn(move || speak(stream.unwrap(), &said));
            }
        });
        Self { address, says }
    }
}

/// Until the peer is gone.
fn speak(mut stream: TcpStream, says: &Mutex<Said>) -> Option<()> {
    stream.set_nodelay(true).unwrap();
    stream.read_exact(&mut [0; 24]).ok()?;
    stream.write_all(&frame(4, 0, 0, b"")).ok()?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).ok()?;
        let (kind, flags) = (head[3], head[4]);
        let of = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        match kind {
            4 if flags & 1 == 0 => stream.write_all(&frame(4, 1, 0, b"")).ok()?,
            6 if flags & 1 == 0 => stream.write_all(&frame(6, 1, 0, &payload)).ok()?,
            0 | 1 if flags & 1 == 1 => {
                let said = says.lock().unwrap().over_http2(of);
                for frame in said {
                    stream.write_all(&frame).ok()?;
                    thread::yield_now();
                }
            }
            _ => {}
        }
    }
}

/// Asks over HTTP/1.1.
pub(crate) fn ask1(gate: SocketAddr, head: &str) -> Got {
    let mut wire = Wire::connect(gate);
    wire.send(format!("{head}Connection: close\r\n\r\n"));
    let all = wire.until_closed().expect("the gate closes");
    let text = String::from_utf8_lossy(&all).into_owned();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Got { all, ..Got::default() };
    };
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let is_chunked = head.to_lowercase().contains("\r\ntransfer-encoding:");
    let unchunked = if is_chunked { super::super::unchunked(body) } else { Some(body.to_owned()) };
    let whole = unchunked.is_some();
    Got {
        status,
        body: unchunked.unwrap_or_default().into_bytes(),
        all,
        whole,
        trailers: Vec::new(),
    }
}

/// Asks over HTTP/2, with prior knowledge.
pub(crate) fn ask2(gate: SocketAddr, request: hyper::Request<String>) -> Got {
    ask2_and(gate, request, |_| ())
}

/// The same, and tells what came of the body so far, whenever more did.
pub(crate) fn ask2_and(
    gate: SocketAddr,
    request: hyper::Request<String>,
    mut tell: impl FnMut(&[u8]),
) -> Got {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(gate).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let handshake =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        let mut got = Got::default();
        let Ok(response) = sender.send_request(request).await else { return got };
        let (head, mut body) = response.into_parts();
        got.status = head.status.as_u16();
        for (name, value) in &head.headers {
            got.all.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"].concat());
        }
        got.whole = true;
        while let Some(frame) =
            std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await
        {
            let Ok(frame) = frame else {
                got.whole = false;
                break;
            };
            match frame.into_data() {
                Ok(data) => {
                    got.body.extend(data);
                    tell(&got.body);
                }
                Err(frame) => {
                    for (name, value) in frame.trailers_ref().into_iter().flatten() {
                        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                        got.all.extend(format!("{name}: {value}\n").into_bytes());
                        got.trailers.push((name.to_string(), value));
                    }
                }
            }
        }
        got.all.extend(&got.body);
        got
    })
}
