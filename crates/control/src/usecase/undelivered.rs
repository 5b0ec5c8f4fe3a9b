//! What receivers did not take in the end: listed, sent again, dropped.
//!
//! Nothing is sent again by itself: somebody looked at why it was refused first. What arrives is taken from
//! the list after it arrived, so that it may come twice and is never lost.

use std::sync::Arc;

use jiff::Timestamp;
use portcullis_model::{AccessRequestId, DeliveryId, Event, EventType, NoticeId};
use portcullis_policy::{ControlAction, ControlResource, notice::NoticeTarget};
use portcullis_store::{
    Change, NoticeChange, StoredDelivery, StoredNotice, UndeliveredChange, Unsent,
};

use super::notices;
use crate::{
    ControlError, OpContext,
    core::Core,
    expiry::Ending,
    export::{Form, Outgoing},
    ports::NotDelivered,
    rights,
    settle::{Settlement, Unsettled},
};

/// Messages of one receiver that are kept; behind them its queue waits, where it has one.
pub(crate) const MOST_OF_ONE: u32 = 1000;
const LISTED: u32 = 5000;
const NOT_FOUND: ControlError = ControlError::NotFound("the message");

/// What was set aside, as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undelivered {
    /// Its id on the list.
    pub id: DeliveryId,
    /// Who did not take it.
    pub receiver: String,
    /// `event` or `notice`.
    pub kind: &'static str,
    /// The message's own id.
    pub message: String,
    /// The event's type, or the access request that the notice is about.
    pub about: String,
    /// Its place in the record, if it is an event.
    pub position: Option<u64>,
    /// How often it was sent.
    pub attempts: u32,
    /// Why it was not taken, the last time.
    pub why: String,
    /// When it was set aside.
    pub set_aside_at: Timestamp,
    /// When it was last sent.
    pub tried_at: Timestamp,
    /// What is sent, if it is an event.
    pub body: Option<String>,
}

impl From<StoredDelivery> for Undelivered {
    fn from(stored: StoredDelivery) -> Self {
        let message = stored.unsent.message();
        let (kind, about, position, body) = match stored.unsent {
            Unsent::Event { event, position, json, .. } => {
                ("event", event, Some(position), Some(json))
            }
            Unsent::Notice { access_request, .. } => {
                ("notice", access_request.to_string(), None, None)
            }
        };
        Self {
            id: stored.id,
            receiver: stored.receiver,
            kind,
            message,
            about,
            position,
            attempts: stored.attempts,
            why: stored.why,
            set_aside_at: stored.set_aside_at,
            tried_at: stored.tried_at,
            body,
        }
    }
}

type Result<T> = std::result::Result<T, ControlError>;

/// Sets a message to people aside.
pub(super) fn notice(
    core: &Core,
    op: &OpContext,
    notice: &StoredNotice,
    receiver: String,
    why: String,
) -> Change {
    let unsent = Unsent::Notice {
        id: notice.id,
        access_request: notice.access_request,
        target: notice.target.clone(),
    };
    set_aside(core, op, receiver, unsent, notice.attempts.saturating_add(1), why)
}

/// Sets an event for a webhook aside.
pub(crate) fn event(
    core: &Core,
    op: &OpContext,
    receiver: String,
    message: &Outgoing,
    attempts: u32,
    why: String,
) -> Change {
    let unsent = Unsent::Event {
        id: message.id.clone(),
        event: message.kind.clone(),
        position: message.position,
        time: message.time,
        json: message.json.clone(),
    };
    set_aside(core, op, receiver, unsent, attempts.max(1), why)
}

fn set_aside(
    core: &Core,
    op: &OpContext,
    receiver: String,
    unsent: Unsent,
    attempts: u32,
    why: String,
) -> Change {
    let id = DeliveryId::new(op.now(), core.entropy.as_ref());
    let (set_aside_at, tried_at) = (op.now(), op.now());
    let delivery = StoredDelivery { id, receiver, unsent, attempts, why, set_aside_at, tried_at };
    let change = UndeliveredChange::SetAside { delivery, at_most: MOST_OF_ONE };
    Change::Undelivered(Box::new(change))
}

pub(crate) async fn list(core: &Core, op: &OpContext) -> Result<Vec<Undelivered>> {
    may_look(core, op)?;
    let all = core.store.undelivered(LISTED).await?;
    Ok(all.into_iter().map(Undelivered::from).collect())
}

pub(crate) async fn one(core: &Core, op: &OpContext, id: DeliveryId) -> Result<Undelivered> {
    may_look(core, op)?;
    core.store.one_undelivered(id).await?.map(Undelivered::from).ok_or(NOT_FOUND)
}

/// Sends one again, now and once. It is gone from the list if it arrives.
pub(crate) async fn redeliver(core: &Arc<Core>, op: &OpContext, id: DeliveryId) -> Result<()> {
    may_change(core, op)?;
    let found = core.store.one_undelivered(id).await?.ok_or(NOT_FOUND)?;
    if let Unsent::Notice { id, access_request, target } = &found.unsent
        && target.parse::<NoticeTarget>().is_ok_and(|target| is_followed(&target))
    {
        return tell_anew(core, op, &found, (*id, *access_request, target)).await;
    }
    match send(core, op, &found.unsent, &found.receiver).await? {
        Ok(()) => ended(core, op, &found, EventType::DeliveryRedelivered).await,
        Err(NotDelivered { why, .. }) => {
            let seen_attempts = found.attempts;
            let said = format!("{} did not take it: {why}", found.receiver);
            let delivery = StoredDelivery {
                attempts: seen_attempts.saturating_add(1),
                why,
                tried_at: core.now(),
                ..found
            };
            let change = UndeliveredChange::Tried { delivery, seen_attempts };
            core.store.commit(vec![Change::Undelivered(Box::new(change))]).await?;
            Err(ControlError::Unavailable(said))
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
    (id, about, target): (NoticeId, AccessRequestId, &str),
) -> Result<()> {
    let request = core.store.access_request(about).await?;
    if !request.is_some_and(|request| notices::waits(&request)) {
        let why = "the access request that it was about waits for nobody any more; drop it";
        return Err(ControlError::Conflict(why.into()));
    }
    let (target, due_at) = (target.to_owned(), op.now());
    let notice = StoredNotice { id, access_request: about, target, due_at, attempts: 0 };
    let mut event = core.event(op, EventType::DeliveryRedelivered);
    describe(&mut event, found);
    let changes = vec![
        Change::Undelivered(Box::new(UndeliveredChange::End(found.id))),
        Change::Notice(NoticeChange::Add(notice)),
        Change::Record(event),
    ];
    let deadlines = vec![(due_at, Ending::Notice(id))];
    match core.settle(Settlement { changes, deadlines, ..Settlement::default() }).await {
        Err(Unsettled::Conflict) => Err(NOT_FOUND),
        settled => Ok(settled?),
    }
}

/// Takes one from the list; nobody is told of it.
pub(crate) async fn drop(core: &Arc<Core>, op: &OpContext, id: DeliveryId) -> Result<()> {
    may_change(core, op)?;
    let found = core.store.one_undelivered(id).await?.ok_or(NOT_FOUND)?;
    ended(core, op, &found, EventType::DeliveryDropped).await
}

async fn send(
    core: &Arc<Core>,
    op: &OpContext,
    unsent: &Unsent,
    receiver: &str,
) -> Result<std::result::Result<(), NotDelivered>> {
    match unsent {
        Unsent::Event { id, event, position, time, json } => {
            let gone = || {
                let why = format!("`{receiver}` is not in the configuration any more; drop it");
                ControlError::Conflict(why)
            };
            let name = receiver.strip_prefix(Form::LIFECYCLE).map(str::trim_start);
            let export = name.and_then(|name| core.exports.named(Form::Standard, name));
            let message = Outgoing {
                position: *position,
                id: id.clone(),
                kind: event.clone(),
                time: *time,
                principal: None,
                notable: false,
                json: json.clone(),
            };
            Ok(export.ok_or_else(gone)?.spec.sink.deliver(&[message]).await)
        }
        Unsent::Notice { id, access_request, target } => {
            let request = core.store.access_request(*access_request).await?;
            let request = request.ok_or_else(|| {
                let why = "the access request that it was about is forgotten; drop it";
                ControlError::Conflict(why.into())
            })?;
            let target: NoticeTarget = target
                .parse()
                .map_err(|error| ControlError::Conflict(format!("{error}; drop it")))?;
            let system = OpContext::system("notify", op.now());
            let message = notices::message(core, &system, *id, &request);
            Ok(core.notifier.deliver(&target, &message).await)
        }
    }
}

async fn ended(
    core: &Arc<Core>,
    op: &OpContext,
    delivery: &StoredDelivery,
    kind: EventType,
) -> Result<()> {
    let mut event = core.event(op, kind);
    describe(&mut event, delivery);
    let end = Change::Undelivered(Box::new(UndeliveredChange::End(delivery.id)));
    let changes = vec![end, Change::Record(event)];
    match core.settle(Settlement { changes, ..Settlement::default() }).await {
        Err(Unsettled::Conflict) => Err(NOT_FOUND),
        settled => Ok(settled?),
    }
}

/// Says in `event` which message it is about.
pub(crate) fn describe(event: &mut Event, delivery: &StoredDelivery) {
    let what = match &delivery.unsent {
        Unsent::Event { id, event, .. } => format!("{event} {id}"),
        Unsent::Notice { id, access_request, .. } => {
            event.access_request = Some(*access_request);
            format!("notice {id}")
        }
    };
    event.detail = Some(format!("{}: {what}: {}", delivery.receiver, delivery.why));
}

fn may_look(core: &Core, op: &OpContext) -> Result<()> {
    rights::caller(op)?;
    if rights::may_view_audit(&core.snapshot(), op) {
        return Ok(());
    }
    Err(ControlError::Denied("looking at what was not delivered takes `viewAudit`".into()))
}

fn may_change(core: &Core, op: &OpContext) -> Result<()> {
    rights::caller(op)?;
    if rights::may(&core.snapshot(), op, ControlAction::Administer, ControlResource::System) {
        return Ok(());
    }
    Err(ControlError::Denied("sending again and dropping take `administer`".into()))
}
