//! Sealed credentials: one person proposes, another agrees, either revokes.
//!
//! What two people agreed to is signed by the sealing key and good without anybody else until it ends
//! or is revoked. The private key was never here.

use std::sync::Arc;

use jiff::SignedDuration;
use portcullis_model::{
    Event, EventType, Grant, GrantEnd, GrantKind, PersonId, Principal, PrincipalId, PrincipalKind,
    SealedCredential, SealedId, SealedState, SealedTerms, Window, sealed::InvalidSealing,
};
use portcullis_policy::{ControlAction, ControlContext, ControlResource, Subject};
use portcullis_store::{Change, SealedChange};

use super::{grants, text};
use crate::{
    ControlError, OpContext,
    core::Core,
    publisher::Effect,
    rights,
    sealing::{ProposeSealed, Sealing},
    settle::{Settlement, Unsettled},
};

/// Nobody remembers a passphrase for longer, nor who has it.
const LONGEST: Window = Window::minutes(180 * 24 * 60);
const PUBLIC_KEY: usize = 32;
const NOT_FOUND: ControlError = ControlError::NotFound("the sealed credential");

type Result<T> = std::result::Result<T, ControlError>;

pub(crate) async fn list(core: &Core, op: &OpContext) -> Result<Vec<SealedCredential>> {
    rights::caller(op)?;
    let all = core.store.sealed_credentials().await?;
    Ok(all.into_iter().filter(|credential| sees(core, op, credential)).collect())
}

pub(crate) async fn one(core: &Core, op: &OpContext, id: SealedId) -> Result<SealedCredential> {
    rights::caller(op)?;
    let found = core.store.sealed_credential(id).await?.ok_or(NOT_FOUND)?;
    if sees(core, op, &found) { Ok(found) } else { Err(NOT_FOUND) }
}

/// Its holder, whoever may make or end some of its service, and auditors.
fn sees(core: &Core, op: &OpContext, credential: &SealedCredential) -> bool {
    let snapshot = core.snapshot();
    let may = |action| rights::may_on_service(&snapshot, op, action, &credential.service);
    op.caller().is_some_and(|caller| caller.principal().id == credential.holder)
        || may(ControlAction::SealCredential)
        || may(ControlAction::Revoke)
        || rights::may_view_audit(&snapshot, op)
}

pub(crate) async fn propose(
    core: &Arc<Core>,
    op: &OpContext,
    wanted: ProposeSealed,
) -> Result<SealedCredential> {
    sealing(core)?;
    let (by, person) = sealer(core, op, &wanted.service)?;
    let purpose = text::checked("purpose", &wanted.purpose)?;
    if wanted.public_key.as_ref().len() != PUBLIC_KEY {
        let message = "is no Ed25519 public key".to_owned();
        return Err(ControlError::Invalid { field: "public_key", message });
    }
    if wanted.valid_for > LONGEST {
        let message = format!("`{}` is longer than 180 days", wanted.valid_for);
        return Err(ControlError::Invalid { field: "valid_for", message });
    }
    let proposed = SealedCredential {
        id: SealedId::new(op.now(), core.entropy.as_ref()),
        service: wanted.service,
        rule: wanted.rule,
        holder: wanted.holder.clone(),
        holder_name: String::new(),
        window: wanted.window.unwrap_or(Window::minutes(60)),
        valid_for: wanted.valid_for,
        public_key: wanted.public_key,
        purpose,
        proposed_by: by,
        proposer: person,
        proposed_at: op.now(),
        state: SealedState::Proposed,
    };
    let (holder, longest) = usable(core, &proposed)?;
    if wanted.window.is_some_and(|window| window > longest) {
        let message = format!("the rule opens for {longest} at most");
        return Err(ControlError::Invalid { field: "window", message });
    }
    let window = proposed.window.min(longest);
    let proposed = SealedCredential { window, holder_name: holder.name.clone(), ..proposed };
    let event = event(core, op, EventType::SealedProposed, &proposed);
    let change = SealedChange::Propose(proposed.clone());
    let changes = vec![Change::Sealed(Box::new(change)), Change::Record(event)];
    match core.settle(Settlement { changes, ..Settlement::default() }).await {
        Ok(()) => Ok(proposed),
        Err(Unsettled::Conflict) => Err(ControlError::Limited {
            message: format!("there are {} sealed credentials; revoke some", SealedChange::MOST),
            retry_after: 3600,
        }),
        Err(Unsettled::Failed(error)) => Err(error),
    }
}

/// The second person agrees: it is signed, and good from now on.
pub(crate) async fn agree(
    core: &Arc<Core>,
    op: &OpContext,
    id: SealedId,
) -> Result<SealedCredential> {
    let sealing = sealing(core)?;
    let proposed = one(core, op, id).await?;
    let (by, person) = sealer(core, op, &proposed.service)?;
    proposed.sealable_by(person).map_err(|error| invalid(&error))?;
    // INVARIANT: two distinct people, each with the right at this moment.
    if is_same_person(core, op, &proposed) {
        return Err(invalid(&InvalidSealing::SamePerson));
    }
    if !may_still(core, op, &proposed) {
        let why = "who proposed it may not seal any more; revoke it, and propose it anew";
        return Err(ControlError::Conflict(why.into()));
    }
    let (holder, longest) = usable(core, &proposed)?;
    let terms = SealedTerms {
        id,
        service: proposed.service.clone(),
        rule: proposed.rule.clone(),
        holder: Principal::clone(&holder),
        window: proposed.window.min(longest),
        not_before: op.now() - SignedDuration::from_secs(30),
        expires_at: op.now() + proposed.valid_for.signed(),
        public_key: proposed.public_key.clone(),
        proposed_by: proposed.proposed_by.clone(),
        sealed_by: by.clone(),
    };
    let signed = sealing.key.seal(&terms);
    let signed = signed.map_err(|error| ControlError::Conflict(error.to_string()))?;
    let sealed = proposed.seal(by, person, op.now(), signed).map_err(|error| invalid(&error))?;
    let event = event(core, op, EventType::SealedAgreed, &sealed);
    let change = SealedChange::Move { credential: sealed.clone(), seen_state: "proposed" };
    let changes = vec![Change::Sealed(Box::new(change)), Change::Record(event)];
    core.settle(Settlement { changes, ..Settlement::default() }).await?;
    Ok(sealed)
}

pub(crate) async fn revoke(
    core: &Arc<Core>,
    op: &OpContext,
    id: SealedId,
    why: &str,
) -> Result<SealedCredential> {
    let why = text::checked("why", why)?;
    let snapshot = core.snapshot();
    let seen = one(core, op, id).await?;
    let may = |action| rights::may_on_service(&snapshot, op, action, &seen.service);
    let holds = rights::caller(op)?.id == seen.holder;
    if !holds && !may(ControlAction::SealCredential) && !may(ControlAction::Revoke) {
        let service = &seen.service;
        let why = format!("no policy lets you revoke sealed credentials of `{service}`");
        return Err(ControlError::Denied(why));
    }
    loop {
        let seen = core.store.sealed_credential(id).await?.ok_or(NOT_FOUND)?;
        let mut settlement = Settlement::default();
        let by = Some(rights::caller(op)?.id.clone());
        let revoked = revoked(core, op, seen, by, &why, &mut settlement);
        let revoked = revoked.map_err(|error| invalid(&error))?;
        match core.settle(settlement).await {
            Ok(()) => {
                end_grants(core, op, id).await?;
                return Ok(revoked);
            }
            Err(Unsettled::Conflict) => {}
            Err(Unsettled::Failed(error)) => return Err(error),
        }
    }
}

/// What came of it and is in force ends with it.
async fn end_grants(core: &Arc<Core>, op: &OpContext, id: SealedId) -> Result<()> {
    for grant in core.publisher.grants() {
        let is_one = grant.kind == GrantKind::Emergency
            && core.store.sealed_credential_of(grant.id).await? == Some(id);
        if !is_one {
            continue;
        }
        match grants::end_grant(core, op, grant.id, GrantEnd::Revoked).await {
            Ok(_) | Err(ControlError::Conflict(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A grant is ended by hand: what opened it, if it was a sealed credential, opens nothing more.
pub(crate) async fn end_with(
    core: &Core,
    op: &OpContext,
    grant: &Grant,
    into: &mut Settlement,
) -> Result<()> {
    if grant.kind != GrantKind::Emergency {
        return Ok(());
    }
    let Some(id) = core.store.sealed_credential_of(grant.id).await? else { return Ok(()) };
    let Some(seen) = core.store.sealed_credential(id).await? else { return Ok(()) };
    let by = op.caller().map(|caller| caller.principal().id.clone());
    let why = "the grant that it opened was ended";
    // One that is revoked already stays so.
    let _ = revoked(core, op, seen, by, why, into);
    Ok(())
}

/// Whoever is gone opens nothing.
pub(crate) async fn end_of_holder(
    core: &Core,
    op: &OpContext,
    holder: &PrincipalId,
    why: &str,
    into: &mut Settlement,
) -> Result<()> {
    for seen in core.store.sealed_credentials().await? {
        if seen.holder == *holder {
            let _ = revoked(core, op, seen, None, why, into);
        }
    }
    Ok(())
}

fn revoked(
    core: &Core,
    op: &OpContext,
    seen: SealedCredential,
    by: Option<PrincipalId>,
    why: &str,
    into: &mut Settlement,
) -> std::result::Result<SealedCredential, InvalidSealing> {
    let seen_state = seen.state.as_str();
    let revoked = seen.revoke(op.now(), by, why.to_owned())?;
    let mut event = event(core, op, EventType::SealedRevoked, &revoked);
    event.detail = Some(format!("sealed credential {}: {why}", revoked.id));
    let change = SealedChange::Move { credential: revoked.clone(), seen_state };
    into.changes.extend([Change::Sealed(Box::new(change)), Change::Record(event)]);
    into.at_once.push(Effect::SealedRevoked(revoked.id));
    Ok(revoked)
}

fn sealing(core: &Core) -> Result<&Sealing> {
    core.settings.sealing.as_ref().ok_or_else(|| {
        let why = "sealed credentials are not configured here; that takes `sealed: {directory: …}`";
        ControlError::Conflict(why.into())
    })
}

/// The caller, who may seal credentials of `service`.
fn sealer(
    core: &Core,
    op: &OpContext,
    service: &portcullis_model::ServiceName,
) -> Result<(PrincipalId, PersonId)> {
    let caller = rights::caller(op)?;
    let snapshot = core.snapshot();
    if !rights::may_on_service(&snapshot, op, ControlAction::SealCredential, service) {
        let why = format!(
            "no policy lets you seal credentials of `{service}`; that takes `sealCredential`"
        );
        return Err(ControlError::Denied(why));
    }
    let nobody = "you are known as a principal, but not as a person";
    let person = caller.person.ok_or_else(|| ControlError::Denied(nobody.into()))?;
    Ok((caller.id.clone(), person))
}

/// Whether the caller is who proposed it, under whatever name, as they are known now.
fn is_same_person(core: &Core, op: &OpContext, proposed: &SealedCredential) -> bool {
    let snapshot = core.snapshot();
    let since = snapshot.principal(&proposed.proposed_by).and_then(|known| known.person);
    op.caller().is_some_and(|caller| {
        let caller = caller.principal();
        caller.same_as(&proposed.proposed_by, Some(proposed.proposer))
            || since.is_some() && since == caller.person
    })
}

fn may_still(core: &Core, op: &OpContext, proposed: &SealedCredential) -> bool {
    let snapshot = core.snapshot();
    let Some(who) = snapshot.principal(&proposed.proposed_by) else { return false };
    let since = core.authenticated_at(&proposed.proposed_by).unwrap_or(proposed.proposed_at);
    let at = ControlContext {
        now: op.now(),
        source: None,
        auth_method: "sign_in",
        auth_age: op.now().duration_since(since),
    };
    let (action, on) = (ControlAction::SealCredential, ControlResource::Service(&proposed.service));
    let subject = Subject::new(Arc::clone(who));
    !core.publisher.bars(who) && snapshot.allows(&subject, action, on, &at).allowed
}

/// Whether it could open anything to its holder as policies are now: the holder, and for how long.
fn usable(core: &Core, credential: &SealedCredential) -> Result<(Arc<Principal>, Window)> {
    let snapshot = core.snapshot();
    let bundle = snapshot.bundle();
    let (service, rule) = (&credential.service, &credential.rule);
    let invalid = |field, message| ControlError::Invalid { field, message };
    bundle.catalog().service(service).ok_or(ControlError::NotFound("the service"))?;
    let longest = bundle.longest_emergency(rule, service).ok_or_else(|| {
        invalid("rule", format!("`{rule}` is no emergency rule for anything of `{service}`"))
    })?;
    let holder = snapshot
        .principal(&credential.holder)
        .filter(|holder| holder.id.kind == PrincipalKind::User && !core.publisher.bars(holder));
    let holder = holder.ok_or_else(|| {
        let message = "is nobody who has signed in here and may; write it like corp:ana".to_owned();
        invalid("holder", message)
    })?;
    if !bundle.admits(rule, &Subject::new(Arc::clone(holder))) {
        let message = format!("rule `{rule}` is not for {}", credential.holder);
        return Err(invalid("holder", message));
    }
    Ok((Arc::clone(holder), longest))
}

fn invalid(error: &InvalidSealing) -> ControlError {
    match error {
        InvalidSealing::SamePerson => ControlError::Denied(error.to_string()),
        InvalidSealing::NotProposed(_) | InvalidSealing::Revoked => {
            ControlError::Conflict(error.to_string())
        }
    }
}

fn event(core: &Core, op: &OpContext, kind: EventType, credential: &SealedCredential) -> Event {
    let mut event = core.event(op, kind);
    event.service = Some(credential.service.clone());
    event.policies = vec![credential.rule.clone()];
    let (id, holder, window) = (credential.id, &credential.holder, credential.window);
    let purpose = &credential.purpose;
    event.detail =
        Some(format!("sealed credential {id} for {holder}, {window} each time: {purpose}"));
    event
}
