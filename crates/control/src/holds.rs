//! Who waits at the gate for which access request.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use portcullis_model::{AccessRequestId, AccessRequestState};
use portcullis_store::Change;
use tokio::sync::watch;

use crate::ports::HoldAnswer;

/// Access requests that somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct Holds(Mutex<HashMap<AccessRequestId, Hold>>);

#[derive(Debug)]
struct Hold {
    answer: watch::Sender<Option<HoldAnswer>>,
    waiting: usize,
    /// It was opened for one that waits, and is nobody's when the last of them leaves.
    own: bool,
    /// What people see of the body of what waits, sealed, and nowhere else: it is gone when nobody waits.
    body: Option<String>,
}

impl Holds {
    /// What waits for `id` has this body, sealed.
    pub(crate) fn show(&self, id: AccessRequestId, body: Option<String>) {
        if let Some(hold) = self.holds().get_mut(&id) {
            hold.body = body;
        }
    }

    /// The sealed body of what waits for `id`.
    pub(crate) fn body(&self, id: AccessRequestId) -> Option<String> {
        self.holds().get(&id)?.body.clone()
    }

    /// Those that somebody waits for, the newest first, at most so many.
    pub(crate) fn newest(&self, at_most: usize) -> Vec<AccessRequestId> {
        let mut all: Vec<_> = self.holds().keys().copied().collect();
        all.sort_unstable_by(|one, other| other.cmp(one));
        all.truncate(at_most);
        all
    }

    /// One more waits for `id`; `own` if the access request is opened for that.
    pub(crate) fn join(
        &self,
        id: AccessRequestId,
        own: bool,
    ) -> watch::Receiver<Option<HoldAnswer>> {
        let mut holds = self.holds();
        let hold = holds.entry(id).or_insert_with(|| Hold {
            answer: watch::Sender::new(None),
            waiting: 0,
            own: false,
            body: None,
        });
        hold.waiting += 1;
        hold.own |= own;
        hold.answer.subscribe()
    }

    /// One less. Whether it was the last, and the access request is nobody's now.
    pub(crate) fn leave(&self, id: AccessRequestId) -> bool {
        let mut holds = self.holds();
        let Some(hold) = holds.get_mut(&id) else { return false };
        hold.waiting = hold.waiting.saturating_sub(1);
        if hold.waiting > 0 {
            return false;
        }
        holds.remove(&id).is_some_and(|hold| hold.own)
    }

    /// Tells those who wait.
    pub(crate) fn tell(&self, ended: impl IntoIterator<Item = (AccessRequestId, HoldAnswer)>) {
        let holds = self.holds();
        for (id, answer) in ended {
            if let Some(hold) = holds.get(&id) {
                hold.answer.send_replace(Some(answer));
            }
        }
    }

    fn holds(&self) -> MutexGuard<'_, HashMap<AccessRequestId, Hold>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The access requests that `changes` end.
pub(crate) fn ended(changes: &[Change]) -> Vec<(AccessRequestId, HoldAnswer)> {
    let ends = changes.iter().filter_map(|change| match change {
        Change::MoveAccessRequest { request, .. } => Some((request.id, answer(&request.state)?)),
        _ => None,
    });
    ends.collect()
}

/// What a state is to those who wait; `None` while it is pending.
pub(crate) fn answer(state: &AccessRequestState) -> Option<HoldAnswer> {
    match state {
        AccessRequestState::Pending => None,
        AccessRequestState::Approved { .. } => Some(HoldAnswer::Approved),
        AccessRequestState::Declined { why, .. } => Some(HoldAnswer::Declined(why.clone())),
        AccessRequestState::Withdrawn { .. } | AccessRequestState::Expired { .. } => {
            Some(HoldAnswer::Over)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_leaves_last_takes_it_back_if_it_was_opened_for_waiting() {
        let (holds, id) = (Holds::default(), AccessRequestId::from_bits(1));
        let first = holds.join(id, true);
        let second = holds.join(id, false);
        holds.tell([(id, HoldAnswer::Approved)]);
        for told in [&first, &second] {
            assert_eq!(*told.borrow(), Some(HoldAnswer::Approved));
        }
        assert!(!holds.leave(id), "somebody waits still");
        assert!(holds.leave(id));
        assert!(!holds.leave(id), "nobody waits");
        drop(holds.join(id, false));
        assert!(!holds.leave(id), "somebody asked for it by hand");
    }
}
