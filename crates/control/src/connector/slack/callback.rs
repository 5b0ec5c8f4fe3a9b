//! What comes back from Slack: genuine, of our workspace, and for the first time, or nothing.
//!
//! Whatever is refused goes on record, so many in a minute; what strangers send counts apart from what
//! Slack vouches for. What is taken is worked on by itself: Slack is answered within its three seconds,
//! however long that takes. That an envelope with a press came is kept with what the press did: if the
//! process ends before, Slack's second attempt counts.

use std::{net::IpAddr, sync::Arc, time::Duration};

use jiff::SignedDuration;
use portcullis_identity::{
    AuthError,
    chat::{FromChat, TOLERANCE},
};
use portcullis_model::{EventType, PrincipalId, PrincipalKind, TokenHash};
use portcullis_store::Change;
use serde::Deserialize;

use super::{
    SLACK, Slack, SlackCall, SlackCallKind, command::Command, plain::line, press::Interaction,
};
use crate::{
    ControlError, OpContext,
    core::Core,
    expiry,
    settle::{Settlement, Unsettled},
    usecase::record,
};

/// Slack waits for three seconds, the way included.
const PATIENCE: Duration = Duration::from_secs(2);
/// Slack brings an envelope again that was not acknowledged, soon.
const ENVELOPE_LIVES: SignedDuration = SignedDuration::from_hours(1);
const LONGEST_REASON: usize = 300;
/// Under what is counted what Slack vouches for.
const VOUCHED: &str = "slack";

type Result<T> = std::result::Result<T, ControlError>;

/// A message over Socket Mode.
#[derive(Debug, Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "envelope_id")]
    id: String,
    payload: serde_json::Value,
}

/// By what something that comes again is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Once {
    hash: TokenHash,
    until: jiff::Timestamp,
}

impl Once {
    fn of(name: &str, until: jiff::Timestamp) -> Self {
        Self { hash: TokenHash::of(name), until }
    }

    /// That it came.
    pub(super) fn seen(self) -> Change {
        Change::SeeOnce { hash: self.hash, until: self.until }
    }
}

/// What somebody did.
enum Done {
    Pressed(Box<Interaction>),
    Typed(Command),
}

/// A callback over HTTP. An error is what Slack is told; else it was taken, whatever came of it.
pub(crate) async fn over_http(core: &Arc<Core>, call: SlackCall<'_>, source: IpAddr) -> Result<()> {
    let slack = core.slack.as_ref();
    let both = slack.and_then(|slack| Some((slack, slack.parts.signing.as_ref()?)));
    let (slack, signing) = both.ok_or(ControlError::NotFound("the Slack connector"))?;
    let checked = signing.check(call.timestamp, call.signature, call.body, core.now());
    let vouched = match checked {
        Ok(vouched) => vouched,
        Err(why) => {
            forged(core, slack, source, &why.to_string()).await;
            return Err(AuthError::Bad("this is not signed by Slack, for us and now").into());
        }
    };
    // INVARIANT: remembered for longer than its time can count.
    let until = core.now() + SignedDuration::from_secs(2 * TOLERANCE + 1);
    let name = format!("slack {}", call.signature.unwrap_or_default());
    if !is_new(core, Once::of(&name, until)).await? {
        refused(core, slack, Some(source), "it came before").await;
        return Ok(());
    }
    let done = match call.kind {
        SlackCallKind::Interaction => {
            Interaction::from_form(call.body).map(Box::new).map(Done::Pressed)
        }
        SlackCallKind::Command => Command::from_form(call.body).map(Done::Typed),
    };
    taken(core, slack, vouched, done, Some(source)).await;
    Ok(())
}

/// An envelope of Socket Mode. Returns when it may be acknowledged.
pub(crate) async fn over_socket(core: &Arc<Core>, vouched: FromChat, text: &str) -> Result<()> {
    let Some(slack) = &core.slack else { return Ok(()) };
    let Ok(envelope) = serde_json::from_str::<Envelope>(text) else {
        refused(core, slack, None, "an envelope cannot be read").await;
        return Ok(());
    };
    let name = format!("slack envelope {}", envelope.id);
    let once = Once::of(&name, core.now() + ENVELOPE_LIVES);
    let pressed = envelope.kind == "interactive";
    let came_before =
        if pressed { core.store.is_seen(&once.hash).await? } else { !is_new(core, once).await? };
    if came_before {
        refused(core, slack, None, "it came before").await;
        return Ok(());
    }
    let done = match envelope.kind.as_str() {
        "interactive" => Interaction::from_json(envelope.payload).map(|mut interaction| {
            interaction.once = Some(once);
            Done::Pressed(Box::new(interaction))
        }),
        "slash_commands" => Command::from_json(envelope.payload).map(Done::Typed),
        // Something that the app was not told to ask for.
        _ => return Ok(()),
    };
    taken(core, slack, vouched, done, None).await;
    Ok(())
}

/// Whether it comes for the first time.
async fn is_new(core: &Arc<Core>, once: Once) -> Result<bool> {
    let settlement = Settlement {
        changes: vec![once.seen()],
        deadlines: vec![expiry::leftover(once.until)],
        ..Settlement::default()
    };
    match core.settle(settlement).await {
        Ok(()) => Ok(true),
        Err(Unsettled::Conflict) => Ok(false),
        Err(Unsettled::Failed(error)) => Err(error),
    }
}

/// Keeps that something came, if a review has not kept it already.
async fn came(core: &Arc<Core>, once: Once) {
    match is_new(core, once).await {
        Ok(true) => {}
        Ok(false) => core.deadlines.add([expiry::leftover(once.until)]),
        Err(error) => tracing::error!(%error, "that a press came is not kept: it may come twice"),
    }
}

async fn taken(
    core: &Arc<Core>,
    slack: &Arc<Slack>,
    vouched: FromChat,
    done: Option<Done>,
    source: Option<IpAddr>,
) {
    let Some(done) = done else {
        refused(core, slack, source, "it cannot be read").await;
        return;
    };
    let from = match &done {
        Done::Pressed(interaction) => interaction.from(),
        Done::Typed(command) => command.from(),
    };
    if let Some(why) = from.foreign(slack) {
        refused(core, slack, source, &why).await;
        return;
    }
    core.contacts.heard(SLACK, core.now());
    let (core, slack) = (Arc::clone(core), Arc::clone(slack));
    let work = tokio::spawn(async move {
        match done {
            Done::Pressed(interaction) => {
                let once = interaction.once;
                interaction.answer(&core, &slack, &vouched).await;
                if let Some(once) = once {
                    came(&core, once).await;
                }
            }
            Done::Typed(command) => command.answer(&core, &slack, &vouched).await,
        }
    });
    // What takes longer goes on, and answers for itself.
    let _goes_on = tokio::time::timeout(PATIENCE, work).await;
}

/// Where a callback says that it comes from.
#[derive(Debug)]
pub(super) struct Whence<'a> {
    pub(super) workspaces: [Option<&'a str>; 2],
    pub(super) app: Option<&'a str>,
}

impl Whence<'_> {
    fn foreign(&self, slack: &Slack) -> Option<String> {
        let ours = slack.parts.workspace.as_str();
        let [workspace, members] = self.workspaces;
        if workspace != Some(ours) || members.is_some_and(|workspace| workspace != ours) {
            let named = members.filter(|named| *named != ours).or(workspace).unwrap_or("none");
            return Some(format!("it is of workspace {}, not of ours", line(named, 40)));
        }
        let app = slack.parts.app.as_deref()?;
        (self.app != Some(app)).then(|| {
            format!("it is for app {}, not for ours", line(self.app.unwrap_or("none"), 40))
        })
    }
}

/// Puts on record that something that says it came from Slack does nothing.
async fn forged(core: &Arc<Core>, slack: &Slack, source: IpAddr, why: &str) {
    let op = OpContext::called_back(Some(source), core.now());
    let is_recorded = slack.is_recorded(op.now());
    noted(core, &op, Some(source), is_recorded, why).await;
}

/// Puts on record that something that came from Slack does nothing.
pub(super) async fn refused(core: &Arc<Core>, slack: &Slack, source: Option<IpAddr>, why: &str) {
    let op = OpContext::called_back(source, core.now());
    let vouched = PrincipalId::new(PrincipalKind::Workload, VOUCHED, &slack.parts.workspace);
    let is_recorded = slack.refusals.admit(&vouched, op.now());
    noted(core, &op, source, is_recorded, why).await;
}

async fn noted(
    core: &Arc<Core>,
    op: &OpContext,
    source: Option<IpAddr>,
    is_recorded: bool,
    why: &str,
) {
    let why = line(why, LONGEST_REASON);
    core.contacts.refused(SLACK, op.now(), &why);
    if !is_recorded {
        tracing::debug!(?source, why, "a callback does nothing, like many");
        return;
    }
    tracing::warn!(?source, why, "a callback does nothing");
    let mut event = core.event(op, EventType::ControlRefused);
    event.detail = Some(format!("slack: {why}"));
    if let Err(error) = record::note(core, event).await {
        tracing::error!(%error, "a callback that does nothing is not on record");
    }
}
