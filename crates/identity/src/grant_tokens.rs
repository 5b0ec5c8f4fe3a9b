//! Grant tokens, as identity sees them: good at the gate, for one grant, as long as it is in force.

use std::sync::Arc;

use jiff::Timestamp;
use portcullis_model::{BoundTo, Grant, GrantToken, Principal, Thumbprint, TokenHash, TokenKind};

use crate::{
    AuthError, Authenticated,
    dpop::{self, Asked, Replays},
};

const ENDED: AuthError = AuthError::Bad("the grant token is unknown, or its grant has ended");

/// Looks grant tokens up by their hash.
pub trait GrantTokens {
    /// The token, its grant and the grant's holder as they are now, if all of them exist.
    fn lookup(&self, hash: &TokenHash) -> Option<(Arc<GrantToken>, Arc<Grant>, Arc<Principal>)>;
}

/// What comes with a token and may prove that its holder has the key that it is bound to.
#[derive(Debug, Clone, Copy)]
pub enum Possession<'a> {
    /// It came as a bearer token, on a connection with this client certificate.
    Connection(Option<Thumbprint>),
    /// It came with a proof for this request.
    Proof {
        /// As it was sent.
        proof: &'a str,
        /// The request's method and address.
        asked: Asked<'a>,
        /// The proofs before it.
        replays: &'a Replays,
    },
}

/// Checks a grant token as presented in a header at the gate.
pub fn authenticate(
    known: &dyn GrantTokens,
    token: &str,
    possession: Possession<'_>,
    now: Timestamp,
) -> Result<Authenticated, AuthError> {
    if !token.starts_with(TokenKind::Grant.prefix()) {
        return Err(AuthError::Bad("this is not a grant token"));
    }
    let presented = token;
    let (token, grant, principal) = known.lookup(&TokenHash::of(token)).ok_or(ENDED)?;
    // INVARIANT: a token never speaks for another grant or holder than it was redeemed for.
    if token.grant != grant.id || grant.principal != principal.id || !grant.in_force(now) {
        return Err(ENDED);
    }
    check_possession(&token, presented, possession, &principal, now)?;
    Ok(Authenticated::by_grant_token(&token, &grant, principal))
}

/// INVARIANT: a token that is bound to a key is worth nothing without it, however it is presented.
fn check_possession(
    token: &GrantToken,
    presented: &str,
    possession: Possession<'_>,
    holder: &Principal,
    now: Timestamp,
) -> Result<(), AuthError> {
    match (token.bound_to, possession) {
        (None, Possession::Connection(_)) => Ok(()),
        (Some(BoundTo::Certificate(own)), Possession::Connection(Some(shown))) if own == shown => {
            Ok(())
        }
        (Some(BoundTo::Key(own)), Possession::Proof { proof, asked, replays }) => {
            let proof = dpop::verify(proof, &Asked { token: Some(presented), ..asked }, now)?;
            if proof.key != own {
                return Err(AuthError::Bad("the DPoP proof is by another key than the token's"));
            }
            replays.admit(&proof, &holder.id, now)
        }
        (None, Possession::Proof { .. }) => Err(AuthError::Bad(
            "the grant token is bound to no key: send it as `Authorization: Bearer …`",
        )),
        (Some(BoundTo::Key(_)), Possession::Connection(_)) => Err(AuthError::Bad(
            "the grant token is bound to a key: send it as `Authorization: DPoP …` with a proof",
        )),
        (Some(BoundTo::Certificate(_)), _) => Err(AuthError::Bad(
            "the grant token is bound to a client certificate: send it as `Authorization: Bearer …` \
             on a connection with that certificate",
        )),
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use portcullis_model::{
        AccessRequestId, GrantEnd, GrantId, GrantKind, GrantState, PrincipalId, PrincipalKind,
        Resource,
    };

    use super::*;
    use crate::AuthMethod;

    const BEARER: Possession<'static> = Possession::Connection(None);

    const TOKEN: &str = "pc_grant_0123456789";

    struct One(Arc<GrantToken>, Arc<Grant>, Arc<Principal>);

    impl GrantTokens for One {
        fn lookup(
            &self,
            hash: &TokenHash,
        ) -> Option<(Arc<GrantToken>, Arc<Grant>, Arc<Principal>)> {
            let found = *hash == TokenHash::of(TOKEN);
            found.then(|| (Arc::clone(&self.0), Arc::clone(&self.1), Arc::clone(&self.2)))
        }
    }

    fn now() -> Timestamp {
        "2026-11-22T10:00:00Z".parse().unwrap()
    }

    fn known() -> One {
        let id = PrincipalId::new(PrincipalKind::User, "corp", "ana");
        let grant = Grant {
            id: GrantId::from_bits(1),
            version: 0,
            access_request: AccessRequestId::from_bits(1),
            principal: id.clone(),
            rule: "rule".parse().unwrap(),
            kind: GrantKind::Review,
            reviews: 1,
            incident: None,
            operation: "payments.createRefund".parse().unwrap(),
            resource: Resource { service: "payments".parse().unwrap(), instance: None },
            digest: None,
            starts_at: now(),
            expires_at: now() + SignedDuration::from_mins(15),
            max_uses: None,
            uses: 0,
            idle: None,
            state: GrantState::InForce,
        };
        let authenticated_at = now() - SignedDuration::from_mins(5);
        let token = GrantToken { grant: grant.id, authenticated_at, bound_to: None };
        let principal = Principal { id, ..Principal::anonymous() };
        One(Arc::new(token), Arc::new(grant), Arc::new(principal))
    }

    #[test]
    fn a_grant_token_is_its_holder_for_one_grant_at_one_service() {
        let who = authenticate(&known(), TOKEN, BEARER, now()).unwrap();
        assert_eq!((who.method(), who.grant()), (AuthMethod::GrantToken, Some(known().1.id)));
        assert_eq!(who.principal().id, known().1.principal);
        assert_eq!(who.service().map(ToString::to_string).as_deref(), Some("payments"));
        assert_eq!(who.sign_in(), None);
        assert_eq!(who.authenticated_at(), known().0.authenticated_at);
    }

    #[test]
    fn m16_a_grant_token_ends_with_its_grant_and_speaks_for_no_other() {
        assert!(authenticate(&known(), "pc_grant_other", BEARER, now()).is_err());
        assert!(authenticate(&known(), "pc_sign_0123456789", BEARER, now()).is_err());
        assert!(authenticate(&known(), TOKEN, BEARER, known().1.expires_at).is_err());
        assert!(
            authenticate(&known(), TOKEN, BEARER, now() - SignedDuration::from_secs(1)).is_err()
        );
        let changed = |change: &dyn Fn(&mut One)| {
            let mut one = known();
            change(&mut one);
            authenticate(&one, TOKEN, BEARER, now()).is_err()
        };
        assert!(changed(&|one| {
            let ended = Grant::clone(&one.1).end(now(), GrantEnd::Revoked, None).unwrap();
            one.1 = Arc::new(ended);
        }));
        assert!(changed(&|one| {
            one.0 = Arc::new(GrantToken { grant: GrantId::from_bits(2), ..*one.0 });
        }));
        assert!(changed(&|one| {
            one.2 = Arc::new(Principal::anonymous());
        }));
    }

    #[test]
    fn e16_a_token_that_is_bound_to_a_certificate_is_worth_something_with_it_only() {
        let own = Thumbprint::of(b"certificate");
        let mut known = known();
        let bound_to = Some(BoundTo::Certificate(own));
        known.0 = Arc::new(GrantToken { bound_to, ..*known.0 });
        let with = |certificate| {
            let possession = Possession::Connection(certificate);
            authenticate(&known, TOKEN, possession, now())
        };
        let who = with(Some(own)).unwrap();
        assert!(who.hangs_on_certificate());
        assert!(with(None).is_err());
        assert!(with(Some(Thumbprint::of(b"other"))).is_err());
    }
}
