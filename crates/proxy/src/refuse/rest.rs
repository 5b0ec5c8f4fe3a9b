//! The rest of a request that is refused.
//!
//! A body that nobody read must neither be taken for the next request nor make the client miss its
//! answer: a small one is read away first; for any other the connection closes, after a moment in
//! which what still arrives is thrown away. Over HTTP/2 it is the stream that closes: by a reset, for
//! which some clients drop the answer too if it comes while they send.

use std::time::Duration;

use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::exchange::Exchange;

const SMALL: u64 = 64 * 1024;
const SMALL_TIME: Duration = Duration::from_millis(500);
const LINGER_BYTES: u64 = 4 * 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(2);

/// What became of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// It is read.
    Read,
    /// It is not: the connection must not be used again.
    Unread,
}

/// Disposes of the body of a refused request.
pub(super) async fn dispose(exchange: &mut Exchange) -> Rest {
    let Some(mut body) = exchange.body.take().filter(|body| !body.is_end_stream()) else {
        return Rest::Read;
    };
    // RFC 9110 section 10.1.1: a client that waits for 100 sends nothing after a final answer, and
    // reading would send the 100.
    if exchange.expects_continue {
        return Rest::Unread;
    }
    let is_small = body.size_hint().upper().is_some_and(|size| size <= SMALL);
    if is_small && drain(&mut body, SMALL, SMALL_TIME).await {
        return Rest::Read;
    }
    tokio::task::spawn_local(async move { drain(&mut body, LINGER_BYTES, LINGER_TIME).await });
    Rest::Unread
}

/// Reads `body` away; whether it ended within both limits.
async fn drain(body: &mut Incoming, bytes: u64, time: Duration) -> bool {
    let reading = async {
        let mut left = bytes;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return false };
            let read = frame.data_ref().map_or(0, |data| data.len() as u64);
            match left.checked_sub(read) {
                Some(rest) => left = rest,
                None => return false,
            }
        }
        true
    };
    tokio::time::timeout(time, reading).await.unwrap_or(false)
}
