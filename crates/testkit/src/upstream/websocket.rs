//! A WebSocket upstream that sends back what it gets.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{
    Message,
    handshake::server::{ErrorResponse, Request, Response},
};

use super::Shared;
use crate::{net::bind_loopback, serve::Server};

/// A running WebSocket echo. Stops when dropped.
#[derive(Debug)]
pub struct WebSocketUpstream {
    server: Server,
    record: Shared<Record>,
}

#[derive(Debug, Default)]
struct Record {
    handshakes: Vec<Vec<(String, String)>>,
    messages: Vec<String>,
    open: usize,
    closes: Vec<(u16, String)>,
}

impl WebSocketUpstream {
    /// Starts one.
    pub fn start() -> Self {
        let record = Shared::<Record>::default();
        let recording = record.clone();
        let server = Server::start(bind_loopback(), move |listener| async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, recording.clone()));
            }
        });
        Self { server, record }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// The header lines of every handshake so far.
    pub fn handshakes(&self) -> Vec<Vec<(String, String)>> {
        self.record.lock().handshakes.clone()
    }

    /// All text messages so far.
    pub fn messages(&self) -> Vec<String> {
        self.record.lock().messages.clone()
    }

    /// How many sockets are open at the moment.
    pub fn open(&self) -> usize {
        self.record.lock().open
    }

    /// Code and reason of every close frame so far.
    pub fn closes(&self) -> Vec<(u16, String)> {
        self.record.lock().closes.clone()
    }
}

async fn serve(stream: TcpStream, record: Shared<Record>) {
    let recording = record.clone();
    #[expect(clippy::result_large_err, reason = "the library's callback is of this type")]
    let note = move |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into();
        let lines = request.headers().iter().map(|(name, value)| (name.to_string(), text(value)));
        recording.lock().handshakes.push(lines.collect());
        Ok(response)
    };
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, note).await else { return };
    record.lock().open += 1;
    while let Some(Ok(message)) = socket.next().await {
        match &message {
            Message::Text(text) => record.lock().messages.push(text.to_string()),
            Message::Close(Some(frame)) => {
                record.lock().closes.push((frame.code.into(), frame.reason.to_string()));
            }
            _ => {}
        }
        let echoes = message.is_text() || message.is_binary();
        if echoes && socket.send(message).await.is_err() {
            break;
        }
    }
    record.lock().open -= 1;
}
