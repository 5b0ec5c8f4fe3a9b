//! Who asks: the first credential that is there decides (header, then certificate), and one that
//! fails never falls through to another. What was used is removed, so that no upstream can replay it.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use portcullis_identity::{
    AuthError, Authenticated, GrantTokens, SignIns, Unverified,
    dpop::{self, Asked},
    grant_tokens::{self, Possession},
    sign_ins,
};
use portcullis_model::{
    Audience, Grant, GrantId, GrantToken, Principal, PrincipalId, PrincipalKind, Refusal,
    ServiceName, SignIn, TokenHash, TokenKind, refusal::Unavailable,
};
use portcullis_policy::{Snapshot, Subject};
use url::Url;

use crate::{
    browser,
    canonical::{
        Authority,
        single::{DPOP, PORTCULLIS_AUTHORIZATION},
    },
    exchange::{Exchange, Key},
    filter::assertion::{AssertionSigner, REUSE_SECONDS},
    sealed,
    share::Count,
};

/// Identities remembered by one core. One more than this, and all that have nothing under way are forgotten:
/// they are cheap.
const REMEMBERED: usize = 16_384;

/// A workload that goes on is told of again after so many seconds: what could not be kept then may be
/// kept now.
const TELL_AGAIN: i64 = 600;

/// What a core keeps per principal, so that it is made once and not per request.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) subject: Arc<Subject>,
    /// `Portcullis-Principal`.
    pub(crate) header: HeaderValue,
    assertions: RefCell<Vec<Assertion>>,
    /// When others were told of it last, in seconds.
    told: Cell<Option<i64>>,
    /// How much of this core it has under way.
    pub(crate) open: Count,
}

#[derive(Debug)]
struct Assertion {
    service: ServiceName,
    grant: Option<GrantId>,
    made: Timestamp,
    header: HeaderValue,
}

/// An identified caller of one request.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) identity: Rc<Identity>,
    pub(crate) authenticated: Arc<Authenticated>,
}

impl Caller {
    /// What was made for one service is worth nothing at another.
    pub(crate) fn check_service(&self, service: &ServiceName) -> Result<(), Refusal> {
        match self.authenticated.service() {
            Some(only) if only != service => {
                Err(Refusal::BadCredentials("the token was made for another service"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Identifies the caller and removes the credential that was used.
pub(crate) async fn identify(
    exchange: &mut Exchange,
    authority: &Authority,
    headers: &mut HeaderMap,
) -> Result<Caller, Refusal> {
    let cookie = browser::read(exchange, authority, headers)?;
    let authenticated = match presented(headers) {
        Some((name, presented)) => {
            let presented = presented?;
            if presented.by_proof {
                exchange.key = Key::Proof;
            }
            let by_proof = presented.by_proof;
            let found = if sealed::is_one(presented.token) && !by_proof {
                // Rare and large: boxed.
                Box::pin(sealed::authenticate(exchange, presented.token)).await
            } else {
                let found = authenticate(exchange, authority, headers, &presented).await;
                found.map_err(|error| refusal(&error))
            };
            headers.remove(name);
            if by_proof {
                headers.remove(DPOP);
            }
            found?
        }
        None if cookie.is_some() => browser::authenticate(exchange, headers, cookie)?,
        None => without_header(exchange)?,
    };
    Ok(known(exchange, authenticated))
}

/// Identifies a caller who can present a certificate and nothing else.
pub(crate) fn by_certificate(exchange: &mut Exchange) -> Result<Caller, Refusal> {
    let certificate = exchange.peer.certificate.as_ref().ok_or(Refusal::Unauthenticated)?;
    let authenticated = certificate.authenticate(exchange.now).map_err(|error| refusal(&error))?;
    Ok(known(exchange, authenticated))
}

/// The exchange is of this caller from now on.
fn known(exchange: &mut Exchange, authenticated: Arc<Authenticated>) -> Caller {
    let core = &exchange.core;
    let identity = core.identities.of(authenticated.principal());
    let by_token_of_ours = authenticated.sign_in().is_some() || authenticated.grant().is_some();
    if !by_token_of_ours && identity.is_to_be_told(exchange.now) {
        core.parts.sightings.seen(authenticated.principal());
    }
    exchange.identity = Some(Rc::clone(&identity));
    exchange.auth_method = Some(authenticated.method().as_str());
    exchange.sign_in = authenticated.sign_in();
    exchange.only = authenticated.grant();
    exchange.ends_at = authenticated.ends_at();
    if authenticated.hangs_on_certificate() {
        exchange.key = Key::Certificate;
    }
    exchange.again = authenticated.again().cloned();
    Caller { identity, authenticated }
}

/// The connection's certificate; without one, a stranger where the service lets strangers in.
fn without_header(exchange: &Exchange) -> Result<Arc<Authenticated>, Refusal> {
    if let Some(certificate) = &exchange.peer.certificate {
        return certificate.authenticate(exchange.now).map_err(|error| refusal(&error));
    }
    let catalog = exchange.snapshot.bundle().catalog();
    let routed = catalog.route(exchange.host(), exchange.path()).ok_or(Refusal::Unauthenticated)?;
    if routed.service.source().anonymous {
        Ok(Arc::new(Authenticated::anonymous(exchange.now)))
    } else {
        Err(Refusal::Unauthenticated)
    }
}

/// What `refusal` is to the caller. A stranger is told to say who they are, whatever would become of
/// them then, and nothing else about the service.
pub(crate) fn as_told(exchange: &Exchange, refusal: Refusal) -> Refusal {
    let stranger = exchange.identity.as_ref().is_some_and(|identity| identity.is_stranger());
    match refusal {
        Refusal::Denied(_) | Refusal::Requestable(_) | Refusal::NotFound if stranger => {
            Refusal::Unauthenticated
        }
        refusal => refusal,
    }
}

/// What a header presents.
#[derive(Debug)]
struct Presented<'a> {
    token: &'a str,
    /// With a proof of possession beside it.
    by_proof: bool,
}

/// The first credential: its header, and its token if it has a scheme that is known here.
fn presented(headers: &HeaderMap) -> Option<(HeaderName, Result<Presented<'_>, Refusal>)> {
    let named = |name: HeaderName| headers.get(&name).map(|value| (name, value));
    let (name, value) = named(PORTCULLIS_AUTHORIZATION).or_else(|| named(header::AUTHORIZATION))?;
    Some((name, scheme(value).ok_or(Refusal::BadCredentials("this is not a bearer token"))))
}

fn scheme(value: &HeaderValue) -> Option<Presented<'_>> {
    // Visible ASCII, which was checked when the request was read.
    let (scheme, token) = str::from_utf8(value.as_bytes()).ok()?.split_once(' ')?;
    let by_proof = scheme.eq_ignore_ascii_case(dpop::SCHEME);
    let token = token.trim_matches(' ');
    let is_known = by_proof || scheme.eq_ignore_ascii_case("bearer");
    (is_known && !token.is_empty()).then_some(Presented { token, by_proof })
}

async fn authenticate(
    exchange: &Exchange,
    authority: &Authority,
    headers: &HeaderMap,
    presented: &Presented<'_>,
) -> Result<Arc<Authenticated>, AuthError> {
    let (core, token, now) = (&exchange.core, presented.token, exchange.now);
    if token.starts_with(TokenKind::Grant.prefix()) {
        return by_grant_token(exchange, authority, headers, presented).map(Arc::new);
    }
    if presented.by_proof {
        return Err(AuthError::Bad("grant tokens come with a DPoP proof here, and no others do"));
    }
    if token.starts_with(TokenKind::SignIn.prefix()) {
        let known = Known(&exchange.snapshot);
        return sign_ins::authenticate(&known, token, Audience::Gate, now).map(Arc::new);
    }
    let workloads = &core.parts.workloads;
    let cached = core.tokens.borrow_mut().try_authenticate(workloads, token, now);
    match cached {
        Ok(authenticated) => Ok(authenticated),
        Err(Unverified::Refused(error)) => Err(error),
        Err(Unverified::IssuerNeeded) => {
            Box::pin(workloads.authenticate(token, now)).await.map(Arc::new)
        }
    }
}

fn by_grant_token(
    exchange: &Exchange,
    authority: &Authority,
    headers: &HeaderMap,
    presented: &Presented<'_>,
) -> Result<Authenticated, AuthError> {
    let (known, token, now) = (Known(&exchange.snapshot), presented.token, exchange.now);
    if !presented.by_proof {
        let certificate = exchange.peer.certificate.as_ref();
        let certificate = certificate.and_then(|certificate| certificate.thumbprint(now));
        return grant_tokens::authenticate(&known, token, Possession::Connection(certificate), now);
    }
    let mut proofs = headers.get_all(DPOP).iter();
    let (Some(Ok(proof)), None) = (proofs.next().map(HeaderValue::to_str), proofs.next()) else {
        return Err(AuthError::Bad("the `DPoP` header must be there once, with a proof"));
    };
    let urls = addresses(exchange, authority);
    let asked = Asked { method: exchange.method.as_str(), urls: &urls, token: Some(token) };
    let possession = Possession::Proof { proof, asked, replays: &exchange.core.replays };
    grant_tokens::authenticate(&known, token, possession, now)
}

/// The address of the request as its client may have written it. Without TLS the gate stands behind
/// something that has it, or is spoken to directly: the client knows, and the gate does not.
fn addresses(exchange: &Exchange, authority: &Authority) -> Vec<Url> {
    let schemes: &[&str] =
        if exchange.peer.tls.is_some() { &["https"] } else { &["https", "http"] };
    let at =
        |scheme: &&str| format!("{scheme}://{}{}", authority.as_str(), exchange.path()).parse();
    schemes.iter().filter_map(|scheme| at(scheme).ok()).collect()
}

/// The snapshot, as identity looks sign-ins and grant tokens up.
pub(crate) struct Known<'a>(pub(crate) &'a Snapshot);

impl SignIns for Known<'_> {
    fn lookup(&self, hash: &TokenHash) -> Option<(Arc<SignIn>, Arc<Principal>)> {
        let sign_in = self.0.sign_in(hash)?;
        let principal = self.0.principal(&sign_in.principal)?;
        Some((Arc::clone(sign_in), Arc::clone(principal)))
    }
}

impl GrantTokens for Known<'_> {
    fn lookup(&self, hash: &TokenHash) -> Option<(Arc<GrantToken>, Arc<Grant>, Arc<Principal>)> {
        let token = self.0.grant_token(hash)?;
        let grant = self.0.grant(token.grant)?;
        let principal = self.0.principal(&grant.principal)?;
        Some((Arc::clone(token), Arc::clone(grant), Arc::clone(principal)))
    }
}

fn refusal(error: &AuthError) -> Refusal {
    match error {
        AuthError::Missing => Refusal::Unauthenticated,
        AuthError::Bad(why) => Refusal::BadCredentials(why),
        AuthError::IssuerUnavailable(_) => Refusal::Unavailable(Unavailable::Issuer),
        AuthError::Busy(_) => Refusal::Limited { retry_after: 1 },
    }
}

/// The identities that a core remembers.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    known: RefCell<HashMap<PrincipalId, Rc<Identity>, foldhash::fast::RandomState>>,
    /// How many had something under way when others were forgotten.
    busy: Cell<usize>,
}

impl Identities {
    /// The identity of `principal`, as it is now: a principal that changed is another one.
    pub(crate) fn of(&self, principal: &Arc<Principal>) -> Rc<Identity> {
        let mut known = self.known.borrow_mut();
        if let Some(identity) = known.get(&principal.id) {
            let remembered = identity.subject.principal();
            if Arc::ptr_eq(remembered, principal) || remembered == principal {
                return Rc::clone(identity);
            }
        }
        // What it has under way goes on, whatever it is called now.
        let open = known.get(&principal.id).map(|before| Rc::clone(&before.open));
        // Those that are busy are as many as there are requests and tunnels; others are looked for seldom.
        if known.len() >= REMEMBERED.max(self.busy.get() * 2) {
            known.retain(|_, identity| identity.open.get() > 0);
            self.busy.set(known.len());
        }
        let identity = Rc::new(Identity::new(principal, open.unwrap_or_default()));
        known.insert(principal.id.clone(), Rc::clone(&identity));
        identity
    }
}

impl Identity {
    /// Whether nothing is known of the caller.
    pub(crate) fn is_stranger(&self) -> bool {
        self.subject.principal().id.kind == PrincipalKind::Anonymous
    }

    /// Whether a workload was not told of for a while. Says so once.
    fn is_to_be_told(&self, now: Timestamp) -> bool {
        let now = now.as_second();
        let told = self.told.get().is_some_and(|told| (0..TELL_AGAIN).contains(&(now - told)));
        if told || self.is_stranger() {
            return false;
        }
        self.told.set(Some(now));
        true
    }

    fn new(principal: &Arc<Principal>, open: Count) -> Self {
        /// What a subject could use to break out of a header value or a list.
        const UNSAFE: AsciiSet = CONTROLS.add(b' ').add(b'"').add(b',').add(b';').add(b'%');
        let name = utf8_percent_encode(&principal.id.id, &UNSAFE).to_string();
        let header = HeaderValue::from_str(&name);
        Self {
            subject: Arc::new(Subject::new(Arc::clone(principal))),
            header: header.unwrap_or_else(|_| HeaderValue::from_static("")),
            assertions: RefCell::default(),
            told: Cell::new(None),
            open,
        }
    }

    /// The signed assertion for `service` under `grant`: made once a minute, used until then.
    pub(crate) fn assertion(
        &self,
        signer: &AssertionSigner,
        service: &ServiceName,
        grant: Option<GrantId>,
        now: Timestamp,
    ) -> Option<HeaderValue> {
        let mut assertions = self.assertions.borrow_mut();
        let fresh =
            |made: Timestamp| (0..REUSE_SECONDS).contains(&(now.as_second() - made.as_second()));
        let same = |known: &&Assertion| {
            known.service == *service && known.grant == grant && fresh(known.made)
        };
        if let Some(known) = assertions.iter().find(same) {
            return Some(known.header.clone());
        }
        assertions.retain(|known| fresh(known.made));
        let token = signer.sign(self.subject.principal(), service, grant, now)?;
        let header = HeaderValue::from_maybe_shared(bytes::Bytes::from(token)).ok()?;
        assertions.push(Assertion {
            service: service.clone(),
            grant,
            made: now,
            header: header.clone(),
        });
        Some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(number: usize) -> Arc<Principal> {
        let id = PrincipalId::new(PrincipalKind::Workload, "mesh", &number.to_string());
        Arc::new(Principal { id, ..Principal::anonymous() })
    }

    #[test]
    fn i16_whoever_has_something_under_way_is_not_forgotten() {
        let identities = Identities::default();
        let busy = identities.of(&principal(0));
        busy.open.set(3);
        for number in 1..=3 * REMEMBERED {
            identities.of(&principal(number));
            assert!(identities.known.borrow().len() <= REMEMBERED);
        }
        assert!(Rc::ptr_eq(&identities.of(&principal(0)), &busy));
        // Even if there are more of them than are remembered otherwise.
        for number in 1..=3 * REMEMBERED {
            identities.of(&principal(number)).open.set(1);
        }
        for number in 1..=3 * REMEMBERED {
            assert_eq!(identities.of(&principal(number)).open.get(), 1);
        }
        assert_eq!(busy.open.get(), 3);
    }
}

#[cfg(test)]
mod cost;
