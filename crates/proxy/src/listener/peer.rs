//! A client connection, as its requests and its core see it.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::IpAddr,
    rc::{Rc, Weak},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use http::HeaderValue;
use jiff::Timestamp;

use super::{
    Place,
    pace::{Pace, Serving},
    tls::ClientCertificate,
    unsent::{TO_BEGIN, Unsent, Waiting},
};
use crate::{
    bounds::Bounds,
    canonical::{LastHost, Sni},
    serve::strict::{Verdict, http2::Window},
};

/// Requests that may be open at once on a connection on which hardly anything may be sent.
const OPEN_WHILE_TIGHT: u32 = 2;
/// The time from one look at a connection to the next.
const LOOK: Duration = crate::connection::TICK;

/// A client connection, as its requests see it.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) ip: IpAddr,
    /// The address as a header value.
    pub(crate) address: HeaderValue,
    /// The start of a `Forwarded` header: `for=…;proto=…`.
    pub(crate) forwarded: String,
    /// The server name, if the connection has TLS.
    pub(crate) tls: Option<Sni>,
    /// The client's certificate, if it presented one.
    pub(crate) certificate: Option<ClientCertificate>,
    /// The host that it asked for last.
    pub(crate) last_host: LastHost,
    /// What its reader says about the bytes that it sends, in HTTP/1.
    pub(crate) verdict: Arc<Verdict>,
    /// How much it lets the gate send on a new stream, in HTTP/2.
    pub(crate) window: Arc<Window>,
    /// The answers that it does not let begin, in HTTP/2.
    unsent: Rc<Unsent>,
    /// The answers that it does not let go on, in HTTP/2.
    paused: Rc<Unsent>,
    /// Requests that are being served, and their answers.
    open: Cell<u32>,
    /// How long the connection may take its time.
    pace: Arc<Pace>,
    /// Whether its pace ends it: HTTP/2 has pings.
    is_paced: Cell<bool>,
    /// Counted, as a tunnel too.
    _place: Place,
    number: Cell<u64>,
    aborted: Cell<bool>,
    closing: Cell<bool>,
    /// A request has come.
    asked: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Peer {
    /// A client that takes no more of an answer for as long as `answer` is gone.
    pub(super) fn new(ip: IpAddr, tls: Option<Sni>, place: Place, answer: Duration) -> Self {
        let ip = ip.to_canonical();
        let node = if ip.is_ipv6() { format!("\"[{ip}]\"") } else { ip.to_string() };
        let scheme = crate::filter::request::scheme(tls.is_some());
        let address = HeaderValue::from_str(&ip.to_string());
        Self {
            ip,
            address: address.unwrap_or_else(|_| HeaderValue::from_static("unknown")),
            forwarded: format!("for={node};proto={scheme}"),
            tls,
            certificate: None,
            last_host: LastHost::default(),
            verdict: Arc::default(),
            window: Arc::default(),
            unsent: Rc::new(Unsent::new(TO_BEGIN)),
            paused: Rc::new(Unsent::new(answer)),
            open: Cell::new(0),
            pace: Pace::new(),
            is_paced: Cell::new(false),
            _place: place,
            number: Cell::new(0),
            aborted: Cell::new(false),
            closing: Cell::new(false),
            asked: Cell::new(false),
            waker: RefCell::default(),
        }
    }

    /// A request is served until what this returns is dropped.
    pub(crate) fn serve(self: &Rc<Self>) -> Turn {
        self.open.set(self.open.get() + 1);
        self.asked.set(true);
        Turn { _serving: self.pace.serve(), peer: Rc::clone(self) }
    }

    /// Whether it has asked for more than it lets the gate send.
    pub(crate) fn is_crowded(&self) -> bool {
        self.window.is_tight() && self.open.get() > OPEN_WHILE_TIGHT
    }

    /// Whether the certificate that it presented is worth nothing at `now`: expired, or of an authority
    /// that is no longer believed.
    pub(crate) fn has_lost_its_certificate(&self, now: Timestamp) -> bool {
        self.certificate.as_ref().is_none_or(|own| own.authenticate(now).is_err())
    }

    /// Breaks the connection off, whatever it is doing.
    pub(crate) fn abort(&self) {
        self.aborted.set(true);
        self.wake();
    }

    /// For its stream, which sets the pace that it is held to from now on.
    pub(super) fn take_pace(&self) -> Arc<Pace> {
        self.is_paced.set(true);
        self.pace()
    }

    /// For its stream, which says what is taken.
    pub(super) fn pace(&self) -> Arc<Pace> {
        Arc::clone(&self.pace)
    }

    /// Whether it should take no more requests.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// Whether a request has come on it.
    pub(super) fn has_asked(&self) -> bool {
        self.asked.get()
    }

    /// Ready once it is broken off. Wakes also when it should close.
    pub(super) fn poll_aborted(&self, cx: &Context<'_>) -> Poll<()> {
        if self.aborted.get() {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn close(&self) {
        self.closing.set(true);
        self.wake();
    }

    /// Whether it has taken too long, over HTTP/2: for a head, or to leave after it rested for too long.
    fn is_slow(&self, now: Instant, bounds: &Bounds) -> bool {
        let rests = if self.open.get() == 0 { self.pace.rests(now) } else { Duration::ZERO };
        if rests > bounds.idle && !self.closing.get() {
            self.close();
        }
        let head = u128::from(self.window.look()) * LOOK.as_millis();
        head > bounds.head.as_millis() || rests > bounds.idle + bounds.head
    }

    /// Whether it takes nothing of all that is open on it, over HTTP/2. While it takes something, as a browser
    /// does with a film that rests in another tab, it is asked to end, and others go to another connection.
    fn takes_nothing(&self, now: Instant) -> bool {
        let stalled = self.unsent.stalled(now) + self.paused.stalled(now);
        if stalled > 0 && !self.closing.get() {
            self.close();
        }
        stalled > 0 && stalled >= self.open.get()
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// One request's turn, up to the end of its answer.
#[derive(Debug)]
pub(crate) struct Turn {
    _serving: Serving,
    peer: Rc<Peer>,
}

impl Turn {
    /// An answer waits until its first byte is taken. Over HTTP/1 the pace of the connection is enough.
    pub(crate) fn wait(&self) -> Option<Waiting> {
        (!self.peer.is_paced.get()).then(|| self.peer.unsent.wait())
    }

    /// A part of an answer waits until the next one is asked for.
    pub(crate) fn wait_for_more(&self) -> Option<Waiting> {
        (!self.peer.is_paced.get()).then(|| self.peer.paused.wait())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.peer.open.set(self.peer.open.get() - 1);
    }
}

/// All client connections of one core that speak HTTP.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    open: RefCell<HashMap<u64, Weak<Peer>, foldhash::fast::RandomState>>,
    count: Cell<u64>,
    closing: Cell<bool>,
}

impl Peers {
    /// One more.
    pub(super) fn add(&self, peer: Peer) -> Rc<Peer> {
        let number = self.count.get();
        self.count.set(number + 1);
        peer.number.set(number);
        peer.closing.set(self.closing.get());
        let peer = Rc::new(peer);
        self.open.borrow_mut().insert(number, Rc::downgrade(&peer));
        peer
    }

    /// That one is gone.
    pub(super) fn remove(&self, peer: &Peer) {
        self.open.borrow_mut().remove(&peer.number.get());
    }

    /// From now on, each finishes what it is doing and takes no more requests.
    pub(crate) fn close(&self) {
        self.closing.set(true);
        self.each(Peer::close);
    }

    /// Breaks off those that take too long. One look at all of them now and then costs less than a
    /// timer for each.
    pub(crate) fn abort_slow(&self, now: Instant, bounds: &Bounds) {
        self.each(|peer| {
            peer.pace.tell(now);
            let is_slow = if peer.is_paced.get() {
                peer.pace.is_exceeded(now, bounds)
            } else {
                peer.is_slow(now, bounds)
            };
            if is_slow || peer.pace.is_stuck(now, bounds) || peer.takes_nothing(now) {
                peer.abort();
            }
        });
    }

    fn each(&self, action: impl Fn(&Peer)) {
        self.open.borrow_mut().retain(|_, peer| {
            let peer = peer.upgrade();
            if let Some(peer) = &peer {
                action(peer);
            }
            peer.is_some()
        });
    }
}
