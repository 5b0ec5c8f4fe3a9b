//! A provider vouches for somebody: they become a principal, a person, and a control sign-in.

use std::sync::Arc;

use jiff::SignedDuration;
use portcullis_model::{
    Audience, Held, PersonId, Principal, PrincipalId, PrincipalKind, Secret, SignIn, SignInId,
    TokenKind,
};
use portcullis_store::{Change, Person};

use super::{recheck, sign_in};
use crate::{
    OpContext,
    core::Core,
    people,
    ports::{PeopleProvider, VerifiedPerson},
    publisher::Effect,
    settle::{Settlement, Unsettled},
};

/// Somebody who is about to be signed in.
#[derive(Debug)]
pub(crate) struct Entering<'a> {
    pub(crate) provider: &'a dyn PeopleProvider,
    pub(crate) claims: &'a VerifiedPerson,
    /// What makes sure that it happens once.
    pub(crate) guard: Change,
    pub(crate) held: Held,
}

/// Signs them in. A conflict means that the guard does not hold.
pub(crate) async fn enter(
    core: &Arc<Core>,
    op: &OpContext,
    entering: &Entering<'_>,
) -> Result<(Secret, SignIn), Unsettled> {
    let (provider, claims) = (entering.provider, entering.claims);
    let id = PrincipalId::new(PrincipalKind::User, provider.name(), &claims.subject);
    // Two new principals of one person may sign in at the same moment: whoever comes second finds
    // the person that the first one added.
    for _ in 0..4 {
        let linked = people::linked(core, &id, claims, op.now()).await;
        let (person, add) = linked.map_err(Unsettled::Failed)?;
        let principal = people::principal(id.clone(), person, provider.name(), claims);
        let token = TokenKind::SignIn.issue(core.entropy.as_ref());
        let made = control_sign_in(core, op, &principal, person, entering);
        let settlement = settlement(core, op, entering, add, principal, &token, &made);
        match core.settle(settlement.map_err(Unsettled::Failed)?).await {
            Ok(()) => return Ok((token, made)),
            Err(Unsettled::Conflict) => {}
            Err(failed @ Unsettled::Failed(_)) => return Err(failed),
        }
    }
    Err(Unsettled::Conflict)
}

fn control_sign_in(
    core: &Core,
    op: &OpContext,
    principal: &Principal,
    person: PersonId,
    entering: &Entering<'_>,
) -> SignIn {
    let claims = entering.claims;
    let lives = core.settings.control_sign_in.signed();
    // Where the provider cannot be asked again, the person has to be.
    let asked_again = entering.provider.recheck().filter(|_| claims.renewal.is_none());
    let asked_again = asked_again.and_then(|every| SignedDuration::try_from(every).ok());
    SignIn {
        id: SignInId::new(op.now(), core.entropy.as_ref()),
        audience: Audience::Control,
        principal: principal.id.clone(),
        person: Some(person),
        // A provider whose clock is ahead does not make an authentication younger than now.
        authenticated_at: claims.auth_time.unwrap_or(op.now()).min(op.now()),
        created_at: op.now(),
        expires_at: op.now() + asked_again.map_or(lives, |every| every.min(lives)),
        parent: None,
        service: None,
        held: entering.held.clone(),
        provider_session: claims.session.clone(),
        run: None,
    }
}

fn settlement(
    core: &Core,
    op: &OpContext,
    entering: &Entering<'_>,
    add: Option<Person>,
    principal: Principal,
    token: &Secret,
    made: &SignIn,
) -> Result<Settlement, crate::ControlError> {
    let mut settlement = Settlement::default();
    settlement.changes.push(entering.guard.clone());
    settlement.changes.extend(add.map(Change::AddPerson));
    let seen = Change::SeePrincipal { principal: principal.clone(), at: op.now() };
    settlement.changes.push(seen);
    settlement.once_recorded.push(Effect::Principal(principal));
    sign_in::add(core, op, token, made, &mut settlement);
    if let (Some(every), Some(renewal)) = (entering.provider.recheck(), &entering.claims.renewal) {
        let about = recheck::About { sign_in: made.id, provider: entering.provider.name() };
        recheck::keep(core, &about, renewal, op.now(), every, &mut settlement)?;
    }
    Ok(settlement)
}
