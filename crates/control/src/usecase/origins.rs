//! Where what is known of the caller came from: the scheme, the claims, the groups.

use portcullis_identity::{AuthError, AuthMethod};
use portcullis_model::{Origin, Principal};

use crate::{
    ControlError, OpContext,
    core::{Core, Vouching},
    views::Origins,
};

pub(crate) fn of_caller(core: &Core, op: &OpContext) -> Result<Origins, ControlError> {
    let caller = op.caller().ok_or(AuthError::Missing)?;
    let principal = caller.principal();
    match caller.method() {
        AuthMethod::SignIn => Ok(of_person(core, principal)),
        AuthMethod::Jwt => {
            let origin = caller.origin().map(|origin| origin.as_ref().clone());
            Ok(said("a JWT", principal, origin.unwrap_or_default()))
        }
        AuthMethod::Introspection => {
            let origin = caller.origin().map(|origin| origin.as_ref().clone());
            Ok(said("an opaque token", principal, origin.unwrap_or_default()))
        }
        AuthMethod::Mtls => Ok(said("a certificate", principal, by_certificate(principal))),
        // None of them ever asks this at control.
        AuthMethod::GrantToken
        | AuthMethod::Sealed
        | AuthMethod::Signed
        | AuthMethod::Chat
        | AuthMethod::Anonymous => Err(AuthError::Missing.into()),
        AuthMethod::Run => {
            let run = caller.sign_in().and_then(|id| core.publisher.sign_in(id));
            let origin = run.and_then(|run| run.run.as_ref().map(|run| run.origin.clone()));
            Ok(said("a CI job's run", principal, origin.unwrap_or_default()))
        }
    }
}

fn said(scheme: &str, principal: &Principal, origin: Origin) -> Origins {
    Origins {
        scheme: format!("{scheme} of `{}`", principal.issuer),
        issuer: origin.issuer,
        subject: origin.subject,
        claims: principal.claims.clone(),
        groups: origin.groups,
    }
}

/// A certificate's name is all that it says; configuration gives the groups.
fn by_certificate(principal: &Principal) -> Origin {
    let from = || format!("the rules of `{}`", principal.issuer);
    Origin {
        issuer: principal.issuer.clone(),
        subject: "the SPIFFE ID".to_owned(),
        groups: principal.groups.iter().map(|group| (group.clone(), from())).collect(),
    }
}

fn of_person(core: &Core, principal: &Principal) -> Origins {
    let source = core.settings.sources.get(&principal.issuer);
    let claim = source.and_then(|source| source.groups_claim.clone());
    let provisioned = core.publisher.directory(|directory| directory.user_of(principal).is_some());
    let from = match claim {
        _ if provisioned => "the directory, by SCIM".to_owned(),
        Some(claim) => format!("claim `{claim}`"),
        None => "sign-in".to_owned(),
    };
    let by = match source.map(|source| source.by) {
        Some(Vouching::Introspection) => "OAuth 2.0 and introspection",
        Some(Vouching::OpenIdConnect) | None => "OpenID Connect",
    };
    Origins {
        scheme: format!("a sign-in through `{}`, by {by}", principal.issuer),
        issuer: source.map(|source| source.issuer.clone()).unwrap_or_default(),
        subject: "{sub}".to_owned(),
        claims: principal.claims.clone(),
        groups: principal.groups.iter().map(|group| (group.clone(), from.clone())).collect(),
    }
}
