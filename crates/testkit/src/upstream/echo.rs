//! An HTTP upstream, HTTP/1.1 and HTTP/2 in cleartext, that answers with what it received.
//!
//! | path | answer |
//! |---|---|
//! | `/status/N` | that status |
//! | `/bytes/N` | N bytes |
//! | `/slow/MS` | the echo, after that time |
//! | `/sse` | a server-sent event every 50 ms, without end |
//! | all others | a JSON document: method, path, query, headers, trailers, body length and digest |

use std::{fmt::Write, io, net::SocketAddr, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Body, Recorded, Shared, Wire};
use crate::{net::bind_loopback, serve::Server};

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The method.
    pub method: String,
    /// The path, as it was sent.
    pub path: String,
    /// The query, as it was sent.
    pub query: Option<String>,
    /// Names and values; over HTTP/1.1 in the order and case in which they were sent.
    pub headers: Vec<(String, String)>,
    /// The same of the trailers, in lower case.
    pub trailers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Whether it came by HTTP/2.
    pub http2: bool,
}

impl Received {
    /// All values of the header `name`, in any case.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let of_name = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        of_name.map(|(_, value)| value.as_str()).collect()
    }
}

/// A running echo. Stops when dropped.
#[derive(Debug)]
pub struct EchoUpstream {
    server: Server,
    record: Shared<Record>,
    wire: Shared<Wire>,
}

#[derive(Debug, Default)]
struct Record {
    requests: Vec<Received>,
    streams: usize,
}

impl EchoUpstream {
    /// Starts one.
    pub fn start() -> Self {
        let (record, wire) = (Shared::default(), Shared::default());
        let (recording, wiring) = (record.clone(), wire.clone());
        let server =
            Server::start(bind_loopback(), move |listener| accept(listener, recording, wiring));
        Self { server, record, wire }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// All requests so far, also those whose bodies broke off.
    pub fn requests(&self) -> Vec<Received> {
        self.record.lock().requests.clone()
    }

    /// How many event streams are open at the moment.
    pub fn open_streams(&self) -> usize {
        self.record.lock().streams
    }

    /// All bytes that arrived so far, connection by connection.
    pub fn wire(&self) -> Vec<Vec<u8>> {
        self.wire.lock().0.clone()
    }
}

async fn accept(listener: tokio::net::TcpListener, record: Shared<Record>, wire: Shared<Wire>) {
    while let Ok((stream, _)) = listener.accept().await {
        let stream = Recorded::new(stream, &wire);
        let connection = Connection {
            record: record.clone(),
            wire: wire.clone(),
            number: stream.number(),
            seen: Shared::default(),
        };
        tokio::spawn(async move {
            let service = service_fn(move |request| connection.clone().answer(request));
            // A client that goes away is no matter of the upstream's.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

#[derive(Clone)]
struct Connection {
    record: Shared<Record>,
    wire: Shared<Wire>,
    number: usize,
    /// How many bytes of the connection belong to earlier requests.
    seen: Shared<usize>,
}

impl Connection {
    async fn answer(self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let received = self.receive(request).await;
        let path = received.path.clone();
        let document = describe(&received);
        self.record.lock().requests.push(received);
        let mut parts = path.trim_start_matches('/').splitn(2, '/');
        let (first, number) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        match (first, number.parse::<u64>()) {
            ("status", Ok(status)) => {
                let status = u16::try_from(status).ok().and_then(|s| StatusCode::from_u16(s).ok());
                Ok(reply(status.unwrap_or(StatusCode::BAD_REQUEST), document))
            }
            ("bytes", Ok(count)) => Ok(bytes(count)),
            ("slow", Ok(millis)) => {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                Ok(reply(StatusCode::OK, document))
            }
            ("sse", _) => Ok(events(&self.record)),
            _ => Ok(reply(StatusCode::OK, document)),
        }
    }

    async fn receive(&self, request: Request<Incoming>) -> Received {
        let (head, body) = request.into_parts();
        let http2 = head.version == Version::HTTP_2;
        let headers = if http2 { listed(&head.headers) } else { self.headers_on_the_wire() };
        let (body, trailers) = match body.collect().await {
            Ok(collected) => {
                let trailers = collected.trailers().map(listed).unwrap_or_default();
                (collected.to_bytes().to_vec(), trailers)
            }
            Err(_) => (Vec::new(), Vec::new()),
        };
        *self.seen.lock() = self.wire.lock().0.get(self.number).map_or(0, Vec::len);
        Received {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().map(str::to_owned),
            headers,
            trailers,
            body,
            http2,
        }
    }

    /// The header lines of the request that has just been parsed, letter by letter.
    fn headers_on_the_wire(&self) -> Vec<(String, String)> {
        let seen = *self.seen.lock();
        let wire = self.wire.lock();
        let bytes = wire.0.get(self.number).and_then(|bytes| bytes.get(seen..)).unwrap_or_default();
        let text = String::from_utf8_lossy(bytes);
        let head = text.split("\r\n\r\n").next().unwrap_or_default();
        let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
    }
}

fn listed(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

fn describe(received: &Received) -> String {
    let digest = digest(&SHA256, &received.body);
    let mut hex = String::new();
    for byte in digest.as_ref() {
        let _ = write!(hex, "{byte:02x}");
    }
    let document = json!({
        "method": received.method, "path": received.path, "query": received.query,
        "headers": received.headers, "trailers": received.trailers, "http2": received.http2,
        "body": {"length": received.body.len(), "sha256": hex},
    });
    document.to_string()
}

fn reply(status: StatusCode, document: String) -> Response<Body> {
    let has_body = !matches!(status.as_u16(), 100..=199 | 204 | 304);
    let document = if has_body { document } else { String::new() };
    let mut response = Response::new(Full::from(document).map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    if has_body {
        let json = header::HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
    }
    response
}

/// `count` bytes in chunks of at most 16 KiB, as fast as they are taken.
fn bytes(count: u64) -> Response<Body> {
    const CHUNK: u64 = 16 * 1024;
    let chunks = (0..count.div_ceil(CHUNK)).map(move |at| (count - at * CHUNK).min(CHUNK));
    let frames = chunks.map(|length| {
        let length = usize::try_from(length).unwrap_or_default();
        Ok(Frame::data(Bytes::from(vec![b'x'; length])))
    });
    let mut response = Response::new(StreamBody::new(tokio_stream::iter(frames)).boxed());
    response.headers_mut().insert(header::CONTENT_LENGTH, count.into());
    response
}

fn events(record: &Shared<Record>) -> Response<Body> {
    let (sender, receiver) = mpsc::channel(1);
    let record = record.clone();
    record.lock().streams += 1;
    tokio::spawn(async move {
        for number in 0_u64.. {
            let event = Bytes::from(format!("id: {number}\ndata: {{\"tick\": {number}}}\n\n"));
            if sender.send(Ok(Frame::data(event))).await.is_err() {
                break;
            }
            // Notices a reader that went away between two events.
            tokio::select! {
                () = sender.closed() => break,
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
        }
        record.lock().streams -= 1;
    });
    let mut response = Response::new(StreamBody::new(ReceiverStream::new(receiver)).boxed());
    let kind = header::HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
