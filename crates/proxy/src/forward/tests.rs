//! Whose fault it is that a request broke off.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use ::http::Request;
use bytes::Bytes;
use hyper::{
    body::{Body, Frame},
    client::conn::{http1, http2},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::AsyncReadExt as _,
    task::{LocalSet, spawn_local},
};

use super::is_of_caller;
use crate::detect::LocalExecutor;

/// A request body of which a piece comes, and then nothing more or an error.
struct Half {
    begun: bool,
    fails: bool,
}

impl Body for Half {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if !std::mem::replace(&mut self.begun, true) {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"abc")))));
        }
        if self.fails {
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())));
        }
        Poll::Pending
    }
}

/// What comes of a request whose body fails, or else whose upstream leaves.
fn broken_off(http2: bool, fails: bool) -> hyper::Error {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async move {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        spawn_local(async move {
            far.read_u8().await.unwrap();
            if fails {
                // It listens to the end, and says nothing.
                let _ = tokio::io::copy(&mut far, &mut tokio::io::sink()).await;
            }
        });
        let request = Request::post("http://shop.test/").body(Half { begun: false, fails });
        let (request, near) = (request.unwrap(), TokioIo::new(near));
        let answer = if http2 {
            let handshake = http2::Builder::new(LocalExecutor).handshake(near).await;
            let (mut sender, connection) = handshake.unwrap();
            spawn_local(connection);
            sender.send_request(request).await
        } else {
            let (mut sender, connection) = http1::handshake(near).await.unwrap();
            spawn_local(connection);
            sender.send_request(request).await
        };
        answer.unwrap_err()
    })
}

#[test]
fn an_instance_is_not_to_blame_for_a_body_that_its_client_breaks_off() {
    for http2 in [false, true] {
        let error = broken_off(http2, true);
        assert!(is_of_caller(&error), "http2 {http2}: {error:?}");
        let error = broken_off(http2, false);
        assert!(!is_of_caller(&error), "http2 {http2}: {error:?}");
    }
}
