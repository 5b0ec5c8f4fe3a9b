//! What a client speaks, told by its first bytes.

use std::{future::Future, time::Duration};

use tokio::net::TcpStream;

/// A protocol that the gate serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detected {
    /// HTTP/1.0 and 1.1.
    Http1,
    /// HTTP/2 with prior knowledge, or by ALPN.
    Http2,
}

/// Looks at the first bytes without taking them. `None` if the client left.
///
/// The preface of HTTP/2 starts with `PRI`, which is no method that the gate allows.
pub(crate) async fn detect(stream: &TcpStream) -> Option<Detected> {
    const PREFACE: &[u8] = b"PRI";
    let mut first = [0; PREFACE.len()];
    loop {
        let seen = stream.peek(&mut first).await.ok()?;
        let seen = first.get(..seen).filter(|seen| !seen.is_empty())?;
        if seen == PREFACE {
            return Some(Detected::Http2);
        }
        if !PREFACE.starts_with(seen) {
            return Some(Detected::Http1);
        }
        // One or two bytes of what may be either: peeking again would return at once.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs what hyper spawns on the thread of its connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
