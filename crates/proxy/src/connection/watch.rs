//! One watched connection.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    task::Waker,
    time::Instant,
};

use jiff::Timestamp;
use portcullis_model::{ConnectionId, InstanceName, PolicyId, RequestId};
use portcullis_policy::{Snapshot, bundle::TcpLimits};
use tokio::{sync::Notify, task::AbortHandle};

use super::{Data, Standing, bounds::Bounds};
use crate::{
    body::Coming,
    core::Core,
    listener::Peer,
    ports::{ConnectionEnd, ConnectionInfo},
};

/// What it takes to watch an exchange, should it live long enough.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) core: Rc<Core>,
    pub(crate) peer: Rc<Peer>,
    pub(crate) standing: Standing,
    pub(crate) request: RequestId,
    pub(crate) instance: InstanceName,
    /// `http`, `grpc`, `websocket`, `sse`, `tcp`.
    pub(crate) protocol: &'static str,
    /// What it may carry, if that is bounded.
    pub(crate) bounds: Option<TcpLimits>,
    /// Its request body is on its way up.
    pub(crate) uploads: bool,
    pub(crate) started: Instant,
    pub(crate) since: Timestamp,
}

impl Opening {
    /// Starts to watch.
    pub(crate) fn open(self) -> Rc<Watch> {
        let core = Rc::clone(&self.core);
        let watch = Rc::new(Watch {
            id: core.connection_id(self.since),
            standing: RefCell::new(self.standing),
            peer: self.peer,
            request: self.request,
            instance: RefCell::new(self.instance),
            protocol: Cell::new(self.protocol),
            bounds: self.bounds.map(|limits| Box::new(Bounds::new(limits, self.started))),
            started: self.started,
            since: self.since,
            registered: Cell::new(false),
            cut: Cell::new(None),
            ended: Cell::new(None),
            moved: Notify::new(),
            up: RefCell::default(),
            down: RefCell::default(),
            bytes_up: Cell::new(0),
            bytes_down: Cell::new(0),
            uploading: Cell::new(self.uploads),
            answered: Cell::new(None),
            answer: RefCell::default(),
            carrier: RefCell::default(),
            failed_up: Cell::new(false),
            starved: Cell::new(false),
            chatter: Cell::new(0),
            denied_by: RefCell::default(),
            has_owner: Cell::new(false),
        });
        core.live.add(&core, &watch);
        watch
    }
}

/// One watched connection. Its two directions and its watcher share it.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) id: ConnectionId,
    pub(crate) standing: RefCell<Standing>,
    pub(crate) peer: Rc<Peer>,
    pub(crate) started: Instant,
    pub(crate) registered: Cell<bool>,
    request: RequestId,
    instance: RefCell<InstanceName>,
    protocol: Cell<&'static str>,
    /// Rare: on the heap, so that other connections do not reserve room for it.
    bounds: Option<Box<Bounds>>,
    since: Timestamp,
    cut: Cell<Option<(ConnectionEnd, Instant)>>,
    ended: Cell<Option<ConnectionEnd>>,
    moved: Notify,
    up: RefCell<Option<Waker>>,
    down: RefCell<Option<Waker>>,
    bytes_up: Cell<u64>,
    bytes_down: Cell<u64>,
    uploading: Cell<bool>,
    /// How its answer ended, if its request body did not end before.
    answered: Cell<Option<ConnectionEnd>>,
    /// What comes of its answer, for as long as its request body is on its way, too.
    answer: RefCell<Option<Coming>>,
    /// The connection that carries its request body, if it carries nothing else.
    carrier: RefCell<Option<AbortHandle>>,
    failed_up: Cell<bool>,
    starved: Cell<bool>,
    /// Frames that carry nothing, less what there may be.
    chatter: Cell<u32>,
    /// What a message of its client was denied by.
    denied_by: RefCell<Option<Arc<[PolicyId]>>>,
    has_owner: Cell<bool>,
}

impl Watch {
    /// Why it must end in `snapshot`.
    pub(crate) fn ended_in(
        &self,
        core: &Core,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Option<ConnectionEnd> {
        let mut standing = self.standing.borrow_mut();
        standing.ended_in(core, snapshot, now).or_else(|| {
            let unread = self.is_uploading() && standing.is_unread_in(snapshot);
            unread.then_some(ConnectionEnd::PolicyChanged)
        })
    }

    /// A message of its client was denied by these.
    pub(crate) fn denied_by(&self, policies: Arc<[PolicyId]>) {
        self.denied_by.replace(Some(policies));
    }

    /// What a message of its client was denied by, if one was.
    pub(crate) fn deniers(&self) -> Option<Arc<[PolicyId]>> {
        self.denied_by.borrow().clone()
    }

    /// Tells both directions to end, and why.
    pub(crate) fn cut(&self, end: ConnectionEnd) {
        if self.cut.get().is_some() {
            return;
        }
        self.cut.set(Some((end, Instant::now())));
        self.moved.notify_waiters();
        // What still waits to go up goes up as long as anything of the exchange is held.
        if let Some(carrier) = self.carrier.take() {
            carrier.abort();
        }
        if let Some(answer) = self.answer.take() {
            answer.give_up();
        }
        for waker in [&self.up, &self.down] {
            if let Some(waker) = waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }

    /// Why it must end, once it must.
    pub(crate) fn cut_as(&self) -> Option<ConnectionEnd> {
        self.cut.get().map(|(end, _)| end)
    }

    /// When it was told to end.
    pub(crate) fn cut_since(&self) -> Option<Instant> {
        self.cut.get().map(|(_, since)| since)
    }

    /// Resolves when it must end.
    pub(crate) async fn must_end(&self) -> ConnectionEnd {
        self.until(Self::cut_as).await
    }

    /// It is over. What it was cut for wins over how that looked on the wire.
    pub(crate) fn over(&self, why: ConnectionEnd) {
        if self.ended.get().is_none() {
            self.ended.set(Some(self.cut_as().unwrap_or(why)));
            self.moved.notify_waiters();
        }
    }

    /// Its answer is over. What goes up is watched to its end all the same.
    pub(crate) fn answer_over(&self, why: ConnectionEnd) {
        self.answer.take();
        if !self.is_uploading() {
            return self.over(why);
        }
        self.standing.borrow_mut().shown_all();
        if self.answered.get().is_none() {
            self.answered.set(Some(why));
        }
    }

    /// Its answer comes from here: a cut gives it up.
    pub(crate) fn answered_by(&self, answer: Coming) {
        if self.is_uploading() && self.cut_as().is_none() {
            self.answer.replace(Some(answer));
        }
    }

    /// What carries its request body up, and nothing else.
    pub(crate) fn carried_by(&self, carrier: AbortHandle) {
        if self.cut_as().is_some() {
            return carrier.abort();
        }
        self.carrier.replace(Some(carrier));
    }

    /// Somebody will say when it is over.
    pub(crate) fn handed_over(&self) {
        self.has_owner.set(true);
    }

    /// Nobody may be left who would: then it is over.
    pub(crate) fn abandoned(&self) {
        if !self.has_owner.get() {
            if let Some(carrier) = self.carrier.take() {
                carrier.abort();
            }
            self.over(ConnectionEnd::ClientGone);
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.ended.get().is_some()
    }

    /// Resolves when it is over: why, and the bytes that went up and down.
    pub(crate) async fn until_over(&self) -> (ConnectionEnd, u64, u64) {
        let why = self.until(|watch| watch.ended.get()).await;
        (why, self.bytes_up.get(), self.bytes_down.get())
    }

    async fn until<T>(&self, now: impl Fn(&Self) -> Option<T>) -> T {
        loop {
            let moved = self.moved.notified();
            if let Some(value) = now(self) {
                return value;
            }
            moved.await;
        }
    }

    pub(crate) fn wake_up(&self, waker: &Waker) {
        remember(&self.up, waker);
    }

    pub(crate) fn wake_down(&self, waker: &Waker) {
        remember(&self.down, waker);
    }

    pub(crate) fn went_up(&self, bytes: usize) {
        self.bytes_up.set(self.bytes_up.get() + bytes as u64);
    }

    pub(crate) fn went_down(&self, bytes: usize) {
        self.bytes_down.set(self.bytes_down.get() + bytes as u64);
    }

    /// Counts bytes that go up, unless with them it would carry more than it may.
    pub(crate) fn may_go_up(&self, bytes: usize) -> bool {
        let may = self.may_carry(bytes);
        if may {
            self.went_up(bytes);
        }
        may
    }

    /// The same of bytes that come down.
    pub(crate) fn may_go_down(&self, bytes: usize) -> bool {
        let may = self.may_carry(bytes);
        if may {
            self.went_down(bytes);
        }
        may
    }

    /// Whether it has carried nothing for longer than it may.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        self.bounds.as_ref().is_some_and(|bounds| bounds.is_idle(self.carried(), now))
    }

    fn may_carry(&self, bytes: usize) -> bool {
        let all = self.carried().saturating_add(bytes as u64);
        self.bounds.as_ref().is_none_or(|bounds| bounds.admit(all))
    }

    fn carried(&self) -> u64 {
        self.bytes_up.get().saturating_add(self.bytes_down.get())
    }

    /// Whether the request body is still under way.
    pub(crate) fn is_uploading(&self) -> bool {
        self.uploading.get()
    }

    /// Nothing more of the request body goes up.
    pub(crate) fn upload_finished(&self) {
        self.uploading.set(false);
        self.carrier.take();
        if let Some(why) = self.answered.get() {
            self.over(why);
        }
    }

    /// The request body broke off on its way.
    pub(crate) fn upload_failed(&self) {
        self.failed_up.set(true);
    }

    pub(crate) fn has_failed_up(&self) -> bool {
        self.failed_up.get()
    }

    /// Whether more of the request body is wanted than is there.
    pub(crate) fn starve(&self, starves: bool) {
        self.starved.set(starves);
    }

    pub(crate) fn is_starved(&self) -> bool {
        self.starved.get()
    }

    /// So many frames came that carry nothing: who sends too many is cut.
    pub(crate) fn chatters(&self, frames: u32) {
        const MOST: u32 = 5000;
        self.chatter.set(self.chatter.get().saturating_add(frames));
        if self.chatter.get() > MOST {
            self.cut(ConnectionEnd::Flooding);
        }
    }

    /// A look at it, two of them in a second: so many frames more are fine.
    pub(crate) fn look(&self) {
        const MORE: u32 = 500;
        self.chatter.set(self.chatter.get().saturating_sub(MORE));
    }

    pub(crate) fn bytes_up(&self) -> u64 {
        self.bytes_up.get()
    }

    pub(crate) fn is_grpc(&self) -> bool {
        self.protocol.get() == "grpc"
    }

    /// From here on it carries data down, and shows of it what `standings` let it show. Others who see it
    /// already see that too.
    pub(crate) fn show(&self, core: &Core, data: Data, standings: Vec<Standing>) {
        let reveals = {
            let mut standing = self.standing.borrow_mut();
            standing.show(data, standings);
            standing.reveals()
        };
        if self.registered.get() && !reveals.is_empty() {
            core.parts.connections.shows(self.id, reveals);
        }
    }

    /// The response head told more about what this is.
    pub(crate) fn answers(&self, protocol: &'static str, instance: &InstanceName) {
        self.protocol.set(protocol);
        self.instance.borrow_mut().clone_from(instance);
    }

    /// Protocols whose exchanges are meant to live are registered at once. Most gRPC calls are over in
    /// milliseconds, and how long one will live nobody knows: it is registered when it has lived.
    pub(crate) fn is_long_lived(&self) -> bool {
        !matches!(self.protocol.get(), "http" | "grpc")
    }

    /// Whether others see it, or will at once.
    pub(crate) fn is_seen(&self) -> bool {
        self.registered.get() || self.is_long_lived()
    }

    /// Whether it was opened by a certificate that is worth nothing at `now`.
    pub(crate) fn lost_its_certificate(&self, now: Timestamp) -> bool {
        self.standing.borrow().hangs_on_certificate() && self.peer.has_lost_its_certificate(now)
    }

    /// As others see it.
    pub(crate) fn info(&self) -> ConnectionInfo {
        let standing = self.standing.borrow();
        let question = standing.question();
        ConnectionInfo {
            id: self.id,
            request: self.request,
            principal: question.subject.principal().id.clone(),
            service: question.resource.service.clone(),
            instance: self.instance.borrow().clone(),
            operation: question.operation.clone(),
            grant: standing.grant(),
            reveals: standing.reveals(),
            sign_in: standing.sign_in(),
            source: self.peer.ip,
            protocol: self.protocol.get(),
            since: self.since,
        }
    }
}

fn remember(slot: &RefCell<Option<Waker>>, waker: &Waker) {
    let mut slot = slot.borrow_mut();
    match slot.as_mut() {
        Some(known) => known.clone_from(waker),
        None => *slot = Some(waker.clone()),
    }
}
