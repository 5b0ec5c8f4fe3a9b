//! Emergencies by sealed credential: who asks is known without asking anybody, and what it opens is a
//! grant that no snapshot has.
//!
//! The policies of the bundle decide as always, with that one grant: the head of its rule, and every
//! forbid that does not let emergencies pass. What was opened is on stable storage in a log that only
//! control reads before anything is forwarded; so is every request, where the record cannot be written.

use std::{rc::Rc, sync::Arc};

use jiff::Timestamp;
use portcullis_identity::{
    AuthError, Authenticated,
    sealed::{self, Opened},
};
use portcullis_model::{Refusal, TokenKind, refusal::Unavailable};
use portcullis_policy::Snapshot;

use crate::{core::Core, exchange::Exchange, ports::RecordBroken, record};

const NONE_HERE: Refusal = Refusal::BadCredentials("this gate accepts no sealed credentials");
const REVOKED: Refusal = Refusal::BadCredentials("the sealed credential is revoked");

/// Whether somebody opened a sealed credential.
pub(crate) fn is_one(token: &str) -> bool {
    token.starts_with(TokenKind::Sealed.prefix())
}

/// Who presents `token`; from here on, the exchange sees the grant that it comes to.
pub(crate) async fn authenticate(
    exchange: &mut Exchange,
    token: &str,
) -> Result<Arc<Authenticated>, Refusal> {
    let uses = exchange.core.parts.sealed.clone().ok_or(NONE_HERE)?;
    let now = exchange.now;
    let snapshot = Rc::clone(&exchange.snapshot);
    let known = |id: &_| snapshot.principal(id).cloned();
    let judged_at = uses.judged_at(now);
    let found = sealed::authenticate(uses.key(), token, known, judged_at);
    let (who, opened) = found.map_err(|error| match error {
        AuthError::Bad(why) => Refusal::BadCredentials(why),
        AuthError::Missing | AuthError::IssuerUnavailable(_) | AuthError::Busy(_) => {
            Refusal::BadCredentials("the sealed credential cannot be read")
        }
    })?;
    if is_revoked(&exchange.core, &snapshot, &opened) {
        return Err(REVOKED);
    }
    let written = uses.opened(token, &opened, exchange.peer.ip).await;
    written.map_err(|RecordBroken| Refusal::Unavailable(Unavailable::Record))?;
    exchange.snapshot = Rc::new(over(&snapshot, &opened, now));
    exchange.sealed = Some(opened);
    Ok(Arc::new(who))
}

/// Whether it is revoked, by the newest snapshot or by what this gate has on disk.
pub(crate) fn is_revoked(core: &Core, snapshot: &Snapshot, opened: &Opened) -> bool {
    let id = opened.terms.id;
    let on_disk = core.parts.sealed.as_ref().is_none_or(|uses| uses.is_revoked(id));
    on_disk || snapshot.is_sealed_revoked(id)
}

/// `snapshot` with the grant that was opened. Control may have it already.
pub(crate) fn over(snapshot: &Snapshot, opened: &Opened, now: Timestamp) -> Snapshot {
    let snapshot = snapshot.clone();
    if snapshot.grant(opened.grant.id).is_some() {
        return snapshot;
    }
    snapshot.with_grant(Arc::clone(&opened.grant), now)
}

/// The record cannot be written.
///
/// INVARIANT: this is the only way in which anything is forwarded then, and it takes a sealed
/// credential and stable storage of another kind.
pub(crate) async fn instead_of_record(exchange: &Exchange) -> Result<(), Refusal> {
    let broken = Refusal::Unavailable(Unavailable::Record);
    let (Some(opened), Some(uses)) = (&exchange.sealed, &exchange.core.parts.sealed) else {
        return Err(broken);
    };
    let attempt = record::as_text(exchange).ok_or(Refusal::Unavailable(Unavailable::Record))?;
    uses.request(opened, attempt).await.map_err(|RecordBroken| broken)
}
