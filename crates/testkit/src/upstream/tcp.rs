//! An upstream of bytes: it sends back what comes, and when no more comes, how much that was.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::Shared;
use crate::{net::bind_loopback, serve::Server};

/// A connection, as far as it got.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TcpSeen {
    /// The bytes that came.
    pub bytes: u64,
    /// How it ended.
    pub end: Option<TcpEnd>,
}

/// How a connection ended, as the upstream saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpEnd {
    /// In good order.
    Finished,
    /// By a reset.
    Reset,
}

/// A running echo. Stops when dropped.
#[derive(Debug)]
pub struct TcpUpstream {
    server: Server,
    seen: Shared<Vec<TcpSeen>>,
}

impl TcpUpstream {
    /// Starts one that says `greeting` to everybody first.
    pub fn start(greeting: &'static [u8]) -> Self {
        let seen = Shared::<Vec<TcpSeen>>::default();
        let recording = seen.clone();
        let server = Server::start(bind_loopback(), move |listener| async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = {
                    let mut all = recording.lock();
                    all.push(TcpSeen::default());
                    all.len() - 1
                };
                let recording = recording.clone();
                tokio::spawn(async move {
                    let end = match serve(stream, greeting, &recording, number).await {
                        Ok(()) => TcpEnd::Finished,
                        Err(_) => TcpEnd::Reset,
                    };
                    note(&recording, number, |seen| seen.end = Some(end));
                });
            }
        });
        Self { server, seen }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// All connections so far, in their order.
    pub fn seen(&self) -> Vec<TcpSeen> {
        self.seen.lock().clone()
    }
}

/// Echoes to the end of what comes; then says how much it was, and ends too. `quit` ends it at once, and `reset` breaks it off.
async fn serve(
    mut stream: TcpStream,
    greeting: &[u8],
    recording: &Shared<Vec<TcpSeen>>,
    number: usize,
) -> std::io::Result<()> {
    stream.write_all(greeting).await?;
    let (mut buffer, mut total) = (vec![0; 64 * 1024], 0);
    loop {
        let read = stream.read(&mut buffer).await?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes == b"quit" {
            return stream.shutdown().await;
        }
        if bytes == b"reset" {
            stream.set_zero_linger()?;
            return Err(std::io::ErrorKind::ConnectionReset.into());
        }
        if bytes.is_empty() {
            stream.write_all(format!("{total} bytes").as_bytes()).await?;
            return stream.shutdown().await;
        }
        total += read as u64;
        note(recording, number, |seen| seen.bytes = total);
        stream.write_all(bytes).await?;
    }
}

fn note(recording: &Shared<Vec<TcpSeen>>, number: usize, change: impl FnOnce(&mut TcpSeen)) {
    if let Some(seen) = recording.lock().get_mut(number) {
        change(seen);
    }
}
