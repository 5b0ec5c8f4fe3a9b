//! Back-channel logout: the provider says that somebody signed out there (OpenID Connect Back-Channel
//! Logout 1.0).

use std::{net::IpAddr, sync::Arc};

use portcullis_model::{PrincipalId, PrincipalKind, SignIn, SignInEnd, TokenHash};
use portcullis_store::Change;

use super::{device, sign_in};
use crate::{
    ControlError, OpContext,
    core::Core,
    ports::{LoggedOut, NotVouched},
    settle::{Settlement, Unsettled},
};

type Result<T> = std::result::Result<T, ControlError>;

/// Ends what `token` names; says how many sign-ins that were.
pub(crate) async fn back_channel(
    core: &Arc<Core>,
    provider: &str,
    token: &str,
    source: IpAddr,
) -> Result<usize> {
    let invalid = |message| ControlError::Invalid { field: "logout_token", message };
    let Ok(provider) = device::chosen(core, Some(provider)) else {
        return Err(ControlError::NotFound("the identity provider"));
    };
    let logout = provider.logged_out(token).await.map_err(|error| match error {
        NotVouched::Refused(why) => invalid(why),
        NotVouched::Unavailable(error) => device::unavailable(&error),
    })?;
    let op = OpContext::logged_out(source, core.now());
    for _ in 0..4 {
        let ended = concerned(core, provider.name(), &logout);
        let once = TokenHash::of(&format!("jti {} {}", provider.name(), logout.id));
        let mut settlement = Settlement {
            changes: vec![Change::SeeOnce { hash: once, until: logout.ends_at }],
            deadlines: vec![crate::expiry::leftover(logout.ends_at)],
            ..Settlement::default()
        };
        for sign_in in &ended {
            sign_in::ending(core, &op, sign_in, SignInEnd::ProviderSignedOut, &mut settlement);
        }
        match core.settle(settlement).await {
            Ok(()) => return Ok(ended.len()),
            // One of them ended by itself at this moment; or this token came before.
            Err(Unsettled::Conflict) => {}
            Err(Unsettled::Failed(error)) => return Err(error),
        }
    }
    Err(invalid("it came before".into()))
}

/// The control sign-ins that a logout is about. What was made from them ends with them.
fn concerned(core: &Core, provider: &str, logout: &LoggedOut) -> Vec<Arc<SignIn>> {
    let subject = logout.subject.as_deref();
    let subject = subject.map(|sub| PrincipalId::new(PrincipalKind::User, provider, sub));
    let mut all = core.publisher.own_sign_ins_at(provider);
    all.retain(|sign_in| {
        subject.as_ref().is_none_or(|subject| sign_in.principal == *subject)
            && (logout.session.is_none() || sign_in.provider_session == logout.session)
    });
    all
}
