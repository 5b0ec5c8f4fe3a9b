//! Upstreams that say what reached them.
//!
//! Each keeps a record, so that a test can assert what arrived and, more often, that nothing did.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

pub mod echo;
pub mod grpc;
pub mod raw;
pub mod tcp;
pub mod websocket;

pub use echo::{EchoUpstream, Received};
pub use grpc::GrpcUpstream;
pub use raw::RawUpstream;
pub use tcp::{TcpEnd, TcpSeen, TcpUpstream};
pub use websocket::WebSocketUpstream;

/// A body of ours: it streams, and it cannot fail but only end.
pub(crate) type Body = BoxBody<Bytes, io::Error>;

/// What is shared between a server and the test that started it.
#[derive(Debug)]
pub(crate) struct Shared<T>(Arc<Mutex<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Default> Default for Shared<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Shared<T> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes that arrived, connection by connection.
#[derive(Debug, Default)]
pub(crate) struct Wire(pub(crate) Vec<Vec<u8>>);

/// A connection that writes down what it reads.
#[derive(Debug)]
pub(crate) struct Recorded {
    stream: TcpStream,
    wire: Shared<Wire>,
    number: usize,
}

impl Recorded {
    pub(crate) fn new(stream: TcpStream, wire: &Shared<Wire>) -> Self {
        let mut connections = wire.lock();
        connections.0.push(Vec::new());
        Self { stream, wire: wire.clone(), number: connections.0.len() - 1 }
    }

    pub(crate) fn number(&self) -> usize {
        self.number
    }
}

impl AsyncRead for Recorded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        let number = self.number;
        if let (Some(record), Some(new)) =
            (self.wire.lock().0.get_mut(number), into.filled().get(before..))
        {
            record.extend_from_slice(new);
        }
        read
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
