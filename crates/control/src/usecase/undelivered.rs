//! What receivers did not take in the end: set aside, listed, sent again, dropped.
//!
//! Nothing is sent again by itself: somebody looked at why it was refused first. What arrives is taken from
//! the list after it arrived, so that it may come twice and is never lost.

pub(crate) mod again;

use std::sync::Arc;

use jiff::Timestamp;
use portcullis_model::{DeliveryId, Event, EventType};
use portcullis_policy::{ControlAction, ControlResource};
use portcullis_store::{
    Change, NoticeChange, StoredDelivery, StoredMessage, StoredNotice, UndeliveredChange, Unsent,
};

use crate::{
    ControlError, OpContext,
    core::Core,
    expiry::Ending,
    export::Outgoing,
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
            Unsent::Message(message) => ("notice", message.access_request.to_string(), None, None),
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

/// Sets a message in a chat aside.
pub(crate) fn message(core: &Core, op: &OpContext, message: StoredMessage, why: String) -> Change {
    let receiver = format!("slack:{}", message.place);
    set_aside(core, op, receiver, Unsent::Message(message), 1, why)
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

/// `ended`, and what was to be told set `aside`: where its receiver's list is full of what nobody looks at,
/// the record says what `ended` says of it, and it is not kept beside.
pub(crate) async fn if_there_is_room(
    core: &Arc<Core>,
    ended: Vec<Change>,
    aside: Change,
) -> Result<()> {
    let changes = ended.iter().cloned().chain([aside]).collect();
    match core.settle(Settlement { changes, ..Settlement::default() }).await {
        Err(Unsettled::Conflict) => core.settle_unless_done(ended).await,
        settled => settled.map_err(Into::into),
    }
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

/// Takes one from the list; nobody is told of it.
pub(crate) async fn drop(core: &Arc<Core>, op: &OpContext, id: DeliveryId) -> Result<()> {
    may_change(core, op)?;
    let found = core.store.one_undelivered(id).await?.ok_or(NOT_FOUND)?;
    ended(core, op, &found, EventType::DeliveryDropped, None).await
}

/// It is gone from the list; `also` says where it, or what comes of it, is brought from now on.
async fn ended(
    core: &Arc<Core>,
    op: &OpContext,
    delivery: &StoredDelivery,
    kind: EventType,
    also: Option<Change>,
) -> Result<()> {
    let mut event = core.event(op, kind);
    describe(&mut event, delivery);
    let end = Change::Undelivered(Box::new(UndeliveredChange::End(delivery.id)));
    let deadlines = match &also {
        Some(Change::Notice(NoticeChange::Add(notice))) => {
            vec![(notice.due_at, Ending::Notice(notice.id))]
        }
        _ => Vec::new(),
    };
    let changes = [end].into_iter().chain(also).chain([Change::Record(event)]).collect();
    match core.settle(Settlement { changes, deadlines, ..Settlement::default() }).await {
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
        Unsent::Message(message) => {
            event.access_request = Some(message.access_request);
            format!("notice {}", message.id)
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
