//! Ends what has reached its time: sleeps until the next end, not from tick to tick.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{AccessRequestId, GrantId, NoticeId, SignInEnd, SignInId};
use portcullis_store::Change;
use tokio::sync::Notify;

use crate::{
    ControlError, OpContext,
    core::Core,
    settle::{Settlement, Unsettled},
    usecase,
};

/// The wall clock may be set while we sleep; it is looked at again at least this often.
const LONGEST_SLEEP: Duration = Duration::from_millis(250);
/// After an end that could not be made.
const RETRY: SignedDuration = SignedDuration::from_secs(1);
const REFUSALS_LIVE: SignedDuration = SignedDuration::from_hours(1);

/// What ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    Grant(GrantId),
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
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    queue: Mutex<BTreeSet<(Timestamp, Ending)>>,
    changed: Notify,
}

impl Deadlines {
    pub(crate) fn add(&self, deadlines: impl IntoIterator<Item = (Timestamp, Ending)>) {
        let mut queue = self.queue();
        let before = queue.first().copied();
        queue.extend(deadlines);
        if queue.first().copied() != before {
            self.changed.notify_one();
        }
    }

    fn due(&self, now: Timestamp) -> Option<Ending> {
        let mut queue = self.queue();
        let first = queue.first().copied().filter(|(at, _)| *at <= now)?;
        queue.remove(&first);
        Some(first.1)
    }

    async fn sleep(&self, now: Timestamp) {
        let next = self.queue().first().map(|(at, _)| at.duration_since(now));
        let until = next.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or(LONGEST_SLEEP);
        tokio::select! {
            () = tokio::time::sleep(until.min(LONGEST_SLEEP)) => {}
            () = self.changed.notified() => {}
        }
    }

    fn queue(&self) -> MutexGuard<'_, BTreeSet<(Timestamp, Ending)>> {
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
        Ending::Grant(id) => usecase::grants::expire(core, &op, id).await,
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

/// When leftovers have to be looked at for something that is made at `now` and lives until `end`.
pub(crate) fn leftover(end: Timestamp) -> (Timestamp, Ending) {
    (end, Ending::Leftovers)
}

/// When a refusal that happened at `time` is forgotten.
pub(crate) fn refusal_end(time: Timestamp) -> Timestamp {
    time + REFUSALS_LIVE
}
