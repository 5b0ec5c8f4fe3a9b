//! An upstream below HTTP: it logs bytes, and answers whatever a test wants to see misread.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Recorded, Shared, Wire};
use crate::{net::bind_loopback, serve::Server};

/// A running byte log. Stops when dropped.
#[derive(Debug)]
pub struct RawUpstream {
    server: Server,
    wire: Shared<Wire>,
}

impl RawUpstream {
    /// Starts one that sends `answer` once per connection, when the first empty line has arrived,
    /// and goes on reading.
    pub fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        let wire = Shared::<Wire>::default();
        let recording = wire.clone();
        let server = Server::start(bind_loopback(), move |listener| async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(Recorded::new(stream, &recording), answer.clone()));
            }
        });
        Self { server, wire }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// All bytes that arrived so far, connection by connection.
    pub fn wire(&self) -> Vec<Vec<u8>> {
        self.wire.lock().0.clone()
    }
}

async fn serve(mut stream: Recorded, answer: Vec<u8>) {
    let (mut seen, mut answered) = (Vec::new(), false);
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        seen.extend_from_slice(buffer.get(..read).unwrap_or_default());
        if !answered && seen.windows(4).any(|four| four == b"\r\n\r\n") {
            answered = true;
            if stream.write_all(&answer).await.is_err() {
                break;
            }
        }
    }
}
