//! Messages that are not kept true any more: what is over and was not posted in time ends, what Slack does not
//! take is set aside, and both are on record where somebody was not told.

use std::sync::Arc;

use portcullis_model::{AccessRequest, AccessRequestState, EventType, GrantState, NoticeId};
use portcullis_store::{Change, ChatChange, StoredMessage};

use crate::{
    ControlError, OpContext,
    core::Core,
    usecase::{access_requests, notices, undelivered},
};

type Result<T> = std::result::Result<T, ControlError>;

/// Those of `messages` that are kept true. What came and went without being posted ends: nobody needs to hear of
/// it, but where access is open by now a channel does; and nobody was told in time if nobody answered.
pub(super) async fn without_late(
    core: &Arc<Core>,
    request: &AccessRequest,
    messages: Vec<StoredMessage>,
) -> Result<Vec<StoredMessage>> {
    if request.state == AccessRequestState::Pending || request.is_emergency() {
        return Ok(messages);
    }
    let unanswered = matches!(request.state, AccessRequestState::Expired { .. });
    let grants = notices::grants(core, request).await?;
    let is_open = grants.iter().any(|grant| grant.state == GrantState::InForce);
    let is_late = |message: &StoredMessage| {
        let is_wanted = message.anyway || is_open && !message.to_reviewer;
        message.posted.is_none() && !is_wanted
    };
    let (late, kept): (Vec<_>, Vec<_>) = messages.into_iter().partition(is_late);
    for message in late {
        if unanswered {
            let why = "it did not answer as long as the access request waited";
            set_aside(core, request, message, why).await?;
        } else {
            end(core, message.id, Vec::new()).await?;
        }
    }
    Ok(kept)
}

/// Nobody is told by `message` any more: that goes on record, and somebody may send it again.
pub(super) async fn set_aside(
    core: &Arc<Core>,
    request: &AccessRequest,
    message: StoredMessage,
    why: &str,
) -> Result<()> {
    let ended = vec![chat(ChatChange::End(message.id)), failed(core, request, &message, why)];
    let aside = undelivered::message(core, &op(core), message, why.to_owned());
    undelivered::if_there_is_room(core, ended, aside).await
}

/// Nobody is told by `message` any more, and others are: that goes on record.
pub(super) async fn given_up(
    core: &Arc<Core>,
    request: &AccessRequest,
    message: StoredMessage,
    why: &str,
) -> Result<()> {
    let event = failed(core, request, &message, why);
    end(core, message.id, vec![event]).await
}

/// What was set aside is sent again: it follows its access request from now on.
pub(crate) fn followed_anew(message: StoredMessage) -> Change {
    chat(ChatChange::Add(StoredMessage { shown: None, anyway: true, ..message }))
}

fn failed(core: &Core, request: &AccessRequest, message: &StoredMessage, why: &str) -> Change {
    noted(core, request, EventType::NoticeFailed, format!("slack:{}: {why}", message.place))
}

pub(super) fn noted(
    core: &Core,
    request: &AccessRequest,
    kind: EventType,
    detail: String,
) -> Change {
    let mut event = core.event(&op(core), kind);
    access_requests::describe(&mut event, request);
    event.detail = Some(detail);
    Change::Record(event)
}

/// Nothing is said in it any more.
pub(super) async fn end(core: &Arc<Core>, id: NoticeId, mut also: Vec<Change>) -> Result<()> {
    also.push(chat(ChatChange::End(id)));
    core.settle_unless_done(also).await
}

pub(super) fn op(core: &Core) -> OpContext {
    OpContext::system("slack", core.now())
}

pub(super) fn chat(change: ChatChange) -> Change {
    Change::Chat(Box::new(change))
}
