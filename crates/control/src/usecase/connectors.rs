//! How connected systems are doing: whether each takes what it is sent, until when what it keeps is known, and how
//! many messages wait.
//!
//! What is known of contact is what was last said of it; nobody is asked because somebody looks. Messages are
//! counted where they are stored: when somebody looks, and for metrics no more often than every few seconds.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use portcullis_identity::Deciders;
use portcullis_model::Clock;
use portcullis_policy::notice::NoticeTarget;
use portcullis_store::{DueMessages, MessageCounts};

use super::notices;
use crate::{
    ControlError, OpContext,
    connector::{
        ConnectedSystem, Connectors,
        contact::{Contacts, Known, Trouble},
        slack::{SLACK, SlackParts},
        watched::{Watched, WatchedSlack},
    },
    core::Core,
    export::{Form, SinkView},
    ports::Notifier,
    rights,
    views::{ConnectorState, ConnectorView, RefusedMessage},
};

/// For metrics, they are counted no more often than that.
const COUNTED_EVERY: SignedDuration = SignedDuration::from_secs(5);
/// A store that takes longer is not waited for.
const LONGEST_COUNT: Duration = Duration::from_secs(1);
const WEBHOOK: &str = "webhook";
const DECISIONS: &str = "decisions";
/// Callbacks over a connection of ours stand apart from whether Slack answers.
const SOCKET: &str = "socket";

type Result<T> = std::result::Result<T, ControlError>;

/// What was last counted, by the names of connected systems.
#[derive(Debug, Default)]
pub(crate) struct Counted(Mutex<(Option<Timestamp>, BTreeMap<String, Messages>)>);

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Messages {
    waiting: u64,
    set_aside: u64,
}

impl Counted {
    fn counted(&self) -> MutexGuard<'_, (Option<Timestamp>, BTreeMap<String, Messages>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Contact with all systems that the configuration has, in its order.
pub(crate) fn contacts(
    notifier: &Arc<dyn Notifier>,
    slack: Option<&SlackParts>,
    deciders: &Deciders,
    connectors: &Connectors,
) -> Arc<Contacts> {
    let slack = slack.map(|slack| ConnectedSystem {
        kind: SLACK,
        name: SLACK.to_owned(),
        place: format!("workspace {}", slack.workspace),
    });
    let deciders = deciders.each().map(|decider| {
        let name = decider.principal().id.id.to_string();
        let place = format!("/v1/{}", name.replacen(':', "/", 1));
        ConnectedSystem { kind: DECISIONS, name, place }
    });
    let told = slack.into_iter().chain(notifier.receivers());
    Arc::new(Contacts::new(told.chain(deciders).chain(connectors.systems())))
}

/// The same Slack, watched.
pub(crate) fn watched(
    parts: SlackParts,
    contacts: &Arc<Contacts>,
    clock: &Arc<dyn Clock>,
) -> SlackParts {
    let watched = Watched::new(Arc::clone(&parts.api), contacts, clock);
    let api = Arc::new(WatchedSlack::new(watched, parts.workspace.clone()));
    SlackParts { api, ..parts }
}

/// Whether Slack can call back over a connection of ours; with why not.
pub(crate) fn slack_listens(core: &Core, why_not: Option<&str>) {
    let why = why_not.map(|why| format!("Socket Mode is not connected: {why}"));
    core.contacts.apart(SLACK, SOCKET, core.now(), why.as_deref());
}

/// How all of them are doing; takes `viewAudit` or `administer`.
pub(crate) async fn list(core: &Core, op: &OpContext) -> Result<Vec<ConnectorView>> {
    rights::caller(op)?;
    if !rights::may_oversee(&core.snapshot(), op) {
        let why = "looking at connected systems takes `viewAudit` or `administer`";
        return Err(ControlError::Denied(why.into()));
    }
    if !core.contacts.is_empty() {
        count(core).await?;
    }
    Ok(views(core))
}

/// Counts, unless that was done a moment ago. What cannot be counted stays as it was.
pub(crate) async fn count_soon(core: &Core) {
    let now = core.now();
    let is_fresh = |at: Timestamp| now.duration_since(at).abs() < COUNTED_EVERY;
    {
        let mut counted = core.counted.counted();
        if core.contacts.is_empty() || counted.0.is_some_and(is_fresh) {
            return;
        }
        // Whoever comes meanwhile does not count as well.
        counted.0 = Some(now);
    }
    match tokio::time::timeout(LONGEST_COUNT, count(core)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "messages that wait cannot be counted"),
        Err(_) => tracing::warn!("the store takes long to count messages that wait"),
    }
}

async fn count(core: &Core) -> Result<()> {
    let now = core.now();
    let found = by_system(core.store.message_counts(now).await?);
    *core.counted.counted() = (Some(now), found);
    Ok(())
}

/// Counts of receivers, as they are addressed, by the systems that bring to them.
fn by_system(counts: MessageCounts) -> BTreeMap<String, Messages> {
    let mut found: BTreeMap<String, Messages> = BTreeMap::new();
    for DueMessages { target, tried, count } in counts.due {
        let told = notices::told_at(&target);
        let is_told = told.is_some();
        // What was told waits for nobody, until somebody could not be let go or told what came of it.
        if let Some(name) = system_of(&told.unwrap_or(target)).filter(|_| tried || !is_told) {
            let messages = found.entry(name).or_default();
            messages.waiting = messages.waiting.saturating_add(count);
        }
    }
    for (receiver, count) in counts.set_aside {
        if let Some(name) = system_of(&receiver) {
            let messages = found.entry(name).or_default();
            messages.set_aside = messages.set_aside.saturating_add(count);
        }
    }
    found
}

/// The system that brings to `receiver`; none to a URL that a policy names.
fn system_of(receiver: &str) -> Option<String> {
    match receiver.strip_prefix(Form::LIFECYCLE).and_then(|rest| rest.strip_prefix(' ')) {
        Some(name) => Some(format!("{WEBHOOK}:{name}")),
        None => receiver.parse::<NoticeTarget>().ok()?.needs(),
    }
}

/// How all of them are doing, messages as they were last counted.
pub(crate) fn views(core: &Core) -> Vec<ConnectorView> {
    let counted = core.counted.counted().1.clone();
    let view = |(system, known): (&ConnectedSystem, Known)| {
        let mut messages = counted.get(&system.name).copied().unwrap_or_default();
        if let Some(slack) = core.slack.as_ref().filter(|_| system.kind == SLACK) {
            messages.waiting += slack.waiting() as u64;
        }
        let connector = core.connectors.named(&system.name);
        let known_until = connector.zip(known.answered_at).map(|(it, at)| it.known_until(at));
        let seen = Seen { system, known, messages, known_until, queue: queue(core, system) };
        seen.at(core.now())
    };
    core.contacts.each().map(view).collect()
}

/// What brings entries of the record there.
fn queue(core: &Core, system: &ConnectedSystem) -> Option<Queue> {
    let export = match system.name.strip_prefix(WEBHOOK) {
        Some(name) => core.exports.named(Form::Standard, name.trim_start_matches(':')),
        None => core.exports.named(Form::Note, &system.name),
    }?;
    let rest = export.standing.rest().and_then(|rest| SignedDuration::try_from(rest).ok());
    let rests_until = rest.map(|rest| core.now() + rest);
    Some(Queue { sink: export.view(), rests_until, passed_over: export.standing.passed_over() })
}

/// What brings entries of the record to a system, and how it is doing.
#[derive(Debug, Clone)]
struct Queue {
    sink: SinkView,
    rests_until: Option<Timestamp>,
    /// What was last sent was set aside: since when, and why.
    passed_over: Option<(Timestamp, String)>,
}

/// All that is known of one system.
struct Seen<'a> {
    system: &'a ConnectedSystem,
    known: Known,
    messages: Messages,
    known_until: Option<Timestamp>,
    queue: Option<Queue>,
}

impl Seen<'_> {
    fn at(self, now: Timestamp) -> ConnectorView {
        let troubles = self.troubles();
        let Self { system, known, messages, known_until, queue } = self;
        let delivered_at = queue.as_ref().and_then(|queue| queue.sink.delivered_at);
        let answered_at = known.answered_at.max(delivered_at);
        let rests = queue.as_ref().and_then(|queue| queue.rests_until);
        let rests_until = known.rests_until.max(rests).filter(|until| *until > now);
        let was_seen = answered_at.is_some() || known.heard_at.is_some();
        let state = match (troubles.is_empty(), rests_until) {
            (true, _) if was_seen => ConnectorState::Working,
            (true, _) => ConnectorState::Unknown,
            (false, Some(_)) => ConnectorState::Resting,
            (false, None) => ConnectorState::Failing,
        };
        let all: Vec<_> = troubles.iter().map(|(_, why)| why.as_str()).collect();
        let queue_failures = queue.as_ref().map_or(0, |queue| queue.sink.failures);
        ConnectorView {
            kind: system.kind,
            name: system.name.clone(),
            place: system.place.clone(),
            state,
            failing_since: troubles.iter().map(|(since, _)| *since).min(),
            trouble: (!all.is_empty()).then(|| all.join("; ")),
            answered_at,
            heard_at: known.heard_at,
            known_until,
            rests_until,
            waiting: messages.waiting,
            behind: queue.map(|queue| queue.sink.behind),
            set_aside: messages.set_aside,
            failures: known.failures.saturating_add(queue_failures),
            refused: known.refused.map(|(at, why)| RefusedMessage { at, why }),
        }
    }

    /// What is wrong, and since when.
    fn troubles(&self) -> Vec<(Timestamp, String)> {
        let delivered_at = self.queue.as_ref().and_then(|queue| queue.sink.delivered_at);
        // A message that it took by the other way says as much as one that it took by this one.
        let stands = |trouble: &&Trouble| {
            self.system.kind != WEBHOOK || delivered_at.is_none_or(|at| at <= trouble.last)
        };
        let contact = self.known.trouble.iter().filter(stands).chain(self.known.apart.values());
        let contact = contact.map(|trouble| (trouble.since, trouble.why.clone()));
        let queued = self.queue.as_ref().and_then(|queue| {
            let what = if self.system.kind == WEBHOOK { "events" } else { "notes" };
            let stuck = queue.sink.failing_since.zip(queue.sink.trouble.clone());
            // What went on behind a message that lies aside is no sign that anything arrives.
            let aside = queue.passed_over.clone().filter(|_| self.messages.set_aside > 0);
            stuck.or(aside).map(|(since, why)| (since, format!("{what}: {why}")))
        });
        contact.chain(queued).collect()
    }
}

#[cfg(test)]
mod tests;
