//! Ends what has reached its time: sleeps until the next end, not from tick to tick.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{AccessRequestId, Clock, Grant, GrantId, NoticeId, SignInEnd, SignInId};
use portcullis_store::Change;
use tokio::{sync::Notify, time::Instant};

use crate::{
    ControlError, OpContext,
    core::Core,
    settle::{Settlement, Unsettled},
    usecase,
};

/// The wall clock may be set while we sleep; it is looked at again at least this often.
const LONGEST_SLEEP: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_hours(366 * 24);
/// After an end that could not be made.
const RETRY: SignedDuration = SignedDuration::from_secs(1);
const REFUSALS_LIVE: SignedDuration = SignedDuration::from_hours(1);

/// What ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    /// A grant whose window is over at that time, unless that has moved since.
    Grant(GrantId, Timestamp),
    /// A grant that ends unused, unless somebody used it.
    Unused(GrantId),
    AccessRequest(AccessRequestId),
    /// Somebody is to be told of an access request.
    Notice(NoticeId),
    SignIn(SignInId),
    /// A browser's sign-in, unless somebody uses it.
    Idle(SignInId),
    /// What is known of somebody, unless their provider says it again.
    Recheck(SignInId),
    /// A run, unless it was heard of.
    Silence(SignInId),
    /// Refusals and device sign-ins that nobody needs any more.
    Leftovers,
}

/// What ends when. An entry of something that has ended already does nothing.
///
/// INVARIANT: a wall clock that is set back makes nothing live longer. Each end comes when the wall
/// clock says so, or when as much time has passed as there was left: whichever is first.
#[derive(Debug)]
pub(crate) struct Deadlines {
    clock: Arc<dyn Clock>,
    queue: Mutex<Queue>,
    changed: Notify,
}

/// The same entries twice, by either clock.
#[derive(Debug, Default)]
struct Queue {
    by_wall: BTreeMap<(Timestamp, Ending), Instant>,
    by_uptime: BTreeSet<(Instant, Timestamp, Ending)>,
}

impl Queue {
    fn add(&mut self, at: Timestamp, ending: Ending, by: Instant) {
        let by = match self.by_wall.get(&(at, ending)) {
            Some(earlier) if *earlier <= by => return,
            Some(later) => {
                self.by_uptime.remove(&(*later, at, ending));
                by
            }
            None => by,
        };
        self.by_wall.insert((at, ending), by);
        self.by_uptime.insert((by, at, ending));
    }

    fn due(&mut self, now: Timestamp, uptime: Instant) -> Option<Ending> {
        let by_wall = self.by_wall.first_key_value().filter(|((at, _), _)| *at <= now);
        let by_uptime = self.by_uptime.first().filter(|(by, ..)| *by <= uptime);
        let (by, at, ending) = match (by_wall, by_uptime) {
            (Some(((at, ending), by)), _) => (*by, *at, *ending),
            (None, Some(first)) => *first,
            (None, None) => return None,
        };
        self.by_wall.remove(&(at, ending));
        self.by_uptime.remove(&(by, at, ending));
        Some(ending)
    }

    /// How long there is nothing to do.
    fn rest(&self, now: Timestamp, uptime: Instant) -> Option<Duration> {
        let by_wall = self.by_wall.first_key_value().map(|((at, _), _)| left(*at, now));
        let by_uptime = self.by_uptime.first().map(|(by, ..)| by.duration_since(uptime));
        by_wall.into_iter().chain(by_uptime).min()
    }
}

/// Nothing, if it is over.
fn left(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}

impl Deadlines {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, queue: Mutex::default(), changed: Notify::new() }
    }

    pub(crate) fn add(&self, deadlines: impl IntoIterator<Item = (Timestamp, Ending)>) {
        let (now, uptime) = (self.clock.now(), Instant::now());
        let mut queue = self.queue();
        let before = queue.rest(now, uptime);
        for (at, ending) in deadlines {
            // What ends in a thousand years ends by the wall clock.
            let by = uptime.checked_add(left(at, now)).unwrap_or(uptime + LONGEST);
            queue.add(at, ending, by);
        }
        if queue.rest(now, uptime) != before {
            self.changed.notify_one();
        }
    }

    fn due(&self, now: Timestamp) -> Option<Ending> {
        self.queue().due(now, Instant::now())
    }

    async fn sleep(&self, now: Timestamp) {
        let rest = self.queue().rest(now, Instant::now()).unwrap_or(LONGEST_SLEEP);
        tokio::select! {
            () = tokio::time::sleep(rest.min(LONGEST_SLEEP)) => {}
            () = self.changed.notified() => {}
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The background task.
pub(crate) async fn run(core: Arc<Core>) {
    loop {
        let now = core.now();
        while let Some(ending) = core.deadlines.due(now) {
            if let Err(error) = end(&core, ending, now).await {
                tracing::error!(?ending, %error, "an end could not be made and is tried again");
                core.deadlines.add([(now + RETRY, ending)]);
            }
        }
        core.deadlines.sleep(core.now()).await;
    }
}

async fn end(core: &Arc<Core>, ending: Ending, now: Timestamp) -> Result<(), ControlError> {
    let op = OpContext::system("expiry", now);
    let ended = match ending {
        Ending::Grant(id, at) => usecase::grants::expire(core, &op, id, at).await,
        Ending::Unused(id) => usecase::idle::unused_for_long(core, &op, id).await,
        Ending::Notice(id) => {
            usecase::notices::due(core, id);
            Ok(())
        }
        Ending::AccessRequest(id) => usecase::access_requests::expire(core, &op, id).await,
        Ending::SignIn(id) => usecase::sign_in::end(core, &op, id, SignInEnd::Expired).await,
        Ending::Idle(id) => usecase::idle::due(core, &op, id).await,
        Ending::Recheck(id) => {
            usecase::recheck::due(core, id);
            Ok(())
        }
        Ending::Silence(id) => usecase::runs::silence(core, &op, id).await,
        Ending::Leftovers => forget(core, now).await,
    };
    match ended {
        // Somebody else ended it first.
        Err(ControlError::Conflict(_) | ControlError::NotFound(_)) => Ok(()),
        other => other,
    }
}

async fn forget(core: &Arc<Core>, now: Timestamp) -> Result<(), ControlError> {
    let changes = vec![Change::Forget { refusals_until: now - REFUSALS_LIVE, devices_until: now }];
    let settled = core.settle(Settlement { changes, ..Settlement::default() }).await;
    settled.map_err(Unsettled::into)
}

/// When the window of `grant` is over.
pub(crate) fn grant_end(grant: &Grant) -> (Timestamp, Ending) {
    (grant.expires_at, Ending::Grant(grant.id, grant.expires_at))
}

/// When leftovers have to be looked at for something that is made at `now` and lives until `end`.
pub(crate) fn leftover(end: Timestamp) -> (Timestamp, Ending) {
    (end, Ending::Leftovers)
}

/// When a refusal that happened at `time` is forgotten.
pub(crate) fn refusal_end(time: Timestamp) -> Timestamp {
    time + REFUSALS_LIVE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e32_an_end_comes_by_the_clock_that_is_first() {
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let (uptime, hour) = (Instant::now(), Duration::from_hours(1));
        let in_an_hour = now + SignedDuration::from_hours(1);
        let grant = Ending::Grant(GrantId::from_bits(1), in_an_hour);
        let queue = || {
            let mut queue = Queue::default();
            queue.add(in_an_hour, grant, uptime + hour);
            queue
        };
        let almost = uptime + Duration::from_secs(3_599);
        assert_eq!(queue().due(in_an_hour - SignedDuration::from_secs(1), almost), None);
        // Two hours ahead at once, or an hour back when the hour is over.
        assert_eq!(queue().due(in_an_hour + SignedDuration::from_hours(1), uptime), Some(grant));
        assert_eq!(queue().due(now, uptime + hour), Some(grant));
        assert_eq!(queue().rest(now - SignedDuration::from_hours(1), uptime), Some(hour));
        let mut queue = queue();
        queue.add(in_an_hour, grant, uptime + hour * 2);
        assert_eq!(queue.due(now, uptime + hour), Some(grant), "said twice, the earlier counts");
        assert_eq!(queue.due(in_an_hour, uptime + hour * 2), None, "it ends once");
    }
}
