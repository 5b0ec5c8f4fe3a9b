//! One core's journal. All intents of one tick of its runtime share one `write`.
//!
//! The first intent of a tick wakes the flush task, which therefore runs after every task that was
//! ready already: they all append first. Outcomes alone are in no hurry: they ride along with the
//! next intents, or are written after [`LINGER`].

use std::{
    cell::{Cell, RefCell},
    fmt,
    fs::File,
    future::{Future, poll_fn},
    os::unix::fs::FileExt,
    pin::Pin,
    rc::{Rc, Weak},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use portcullis_model::{Attempt, Outcome, RecordLevel, RefusalsCounted, RequestId};
use serde::Serialize;
use tokio::sync::Notify;

use super::{
    frame::{self, Found, Kind},
    segments::{self, SEGMENT_BYTES, Segments},
    sync::SyncHandle,
    text::{self, Writer},
};
use crate::{Health, LogError, RecordBroken};

/// How long an outcome may wait for company.
const LINGER: Duration = Duration::from_millis(2);
/// How long what could not be written waits for the next attempt.
const RETRY: Duration = Duration::from_millis(250);
/// Where the texts that a caller chose are cut if the whole attempt does not fit into a frame.
const CUT_TEXT: usize = 1024;

/// The journal of one core. Never leaves it.
pub struct CoreJournal {
    shared: Rc<Inner>,
}

impl fmt::Debug for CoreJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoreJournal").field("core", &self.shared.segments.core).finish()
    }
}

struct Inner {
    segments: Arc<Segments>,
    sync: SyncHandle,
    health: Arc<Health>,
    /// Frames of this tick.
    buffer: RefCell<Vec<u8>>,
    text: RefCell<Writer>,
    /// The position of the first byte of `buffer`.
    written: Cell<u64>,
    file: RefCell<Arc<File>>,
    /// The first position of the file.
    base: Cell<u64>,
    /// The attempts that wait for the flush.
    waiting: RefCell<Vec<Waker>>,
    /// A flush is due at the end of this tick.
    due: Cell<bool>,
    /// Somebody in this tick asked for the strict level.
    strict: Cell<bool>,
    flusher: RefCell<Option<Waker>>,
    /// An outcome waits for company, and the linger task knows.
    lingering: Cell<bool>,
    linger: Rc<Notify>,
    closed: Cell<bool>,
    /// Where writing failed and went on later. The intents that were in the buffer then are refused.
    failures: RefCell<Vec<u64>>,
    /// Outcomes and refusals that will never be written.
    lost: Cell<(u64, u64)>,
    /// A part of what could not be written is behind the end of the file.
    torn: Cell<bool>,
}

impl CoreJournal {
    /// Starts the journal on the current core. Needs a `LocalSet` or local runtime, where its two
    /// small tasks live until it is dropped.
    pub(crate) fn start(
        segments: Arc<Segments>,
        sync: SyncHandle,
        health: Arc<Health>,
    ) -> Result<Rc<Self>, LogError> {
        let base = segments.written();
        let file = segments.add(base)?;
        let linger = Rc::new(Notify::new());
        let shared = Rc::new(Inner {
            segments,
            sync,
            health,
            buffer: RefCell::new(Vec::with_capacity(64 << 10)),
            text: RefCell::default(),
            written: Cell::new(base),
            file: RefCell::new(file),
            base: Cell::new(base),
            waiting: RefCell::default(),
            due: Cell::new(false),
            strict: Cell::new(false),
            flusher: RefCell::new(None),
            lingering: Cell::new(false),
            linger: Rc::clone(&linger),
            closed: Cell::new(false),
            failures: RefCell::default(),
            lost: Cell::default(),
            torn: Cell::new(false),
        });
        tokio::task::spawn_local(flush_ticks(Rc::downgrade(&shared)));
        tokio::task::spawn_local(flush_lingering(Rc::downgrade(&shared), linger));
        Ok(Rc::new(Self { shared }))
    }

    /// Appends the first half of an attempt. What it returns resolves when the intent is as safe as
    /// `level` asks for; nothing may be forwarded before.
    pub fn intent(
        &self,
        attempt: &Attempt<'_>,
        level: RecordLevel,
    ) -> Result<Recorded, RecordBroken> {
        if !self.shared.is_working() {
            return Err(RecordBroken);
        }
        if !self.shared.append_attempt(Kind::Intent, attempt, None) {
            return Err(RecordBroken);
        }
        if level == RecordLevel::Strict {
            self.shared.strict.set(true);
        }
        self.shared.flush_this_tick();
        let position = self.shared.written.get() + self.shared.buffer.borrow().len() as u64;
        let failures = self.shared.failures.borrow().len();
        Ok(Recorded { shared: Rc::clone(&self.shared), position, level, failures })
    }

    /// Completes the attempt of `request`. Written with the next tick; never waited for.
    pub fn outcome(&self, request: RequestId, outcome: &Outcome<'_>) {
        // If it is lost, the attempt stays in the record with an unknown outcome.
        self.shared.append(Kind::Outcome, request, |out| text::outcome(out, outcome));
        self.shared.flush_soon();
    }

    /// Appends an attempt that is whole already: a refusal.
    pub fn refused(
        &self,
        attempt: &Attempt<'_>,
        outcome: &Outcome<'_>,
    ) -> Result<(), RecordBroken> {
        if !self.shared.health.is_working() {
            return Err(RecordBroken);
        }
        let written = self.shared.append_attempt(Kind::Whole, attempt, Some(outcome));
        self.shared.flush_soon();
        written.then_some(()).ok_or(RecordBroken)
    }

    /// Appends how many refusals were not listed.
    pub fn counted(&self, refusals: &RefusalsCounted) -> Result<(), RecordBroken> {
        if !self.shared.health.is_working() {
            return Err(RecordBroken);
        }
        // A frame needs a number of its own; nothing looks for this one.
        let number = RequestId::from_bits(refusals.id.to_bits());
        let mut text = Vec::new();
        let written = write_open_object(&mut text, refusals)
            && self.shared.append(Kind::Whole, number, |out| out.append(&mut text));
        self.shared.flush_soon();
        written.then_some(()).ok_or(RecordBroken)
    }
}

impl Drop for CoreJournal {
    fn drop(&mut self) {
        self.shared.flush();
        self.shared.tell_of_lost();
        self.shared.closed.set(true);
        self.shared.segments.close();
        self.shared.linger.notify_one();
        if let Some(flusher) = self.shared.flusher.take() {
            flusher.wake();
        }
    }
}

impl Inner {
    /// Whether intents are accepted. Whether the sequencer is behind is asked once in a tick: it reads the clock.
    fn is_working(&self) -> bool {
        let health = &self.health;
        if self.due.get() {
            !health.is_broken() && !health.is_stalled()
        } else {
            health.is_working()
        }
    }

    fn append_attempt(
        &self,
        kind: Kind,
        attempt: &Attempt<'_>,
        outcome: Option<&Outcome<'_>>,
    ) -> bool {
        let write = |out: &mut Vec<u8>, attempt: &Attempt<'_>| {
            self.text.borrow_mut().attempt(out, attempt);
            if let Some(outcome) = outcome {
                out.push(b',');
                text::outcome(out, outcome);
            }
        };
        self.append(kind, attempt.request, |out| write(out, attempt))
            || self.append(kind, attempt.request, |out| write(out, &shortened(attempt)))
    }

    fn append(&self, kind: Kind, request: RequestId, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let base = self.written.get();
        frame::append(&mut self.buffer.borrow_mut(), base, kind, request.to_bits(), write)
    }

    fn flush_this_tick(&self) {
        if !self.due.replace(true)
            && let Some(flusher) = &*self.flusher.borrow()
        {
            flusher.wake_by_ref();
        }
    }

    fn flush_soon(&self) {
        if !self.due.get() && !self.lingering.replace(true) {
            self.linger.notify_one();
        }
    }

    /// Writes everything that was appended, and wakes the attempts that wait for it.
    fn flush(&self) {
        self.due.set(false);
        let strict = self.strict.replace(false);
        let mut buffer = self.buffer.borrow_mut();
        if self.health.is_broken() {
            self.lose(&mut buffer);
        } else if !buffer.is_empty() {
            match self.write(&buffer) {
                Ok(()) => {
                    self.ask_for_sync(strict);
                    buffer.clear();
                }
                Err(error) => {
                    self.health.fail(&error);
                    // Without an intent in it, nobody looks it up.
                    if keep_acknowledged(&mut buffer, self.written.get()) {
                        self.failures.borrow_mut().push(self.written.get());
                    }
                    if !buffer.is_empty() {
                        self.flush_soon();
                    }
                }
            }
        }
        drop(buffer);
        for waker in self.waiting.borrow_mut().drain(..) {
            waker.wake();
        }
    }

    /// Drops what was kept for a time with room, which does not come any more.
    fn lose(&self, buffer: &mut Vec<u8>) {
        let (mut at, (mut outcomes, mut refusals)) = (0, self.lost.get());
        while let Found::Frame(found, next) = frame::read(buffer, self.written.get(), at) {
            match found.kind {
                Kind::Intent => {}
                Kind::Outcome => outcomes += 1,
                Kind::Whole => refusals += 1,
            }
            at = next;
        }
        self.lost.set((outcomes, refusals));
        buffer.clear();
    }

    /// Says at the end how much of what was promised is not on record.
    fn tell_of_lost(&self) {
        self.lose(&mut self.buffer.borrow_mut());
        let (outcomes, refusals) = self.lost.get();
        if outcomes + refusals > 0 {
            let core = self.segments.core;
            tracing::error!(
                core,
                outcomes,
                refusals,
                "the record could not be written to the end: these are not on it"
            );
        }
    }

    fn write(&self, bytes: &[u8]) -> Result<(), LogError> {
        let position = self.written.get();
        self.mend()?;
        if position - self.base.get() >= SEGMENT_BYTES {
            *self.file.borrow_mut() = self.segments.add(position)?;
            self.base.set(position);
        }
        let file = self.file.borrow();
        if let Err(error) = file.write_all_at(bytes, position - self.base.get()) {
            drop(file);
            // A part may have been written. Nobody was told that it is there: it is cut off.
            self.torn.set(true);
            let _next_time = self.mend();
            return Err(LogError::io("write", "the journal", error));
        }
        let end = position + bytes.len() as u64;
        self.written.set(end);
        self.segments.wrote_until(end);
        Ok(())
    }

    /// Cuts off what an attempt to write has left. Whole frames of it would come back after a crash.
    fn mend(&self) -> Result<(), LogError> {
        if self.torn.get() {
            let length = self.written.get() - self.base.get();
            let cut = self.file.borrow().set_len(length);
            cut.map_err(|error| LogError::io("cut", "the journal", error))?;
            segments::reserve(&self.file.borrow());
            self.torn.set(false);
        }
        Ok(())
    }

    fn ask_for_sync(&self, strict: bool) {
        if strict {
            self.sync.now(&self.segments);
        } else if self.segments.asks_for_sync() {
            self.sync.soon(&self.segments);
        }
    }
}

/// Resolves when an intent is as safe as its level asks for.
#[must_use = "nothing may be forwarded before this resolves"]
pub struct Recorded {
    shared: Rc<Inner>,
    /// Where the intent's frame ends.
    position: u64,
    level: RecordLevel,
    /// How often writing had failed before it.
    failures: usize,
}

impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded").field("level", &self.level).finish_non_exhaustive()
    }
}

impl Future for Recorded {
    type Output = Result<(), RecordBroken>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let shared = &self.shared;
        // INVARIANT: an intent is written by the first write after it, or never: behind a failure,
        // others get the position that it would have had.
        let failed = shared.failures.borrow().get(self.failures).copied();
        if failed.is_some_and(|written| written < self.position) {
            return Poll::Ready(Err(RecordBroken));
        }
        if shared.written.get() < self.position {
            if shared.health.is_broken() {
                return Poll::Ready(Err(RecordBroken));
            }
            shared.waiting.borrow_mut().push(context.waker().clone());
            return Poll::Pending;
        }
        match self.level {
            RecordLevel::Standard => Poll::Ready(Ok(())),
            RecordLevel::Strict => {
                if shared.segments.synced_or_wake(self.position, context.waker()) {
                    Poll::Ready(Ok(()))
                } else if shared.health.is_broken() {
                    Poll::Ready(Err(RecordBroken))
                } else {
                    Poll::Pending
                }
            }
        }
    }
}

/// Flushes once for every tick in which an intent was appended.
async fn flush_ticks(journal: Weak<Inner>) {
    poll_fn(|context| {
        let Some(journal) = journal.upgrade().filter(|journal| !journal.closed.get()) else {
            return Poll::Ready(());
        };
        if journal.due.get() {
            journal.flush();
        }
        let mut flusher = journal.flusher.borrow_mut();
        if !flusher.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            *flusher = Some(context.waker().clone());
        }
        Poll::Pending
    })
    .await;
}

/// Flushes outcomes that found no company.
async fn flush_lingering(journal: Weak<Inner>, linger: Rc<Notify>) {
    loop {
        linger.notified().await;
        let mut pause = LINGER;
        loop {
            tokio::time::sleep(pause).await;
            let Some(journal) = journal.upgrade().filter(|journal| !journal.closed.get()) else {
                return;
            };
            journal.lingering.set(false);
            journal.flush();
            if journal.buffer.borrow().is_empty() || journal.health.is_broken() {
                break;
            }
            pause = RETRY;
        }
    }
}

/// Leaves in `buffer`, which could not be written at position `base`, what was promised: outcomes, and
/// refusals that were answered. Intents were not: they are refused, and are not to come into the
/// record as if they had been forwarded. Says whether there was one.
fn keep_acknowledged(buffer: &mut Vec<u8>, base: u64) -> bool {
    let before = std::mem::take(buffer);
    let (mut at, mut intents) = (0, false);
    while let Found::Frame(found, next) = frame::read(&before, base, at) {
        if found.kind == Kind::Intent {
            intents = true;
        } else {
            let text = before.get(found.text.clone()).unwrap_or_default();
            frame::append(buffer, base, found.kind, found.request, |out| {
                out.extend_from_slice(text);
            });
        }
        at = next;
    }
    intents
}

/// Writes a JSON object without its closing brace.
fn write_open_object(text: &mut Vec<u8>, value: &impl Serialize) -> bool {
    serde_json::to_writer(&mut *text, value).is_ok() && text.pop() == Some(b'}')
}

/// The attempt with everything cut that a caller can make long. Whoever sends a path of 30,000
/// bytes gets it recorded in part, rather than a request that cannot be recorded.
fn shortened<'a>(attempt: &Attempt<'a>) -> Attempt<'a> {
    fn cut(text: &str) -> &str {
        text.get(..text.floor_char_boundary(CUT_TEXT)).unwrap_or_default()
    }
    Attempt {
        method: cut(attempt.method),
        host: cut(attempt.host),
        path: cut(attempt.path),
        trace: attempt.trace.map(cut),
        policies: attempt.policies.get(..32).unwrap_or(attempt.policies),
        ..attempt.clone()
    }
}
