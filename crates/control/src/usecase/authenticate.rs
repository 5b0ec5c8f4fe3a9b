//! Who presents a bearer token at control.

use std::sync::Arc;

use portcullis_identity::{AuthError, AuthMethod, Authenticated, SignIns, sign_ins};
use portcullis_model::{
    Audience, Principal, PrincipalId, PrincipalKind, SignIn, TokenHash, TokenKind,
};
use portcullis_policy::Snapshot;

use crate::{ControlError, core::Core};

/// Sign-ins as the snapshot has them.
struct Published<'a>(&'a Snapshot);

impl SignIns for Published<'_> {
    fn lookup(&self, hash: &TokenHash) -> Option<(Arc<SignIn>, Arc<Principal>)> {
        let sign_in = self.0.sign_in(hash)?;
        let principal = self.0.principal(&sign_in.principal)?;
        Some((Arc::clone(sign_in), Arc::clone(principal)))
    }
}

pub(crate) async fn authenticate(
    core: &Core,
    bearer: Option<&str>,
) -> Result<Authenticated, ControlError> {
    let token = bearer.ok_or(AuthError::Missing)?;
    // Ours by its prefix is ours only: what failed as a sign-in is never tried as something else.
    if token.starts_with(TokenKind::SignIn.prefix()) {
        let snapshot = core.snapshot();
        let published = Published(&snapshot);
        return Ok(sign_ins::authenticate(&published, token, Audience::Control, core.now())?);
    }
    if token.starts_with(TokenKind::Grant.prefix()) {
        return Err(AuthError::Bad("a grant token is good at the gate only").into());
    }
    Ok(core.workloads.authenticate(token, core.now()).await?)
}

/// Who presents a browser's cookie.
pub(crate) fn authenticate_cookie(
    core: &Core,
    token: &str,
    origin: &str,
) -> Result<Authenticated, ControlError> {
    let snapshot = core.snapshot();
    let (published, now) = (Published(&snapshot), core.now());
    Ok(sign_ins::authenticate_cookie(&published, token, Audience::Control, origin, now)?)
}

impl Core {
    /// When `principal` last proved who they are, if a sign-in of theirs lives.
    pub(crate) fn authenticated_at(&self, principal: &PrincipalId) -> Option<jiff::Timestamp> {
        let own = self.publisher.sign_ins_of(principal);
        own.iter().map(|sign_in| sign_in.authenticated_at).max()
    }

    /// How `principal` proves who they are, as far as control knows, and since when if it does.
    ///
    /// A trust domain of which certificates and tokens are accepted counts as one of certificates.
    pub(crate) fn authentication(
        &self,
        principal: &Principal,
    ) -> (AuthMethod, Option<jiff::Timestamp>) {
        let since = self.authenticated_at(&principal.id);
        let method = match principal.id.kind {
            PrincipalKind::User => AuthMethod::SignIn,
            PrincipalKind::Workload if since.is_some() => AuthMethod::Run,
            PrincipalKind::Workload => {
                let configured = self.settings.methods.get(&principal.issuer);
                configured.copied().unwrap_or(AuthMethod::Jwt)
            }
            PrincipalKind::Anonymous => AuthMethod::Anonymous,
        };
        (method, since)
    }
}
