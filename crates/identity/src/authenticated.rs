//! The proof that somebody authenticated.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use portcullis_model::{
    BoundTo, Grant, GrantId, GrantToken, Origin, Principal, ServiceName, SignIn, SignInId,
};

use crate::{chat::FromChat, introspection::Again, sealed::Opened};

/// How a caller proved who they are. Policies read it as `context.auth.method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuthMethod {
    /// A sign-in that control issued.
    SignIn,
    /// A JWT of a configured issuer or trust domain.
    Jwt,
    /// An opaque token that its issuer vouched for.
    Introspection,
    /// A CI job's run.
    Run,
    /// A client certificate of a configured trust domain.
    Mtls,
    /// A token that stands for one grant of its principal.
    GrantToken,
    /// A sealed credential that somebody opened.
    Sealed,
    /// A message that another system signed.
    Signed,
    /// A chat's server said so, of somebody whom their identity provider links to that account.
    Chat,
    /// Nothing was proven: only where a service lets strangers in.
    Anonymous,
}

impl AuthMethod {
    /// The word that policies see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::Jwt => "jwt",
            Self::Introspection => "introspection",
            Self::Run => "run",
            Self::Mtls => "mtls",
            Self::GrantToken => "grant_token",
            Self::Sealed => "sealed",
            Self::Signed => "signed",
            Self::Chat => "chat",
            Self::Anonymous => "anonymous",
        }
    }
}

/// An authenticated caller, or one that is known to be a stranger. Only this crate makes one.
#[derive(Debug, Clone)]
#[expect(clippy::struct_field_names, reason = "`authenticated_at` is the word that policies know")]
pub struct Authenticated {
    principal: Arc<Principal>,
    method: AuthMethod,
    authenticated_at: Timestamp,
    ends_at: Timestamp,
    sign_in: Option<SignInId>,
    service: Option<ServiceName>,
    grant: Option<GrantId>,
    origin: Option<Arc<Origin>>,
    again: Option<Arc<Again>>,
    by_certificate: bool,
}

impl Authenticated {
    pub(crate) fn by_sign_in(sign_in: &SignIn, principal: Arc<Principal>) -> Self {
        Self {
            principal,
            method: if sign_in.run.is_some() { AuthMethod::Run } else { AuthMethod::SignIn },
            authenticated_at: sign_in.authenticated_at,
            ends_at: sign_in.expires_at,
            sign_in: Some(sign_in.id),
            service: sign_in.service.clone(),
            grant: None,
            // Only who asks for it pays for it: see `whoami`.
            origin: None,
            again: None,
            by_certificate: false,
        }
    }

    pub(crate) fn by_jwt(
        principal: Arc<Principal>,
        origin: Origin,
        authenticated_at: Timestamp,
        ends_at: Timestamp,
    ) -> Self {
        Self {
            origin: Some(Arc::new(origin)),
            ..Self::without_sign_in(AuthMethod::Jwt, principal, authenticated_at, ends_at)
        }
    }

    pub(crate) fn by_introspection(
        principal: Arc<Principal>,
        origin: Origin,
        authenticated_at: Timestamp,
        ends_at: Timestamp,
        again: Again,
    ) -> Self {
        let (method, at) = (AuthMethod::Introspection, authenticated_at);
        Self {
            origin: Some(Arc::new(origin)),
            again: Some(Arc::new(again)),
            ..Self::without_sign_in(method, principal, at, ends_at)
        }
    }

    pub(crate) fn by_certificate(
        principal: Arc<Principal>,
        authenticated_at: Timestamp,
        ends_at: Timestamp,
    ) -> Self {
        let method = AuthMethod::Mtls;
        Self {
            by_certificate: true,
            ..Self::without_sign_in(method, principal, authenticated_at, ends_at)
        }
    }

    pub(crate) fn by_grant_token(
        token: &GrantToken,
        grant: &Grant,
        principal: Arc<Principal>,
    ) -> Self {
        let (method, at) = (AuthMethod::GrantToken, token.authenticated_at);
        Self {
            grant: Some(grant.id),
            service: Some(grant.resource.service.clone()),
            by_certificate: matches!(token.bound_to, Some(BoundTo::Certificate(_))),
            // The grant's end may move; whoever uses the token looks at the grant.
            ..Self::without_sign_in(method, principal, at, Timestamp::MAX)
        }
    }

    pub(crate) fn by_sealed(opened: &Opened, holder: Arc<Principal>) -> Self {
        let (method, at) = (AuthMethod::Sealed, opened.opening.at);
        Self {
            grant: Some(opened.grant.id),
            service: Some(opened.terms.service.clone()),
            ..Self::without_sign_in(method, holder, at, opened.grant.expires_at)
        }
    }

    /// For one message alone.
    pub(crate) fn by_signature(principal: Arc<Principal>, now: Timestamp) -> Self {
        Self::without_sign_in(AuthMethod::Signed, principal, now, now)
    }

    /// Somebody who acts by chat, at `now`. How they signed in there, and when, nobody says: they have no
    /// `amr` and have authenticated at no time that a policy would call recent.
    pub fn by_chat(_vouched: &FromChat, principal: &Principal, now: Timestamp) -> Self {
        let principal = Principal { amr: BTreeSet::new(), ..principal.clone() };
        let method = AuthMethod::Chat;
        Self::without_sign_in(method, Arc::new(principal), Timestamp::UNIX_EPOCH, now)
    }

    /// A caller of whom nothing is known, which is no proof of anything.
    pub fn anonymous(now: Timestamp) -> Self {
        let principal = Arc::new(Principal::anonymous());
        Self::without_sign_in(AuthMethod::Anonymous, principal, now, Timestamp::MAX)
    }

    fn without_sign_in(
        method: AuthMethod,
        principal: Arc<Principal>,
        authenticated_at: Timestamp,
        ends_at: Timestamp,
    ) -> Self {
        Self {
            principal,
            method,
            authenticated_at,
            ends_at,
            sign_in: None,
            service: None,
            grant: None,
            origin: None,
            again: None,
            by_certificate: false,
        }
    }

    /// Who.
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// How.
    pub fn method(&self) -> AuthMethod {
        self.method
    }

    /// When they proved it: the person's authentication, the token's `iat`, the
    /// connection's handshake.
    pub fn authenticated_at(&self) -> Timestamp {
        self.authenticated_at
    }

    /// When it stops being worth anything.
    pub fn ends_at(&self) -> Timestamp {
        self.ends_at
    }

    /// The sign-in, for people and runs.
    pub fn sign_in(&self) -> Option<SignInId> {
        self.sign_in
    }

    /// Asks again whoever vouches, where they may change their mind before the end.
    pub fn again(&self) -> Option<&Arc<Again>> {
        self.again.as_ref()
    }

    /// Where what a token said came from. A sign-in keeps its own.
    pub fn origin(&self) -> Option<&Arc<Origin>> {
        self.origin.as_ref()
    }

    /// Whether it is worth nothing without the connection's client certificate.
    pub fn hangs_on_certificate(&self) -> bool {
        self.by_certificate
    }

    /// The only grant that may open anything for it, if a grant token was presented.
    pub fn grant(&self) -> Option<GrantId> {
        self.grant
    }

    /// The only service that it may be used at, if it is limited to one.
    pub fn service(&self) -> Option<&ServiceName> {
        self.service.as_ref()
    }
}
