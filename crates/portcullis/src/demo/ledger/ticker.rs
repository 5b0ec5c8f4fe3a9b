//! A WebSocket that tells the balance as it moves, and repeats what it is told.

use std::time::Duration;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, Response, StatusCode, header},
    response::IntoResponse,
};
use futures_util::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error, Message, handshake::derive_accept_key, protocol::Role},
};

/// How often the balance moves.
const PACE: Duration = Duration::from_millis(100);

/// Answers the handshake (RFC 6455, 4.2.2) and starts ticking.
pub(super) async fn upgrade(mut request: Request) -> Response<Body> {
    let Some(accept) = accept_key(request.headers()) else {
        return (StatusCode::UPGRADE_REQUIRED, [(header::UPGRADE, "websocket")]).into_response();
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let io = TokioIo::new(upgraded);
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
        if let Err(error) = tick(socket).await {
            tracing::debug!(%error, "ticker ended");
        }
    });
    let headers = [
        (header::CONNECTION, "Upgrade".to_owned()),
        (header::UPGRADE, "websocket".to_owned()),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

fn accept_key(headers: &HeaderMap) -> Option<String> {
    let upgrade = headers.get(header::UPGRADE)?.to_str().ok()?;
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    upgrade.eq_ignore_ascii_case("websocket").then(|| derive_accept_key(key.as_bytes()))
}

async fn tick<S>(mut socket: WebSocketStream<S>) -> Result<(), Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut ticks = tokio::time::interval(PACE);
    let mut cents = 0_u64;
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                cents = cents.wrapping_add(100);
                socket.send(Message::text(format!("{{\"cents\":{cents}}}"))).await?;
            }
            message = socket.next() => match message.transpose()? {
                Some(text @ Message::Text(_)) => socket.send(text).await?,
                Some(bytes @ Message::Binary(_)) => socket.send(bytes).await?,
                Some(Message::Close(_)) | None => return Ok(()),
                Some(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            },
        }
    }
}
