//! A gRPC upstream that needs no protobuf: it sends back messages as they are.
//!
//! | method of `echo.Echo` | answer |
//! |---|---|
//! | `Unary` | the message |
//! | `ServerStream` | the message, five times |
//! | `ClientStream` | all messages in one |
//! | `Bidi` | each message as it comes |
//! | `Wait` | nothing, until the caller's deadline; then `DEADLINE_EXCEEDED` |
//! | any other | `UNIMPLEMENTED`, in trailers only |
//!
//! Every answer ends with trailers, `echo-messages` (how many came) among them.

use std::{io, net::SocketAddr, time::Duration};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Body, Shared};
use crate::{net::bind_loopback, serve::Server};

const UNIMPLEMENTED: u8 = 12;
const DEADLINE_EXCEEDED: u8 = 4;

/// A running gRPC echo. Stops when dropped.
#[derive(Debug)]
pub struct GrpcUpstream {
    server: Server,
    calls: Shared<Vec<(String, HeaderMap)>>,
    open: Shared<usize>,
}

impl GrpcUpstream {
    /// Starts one.
    pub fn start() -> Self {
        let (calls, open) = (Shared::<Vec<_>>::default(), Shared::<usize>::default());
        let (recording, counting) = (calls.clone(), open.clone());
        let server = Server::start(bind_loopback(), move |listener| async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (calls, open) = (recording.clone(), counting.clone());
                let service =
                    service_fn(move |request| answer(request, calls.clone(), open.clone()));
                tokio::spawn(async move {
                    // A client that goes away is no matter of the upstream's.
                    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { server, calls, open }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Path and metadata of every call so far.
    pub fn calls(&self) -> Vec<(String, HeaderMap)> {
        self.calls.lock().clone()
    }

    /// How many calls are under way.
    pub fn open(&self) -> usize {
        *self.open.lock()
    }
}

/// Wraps `message` as gRPC does: not compressed, four bytes of length.
pub fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).expect("a message under 4 GiB"));
    framed.put_slice(message);
    framed.freeze()
}

#[expect(clippy::unused_async, reason = "the server calls asynchronous services")]
async fn answer(
    request: Request<Incoming>,
    calls: Shared<Vec<(String, HeaderMap)>>,
    open: Shared<usize>,
) -> io::Result<Response<Body>> {
    let path = request.uri().path().to_owned();
    calls.lock().push((path.clone(), request.headers().clone()));
    let Some(kind) = path.strip_prefix("/echo.Echo/").and_then(Kind::named) else {
        let nothing = Empty::new().map_err(|never| match never {}).boxed();
        let mut response = grpc(nothing);
        response.headers_mut().extend(trailers(UNIMPLEMENTED, 0));
        return Ok(response);
    };
    let (sender, receiver) = mpsc::channel(4);
    let deadline = request.headers().get("grpc-timeout").and_then(timeout);
    let call = Call { sender, messages: 0, _open: Open::count(open) };
    tokio::spawn(call.run(kind, request.into_body(), deadline));
    Ok(grpc(StreamBody::new(ReceiverStream::new(receiver)).boxed()))
}

#[derive(Clone, Copy)]
enum Kind {
    Unary,
    ServerStream,
    ClientStream,
    Bidi,
    Wait,
}

impl Kind {
    fn named(name: &str) -> Option<Self> {
        match name {
            "Unary" => Some(Self::Unary),
            "ServerStream" => Some(Self::ServerStream),
            "ClientStream" => Some(Self::ClientStream),
            "Bidi" => Some(Self::Bidi),
            "Wait" => Some(Self::Wait),
            _ => None,
        }
    }
}

struct Open(Shared<usize>);

impl Open {
    fn count(open: Shared<usize>) -> Self {
        *open.lock() += 1;
        Self(open)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
    }
}

struct Call {
    sender: mpsc::Sender<io::Result<Frame<Bytes>>>,
    messages: usize,
    _open: Open,
}

impl Call {
    async fn run(mut self, kind: Kind, body: Incoming, deadline: Option<Duration>) {
        let gone = self.sender.clone();
        let work = async {
            let status = match deadline {
                Some(deadline) => tokio::time::timeout(deadline, self.serve(kind, body))
                    .await
                    .unwrap_or(DEADLINE_EXCEEDED),
                None => self.serve(kind, body).await,
            };
            let last = Frame::trailers(trailers(status, self.messages));
            let _ = self.sender.send(Ok(last)).await;
        };
        // A caller that cancels drops the body of the answer.
        tokio::select! {
            () = work => {}
            () = gone.closed() => {}
        }
    }

    async fn serve(&mut self, kind: Kind, mut body: Incoming) -> u8 {
        let mut pending = BytesMut::new();
        let mut all = Vec::new();
        while let Some(Ok(arrived)) = body.frame().await {
            if let Ok(data) = arrived.into_data() {
                pending.extend_from_slice(&data);
            }
            while let Some(message) = take_message(&mut pending) {
                self.messages += 1;
                match kind {
                    Kind::Unary | Kind::Bidi => self.send(&message).await,
                    Kind::ServerStream => {
                        for _ in 0..5 {
                            self.send(&message).await;
                        }
                    }
                    Kind::ClientStream => all.extend_from_slice(&message),
                    Kind::Wait => std::future::pending().await,
                }
            }
        }
        if matches!(kind, Kind::ClientStream) {
            self.send(&all).await;
        }
        0
    }

    async fn send(&self, message: &[u8]) {
        let _ = self.sender.send(Ok(Frame::data(frame(message)))).await;
    }
}

fn take_message(pending: &mut BytesMut) -> Option<Bytes> {
    let length: [u8; 4] = pending.get(1..5)?.try_into().ok()?;
    let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
    if pending.len() < length + 5 {
        return None;
    }
    pending.advance(5);
    Some(pending.split_to(length).freeze())
}

fn grpc(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

fn trailers(status: u8, messages: usize) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", u16::from(status).into());
    trailers.insert("echo-messages", messages.into());
    trailers
}

/// A number and a unit, as in `250m`.
fn timeout(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number.saturating_mul(3600))),
        "M" => Some(Duration::from_secs(number.saturating_mul(60))),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}
