//! Browsers' sign-ins that nobody uses end before their time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{SignIn, SignInEnd, SignInId};
use portcullis_store::Change;

use super::sign_in;
use crate::{ControlError, OpContext, core::Core, expiry::Ending, settle::Settlement};

/// Uses are noted this often, and no more.
const EVERY: SignedDuration = SignedDuration::from_secs(60);

/// When browsers' sign-ins were last used.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<HashMap<SignInId, Timestamp>>);

impl Seen {
    pub(crate) fn note(&self, id: SignInId, at: Timestamp) {
        self.lock().insert(id, at);
    }

    /// Notes a use; whether it is long enough after the last one to be stored.
    fn again(&self, id: SignInId, now: Timestamp, every: SignedDuration) -> bool {
        let mut seen = self.lock();
        let before = seen.get(&id).copied();
        let due = before.is_none_or(|before| now.duration_since(before) >= every);
        if due {
            seen.insert(id, now);
        }
        due
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SignInId, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A browser used `id`. What it was made from is used with it.
pub(crate) fn seen(core: &Arc<Core>, id: SignInId) {
    let Some(sign_in) = core.publisher.sign_in(id).filter(|known| known.held.by_browser()) else {
        return;
    };
    let now = core.now();
    // A short idle time, as tests have, is not noted in whole minutes.
    let every = EVERY.min(core.settings.idle.signed() / 4);
    let used = [Some(id), sign_in.parent].into_iter().flatten();
    let used: Vec<SignInId> = used.filter(|id| core.seen.again(*id, now, every)).collect();
    if used.is_empty() {
        return;
    }
    let core = Arc::clone(core);
    tokio::spawn(async move {
        let changes = used.into_iter().map(|id| Change::SeeSignIn { id, at: now }).collect();
        if core.settle(Settlement { changes, ..Settlement::default() }).await.is_err() {
            tracing::warn!("the use of a sign-in could not be stored");
        }
    });
}

/// When `sign_in` will have been idle for too long, if nobody uses it.
pub(crate) fn deadline(
    core: &Core,
    sign_in: &SignIn,
    seen_at: Timestamp,
) -> Option<(Timestamp, Ending)> {
    let held = sign_in.held.by_browser();
    held.then(|| (seen_at + core.settings.idle.signed(), Ending::Idle(sign_in.id)))
}

/// It may have been idle for too long.
pub(crate) async fn due(
    core: &Arc<Core>,
    op: &OpContext,
    id: SignInId,
) -> Result<(), ControlError> {
    let Some(sign_in) = core.publisher.sign_in(id) else {
        core.seen.lock().remove(&id);
        return Ok(());
    };
    // A stream that is open is a use, however little is said on it.
    let connected = core.connections.all().iter().any(|live| {
        live.sign_in.is_some_and(|used| used == id || core.publisher.is_child(used, id))
    });
    if connected {
        core.seen.note(id, op.now());
    }
    let seen_at = core.seen.lock().get(&id).copied().unwrap_or(sign_in.created_at);
    match deadline(core, &sign_in, seen_at) {
        Some((at, again)) if op.now() < at => {
            core.deadlines.add([(at, again)]);
            Ok(())
        }
        _ => {
            core.seen.lock().remove(&id);
            sign_in::end(core, op, id, SignInEnd::Idle).await
        }
    }
}
