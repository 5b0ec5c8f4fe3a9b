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
    let mut wait = Duration::from_millis(5);
    loop {
        let seen = stream.peek(&mut first).await.ok()?;
        let seen = first.get(..seen).filter(|seen| !seen.is_empty())?;
        if seen == PREFACE {
            return Some(Detected::Http2);
        }
        if !PREFACE.starts_with(seen) {
            return Some(Detected::Http1);
        }
        // Whoever says no more has begun a head, and has as much time for it as others.
        if wait > Duration::from_secs(1) {
            return Some(Detected::Http1);
        }
        // One or two bytes of what may be either: peeking again would return at once.
        tokio::time::sleep(wait).await;
        wait *= 2;
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

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    /// What is detected where `first` comes at once, and `rest` somewhat later.
    fn of(first: &'static [u8], rest: &'static [u8]) -> Option<Detected> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            client.set_nodelay(true).unwrap();
            client.write_all(first).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            let late = async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                client.write_all(rest).await.unwrap();
            };
            tokio::join!(detect(&server), late).0
        })
    }

    #[test]
    fn a_protocol_is_told_by_three_bytes_or_by_their_absence() {
        assert_eq!(of(b"PRI", b""), Some(Detected::Http2));
        assert_eq!(of(b"G", b""), Some(Detected::Http1));
        assert_eq!(of(b"P", b"RI"), Some(Detected::Http2));
        assert_eq!(of(b"PR", b"OPFIND"), Some(Detected::Http1));
        assert_eq!(of(b"PR", b""), Some(Detected::Http1), "it says no more");
    }
}
