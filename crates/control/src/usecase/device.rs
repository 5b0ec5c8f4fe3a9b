//! Signing people in: RFC 8628 through control, which is the only client of the provider.
//!
//! The CLI polls with a token of ours. The provider's device code is stored sealed with a key made
//! from that token, which is stored nowhere: the store alone completes nobody's sign-in.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use portcullis_identity::AuthError;
use portcullis_model::{
    Audience, EventType, PersonId, Principal, PrincipalId, PrincipalKind, Secret, SignIn, SignInId,
    TokenHash, TokenKind,
};
use portcullis_store::{Change, Person, StoredDevice};

use super::sign_in;
use crate::{
    ControlError, OpContext,
    core::Core,
    expiry, people,
    ports::{DeviceOutcome, PeopleProvider, ProviderUnavailable, VerifiedPerson},
    publisher::Effect,
    seal,
    settle::{Settlement, Unsettled},
    views::{DevicePoll, DeviceSignIn},
};

/// Device sign-ins under way at one time; beginning one needs no credentials.
const MOST_UNDER_WAY: u32 = 1000;
const LONGEST: SignedDuration = SignedDuration::from_mins(10);
/// RFC 8628 section 3.5: what `slow_down` adds to the interval.
const SLOWER: u32 = 5;
const UNKNOWN: AuthError = AuthError::Bad("the device sign-in is unknown, done or has lapsed");

type Result<T> = std::result::Result<T, ControlError>;

/// When each device was last asked about, and how often it may be.
#[derive(Debug, Default)]
pub(crate) struct Polls(Mutex<HashMap<TokenHash, (Timestamp, u32)>>);

impl Polls {
    /// Counts a poll; the interval that must pass, if it came too early.
    fn too_early(&self, hash: TokenHash, interval: u32, now: Timestamp) -> Option<u32> {
        let mut polls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        polls.retain(|_, (last, _)| now.duration_since(*last) < LONGEST);
        let Some((last, interval)) = polls.get_mut(&hash) else {
            polls.insert(hash, (now, interval));
            return None;
        };
        let early = now.duration_since(*last) < SignedDuration::from_secs(i64::from(*interval));
        *last = now;
        *interval += if early { SLOWER } else { 0 };
        early.then_some(*interval)
    }

    fn slow_down(&self, hash: TokenHash, interval: u32) -> u32 {
        let mut polls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slower = polls.get(&hash).map_or(interval, |(_, interval)| *interval) + SLOWER;
        polls.entry(hash).and_modify(|(_, interval)| *interval = slower);
        slower
    }
}

pub(crate) async fn begin(core: &Arc<Core>, provider: Option<&str>) -> Result<DeviceSignIn> {
    let provider = chosen(core, provider)?;
    if core.store.devices_under_way().await? >= MOST_UNDER_WAY {
        let message = "too many people are signing in at this moment".into();
        return Err(ControlError::Limited { message, retry_after: 30 });
    }
    let begun = provider.begin().await.map_err(|error| unavailable(&error))?;
    let now = core.now();
    let token = TokenKind::Device.issue(core.entropy.as_ref());
    let lives = SignedDuration::from_secs(i64::from(begun.expires_in)).min(LONGEST);
    let device = StoredDevice {
        provider: provider.name().to_owned(),
        sealed_code: seal::seal(&token, begun.device_code.expose())?,
        began_at: now,
        expires_at: now + lives,
        interval: begun.interval.max(1),
        audience: Audience::Control,
    };
    let (expires_at, interval) = (device.expires_at, device.interval);
    let hash = TokenHash::of(token.expose());
    let changes = vec![Change::AddDevice { hash, device }];
    let deadlines = vec![expiry::leftover(expires_at)];
    core.settle(Settlement { changes, deadlines, ..Settlement::default() }).await?;
    Ok(DeviceSignIn {
        device_token: token,
        user_code: begun.user_code,
        verification_uri: begun.verification_uri,
        verification_uri_complete: begun.verification_uri_complete,
        expires_at,
        interval,
    })
}

pub(crate) async fn poll(core: &Arc<Core>, token: &str, source: IpAddr) -> Result<DevicePoll> {
    let now = core.now();
    let hash = TokenHash::of(token);
    let device = core.store.device(&hash).await?;
    let device = device.filter(|device| now < device.expires_at).ok_or(UNKNOWN)?;
    if let Some(interval) = core.polls.too_early(hash, device.interval, now) {
        return Ok(DevicePoll::Pending { interval });
    }
    let device_code = seal::open(&Secret::new(token), &device.sealed_code)?;
    let provider = chosen(core, Some(&device.provider))?;
    let op = OpContext::signing_in(source, now);
    match provider.poll(&device_code).await.map_err(|error| unavailable(&error))? {
        DeviceOutcome::Pending => Ok(DevicePoll::Pending { interval: device.interval }),
        DeviceOutcome::SlowDown => {
            Ok(DevicePoll::Pending { interval: core.polls.slow_down(hash, device.interval) })
        }
        DeviceOutcome::Denied => refused(core, &op, hash, "the sign-in was declined").await,
        DeviceOutcome::Expired => {
            refused(core, &op, hash, "the sign-in lapsed; begin a new one").await
        }
        DeviceOutcome::Done(person) => signed_in(core, &op, hash, provider.as_ref(), &person).await,
    }
}

fn chosen<'a>(core: &'a Core, name: Option<&str>) -> Result<&'a Arc<dyn PeopleProvider>> {
    let names = || core.people.iter().map(|known| known.name()).collect::<Vec<_>>().join(", ");
    let invalid = |message| ControlError::Invalid { field: "provider", message };
    match (name, core.people.as_slice()) {
        (None, [only]) => Ok(only),
        (None, []) => Err(invalid("no identity provider of people is configured".into())),
        (None, _) => Err(invalid(format!("name one of: {}", names()))),
        (Some(name), all) => all
            .iter()
            .find(|known| known.name() == name)
            .ok_or_else(|| invalid(format!("is none of: {}", names()))),
    }
}

async fn refused<T>(
    core: &Arc<Core>,
    op: &OpContext,
    hash: TokenHash,
    why: &'static str,
) -> Result<T> {
    let mut event = core.event(op, EventType::SignInRefused);
    event.detail = Some(why.into());
    let changes = vec![Change::EndDevice(hash), Change::Record(event)];
    core.settle(Settlement { changes, ..Settlement::default() }).await?;
    Err(ControlError::Denied(why.into()))
}

async fn signed_in(
    core: &Arc<Core>,
    op: &OpContext,
    hash: TokenHash,
    provider: &dyn PeopleProvider,
    claims: &VerifiedPerson,
) -> Result<DevicePoll> {
    let id = PrincipalId::new(PrincipalKind::User, provider.name(), &claims.subject);
    // Two new principals of one person may sign in at the same moment: whoever comes second finds
    // the person that the first one added.
    for _ in 0..4 {
        let (person, add) = people::linked(core, &id, claims, op.now()).await?;
        let principal = people::principal(id.clone(), person, provider.name(), claims);
        let token = TokenKind::SignIn.issue(core.entropy.as_ref());
        let made = control_sign_in(core, op, &principal, person, claims);
        let settlement = settlement(core, op, hash, add, principal, &token, &made);
        match core.settle(settlement).await {
            Ok(()) => return Ok(DevicePoll::Done { token, sign_in: Box::new(made) }),
            Err(Unsettled::Failed(error)) => return Err(error),
            Err(Unsettled::Conflict) if core.store.device(&hash).await?.is_some() => {}
            // Somebody else polled with the same token and got the sign-in.
            Err(Unsettled::Conflict) => return Err(UNKNOWN.into()),
        }
    }
    Err(Unsettled::Conflict.into())
}

fn control_sign_in(
    core: &Core,
    op: &OpContext,
    principal: &Principal,
    person: PersonId,
    claims: &VerifiedPerson,
) -> SignIn {
    SignIn {
        id: SignInId::new(op.now(), core.entropy.as_ref()),
        audience: Audience::Control,
        principal: principal.id.clone(),
        person: Some(person),
        // A provider whose clock is ahead does not make an authentication younger than now.
        authenticated_at: claims.auth_time.unwrap_or(op.now()).min(op.now()),
        created_at: op.now(),
        expires_at: op.now() + core.settings.control_sign_in.signed(),
        parent: None,
        service: None,
        run: None,
    }
}

fn settlement(
    core: &Core,
    op: &OpContext,
    hash: TokenHash,
    add: Option<Person>,
    principal: Principal,
    token: &Secret,
    made: &SignIn,
) -> Settlement {
    let mut settlement = Settlement::default();
    settlement.changes.push(Change::EndDevice(hash));
    settlement.changes.extend(add.map(Change::AddPerson));
    let seen = Change::SeePrincipal { principal: principal.clone(), at: op.now() };
    settlement.changes.push(seen);
    settlement.once_recorded.push(Effect::Principal(principal));
    sign_in::add(core, op, token, made, &mut settlement);
    settlement
}

fn unavailable(error: &ProviderUnavailable) -> ControlError {
    ControlError::Unavailable(error.to_string())
}
