//! Connections over HTTP/2: each carries as many requests at a time as its server takes.
//!
//! What is over that would stand in line inside hyper, where neither limits nor other instances hear of it. So streams
//! are counted here, and a connection that is full gets no more. A server says what it takes as it begins to speak;
//! before that, it is taken to be 100. What the server then refuses is sent again, as nothing has been answered yet.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    time::{Duration, Instant},
};

use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{carriers::Carriers, counted::Counted, tls::HangsOn};
use crate::body::UpBody;

/// A connection that is kept for whoever comes.
#[derive(Debug)]
pub(crate) struct Shared {
    sender: http2::SendRequest<UpBody>,
    link: Rc<Link>,
}

/// One request's place on such a connection: counted for as long as this lives.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(super) sender: http2::SendRequest<UpBody>,
    link: Rc<Link>,
}

/// What is known of one connection.
#[derive(Debug)]
struct Link {
    carriers: Carriers,
    hangs_on: HangsOn,
    counted: Weak<Counted>,
    most: Weak<RefCell<dyn Most>>,
    open: Cell<usize>,
    made: Instant,
    /// When an answer came on it the last time, by the time that is told.
    heard: Cell<Option<Instant>>,
    /// When a stream was seen to be open.
    busy: Cell<Instant>,
}

/// How many streams a connection may have.
pub(super) trait Most {
    fn streams(&self) -> usize;
}

impl<S> Most for http2::Connection<TokioIo<S>, UpBody, Carriers>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    fn streams(&self) -> usize {
        self.current_max_send_streams()
    }
}

impl Shared {
    pub(super) fn new(
        sender: http2::SendRequest<UpBody>,
        carriers: Carriers,
        hangs_on: HangsOn,
        counted: Option<&Rc<Counted>>,
        most: Weak<RefCell<dyn Most>>,
    ) -> Self {
        let counted = counted.map(Rc::downgrade).unwrap_or_default();
        let made = Instant::now();
        let (open, heard, busy) = (Cell::new(0), Cell::new(None), Cell::new(made));
        let link = Link { carriers, hangs_on, counted, most, open, made, heard, busy };
        Self { sender, link: Rc::new(link) }
    }

    /// Whether further requests may be sent.
    pub(super) fn holds(&self) -> bool {
        !self.sender.is_closed() && self.link.hangs_on.holds()
    }

    /// Whether its server takes one more request beside those that are under way.
    pub(super) fn has_room(&self) -> bool {
        let most = self.link.most.upgrade();
        let most = most.and_then(|most| Some(most.try_borrow().ok()?.streams()));
        most.is_some_and(|most| self.link.open.get() < most)
    }

    pub(super) fn stream(&self) -> Stream {
        self.link.open.set(self.link.open.get() + 1);
        Stream { sender: self.sender.clone(), link: Rc::clone(&self.link) }
    }

    pub(super) fn made(&self) -> Instant {
        self.link.made
    }

    /// When an answer came on it the last time, if any did.
    pub(super) fn heard(&self) -> Option<Instant> {
        self.link.heard.get()
    }

    /// Since when it has carried nothing, if it carries nothing.
    pub(super) fn resting(&self) -> Option<Instant> {
        let since = self.link.heard.get().max(Some(self.link.busy.get()));
        since.filter(|_| self.link.open.get() == 0)
    }

    /// Tells it the time. How long it has carried nothing by then.
    pub(super) fn tell(&self, now: Instant) -> Duration {
        if self.resting().is_none() {
            self.link.busy.set(now);
        }
        self.resting().map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Nobody will use it.
    pub(super) fn close(self) {
        if let Some(counted) = self.link.counted.upgrade() {
            counted.end();
        }
    }
}

impl Stream {
    pub(super) fn carriers(&self) -> &Carriers {
        &self.link.carriers
    }

    /// An answer came on it.
    pub(super) fn heard(&self, now: Instant) {
        self.link.heard.set(Some(now));
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.link.open.set(self.link.open.get().saturating_sub(1));
    }
}
