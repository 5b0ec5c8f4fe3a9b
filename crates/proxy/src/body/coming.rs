//! What comes of an answer, to be given up by whoever cuts it.
//!
//! A body is asked for more when its client takes more. A stream over HTTP/2 lives for as long as one of its halves is
//! held, and so would one that was cut, with what waits to go up it, by a client that takes nothing.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// An answer, and how others reach it.
#[derive(Debug, Clone)]
pub(crate) struct Coming(Rc<RefCell<Option<Incoming>>>);

impl Coming {
    /// Nothing more of it is taken.
    pub(crate) fn give_up(&self) {
        // While it is asked for more, nobody cuts it.
        let given_up = self.0.try_borrow_mut().ok().and_then(|mut incoming| incoming.take());
        drop(given_up);
    }
}

/// Where an answer comes from.
#[derive(Debug)]
pub(super) enum Source {
    /// There is no more.
    Over,
    /// Whoever has the body.
    Alone(Incoming),
    /// Whoever cuts it gives it up, too.
    Reached(Coming),
}

impl Source {
    /// The same, and how others reach it.
    pub(super) fn reached(self) -> (Self, Option<Coming>) {
        match self {
            Self::Alone(incoming) => {
                let coming = Coming(Rc::new(RefCell::new(Some(incoming))));
                (Self::Reached(coming.clone()), Some(coming))
            }
            Self::Over | Self::Reached(_) => (self, None),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Over)
    }

    /// What was given up has no end.
    pub(super) fn is_end_stream(&self) -> bool {
        match self {
            Self::Over => true,
            Self::Alone(incoming) => incoming.is_end_stream(),
            Self::Reached(Coming(coming)) => {
                coming.borrow().as_ref().is_some_and(Body::is_end_stream)
            }
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Over => SizeHint::with_exact(0),
            Self::Alone(incoming) => incoming.size_hint(),
            Self::Reached(Coming(coming)) => {
                coming.borrow().as_ref().map(Body::size_hint).unwrap_or_default()
            }
        }
    }

    /// The next frame, unless it was given up.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Option<Poll<Option<hyper::Result<Frame<Bytes>>>>> {
        match self {
            Self::Over => Some(Poll::Ready(None)),
            Self::Alone(incoming) => Some(Pin::new(incoming).poll_frame(cx)),
            Self::Reached(Coming(coming)) => {
                coming.borrow_mut().as_mut().map(|incoming| Pin::new(incoming).poll_frame(cx))
            }
        }
    }
}
