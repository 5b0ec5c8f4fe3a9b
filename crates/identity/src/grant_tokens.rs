//! Grant tokens, as identity sees them: good at the gate, for one grant, as long as it is in force.

use std::sync::Arc;

use jiff::Timestamp;
use portcullis_model::{Grant, GrantToken, Principal, TokenHash, TokenKind};

use crate::{AuthError, Authenticated};

const ENDED: AuthError = AuthError::Bad("the grant token is unknown, or its grant has ended");

/// Looks grant tokens up by their hash.
pub trait GrantTokens {
    /// The token, its grant and the grant's holder as they are now, if all of them exist.
    fn lookup(&self, hash: &TokenHash) -> Option<(Arc<GrantToken>, Arc<Grant>, Arc<Principal>)>;
}

/// Checks a grant token as presented in a header at the gate.
pub fn authenticate(
    known: &dyn GrantTokens,
    token: &str,
    now: Timestamp,
) -> Result<Authenticated, AuthError> {
    if !token.starts_with(TokenKind::Grant.prefix()) {
        return Err(AuthError::Bad("this is not a grant token"));
    }
    let (token, grant, principal) = known.lookup(&TokenHash::of(token)).ok_or(ENDED)?;
    // INVARIANT: a token never speaks for another grant or holder than it was redeemed for.
    if token.grant != grant.id || grant.principal != principal.id || !grant.in_force(now) {
        return Err(ENDED);
    }
    Ok(Authenticated::by_grant_token(&token, &grant, principal))
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
        let token = GrantToken { grant: grant.id, authenticated_at };
        let principal = Principal { id, ..Principal::anonymous() };
        One(Arc::new(token), Arc::new(grant), Arc::new(principal))
    }

    #[test]
    fn a_grant_token_is_its_holder_for_one_grant_at_one_service() {
        let who = authenticate(&known(), TOKEN, now()).unwrap();
        assert_eq!((who.method(), who.grant()), (AuthMethod::GrantToken, Some(known().1.id)));
        assert_eq!(who.principal().id, known().1.principal);
        assert_eq!(who.service().map(ToString::to_string).as_deref(), Some("payments"));
        assert_eq!(who.sign_in(), None);
        assert_eq!(who.authenticated_at(), known().0.authenticated_at);
    }

    #[test]
    fn m16_a_grant_token_ends_with_its_grant_and_speaks_for_no_other() {
        assert!(authenticate(&known(), "pc_grant_other", now()).is_err());
        assert!(authenticate(&known(), "pc_sign_0123456789", now()).is_err());
        assert!(authenticate(&known(), TOKEN, known().1.expires_at).is_err());
        assert!(authenticate(&known(), TOKEN, now() - SignedDuration::from_secs(1)).is_err());
        let changed = |change: &dyn Fn(&mut One)| {
            let mut one = known();
            change(&mut one);
            authenticate(&one, TOKEN, now()).is_err()
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
}
