//! Sign-ins, as identity sees them.

use std::sync::Arc;

use jiff::Timestamp;
use portcullis_model::{Audience, Held, Principal, SignIn, TokenHash, TokenKind};

use crate::{AuthError, Authenticated};

/// Looks sign-ins up by their token's hash. The snapshot and control each have one.
pub trait SignIns {
    /// The sign-in and its principal as they are now, if both exist.
    fn lookup(&self, hash: &TokenHash) -> Option<(Arc<SignIn>, Arc<Principal>)>;
}

/// Checks a sign-in token as presented in a header at `audience`.
pub fn authenticate(
    sign_ins: &dyn SignIns,
    token: &str,
    audience: Audience,
    now: Timestamp,
) -> Result<Authenticated, AuthError> {
    let (sign_in, principal) = found(sign_ins, token, audience, now)?;
    if sign_in.held.by_browser() {
        return Err(AuthError::Bad("the sign-in is a browser's and good in its cookie only"));
    }
    Ok(Authenticated::by_sign_in(&sign_in, principal))
}

/// Checks a sign-in token as presented in a cookie at `audience`, at `origin`.
pub fn authenticate_cookie(
    sign_ins: &dyn SignIns,
    token: &str,
    audience: Audience,
    origin: &str,
    now: Timestamp,
) -> Result<Authenticated, AuthError> {
    let (sign_in, principal) = found(sign_ins, token, audience, now)?;
    match &sign_in.held {
        Held::Cookie { origin: own } if own == origin => {
            Ok(Authenticated::by_sign_in(&sign_in, principal))
        }
        Held::Cookie { .. } => Err(AuthError::Bad("the sign-in was made at another origin")),
        Held::Token => Err(AuthError::Bad("the sign-in is good in a header only")),
    }
}

fn found(
    sign_ins: &dyn SignIns,
    token: &str,
    audience: Audience,
    now: Timestamp,
) -> Result<(Arc<SignIn>, Arc<Principal>), AuthError> {
    if !token.starts_with(TokenKind::SignIn.prefix()) {
        return Err(AuthError::Bad("this is not a sign-in"));
    }
    let found = sign_ins.lookup(&TokenHash::of(token));
    let (sign_in, principal) =
        found.ok_or(AuthError::Bad("the sign-in is unknown or has ended"))?;
    if sign_in.audience != audience {
        return Err(AuthError::Bad("the sign-in was made for another audience"));
    }
    if !sign_in.in_force(now) {
        return Err(AuthError::Bad("the sign-in is unknown or has ended"));
    }
    Ok((sign_in, principal))
}
