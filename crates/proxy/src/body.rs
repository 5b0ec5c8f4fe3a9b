//! Bodies on their way through: streamed frame by frame, with back-pressure, and cut when their
//! connection is.

mod coming;
mod messages;
mod upload;

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use self::coming::Source;
pub(crate) use self::{
    coming::Coming,
    messages::{Begun, Framed, Messages},
    upload::UpBody,
};
use crate::{
    connection::{Opening, Watch},
    filter::mask::answer::Masked,
    filter::trailers::{self, Withheld},
    listener::{Turn, Waiting},
    ports::ConnectionEnd,
    share::Share,
    spans::Spans,
    upstream::Lane,
};

/// What stops a body.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The connection was cut: told to the client by an ending that cannot be taken for a complete one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection was cut: {}", in_words(*.0))]
pub(crate) struct Cut(pub(crate) ConnectionEnd);

/// A body that is already here.
#[derive(Debug, Clone)]
pub(crate) struct Whole {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Whole {
    pub(crate) fn new(data: Bytes, trailers: Option<HeaderMap>) -> Self {
        Self { data: Some(data).filter(|data| !data.is_empty()), trailers }
    }

    fn next(&mut self) -> Option<Frame<Bytes>> {
        let trailers = |whole: &mut Self| whole.trailers.take().map(Frame::trailers);
        self.data.take().map(Frame::data).or_else(|| trailers(self))
    }

    fn is_over(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}

/// A response body on its way down.
#[derive(Debug)]
pub(crate) enum DownBody {
    /// The gate's own answer.
    Whole(Whole),
    /// As it comes.
    Streaming(Download),
    /// As it comes, without what is sensitive. Rare: on the heap.
    Masked(Box<Masked>),
}

/// A streaming response body. It becomes a watched connection when it outlives its head.
#[derive(Debug)]
pub(crate) struct Download {
    incoming: Source,
    lane: Option<Lane>,
    watch: Option<Rc<Watch>>,
    opening: Option<Box<Opening>>,
    unwatched: usize,
    /// What trailers must not be taken for.
    withheld: Option<Box<Withheld>>,
}

impl Download {
    /// What may pass before a body counts as one that outlives its head.
    const SHORT: usize = 64 * 1024;

    /// As it comes. `lane`, if it may be used again, goes back to its pool at the end; `opening` is what it takes to watch it.
    pub(crate) fn new(
        incoming: Incoming,
        lane: Option<Lane>,
        watch: Option<Rc<Watch>>,
        opening: Option<Box<Opening>>,
    ) -> Self {
        let mut incoming = Source::Alone(incoming);
        if let Some(watch) = watch.as_ref().filter(|watch| watch.is_uploading()) {
            let (reached, coming) = incoming.reached();
            incoming = reached;
            if let Some(coming) = coming {
                watch.answered_by(coming);
            }
        }
        let mut download = Self { incoming, lane, watch, opening, unwatched: 0, withheld: None };
        if download.is_end_stream() {
            download.finish(ConnectionEnd::Finished);
        }
        download
    }

    /// The same without trailers that may be taken for what is `withheld`.
    pub(crate) fn without(self, withheld: Option<Box<Withheld>>) -> Self {
        let mut without = self;
        without.withheld = withheld;
        without
    }

    /// What watches it, from now on in any case.
    pub(crate) fn watched(&mut self) -> Option<Rc<Watch>> {
        if let Some(opening) = self.opening.take() {
            self.watch = Some(opening.open());
        }
        self.watch.clone()
    }

    fn watch(&mut self, cx: &mut Context<'_>) {
        if let Some(watch) = self.watched() {
            watch.wake_down(cx.waker());
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    pub(crate) fn finish(&mut self, why: ConnectionEnd) {
        if self.incoming.is_over() {
            return;
        }
        self.incoming = Source::Over;
        self.opening = None;
        if let Some(watch) = self.watch.take() {
            watch.answer_over(why);
        }
        let Some(mut lane) = self.lane.take() else { return };
        match why {
            // Only a connection that answered completely can carry another request.
            ConnectionEnd::Finished => lane.give_back(),
            ConnectionEnd::UpstreamGone => lane.blame(),
            ConnectionEnd::ClientGone
            | ConnectionEnd::GrantEnded
            | ConnectionEnd::SignInEnded
            | ConnectionEnd::PolicyChanged
            | ConnectionEnd::Closed
            | ConnectionEnd::Flooding
            | ConnectionEnd::MessageDenied
            | ConnectionEnd::MessageUnreadable
            | ConnectionEnd::Idle
            | ConnectionEnd::TooMuch
            | ConnectionEnd::Opaque
            | ConnectionEnd::ShuttingDown => {}
        }
    }

    /// Ends in the way of the protocol: trailers for gRPC, a truncation for everything else.
    fn end_cut(&mut self, end: ConnectionEnd) -> Option<Result<Frame<Bytes>, BodyError>> {
        let grpc = self.watch.as_ref().is_some_and(|watch| watch.is_grpc());
        if self.incoming.is_over() {
            return None;
        }
        self.finish(end);
        if grpc {
            return Some(Ok(Frame::trailers(crate::refuse::grpc::cut_trailers(end))));
        }
        Some(Err(Cut(end).into()))
    }

    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(end) = self.watch.as_ref().and_then(|watch| watch.cut_as()) {
            return Poll::Ready(self.end_cut(end));
        }
        let Some(polled) = self.incoming.poll(cx) else {
            // It has no end that could be told.
            return Poll::Ready(self.end_cut(ConnectionEnd::UpstreamGone));
        };
        match polled {
            Poll::Pending => {
                self.watch(cx);
                Poll::Pending
            }
            Poll::Ready(None) => {
                self.finish(ConnectionEnd::Finished);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                // What fails on its way up takes the whole exchange with it.
                let of_client = self.watch.as_ref().is_some_and(|watch| watch.has_failed_up());
                self.finish(if of_client {
                    ConnectionEnd::ClientGone
                } else {
                    ConnectionEnd::UpstreamGone
                });
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    trailers::of_answer(trailers, self.withheld.as_deref());
                } else if let Some(data) = frame.data_ref() {
                    self.count(data.len(), cx);
                }
                if self.is_end_stream() {
                    self.finish(ConnectionEnd::Finished);
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn count(&mut self, bytes: usize, cx: &mut Context<'_>) {
        if self.opening.is_some() {
            self.unwatched += bytes;
            if self.unwatched > Self::SHORT {
                self.watch(cx);
            }
        }
        if let Some(watch) = &self.watch {
            watch.went_down(bytes + std::mem::take(&mut self.unwatched));
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.finish(ConnectionEnd::ClientGone);
    }
}

impl DownBody {
    /// The gate's own answer.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self::Whole(Whole::new(bytes, None))
    }
}

impl Body for DownBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Whole(whole) => Poll::Ready(whole.next().map(Ok)),
            Self::Streaming(download) => download.poll(cx),
            Self::Masked(masked) => masked.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_over(),
            Self::Streaming(download) => download.is_end_stream(),
            Self::Masked(masked) => masked.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Streaming(download) => download.incoming.size_hint(),
            // Masks are shorter or longer than what they hide.
            Self::Masked(_) => SizeHint::default(),
        }
    }
}

/// A response body that keeps its connection from being idle, and is missed while nobody takes it.
#[derive(Debug)]
pub(crate) struct Answer {
    body: DownBody,
    turn: Turn,
    _share: Option<Share>,
    /// Handed on with it.
    _spans: Spans,
    /// Until the next part is asked for: the parser does that once the client lets the last one be sent.
    waiting: Option<Waiting>,
    /// A part of it was handed over.
    begun: bool,
}

impl Answer {
    pub(crate) fn new(body: DownBody, turn: Turn, share: Option<Share>, spans: Spans) -> Self {
        let waiting = if body.is_end_stream() { None } else { turn.wait() };
        Self { body, turn, _share: share, _spans: spans, waiting, begun: false }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.waiting = None;
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(Some(Ok(_)))) {
            let has_begun = std::mem::replace(&mut self.begun, true);
            self.waiting = if has_begun { self.turn.wait_for_more() } else { self.turn.wait() };
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Why a connection ended, for people.
pub(crate) const fn in_words(end: ConnectionEnd) -> &'static str {
    match end {
        ConnectionEnd::Finished => "it is finished",
        ConnectionEnd::ClientGone => "the client went away",
        ConnectionEnd::UpstreamGone => "the upstream broke off",
        ConnectionEnd::GrantEnded => "the grant ended",
        ConnectionEnd::SignInEnded => "the sign-in ended",
        ConnectionEnd::PolicyChanged => "policy no longer permits it",
        ConnectionEnd::Closed => "it was closed",
        ConnectionEnd::Flooding => "too many frames carry nothing",
        ConnectionEnd::MessageDenied => "a message that was sent in it is not permitted",
        ConnectionEnd::MessageUnreadable => {
            "a message that was sent in it reads two ways, or its type cannot hold it"
        }
        ConnectionEnd::Idle => "it carried nothing for too long",
        ConnectionEnd::TooMuch => "it carried more than it may",
        ConnectionEnd::Opaque => "it carried what cannot be inspected for sensitive data",
        ConnectionEnd::ShuttingDown => "the gate is shutting down",
    }
}
