//! The connections that one core keeps to one instance: those over HTTP/1.1 that rest, and those over HTTP/2, whatever
//! they carry.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use super::{
    Channel,
    lane::{Age, Line},
    shared::Shared,
};

/// A pooled connection that was idle for so long may have been closed meanwhile.
pub(super) const RESTED: Duration = Duration::from_secs(1);
/// Connections of either kind that one core keeps to one instance.
const KEPT: usize = 512;

/// Those of one core to one instance.
#[derive(Debug)]
pub(super) struct Pool {
    /// What was used last comes last.
    idle: RefCell<Vec<(Line, Instant)>>,
    /// The newest comes last.
    shared: RefCell<Vec<Shared>>,
    most_idle: usize,
    /// The time as it was told last: twice a second.
    now: Cell<Instant>,
}

impl Pool {
    /// For one of `cores`, where all of them may have so many `connections`: what one keeps, another cannot make.
    pub(super) fn new(connections: u32, cores: usize) -> Self {
        let part = usize::try_from(connections).unwrap_or(KEPT) / cores.max(1);
        Self {
            idle: RefCell::default(),
            shared: RefCell::default(),
            most_idle: part.clamp(1, KEPT),
            now: Cell::new(Instant::now()),
        }
    }

    /// The time as it was told last.
    pub(super) fn now(&self) -> Instant {
        self.now.get()
    }

    /// Swaps connections with `other`.
    pub(super) fn swap(&self, other: &Self) {
        self.idle.swap(&other.idle);
        self.shared.swap(&other.shared);
    }

    /// Keeps none any longer. What they carry goes on.
    pub(super) fn clear(&self) {
        self.idle.take();
        self.shared.take();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty() && self.shared.borrow().is_empty()
    }

    /// One that can carry a request.
    pub(super) fn pick(&self) -> Option<(Channel, Age)> {
        if let Some(shared) = self.pick_shared(None) {
            return Some(shared);
        }
        let mut idle = self.idle.borrow_mut();
        while let Some((line, since)) = idle.pop() {
            if line.sender.is_ready() && line.hangs_on.holds() {
                return Some((Channel::Http1(line), self.age(since)));
            }
        }
        None
    }

    /// One over HTTP/2 that has room, and was made `since` then.
    pub(super) fn pick_shared(&self, since: Option<Instant>) -> Option<(Channel, Age)> {
        let mut shared = self.shared.borrow_mut();
        if shared.is_empty() {
            return None;
        }
        shared.retain(Shared::holds);
        let is_new = |it: &&Shared| since.is_none_or(|since| it.made() >= since);
        // The newest first: whatever made it necessary, older ones come to rest, and are closed.
        let found = shared.iter().rev().filter(is_new).find(|it| it.has_room())?;
        let age = found.heard().map_or(Age::Fresh, |heard| self.age(heard));
        Some((Channel::Http2(found.stream()), age))
    }

    fn age(&self, since: Instant) -> Age {
        let rested = self.now.get().saturating_duration_since(since) >= RESTED;
        if rested { Age::Rested } else { Age::Busy }
    }

    /// Keeps a connection that has answered for the next request.
    pub(super) fn keep(&self, line: Line) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.most_idle && !line.sender.is_closed() {
            idle.push((line, self.now.get()));
        }
    }

    /// Keeps a new connection for others, too.
    pub(super) fn share(&self, new: Shared) {
        let mut shared = self.shared.borrow_mut();
        if shared.len() < KEPT {
            shared.push(new);
        }
    }

    /// Tells the time, and closes what has rested for too long.
    pub(super) fn forget(&self, now: Instant, most: Duration) {
        self.now.set(now);
        self.idle.borrow_mut().retain(|(line, since)| {
            !line.sender.is_closed() && now.saturating_duration_since(*since) < most
        });
        self.shared.borrow_mut().retain(|it| it.holds() && it.tell(now) < most);
    }

    /// Since when what has rested the longest does.
    pub(super) fn resting(&self) -> Option<Instant> {
        let idle = self.idle.borrow().first().map(|(_, since)| *since);
        let shared = self.shared.borrow().iter().filter_map(Shared::resting).min();
        idle.into_iter().chain(shared).min()
    }

    /// Closes what has rested the longest, if there is any, so that another connection can be made.
    pub(super) fn close_one(&self) -> bool {
        let Some(since) = self.resting() else { return false };
        let mut idle = self.idle.borrow_mut();
        if idle.first().is_some_and(|(_, it)| *it == since) {
            idle.remove(0).0.close();
            return true;
        }
        let mut shared = self.shared.borrow_mut();
        let at = shared.iter().position(|it| it.resting() == Some(since));
        at.map(|at| shared.remove(at).close()).is_some()
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
