//! All watched connections of one core, and the task that watches them.

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::{Rc, Weak},
    time::{Duration, Instant},
};

use portcullis_model::ConnectionId;

use super::Watch;
use crate::{core::Core, ports::ConnectionEnd};

/// How often time is looked at: half of the second within which everything must have ended.
pub(crate) const TICK: Duration = Duration::from_millis(500);
/// HTTP exchanges and gRPC calls younger than this are nobody's business.
pub(crate) const YOUNG: Duration = Duration::from_secs(1);
/// A client that takes nothing can hold an ending back for so long; then its connection breaks off.
const PATIENCE: Duration = Duration::from_millis(400);

/// The watched connections of one core.
#[derive(Debug, Default)]
pub(crate) struct Live {
    watches: RefCell<HashMap<ConnectionId, Weak<Watch>>>,
}

impl Live {
    pub(crate) fn add(&self, core: &Rc<Core>, watch: &Rc<Watch>) {
        self.watches.borrow_mut().insert(watch.id, Rc::downgrade(watch));
        if watch.is_long_lived() {
            register(core, watch);
        }
        // What changed between the decision and now was told to others only.
        if let Some(end) = watch.ended_in(core, &core.snapshot(), core.now()) {
            cut_on_record(core, watch, end);
        }
        if core.stopping.get() {
            watch.cut(ConnectionEnd::ShuttingDown);
        }
    }

    /// Cuts every one of them.
    pub(crate) fn cut_all(&self, end: ConnectionEnd) {
        for watch in self.current() {
            watch.cut(end);
        }
    }

    /// Whether all of them are over.
    pub(crate) fn is_empty(&self) -> bool {
        self.current().is_empty()
    }

    /// Those that are not over; the others are forgotten.
    fn current(&self) -> Vec<Rc<Watch>> {
        let mut current = Vec::new();
        self.watches.borrow_mut().retain(|_, watch| match watch.upgrade() {
            Some(watch) if !watch.is_over() => {
                current.push(watch);
                true
            }
            Some(_) | None => false,
        });
        current
    }
}

/// Watches all connections of a core, for as long as the core runs.
pub(crate) async fn watch_all(core: Rc<Core>) {
    let mut feed = core.parts.feed.changes();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    snapshot_moved(&core);
    loop {
        tokio::select! {
            moved = feed.changed() => {
                if moved.is_ok() {
                    snapshot_moved(&core);
                } else {
                    // The feed is gone; what is open still ends by the clock.
                    ticks.tick().await;
                    time_moved(&core);
                }
            }
            _ = ticks.tick() => time_moved(&core),
        }
    }
}

fn snapshot_moved(core: &Rc<Core>) {
    let (snapshot, now) = (core.snapshot(), core.now());
    for watch in core.live.current() {
        if let Some(end) = watch.ended_in(core, &snapshot, now) {
            // INVARIANT: whoever waits for the end of what is cut here finds it registered.
            cut_on_record(core, &watch, end);
        }
    }
    core.parts.connections.looked(core.number, snapshot.version());
}

fn time_moved(core: &Rc<Core>) {
    let (snapshot, now, instant) = (core.snapshot(), core.now(), Instant::now());
    for watch in core.live.current() {
        if let Some(since) = watch.cut_since() {
            if instant.duration_since(since) > PATIENCE {
                watch.peer.abort();
            }
            continue;
        }
        watch.look();
        if instant.duration_since(watch.started) >= YOUNG {
            register(core, &watch);
            watch.standing.borrow().tell_late(watch.id, instant);
        }
        if watch.lost_its_certificate(now) {
            watch.cut(ConnectionEnd::SignInEnded);
            continue;
        }
        let end = {
            let mut standing = watch.standing.borrow_mut();
            let timed_out = standing.timed_out(&snapshot, now, instant);
            timed_out.or_else(|| standing.denied_by_time(core, &snapshot, now))
        };
        let end = end.or_else(|| watch.is_idle(instant).then_some(ConnectionEnd::Idle));
        if let Some(end) = end {
            watch.cut(end);
        }
    }
    core.peers.abort_slow(instant, &core.config.bounds);
    core.upstreams.forget_idle(instant);
    crate::record::counted(core, false);
}

/// Cuts a connection, however young it is, so that its end is on record.
pub(crate) fn cut_on_record(core: &Rc<Core>, watch: &Rc<Watch>, end: ConnectionEnd) {
    register(core, watch);
    watch.cut(end);
}

/// Shows a connection to others, once, and closes it when they ask for it.
fn register(core: &Rc<Core>, watch: &Rc<Watch>) {
    if watch.registered.replace(true) {
        return;
    }
    core.metrics.watched(1);
    watch.standing.borrow().told(watch.id);
    let (core, watch) = (Rc::clone(core), Rc::clone(watch));
    let mut registered = core.parts.connections.opened(watch.info());
    tokio::task::spawn_local(async move {
        tokio::select! {
            () = registered.close_requested() => watch.cut(ConnectionEnd::Closed),
            _ = watch.until_over() => {}
        }
        let (why, up, down) = watch.until_over().await;
        let met = watch.standing.borrow().met();
        if !met.is_empty() {
            registered.met(met);
        }
        if let Some(policies) = watch.deniers() {
            registered.denied_by(&policies);
        }
        registered.ended(why, up, down);
        core.metrics.watched(-1);
    });
}
