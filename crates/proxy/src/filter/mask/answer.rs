//! The body of a masked answer: decoded, looked into, and ended where that cannot go on.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use portcullis_policy::sensitive::message::Shape;

use super::{
    Framing, Json, Rules, Trouble, coding::Decoder, events::Events, head, messages::Messages,
};
use crate::{
    body::{BodyError, Download},
    ports::ConnectionEnd,
    refuse::grpc::cut_trailers,
};

/// What an answer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// There is nothing, or there has to be nothing: whatever comes cannot be looked into.
    Nothing,
    /// Documents.
    Json(Framing),
    /// Server-sent events.
    Events,
    /// Messages of gRPC.
    Messages,
}

impl Kind {
    /// Of a content type.
    pub(crate) fn of(content_type: &str) -> Self {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("text/event-stream") {
            return Self::Events;
        }
        if ["application/grpc", "application/grpc+proto"]
            .iter()
            .any(|known| essence.eq_ignore_ascii_case(known))
        {
            return Self::Messages;
        }
        Framing::of(content_type).map_or(Self::Nothing, Self::Json)
    }

    /// Whether its beginning may take any time to come, so that its head does not wait for it.
    fn trickles(self) -> bool {
        matches!(
            self,
            Self::Events | Self::Messages | Self::Json(Framing::Lines | Framing::Sequence)
        )
    }
}

#[derive(Debug)]
enum Inspector {
    Nothing,
    Json(Json),
    Events(Events),
    Messages(Messages),
}

impl Inspector {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Trouble> {
        match self {
            Self::Nothing if bytes.is_empty() => Ok(()),
            Self::Nothing => Err(Trouble::Type),
            Self::Json(json) => json.push(bytes, out),
            Self::Events(events) => events.push(bytes, out),
            Self::Messages(messages) => messages.push(bytes, out),
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Trouble> {
        match self {
            Self::Json(json) => json.finish(out),
            // What follows the last blank line is no event.
            Self::Nothing | Self::Events(_) => Ok(()),
            Self::Messages(messages) => messages.finish(),
        }
    }
}

/// A response body that is masked on its way down.
#[derive(Debug)]
pub(crate) struct Masked {
    download: Download,
    decoder: Decoder,
    inspector: Inspector,
    kind: Kind,
    /// Masked, and not taken yet.
    ready: Option<Bytes>,
    /// What says how a call ended.
    trailers: Option<HeaderMap>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Over,
    Failed(Trouble),
}

impl Masked {
    /// `shape` is that of messages of gRPC, if it is known.
    pub(crate) fn new(
        download: Download,
        decoder: Decoder,
        kind: Kind,
        shape: Option<Shape>,
        rules: Rules,
    ) -> Self {
        let inspector = match (kind, shape) {
            (Kind::Nothing, _) | (Kind::Messages, None) => Inspector::Nothing,
            (Kind::Json(framing), _) => Inspector::Json(Json::new(rules, framing)),
            (Kind::Events, _) => Inspector::Events(Events::new(rules)),
            (Kind::Messages, Some(shape)) => Inspector::Messages(Messages::new(rules, shape)),
        };
        let (ready, trailers) = (None, None);
        Self { download, decoder, inspector, kind, ready, trailers, state: State::Open }
    }

    /// Waits for the beginning, so that an answer that cannot be looked into is refused in words. Of what
    /// trickles, it looks at what is there and waits for nothing.
    pub(crate) async fn begin(&mut self) -> Result<(), BodyError> {
        if self.download.is_end_stream() && self.state == State::Open {
            // A head is all there is.
            self.end();
        }
        std::future::poll_fn(|cx| match self.poll_ready(cx) {
            Poll::Pending if self.kind.trickles() => Poll::Ready(Ok(())),
            polled => polled,
        })
        .await
    }

    /// All of it, if it is all here and has not begun to leave.
    pub(crate) fn whole(&mut self) -> Option<Bytes> {
        let is_whole = self.state == State::Over && self.trailers.is_none();
        is_whole.then(|| self.ready.take().unwrap_or_default())
    }

    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Over && self.ready.is_none() && self.trailers.is_none()
    }

    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match ready!(self.poll_ready(cx)) {
            Ok(()) => {
                let data = self.ready.take().map(Frame::data);
                Poll::Ready(data.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
            }
            Err(error) if self.kind == Kind::Messages && error.is::<Trouble>() => {
                // A call ends with its status.
                self.state = State::Over;
                Poll::Ready(Some(Ok(Frame::trailers(cut_trailers(ConnectionEnd::Opaque)))))
            }
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    /// Until there is something to pass, or nothing more. Once a document ended and its end is there, no
    /// more is waited for.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        while self.ready.is_none() {
            match self.state {
                State::Over => return Poll::Ready(Ok(())),
                State::Failed(trouble) => return Poll::Ready(Err(trouble.into())),
                State::Open => {}
            }
            let frame = match ready!(self.download.poll(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => {
                    self.end();
                    continue;
                }
            };
            match frame.into_data() {
                Ok(data) => self.take(&data),
                Err(frame) => self.trail(frame.into_trailers().unwrap_or_default()),
            }
            if self.state == State::Open && self.download.is_end_stream() {
                self.end();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn take(&mut self, data: &[u8]) {
        let (decoder, inspector) = (&mut self.decoder, &mut self.inspector);
        let mut out = Vec::with_capacity(data.len() + data.len() / 8);
        let pushed = caught(|| decoder.push(data, |bytes| inspector.push(bytes, &mut out)));
        self.took(pushed, out);
    }

    /// Trailers may say anything: those of calls say how they ended, and others are dropped.
    fn trail(&mut self, mut trailers: HeaderMap) {
        if self.kind != Kind::Messages {
            return self.end();
        }
        let is_fine = trailers.get("grpc-status").is_some_and(|status| status == "0");
        if is_fine {
            self.end();
        } else {
            // What came of a message that will not be whole is dropped.
            self.state = State::Over;
        }
        head::of_trailers(&mut trailers);
        self.trailers = Some(trailers).filter(|_| self.state == State::Over);
    }

    fn end(&mut self) {
        let (decoder, inspector) = (&mut self.decoder, &mut self.inspector);
        let mut out = Vec::new();
        let finished = caught(|| {
            decoder.finish(|bytes| inspector.push(bytes, &mut out))?;
            inspector.finish(&mut out)
        });
        self.state = State::Over;
        self.took(finished, out);
    }

    fn took(&mut self, taken: Result<(), Trouble>, out: Vec<u8>) {
        if let Err(trouble) = taken {
            tracing::warn!(%trouble, "an answer with sensitive data cannot be inspected, and ends");
            self.state = State::Failed(trouble);
            self.ready = None;
            self.download.finish(ConnectionEnd::Opaque);
            return;
        }
        if out.is_empty() {
            return;
        }
        let out = Bytes::from(out);
        self.ready = Some(match self.ready.take() {
            None => out,
            Some(before) => Bytes::from([before, out].concat()),
        });
    }
}

/// A panic is a trouble like any other: what was under way of the answer is not used again.
fn caught(run: impl FnOnce() -> Result<(), Trouble>) -> Result<(), Trouble> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(Trouble::Panicked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f13_a_panic_while_masking_ends_that_answer_and_nothing_else() {
        assert_eq!(caught(|| panic!("by a test")), Err(Trouble::Panicked));
        assert_eq!(caught(|| Ok(())), Ok(()));
    }
}
