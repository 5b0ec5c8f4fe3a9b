//! Which human being is behind a principal: by configuration, else by verified e-mail address, else
//! as before, else somebody new.

use std::sync::Arc;

use jiff::Timestamp;
use portcullis_model::{EventType, PersonId, Principal, PrincipalId};
use portcullis_store::{Change, Person};

use crate::{ControlError, OpContext, core::Core, ports::VerifiedPerson, settle::Settlement};

/// The person, and what has to be stored of them first; nobody whom the directory bars.
pub(crate) async fn linked(
    core: &Arc<Core>,
    id: &PrincipalId,
    claims: &VerifiedPerson,
    now: Timestamp,
) -> Result<(PersonId, Option<Person>), ControlError> {
    let (person, add) = found(core, id, claims, now).await?;
    if core.publisher.bars(&principal(id.clone(), person, "", claims)) {
        let why = "this account is deactivated in the directory";
        let mut event = core.event(&OpContext::system("sign-in", now), EventType::SignInRefused);
        event.principal = Some(id.clone());
        event.decision = Some("deactivated".into());
        event.detail = Some(why.into());
        let changes = vec![Change::Record(event)];
        core.settle(Settlement { changes, ..Settlement::default() }).await?;
        return Err(ControlError::Denied(why.into()));
    }
    Ok((person, add))
}

async fn found(
    core: &Core,
    id: &PrincipalId,
    claims: &VerifiedPerson,
    now: Timestamp,
) -> Result<(PersonId, Option<Person>), ControlError> {
    let email = verified_email(claims);
    if let Some(person) = configured(core, id).await? {
        return Ok((person, None));
    }
    if let Some(email) = &email
        && let Some(person) = core.store.person_by_email(email).await?
    {
        return Ok((person, None));
    }
    let known = core.store.person_of(id).await?;
    if let (Some(person), None) = (known, &email) {
        return Ok((person, None));
    }
    let person = known.unwrap_or_else(|| PersonId::new(now, core.entropy.as_ref()));
    Ok((person, Some(Person { id: person, email })))
}

/// Somebody whom configuration says to be the same person, if they have been seen.
async fn configured(core: &Core, id: &PrincipalId) -> Result<Option<PersonId>, ControlError> {
    let set = core.settings.people.iter().find(|set| set.contains(id));
    for other in set.into_iter().flatten() {
        if let Some(person) = core.store.person_of(other).await? {
            return Ok(Some(person));
        }
    }
    Ok(None)
}

/// Only what the provider has verified links anybody. ASCII letters are folded and nothing else:
/// addresses that merely look alike stay different.
fn verified_email(claims: &VerifiedPerson) -> Option<String> {
    let verified = claims.email.as_deref().filter(|_| claims.email_verified);
    verified.map(|email| email.trim().to_ascii_lowercase()).filter(|email| !email.is_empty())
}

pub(crate) fn principal(
    id: PrincipalId,
    person: PersonId,
    issuer: &str,
    claims: &VerifiedPerson,
) -> Principal {
    let email = verified_email(claims);
    let printable = |name: &String| !name.trim().is_empty() && !name.chars().any(char::is_control);
    let name = claims.name.clone().filter(printable).or_else(|| email.clone());
    Principal {
        name: name.unwrap_or_else(|| claims.subject.clone()),
        id,
        person: Some(person),
        email,
        groups: claims.groups.clone(),
        amr: claims.amr.clone(),
        issuer: issuer.to_owned(),
        claims: claims.claims.clone(),
    }
}
