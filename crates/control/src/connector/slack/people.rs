//! Whose an account in Slack is, and which account is somebody's.
//!
//! By what an identity provider says and has verified, never by what somebody calls themselves. Two
//! whom it would fit are nobody. What is known of somebody must be as fresh as on every other way in:
//! they are signed in here, or the directory keeps them.

use std::sync::Arc;

use portcullis_model::{AttributeValue, Principal, PrincipalKind};

use super::{Link, Member, MemberKey, NotTaken, Slack};
use crate::core::Core;

/// Who has the account `id`, or why nobody may act by it.
pub(super) async fn principal(
    core: &Core,
    slack: &Slack,
    id: &str,
) -> Result<Arc<Principal>, String> {
    let (_, everybody) = core.publisher.principals();
    let at_provider = |one: &Arc<Principal>| {
        one.id.kind == PrincipalKind::User && one.id.issuer() == slack.parts.provider
    };
    let everybody = everybody.into_iter().filter(at_provider);
    let found: Vec<_> = match &slack.parts.link {
        Link::Claim(claim) => everybody.filter(|one| claimed(one, claim) == Some(id)).collect(),
        Link::Email => {
            let looked_for = slack.parts.api.member(MemberKey::Id(id)).await;
            let member =
                looked_for.map_err(|error| format!("who it is cannot be said: {error}"))?;
            let email = sound(slack, &member).filter(|_| member.id == id);
            let email = email.ok_or("Slack has not confirmed the account's e-mail address")?;
            everybody.filter(|one| has_email(one, email)).collect()
        }
    };
    let provider = &slack.parts.provider;
    match found.as_slice() {
        [one] => known_well(core, one).map(|()| Arc::clone(one)),
        [] => Err(format!("it is nobody's whom `{provider}` has said so of; sign in here once")),
        _ => Err(format!("`{provider}` says that it is several people's")),
    }
}

/// What is known of whoever acts must not be older than on any other way in.
fn known_well(core: &Core, principal: &Principal) -> Result<(), String> {
    if core.publisher.bars(principal) {
        return Err("the account is deactivated in the directory".to_owned());
    }
    let kept = |user: &portcullis_store::StoredUser| user.active && !user.deleted;
    let is_kept = core.publisher.directory(|all| all.user_of(principal).is_some_and(kept));
    if is_kept || core.authenticated_at(&principal.id).is_some() {
        return Ok(());
    }
    Err("its person is not signed in here, so that what is known of them may be old; sign in"
        .to_owned())
}

/// The account of `principal`, if it is known.
pub(super) async fn account(
    slack: &Slack,
    principal: &Principal,
) -> Result<Option<String>, NotTaken> {
    if principal.id.issuer() != slack.parts.provider {
        return Ok(None);
    }
    let email = match (&slack.parts.link, &principal.email) {
        (Link::Claim(claim), _) => return Ok(claimed(principal, claim).map(str::to_owned)),
        (Link::Email, None) => return Ok(None),
        (Link::Email, Some(email)) => email,
    };
    match slack.parts.api.member(MemberKey::Email(email)).await {
        Ok(member) => {
            let confirmed = sound(slack, &member).is_some_and(|of| of.eq_ignore_ascii_case(email));
            Ok(confirmed.then_some(member.id))
        }
        Err(NotTaken::Refused(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether it can be known at all.
pub(super) fn may_have_account(slack: &Slack, principal: &Principal) -> bool {
    let linked = match &slack.parts.link {
        Link::Claim(claim) => claimed(principal, claim).is_some(),
        Link::Email => principal.email.is_some(),
    };
    linked && principal.id.issuer() == slack.parts.provider
}

fn claimed<'a>(principal: &'a Principal, claim: &str) -> Option<&'a str> {
    match principal.claims.get(claim)? {
        AttributeValue::String(id) => Some(id),
        AttributeValue::Bool(_) | AttributeValue::Long(_) | AttributeValue::Set(_) => None,
    }
}

/// The address of an account of our workspace that somebody may use.
fn sound<'a>(slack: &Slack, member: &'a Member) -> Option<&'a str> {
    let ours = member.workspace == slack.parts.workspace && member.is_somebodys;
    member.confirmed_email.as_deref().filter(|_| ours)
}

/// Principals have verified addresses only.
fn has_email(principal: &Principal, email: &str) -> bool {
    principal.email.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(email))
}
