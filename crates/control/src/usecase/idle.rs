//! What nobody uses ends before its time: browsers' sign-ins, and grants whose rule says `@idle`.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{Grant, GrantEnd, GrantId, SignIn, SignInEnd, SignInId};
use portcullis_store::Change;

use super::{grants, sign_in};
use crate::{ControlError, OpContext, core::Core, expiry::Ending, settle::Settlement};

/// Uses are noted this often, and no more.
const EVERY: SignedDuration = SignedDuration::from_secs(60);

/// When things were last used.
#[derive(Debug)]
pub(crate) struct Seen<K>(Mutex<HashMap<K, Timestamp>>);

impl<K> Default for Seen<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Copy + Eq + Hash> Seen<K> {
    pub(crate) fn note(&self, id: K, at: Timestamp) {
        self.lock().insert(id, at);
    }

    /// Notes a use; whether it is long enough after the last one to be stored.
    fn again(&self, id: K, now: Timestamp, every: SignedDuration) -> bool {
        let mut seen = self.lock();
        let before = seen.get(&id).copied();
        let due = before.is_none_or(|before| now.duration_since(before) >= every);
        if due {
            seen.insert(id, now);
        }
        due
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Timestamp>> {
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

/// `grant` was used. Each use is noted, and stored a few times within the span that the grant may lie
/// unused.
pub(crate) fn used(core: &Arc<Core>, id: GrantId) {
    let Some(idle) = core.publisher.grant(id).and_then(|grant| grant.idle) else { return };
    let now = core.now();
    core.grants_used.note(id, now);
    if !core.grants_stored.again(id, now, EVERY.min(idle.signed() / 4)) {
        return;
    }
    let core = Arc::clone(core);
    tokio::spawn(async move {
        let changes = vec![Change::SeeGrant { id, at: now }];
        if core.settle(Settlement { changes, ..Settlement::default() }).await.is_err() {
            tracing::warn!(grant = %id, "the use of a grant could not be stored");
        }
    });
}

/// When `grant` has to be looked at, if it ends unused.
pub(crate) fn unused(grant: &Grant, now: Timestamp) -> Option<(Timestamp, Ending)> {
    grant.idle.map(|idle| (now + idle.signed(), Ending::Unused(grant.id)))
}

/// It may not have been used for too long.
pub(crate) async fn unused_for_long(
    core: &Arc<Core>,
    op: &OpContext,
    id: GrantId,
) -> Result<(), ControlError> {
    let Some(grant) = core.publisher.grant(id) else {
        forget(core, id);
        return Ok(());
    };
    let Some(idle) = grant.idle else { return Ok(()) };
    // A stream that is open is a use, however little is said on it.
    if core.connections.all().iter().any(|live| live.hangs_on(id)) {
        core.grants_used.note(id, op.now());
    }
    let used_at = core.grants_used.lock().get(&id).copied().unwrap_or(grant.starts_at);
    let end = used_at.max(grant.starts_at) + idle.signed();
    if op.now() < end {
        core.deadlines.add([(end, Ending::Unused(id))]);
        return Ok(());
    }
    grants::end_grant(core, op, id, GrantEnd::Idle).await?;
    forget(core, id);
    Ok(())
}

fn forget(core: &Core, id: GrantId) {
    core.grants_used.lock().remove(&id);
    core.grants_stored.lock().remove(&id);
}
