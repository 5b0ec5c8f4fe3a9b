//! Decisions of other systems: a signed message is a review by the system that signed it, if policy lets it.
//!
//! Whatever is wrong with a message, it changes nothing and goes on record; so does one that comes twice.
//! Of that, so many in a minute: what nobody vouches for and what is signed count apart, and a system
//! that signs is answered all the same. That it came is kept in the transaction that makes it count.

use std::{net::IpAddr, sync::Arc};

use jiff::SignedDuration;
use portcullis_identity::{Decider, SignedMessage};
use portcullis_model::{
    AccessRequestId, DECISIONS, Decision, EventType, PrincipalId, PrincipalKind, Scope, TokenHash,
    Window,
};
use portcullis_store::Change;
use serde::Deserialize;

use super::{record, review};
use crate::{ControlError, OpContext, core::Core, expiry, views::ReviewInput};

/// What a message is; CloudEvents wants a name of the sender's kind in front of it.
const TYPES: [&str; 2] = ["access_request.decision", "portcullis.access_request.decision"];
/// Senders try again for days; what came is known for longer.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(14 * 24);

type Result<T> = std::result::Result<T, ControlError>;

/// A decision that counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Of which access request.
    pub access_request: AccessRequestId,
    /// What has become of it: `approved`.
    pub state: &'static str,
    /// It had counted already, and nothing happened now.
    pub repeated: bool,
}

#[derive(Debug, Deserialize)]
struct Message {
    #[serde(rename = "type")]
    kind: String,
    data: Data,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    access_request: String,
    decision: Decision,
    note: Option<String>,
    duration: Option<String>,
}

pub(crate) async fn take(
    core: &Arc<Core>,
    name: &str,
    message: SignedMessage<'_>,
    source: IpAddr,
) -> Result<Taken> {
    let Some(decider) = core.settings.deciders.lookup(name) else {
        return Err(ControlError::NotFound("a system of this name"));
    };
    let caller = match decider.authenticate(message, core.now()) {
        Ok(caller) => caller,
        Err(error) => {
            forged(core, decider, source, error.to_string()).await?;
            return Err(error.into());
        }
    };
    let op = OpContext::new(caller, source, core.now());
    core.contacts.heard(&decider.principal().id.id, op.now());
    let (id, input) = match read(message.body) {
        Ok(read) => read,
        Err(error) => {
            refused(core, decider, source, None, error.to_string()).await?;
            return Err(error);
        }
    };
    let once = TokenHash::of(&format!("decision {name} {}", message.id));
    if core.store.is_seen(&once).await? {
        return repeated(core, decider, source, id, message.id).await;
    }
    let until = op.now() + REMEMBERED;
    let seen = Change::SeeOnce { hash: once, until };
    match review::review_with(core, &op, id, input, &[seen]).await {
        Ok(view) => {
            core.deadlines.add([expiry::leftover(until)]);
            Ok(Taken { access_request: id, state: view.request.state.as_str(), repeated: false })
        }
        // The same message, twice at this moment.
        Err(ControlError::Conflict(_)) if core.store.is_seen(&once).await? => {
            repeated(core, decider, source, id, message.id).await
        }
        Err(error) => {
            // What policy or the state of the access request refuses, the review has on record.
            if !matches!(error, ControlError::Denied(_) | ControlError::Conflict(_)) {
                refused(core, decider, source, Some(id), error.to_string()).await?;
            }
            Err(error)
        }
    }
}

fn read(body: &[u8]) -> Result<(AccessRequestId, ReviewInput)> {
    let invalid = |field, message: String| ControlError::Invalid { field, message };
    let message: Message = serde_json::from_slice(body)
        .map_err(|error| invalid("body", format!("is no decision: {error}")))?;
    if !TYPES.contains(&message.kind.as_str()) {
        return Err(invalid("type", format!("is `{}`, and not `{}`", message.kind, TYPES[0])));
    }
    let Data { access_request, decision, note, duration } = message.data;
    let id = access_request
        .parse()
        .map_err(|_| invalid("access_request", "is no id of an access request".into()))?;
    let duration: Option<Window> = duration
        .map(|text| {
            text.parse().map_err(|_| invalid("duration", format!("`{text}` is none; write 15m")))
        })
        .transpose()?;
    Ok((id, ReviewInput { decision, note, duration, scope: Scope::default(), passkey: None }))
}

async fn repeated(
    core: &Arc<Core>,
    decider: &Decider,
    source: IpAddr,
    id: AccessRequestId,
    message: &str,
) -> Result<Taken> {
    let why = format!("message `{message}` came before");
    refused(core, decider, source, Some(id), why).await?;
    let request = core.store.access_request(id).await?;
    let state = request.map_or("forgotten", |request| request.state.as_str());
    Ok(Taken { access_request: id, state, repeated: true })
}

/// That something was not taken whose sender nobody knows goes on record; whoever sends too much of it
/// is told to wait.
async fn forged(core: &Arc<Core>, decider: &Decider, source: IpAddr, why: String) -> Result<()> {
    core.contacts.refused(&decider.principal().id.id, core.now(), &why);
    let strangers = counted(decider, PrincipalKind::Anonymous);
    if let Err(retry_after) = core.decision_rates.admit_or_wait(&strangers, core.now()) {
        let message =
            "too many decisions of this system were not taken; the record says why".into();
        return Err(ControlError::Limited { message, retry_after });
    }
    noted(core, decider, source, None, why).await
}

/// That something signed was not taken goes on record, unless there is too much of it: that changes
/// nothing for the answer.
async fn refused(
    core: &Arc<Core>,
    decider: &Decider,
    source: IpAddr,
    request: Option<AccessRequestId>,
    why: String,
) -> Result<()> {
    core.contacts.refused(&decider.principal().id.id, core.now(), &why);
    if !core.decision_rates.admit(&counted(decider, PrincipalKind::Workload), core.now()) {
        tracing::debug!(system = %decider.principal().id, %why, "a decision is not taken");
        return Ok(());
    }
    noted(core, decider, source, request, why).await
}

/// Whose refusals are counted: the system's own, or those of anybody who takes its name.
fn counted(decider: &Decider, kind: PrincipalKind) -> PrincipalId {
    PrincipalId::new(kind, DECISIONS, decider.principal().id.subject())
}

async fn noted(
    core: &Arc<Core>,
    decider: &Decider,
    source: IpAddr,
    request: Option<AccessRequestId>,
    why: String,
) -> Result<()> {
    let op = OpContext::deciding(source, core.now());
    let mut event = core.event(&op, EventType::DecisionRefused);
    event.access_request = request;
    event.detail = Some(format!("{}: {why}", decider.principal().id));
    record::note(core, event).await
}
