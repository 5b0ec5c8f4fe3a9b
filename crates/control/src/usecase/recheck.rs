//! Asking identity providers again about those who are signed in: whoever left, or lost a group,
//! loses it here within one interval. A provider that is down changes nothing; one that says no, or
//! that says less than it did, ends the sign-in.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{EventType, Principal, Secret, SignIn, SignInEnd, SignInId};
use portcullis_store::{Change, StoredProviderToken};

use super::{device, sign_in};
use crate::{
    ControlError, OpContext,
    core::Core,
    expiry::Ending,
    people,
    ports::{NotVouched, PeopleProvider, VerifiedPerson},
    publisher::Effect,
    seal::{self, Purpose},
    settle::Settlement,
};

/// After a provider did not answer, at the latest.
const RETRY: Duration = Duration::from_mins(1);

type Result<T> = std::result::Result<T, ControlError>;

/// What is asked about.
#[derive(Debug)]
pub(crate) struct About<'a> {
    pub(crate) sign_in: SignInId,
    pub(crate) provider: &'a str,
}

/// Keeps what the provider is asked with, and when.
pub(crate) fn keep(
    core: &Core,
    about: &About<'_>,
    renewal: &Secret,
    now: Timestamp,
    every: Duration,
    into: &mut Settlement,
) -> Result<()> {
    let key = &core.settings.store_key;
    let sealed = seal::seal_one_of(
        Purpose::ProviderToken,
        key,
        "",
        renewal.expose(),
        core.entropy.as_ref(),
    )?;
    let due_at = later(now, every);
    let provider = about.provider.to_owned();
    let token = StoredProviderToken { sign_in: about.sign_in, provider, sealed, due_at };
    core.provider_tokens.keep(token.clone());
    into.changes.push(Change::KeepProviderToken(token));
    into.deadlines.push((due_at, Ending::Recheck(about.sign_in)));
    Ok(())
}

/// It is time. Never waits for the provider: other ends are due too.
pub(crate) fn due(core: &Arc<Core>, id: SignInId) {
    let core = Arc::clone(core);
    tokio::spawn(async move {
        let Ok(_turn) = core.rechecks.acquire().await else { return };
        if let Err(error) = ask(&core, id).await {
            tracing::error!(sign_in = %id, %error, "a sign-in could not be checked again");
            core.deadlines.add([(later(core.now(), RETRY), Ending::Recheck(id))]);
        }
    });
}

async fn ask(core: &Arc<Core>, id: SignInId) -> Result<()> {
    let Some(sign_in) = core.publisher.sign_in(id) else {
        core.provider_tokens.forget(id);
        return Ok(());
    };
    let op = OpContext::system("recheck", core.now());
    let Some(token) = core.provider_tokens.lookup(id) else { return Ok(()) };
    // Taken out of the configuration: nobody vouches for them any more.
    let Ok(provider) = device::chosen(core, Some(&token.provider)) else {
        return end(core, &op, id, "its provider is not configured any more").await;
    };
    let Some(every) = provider.recheck() else { return Ok(()) };
    let key = &core.settings.store_key;
    let Ok(renewal) = seal::open_one_of(Purpose::ProviderToken, key, "", &token.sealed) else {
        return end(core, &op, id, "the key beside the store is another one now").await;
    };
    match provider.renew(&renewal, sign_in.principal.subject()).await {
        Ok(claims) => vouched(core, provider.as_ref(), &sign_in, &claims, every).await,
        Err(NotVouched::Refused(why)) => end(core, &op, id, &why).await,
        Err(NotVouched::Unavailable(_)) => {
            let soon = later(core.now(), RETRY.min(every));
            core.deadlines.add([(soon, Ending::Recheck(id))]);
            Ok(())
        }
    }
}

async fn vouched(
    core: &Arc<Core>,
    provider: &dyn PeopleProvider,
    sign_in: &SignIn,
    claims: &VerifiedPerson,
    every: Duration,
) -> Result<()> {
    let op = OpContext::system("recheck", core.now());
    let mut settlement = Settlement::default();
    let about = About { sign_in: sign_in.id, provider: provider.name() };
    if let Some(renewal) = &claims.renewal {
        keep(core, &about, renewal, op.now(), every, &mut settlement)?;
    }
    if let (Some(known), Some(person)) =
        (core.snapshot().principal(&sign_in.principal), sign_in.person)
    {
        let said = people::principal(known.id.clone(), person, provider.name(), claims);
        // How they authenticated did not change by asking again.
        let principal = Principal { amr: known.amr.clone(), ..said };
        // What is known has the directory's groups, where there is one; what is said has not.
        if core.publisher.as_known(&principal) != **known {
            let mut event = core.event(&op, EventType::PersonChanged);
            event.principal = Some(principal.id.clone());
            event.sign_in = Some(sign_in.id);
            settlement.changes.push(Change::Record(event));
            let seen = Change::SeePrincipal { principal: principal.clone(), at: op.now() };
            settlement.changes.push(seen);
            // At once: what it takes away must not wait for the record.
            settlement.at_once.push(Effect::Principal(principal));
        }
    }
    Ok(core.settle(settlement).await?)
}

async fn end(core: &Arc<Core>, op: &OpContext, id: SignInId, why: &str) -> Result<()> {
    tracing::info!(sign_in = %id, why, "an identity provider no longer vouches for a sign-in");
    core.provider_tokens.forget(id);
    match sign_in::end(core, op, id, SignInEnd::ProviderRefused).await {
        // Somebody else ended it first.
        Err(ControlError::NotFound(_)) => Ok(()),
        other => other,
    }
}

fn later(now: Timestamp, span: Duration) -> Timestamp {
    let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
    now.checked_add(span).unwrap_or(Timestamp::MAX)
}

/// What providers are asked with, as the store has it.
#[derive(Debug, Default)]
pub(crate) struct ProviderTokens(
    std::sync::Mutex<std::collections::HashMap<SignInId, StoredProviderToken>>,
);

impl ProviderTokens {
    pub(crate) fn keep(&self, token: StoredProviderToken) {
        self.lock().insert(token.sign_in, token);
    }

    fn lookup(&self, id: SignInId) -> Option<StoredProviderToken> {
        self.lock().get(&id).cloned()
    }

    fn forget(&self, id: SignInId) {
        self.lock().remove(&id);
    }

    fn lock(
        &self,
    ) -> std::sync::MutexGuard<'_, std::collections::HashMap<SignInId, StoredProviderToken>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
