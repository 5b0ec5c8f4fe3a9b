//! Sending again what was set aside: one message, or all of them in the order in which they were set aside.
//!
//! A receiver that wants to be left alone is, and none is flooded: webhooks get what waited at their own rate,
//! everybody else a message a second. What a receiver refuses for good holds no other message up; whoever does
//! not answer is not asked for the rest.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use portcullis_model::{AccessRequestId, DeliveryId, EventType, NoticeId};
use portcullis_policy::notice::NoticeTarget;
use portcullis_store::{
    Change, NoticeChange, StoredDelivery, StoredMessage, StoredNotice, UndeliveredChange, Unsent,
};
use tokio::time::{Instant, sleep};

use super::{NOT_FOUND, Result, ended, may_change};
use crate::{
    ControlError, OpContext,
    connector::slack,
    core::Core,
    export::{Export, Form, Outgoing},
    ports::NotDelivered,
    usecase::notices,
};

/// Whoever sends one again waits so long for its receiver's turn.
const ONE_WAITS: Duration = Duration::from_secs(5);
/// Whoever sends all again is answered after so long, and goes on from there.
const ALL_TAKE: Duration = Duration::from_secs(20);
/// Messages that are looked at in one call.
const AT_ONCE: u32 = 100;

/// What became of a message that was sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentAgain {
    /// It arrived.
    Arrived,
    /// It follows its access request again, and is brought as soon as its receiver can be reached.
    Underway,
}

/// One that did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotTakenAgain {
    /// Its id on the list, where it still is.
    pub id: DeliveryId,
    /// Who did not take it.
    pub receiver: String,
    /// Why.
    pub why: String,
}

/// What became of those that were sent again together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllAgain {
    /// So many arrived.
    pub arrived: u32,
    /// So many follow their access requests again.
    pub underway: u32,
    /// Those that did not.
    pub not_taken: Vec<NotTakenAgain>,
    /// So many were not sent: their receiver did not take the one before.
    pub left: u32,
    /// Where to go on; nothing if all were looked at.
    pub next: Option<Onward>,
}

/// Where sending all again goes on: among what was set aside when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Onward {
    /// Behind this one.
    pub after: DeliveryId,
    /// Up to this one.
    pub last: DeliveryId,
}

/// Why one did not arrive.
enum Untaken {
    /// The receiver says so: its own trouble, or for good.
    Receiver(NotDelivered),
    /// Its turn does not come soon.
    Rests(Duration),
    /// This one cannot be sent, or we cannot.
    Own(ControlError),
}

impl Untaken {
    /// Why this one was not taken, and whether its receiver is left alone for that; else it is an error of ours.
    fn of_one(self) -> Result<(String, bool)> {
        match self {
            Self::Receiver(NotDelivered { why, again, .. }) => Ok((why, again)),
            Self::Rests(rest) => {
                Ok((format!("it wants to be left alone for {} s", rest.as_secs()), true))
            }
            Self::Own(ControlError::Conflict(why)) => Ok((why, false)),
            Self::Own(error) => Err(error),
        }
    }
}

impl<E: Into<ControlError>> From<E> for Untaken {
    fn from(error: E) -> Self {
        Self::Own(error.into())
    }
}

/// Sends one again, now and once. It is gone from the list if it arrives.
pub(crate) async fn one(core: &Arc<Core>, op: &OpContext, id: DeliveryId) -> Result<SentAgain> {
    may_change(core, op)?;
    let found = core.store.one_undelivered(id).await?.ok_or(NOT_FOUND)?;
    let receiver = found.receiver.clone();
    match again(core, op, found, Instant::now() + ONE_WAITS).await {
        Ok(sent) => Ok(sent),
        Err(Untaken::Receiver(NotDelivered { why, .. })) => {
            Err(ControlError::Unavailable(format!("{receiver} did not take it: {why}")))
        }
        Err(Untaken::Rests(rest)) => Err(ControlError::resting(&receiver, rest)),
        Err(Untaken::Own(error)) => Err(error),
    }
}

/// Sends all again that were set aside, or those of one `receiver`, oldest first: as many as can be in a while, from
/// where the call before came to.
pub(crate) async fn all(
    core: &Arc<Core>,
    op: &OpContext,
    receiver: Option<&str>,
    from: Option<Onward>,
) -> Result<AllAgain> {
    may_change(core, op)?;
    let mut came = AllAgain::default();
    let Some(mut onward) = begun(core, from).await? else { return Ok(came) };
    let until = Instant::now() + ALL_TAKE;
    // Who is not asked any more in this call.
    let mut stopped: BTreeSet<String> = BTreeSet::new();
    let (mut count, mut waiting) = (0, VecDeque::new());
    loop {
        if waiting.is_empty() {
            let between = (onward.after, onward.last);
            waiting = core.store.undelivered_between(receiver, between, AT_ONCE).await?.into();
        }
        let Some(one) = waiting.pop_front() else { break };
        let (id, receiver) = (one.id, one.receiver.clone());
        if count == AT_ONCE || count > 0 && Instant::now() >= until {
            return Ok(came);
        }
        if stopped.contains(&receiver) {
            came.left += 1;
        } else {
            match again(core, op, one, until).await {
                Ok(SentAgain::Arrived) => came.arrived += 1,
                Ok(SentAgain::Underway) => came.underway += 1,
                // Its turn comes in the next call.
                Err(Untaken::Rests(rest)) if count > 0 && rest <= ALL_TAKE => return Ok(came),
                // Somebody else was faster.
                Err(Untaken::Own(ControlError::NotFound(_))) => {}
                Err(untaken) => {
                    let (why, stops) = untaken.of_one()?;
                    came.not_taken.push(NotTakenAgain { id, receiver: receiver.clone(), why });
                    if stops {
                        stopped.insert(receiver);
                    }
                }
            }
        }
        count += 1;
        onward.after = id;
        came.next = Some(onward);
    }
    came.next = None;
    Ok(came)
}

/// Where the call before came to; else before the oldest, and up to the newest that there is now: what is set aside
/// anew meanwhile is not sent in circles.
async fn begun(core: &Core, from: Option<Onward>) -> Result<Option<Onward>> {
    if from.is_some() {
        return Ok(from);
    }
    // More than one, for one that cannot be read is left out.
    let newest = core.store.undelivered(AT_ONCE).await?;
    let all = |last: &StoredDelivery| Onward { after: DeliveryId::from_bits(0), last: last.id };
    Ok(newest.first().map(all))
}

/// Sends one, once its receiver's turn comes before `until`.
async fn again(
    core: &Arc<Core>,
    op: &OpContext,
    found: StoredDelivery,
    until: Instant,
) -> std::result::Result<SentAgain, Untaken> {
    let sent = match &found.unsent {
        Unsent::Message(message) => return Ok(follow(core, op, &found, message).await?),
        Unsent::Notice { id, access_request, target } => {
            let target: NoticeTarget = target
                .parse()
                .map_err(|error| ControlError::Conflict(format!("{error}; drop it")))?;
            if is_followed(&target) {
                let what = (*id, *access_request, &target);
                return Ok(tell_anew(core, op, &found, what).await?);
            }
            tell(core, op, (*id, *access_request, &target), until).await?
        }
        Unsent::Event { id, event, position, time, json } => {
            let message = Outgoing {
                position: *position,
                id: id.clone(),
                kind: event.clone(),
                time: *time,
                principal: None,
                notable: false,
                json: json.clone(),
            };
            pass_on(core, &found.receiver, message, until).await?.map(|()| None)
        }
    };
    match sent {
        Ok(follows) => {
            let also = follows.map(|notice| Change::Notice(NoticeChange::Add(notice)));
            ended(core, op, &found, EventType::DeliveryRedelivered, also).await?;
            Ok(SentAgain::Arrived)
        }
        Err(trouble) => {
            let seen_attempts = found.attempts;
            let delivery = StoredDelivery {
                attempts: seen_attempts.saturating_add(1),
                why: trouble.why.clone(),
                tried_at: core.now(),
                ..found
            };
            let change = UndeliveredChange::Tried { delivery, seen_attempts };
            core.store.commit(vec![Change::Undelivered(Box::new(change))]).await?;
            Err(Untaken::Receiver(trouble))
        }
    }
}

/// Whether what is told there changes with the access request.
fn is_followed(target: &NoticeTarget) -> bool {
    target.stands() || matches!(target, NoticeTarget::Slack(_))
}

/// As if it had just become due: what stands there is followed to the access request's end.
async fn tell_anew(
    core: &Arc<Core>,
    op: &OpContext,
    found: &StoredDelivery,
    (id, about, target): (NoticeId, AccessRequestId, &NoticeTarget),
) -> Result<SentAgain> {
    let request = core.store.access_request(about).await?;
    if !request.is_some_and(|request| notices::waits(&request)) {
        let why = "the access request that it was about waits for nobody any more; drop it";
        return Err(ControlError::Conflict(why.into()));
    }
    let (target, due_at) = (target.to_string(), op.now());
    let notice = StoredNotice { id, access_request: about, target, due_at, attempts: 0 };
    let put_back = Change::Notice(NoticeChange::Add(notice));
    ended(core, op, found, EventType::DeliveryRedelivered, Some(put_back)).await?;
    Ok(SentAgain::Underway)
}

/// A message in a chat says how things are, whatever they are by now.
async fn follow(
    core: &Arc<Core>,
    op: &OpContext,
    found: &StoredDelivery,
    message: &StoredMessage,
) -> Result<SentAgain> {
    let about = message.access_request;
    let Some(slack) = &core.slack else {
        let why = "there is no `slack` under `connectors` any more; drop it";
        return Err(ControlError::Conflict(why.into()));
    };
    if core.store.access_request(about).await?.is_none() {
        return Err(forgotten());
    }
    let anew = slack::followed_anew(message.clone());
    ended(core, op, found, EventType::DeliveryRedelivered, Some(anew)).await?;
    slack::look_at(slack, about);
    Ok(SentAgain::Underway)
}

/// Tells somebody of an access request as it is now; with what is left to tell there once it arrived.
async fn tell(
    core: &Arc<Core>,
    op: &OpContext,
    (id, about, target): (NoticeId, AccessRequestId, &NoticeTarget),
    until: Instant,
) -> std::result::Result<std::result::Result<Option<StoredNotice>, NotDelivered>, Untaken> {
    let request = core.store.access_request(about).await?.ok_or_else(forgotten)?;
    let receiver = target.in_short();
    while let Err(free) = core.paces.turn(&receiver, core.now()) {
        let rest = Duration::try_from(free.duration_since(core.now())).unwrap_or_default();
        wait(rest, until).await?;
    }
    let system = OpContext::system("notify", op.now());
    let (message, follows) = notices::message(core, &system, id, &request, target).await?;
    let told = core.notifier.deliver(target, &message).await;
    match &told {
        Ok(()) => core.paces.told(&receiver),
        Err(trouble) => {
            core.paces.failed(&receiver, trouble.rest, core.now());
        }
    }
    let due_at = core.now();
    let next = |target| StoredNotice { id, access_request: about, target, due_at, attempts: 0 };
    Ok(told.map(|()| follows.map(next)))
}

/// Passes an event on, as it was to be sent.
async fn pass_on(
    core: &Arc<Core>,
    receiver: &str,
    message: Outgoing,
    until: Instant,
) -> std::result::Result<std::result::Result<(), NotDelivered>, Untaken> {
    let name = receiver.strip_prefix(Form::LIFECYCLE).map(str::trim_start);
    let export = name.and_then(|name| core.exports.named(Form::Standard, name));
    let Export { spec, standing } = export.ok_or_else(|| {
        ControlError::Conflict(format!(
            "`{receiver}` is not in the configuration any more; drop it"
        ))
    })?;
    while let Some(rest) = standing.rest() {
        wait(rest, until).await?;
    }
    let sent = spec.sink.deliver(&[message]).await;
    if let Err(NotDelivered { rest: Some(rest), .. }) = &sent {
        standing.rests(*rest);
    }
    // No faster than what comes by itself.
    sleep(spec.time_of(1)).await;
    Ok(sent)
}

/// Sleeps for `rest`, unless it is over after `until` only.
async fn wait(rest: Duration, until: Instant) -> std::result::Result<(), Untaken> {
    if Instant::now() + rest > until {
        return Err(Untaken::Rests(rest));
    }
    sleep(rest).await;
    Ok(())
}

fn forgotten() -> ControlError {
    ControlError::Conflict("the access request that it was about is forgotten; drop it".into())
}
