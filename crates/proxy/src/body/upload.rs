//! Request bodies on their way up.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::task::AbortHandle;

use super::{BodyError, Cut, Messages, Whole};
use crate::{
    connection::Watch,
    filter::trailers::{self, Withheld},
    upstream::carriers::Carriers,
};

/// A request body on its way up.
#[derive(Debug)]
pub(crate) enum UpBody {
    /// Read already, because a policy asked to see it.
    Whole(Whole),
    /// As it comes.
    Streaming(Upload),
}

/// A streaming request body.
#[derive(Debug)]
pub(crate) struct Upload {
    incoming: Incoming,
    watch: Option<Rc<Watch>>,
    /// What trailers must not be taken for.
    withheld: Option<Box<Withheld>>,
    /// If each of its messages is decided: what decides them. Rare: on the heap.
    messages: Option<Box<Messages>>,
    /// What carries it, if its connection is shared.
    carriers: Option<Carriers>,
    begun: bool,
}

impl UpBody {
    /// As it comes, without trailers that may be taken for what is `withheld`; cut together with `watch`.
    pub(crate) fn streaming(
        incoming: Incoming,
        watch: Option<Rc<Watch>>,
        withheld: Option<Box<Withheld>>,
    ) -> Self {
        let (messages, carriers, begun) = (None, None, false);
        Self::Streaming(Upload { incoming, watch, withheld, messages, carriers, begun })
    }

    /// The same, each message of which is decided by `messages` before it goes up.
    pub(crate) fn decided(self, messages: Messages) -> Self {
        let mut decided = self;
        if let Self::Streaming(upload) = &mut decided {
            upload.messages = Some(Box::new(messages));
        }
        decided
    }

    /// A connection of its own carries it, whatever becomes of its exchange: a cut ends both.
    pub(crate) fn carried_by(&self, connection: &AbortHandle) {
        if let Self::Streaming(Upload { watch: Some(watch), .. }) = self {
            watch.carried_by(connection.clone());
        }
    }

    /// A connection carries it that carries others, too.
    pub(crate) fn carried_among(&mut self, carriers: &Carriers) {
        if let Self::Streaming(upload) = self {
            upload.carriers = Some(carriers.clone());
        }
    }

    /// The same once more, if all of it is here.
    pub(crate) fn copy(&self) -> Option<Self> {
        match self {
            Self::Whole(whole) => Some(Self::Whole(whole.clone())),
            Self::Streaming(upload) if upload.is_over() => {
                Some(Self::Whole(Whole::new(Bytes::new(), None)))
            }
            Self::Streaming(_) => None,
        }
    }
}

impl Body for UpBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Whole(whole) => Poll::Ready(whole.next().map(Ok)),
            Self::Streaming(upload) => upload.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_over(),
            Self::Streaming(upload) => upload.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Streaming(Upload { messages: None, incoming, .. }) => incoming.size_hint(),
            // Some of it is here already.
            Self::Streaming(Upload { messages: Some(_), .. }) => SizeHint::default(),
        }
    }
}

impl Upload {
    fn is_over(&self) -> bool {
        self.incoming.is_end_stream() && self.messages.as_ref().is_none_or(|left| left.is_empty())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(watch) = &self.watch {
            if let Some(end) = watch.cut_as() {
                return Poll::Ready(Some(Err(Cut(end).into())));
            }
            watch.wake_up(cx.waker());
            let is_first = !std::mem::replace(&mut self.begun, true);
            if let Some(carriers) = self.carriers.as_ref().filter(|_| is_first) {
                carriers.begin(watch);
            }
        }
        let Some(mut messages) = self.messages.take() else {
            let frame = self.poll_bytes(cx);
            if let (Poll::Ready(Some(Ok(frame))), Some(watch)) = (&frame, &self.watch) {
                watch.went_up(frame.data_ref().map_or(0, Bytes::len));
            }
            return frame;
        };
        let polled = self.poll_message(&mut messages, cx);
        self.messages = Some(messages);
        polled
    }

    /// What comes, as it comes.
    fn poll_bytes(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = Pin::new(&mut self.incoming).poll_frame(cx);
        if let Some(watch) = &self.watch {
            watch.starve(frame.is_pending());
        }
        match frame {
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    trailers::of_request(trailers, self.withheld.as_deref());
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => {
                if let Some(watch) = &self.watch {
                    watch.upload_failed();
                }
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// The next message, once it is all there and permitted. Until it has left, no more is read.
    fn poll_message(
        &mut self,
        messages: &mut Messages,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if messages.rests() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            match messages.next() {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(Frame::data(message)))),
                Ok(None) => {}
                Err(cut) => return Poll::Ready(Some(Err(cut.into()))),
            }
            match ready!(self.poll_bytes(cx)).transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => messages.push(&data),
                Some(Err(trailers)) => {
                    let whole = messages.finish().map(|()| trailers);
                    return Poll::Ready(Some(whole.map_err(Into::into)));
                }
                None => {
                    return Poll::Ready(messages.finish().err().map(|cut| Err(cut.into())));
                }
            }
        }
    }
}

impl Drop for Upload {
    /// Whoever sends it drops it once it says that it is over, and does not ask for an end that is known.
    fn drop(&mut self) {
        if let Some(carriers) = self.carriers.as_ref().filter(|_| self.begun) {
            carriers.forget();
        }
        if let Some(watch) = &self.watch {
            watch.starve(false);
            watch.upload_finished();
        }
    }
}
