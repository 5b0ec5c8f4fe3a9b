//! Bodies that a client sends too slowly. Nobody minds a slow client where nobody waits for it: what counts is
//! the time in which the gate, or the service behind it, wants more and gets next to nothing.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use portcullis_model::Refusal;
use tokio::time::Sleep;

use crate::{bounds::Bounds, connection::Watch};

/// Resolves if a body that streams up is waited for and brings next to nothing.
pub(crate) async fn too_slow(watch: &Watch, span: Duration) {
    loop {
        let before = watch.bytes_up();
        tokio::time::sleep(span).await;
        if watch.is_starved() && watch.bytes_up() - before < Bounds::LEAST {
            return;
        }
    }
}

/// Reads a body that must not come too slowly.
#[derive(Debug)]
pub(crate) struct Reading {
    span: Duration,
    /// Since the span began.
    came: u64,
    /// Only if something is not there at once.
    end: Option<Pin<Box<Sleep>>>,
}

impl Reading {
    pub(crate) fn new(span: Duration) -> Self {
        Self { span, came: 0, end: None }
    }

    /// The next frame, as soon as it is there.
    pub(crate) async fn next(
        &mut self,
        body: &mut Incoming,
    ) -> Result<Option<Frame<Bytes>>, Refusal> {
        std::future::poll_fn(|cx| self.poll(body, cx)).await
    }

    fn poll(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame<Bytes>>, Refusal>> {
        let broke_off = |_| Refusal::Malformed("the body broke off");
        match Pin::new(body).poll_frame(cx) {
            Poll::Ready(frame) => {
                let frame = frame.transpose().map_err(broke_off)?;
                let data = frame.as_ref().and_then(Frame::data_ref);
                self.came += data.map_or(0, |data| data.len() as u64);
                Poll::Ready(Ok(frame))
            }
            Poll::Pending => self.poll_end(cx).map(Err),
        }
    }

    /// Ready if the span is over and too little came in it.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Refusal> {
        let span = self.span;
        loop {
            let end = self.end.get_or_insert_with(|| Box::pin(tokio::time::sleep(span)));
            std::task::ready!(end.as_mut().poll(cx));
            self.end = None;
            if std::mem::take(&mut self.came) < Bounds::LEAST {
                return Poll::Ready(Refusal::TooSlow);
            }
        }
    }
}
