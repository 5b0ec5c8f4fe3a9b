//! Starting: what the store remembers becomes what gates see.

use std::sync::Arc;

use portcullis_model::{EventType, Principal, SealedState, SignIn};
use portcullis_store::{AccessRequests, Change, Grants, Incidents, Person, StoredBundle};
use tokio::task::JoinSet;

use crate::{
    ControlError, ControlParts, OpContext, alerts, connections,
    connections::Connections,
    connector::{self, slack::Slack, watched::Watched},
    core::Core,
    expiry::{self, Deadlines, Ending},
    export,
    feed::Feed,
    outbox::Outbox,
    publisher::{Effect, Publisher},
    rate::RateLimits,
    settle::Settlement,
    usecase::{bundles, connectors, content, hold, idle, record, runs},
};

const REFUSALS_PER_SECOND: u32 = 10;
/// People whom identity providers are asked about at one time.
const RECHECKS: usize = 8;
/// People who are told of access requests at one time.
const TOLD: usize = 8;
/// So many decisions of one system that are not taken go on record.
const DECISIONS_REFUSED_PER_MINUTE: u32 = 60;
/// Access requests of one requester that begin to wait. More than may wait, so that it is felt only by
/// who takes back and asks again.
const ASKS_PER_MINUTE: u32 = 40;

type Result<T> = std::result::Result<T, ControlError>;

/// Builds the core and brings back what was in force.
#[expect(clippy::too_many_lines, reason = "one line for each part of the core")]
pub(crate) async fn start(parts: ControlParts) -> Result<Arc<Core>> {
    let newest = parts.store.bundles(1).await?.into_iter().next();
    let (bundle, generation, is_new) = bundles::first(newest.as_ref(), parts.bundle)?;
    let feed = Feed::default();
    let exports = parts.exports.and(parts.connectors.notes(&parts.store));
    let contacts = connectors::contacts(
        &parts.notifier,
        parts.slack.as_ref(),
        &parts.settings.deciders,
        &parts.connectors,
    );
    let slack = parts.slack.map(|slack| connectors::watched(slack, &contacts, &parts.clock));
    let notifier = Watched::new(parts.notifier, &contacts, &parts.clock);
    let core = Arc::new(Core {
        outbox: Outbox::new(Arc::clone(&parts.store), Arc::clone(&parts.log), feed.clone()),
        feed,
        publisher: Arc::new(Publisher::new(Arc::clone(&bundle), generation)),
        deadlines: Deadlines::new(Arc::clone(&parts.clock)),
        store: parts.store,
        log: parts.log,
        clock: parts.clock,
        entropy: parts.entropy,
        settings: parts.settings,
        people: parts.people,
        workloads: parts.workloads,
        held_back: crate::settle::HeldBack::default(),
        heartbeats: crate::heartbeats::Heartbeats::default(),
        holds: crate::holds::Holds::default(),
        sightings: crate::usecase::sightings::Sightings::default(),
        connections: Connections::default(),
        reviewer_names: crate::rights::ReviewerNames::default(),
        refusal_rates: RateLimits::new(REFUSALS_PER_SECOND, 1),
        ask_rates: RateLimits::new(ASKS_PER_MINUTE, 60),
        exact_rates: crate::rates::ExactRates::default(),
        polls: crate::usecase::device::Polls::default(),
        seen: idle::Seen::default(),
        grants_used: idle::Seen::default(),
        grants_stored: idle::Seen::default(),
        brought: crate::brought::BroughtBundles::default(),
        provider_tokens: crate::usecase::recheck::ProviderTokens::default(),
        rechecks: tokio::sync::Semaphore::new(RECHECKS),
        telling: tokio::sync::Semaphore::new(TOLD),
        paces: crate::paces::Paces::default(),
        decision_rates: RateLimits::new(DECISIONS_REFUSED_PER_MINUTE, 60),
        notifier: Arc::new(notifier),
        slack: slack.map(Slack::new).map(Arc::new),
        told: crate::usecase::notices::Told::default(),
        exports,
        connectors: parts.connectors,
        contacts,
        counted: connectors::Counted::default(),
        alerts: parts.alerts,
        activating: tokio::sync::Mutex::new(()),
        started: std::sync::OnceLock::new(),
        caught_up: tokio::sync::watch::Sender::new(false),
        policy_tests: arc_swap::ArcSwapOption::empty(),
        index: arc_swap::ArcSwapOption::empty(),
    });
    bundles::remember_who_brought(&core).await?;
    know_deciders(&core).await?;
    let recorded = replay(&core).await?;
    let op = OpContext::system("start", core.now());
    if is_new {
        let source = &parts.bundle_source;
        let stored = bundles::stored(&bundle, source, generation, "start", None, op.now())?;
        activate(&core, &op, stored).await?;
    }
    bring_back(&core, recorded).await?;
    bundles::end_orphans(&core, &op, &bundle).await;
    hold::end_abandoned(&core, &op).await?;
    say_started(&core, &op).await?;
    begin_reading(&core).await;
    content::say_what_cannot_be_read(&core).await?;
    Ok(core)
}

/// Brings the bundle that came with the start into the store and the record.
async fn activate(core: &Arc<Core>, op: &OpContext, stored: StoredBundle) -> Result<()> {
    let mut changes = bundles::activated(core, op, &stored);
    changes.insert(0, Change::AddBundle(stored));
    core.settle(Settlement { changes, ..Settlement::default() }).await?;
    Ok(())
}

/// A system that reviews counts as one, like a person: the store wants to know of it.
async fn know_deciders(core: &Core) -> Result<()> {
    let counted = core.settings.deciders.each().filter_map(|decider| decider.principal().person);
    let known = counted.map(|id| Change::AddPerson(Person { id, email: None })).collect::<Vec<_>>();
    if !known.is_empty() {
        core.store.commit(known).await?;
    }
    Ok(())
}

async fn say_started(core: &Arc<Core>, op: &OpContext) -> Result<()> {
    let started = core.event(op, EventType::Started);
    let _first = core.started.set(started.id);
    record::note(core, started).await
}

/// Those who read the record from now on begin before anybody can do anything that they would miss.
async fn begin_reading(core: &Core) {
    let sinks = core.exports.each().map(|one| (one.spec.reader(), one.spec.from_the_beginning));
    let rules = (!core.alerts.rules().is_empty()).then(|| (alerts::READER.to_owned(), false));
    for (reader, all) in sinks.chain(rules) {
        if let Err(error) = export::cursor(core, &reader, all).await {
            tracing::error!(reader, %error, "it begins later");
        }
    }
}

/// Whether everything that the store has is in the log.
async fn replay(core: &Core) -> Result<bool> {
    match core.outbox.replay().await {
        Ok(()) => Ok(true),
        Err(error) => {
            tracing::error!(%error, "starting without the record: nothing new is opened");
            Ok(false)
        }
    }
}

/// Publishes what is in force. Without the record, grants and sign-ins wait for it: one of them may
/// be the one whose start is not on record.
async fn bring_back(core: &Arc<Core>, recorded: bool) -> Result<()> {
    let mut effects = Vec::new();
    let mut deadlines = Vec::new();
    // The directory first, and at once: it may bar whoever comes after it.
    let users = core.store.directory_users().await?.into_iter().map(Effect::User);
    let groups = core.store.directory_groups().await?.into_iter().map(Effect::Group);
    let revoked = revoked(core).await?;
    core.publisher.publish(users.chain(groups).chain(revoked).collect(), core.now());
    for principal in core.store.principals().await? {
        effects.push(Effect::Principal(principal));
    }
    for decider in core.settings.deciders.each() {
        effects.push(Effect::Principal(Principal::clone(decider.principal())));
    }
    let mut sign_ins = core.store.sign_ins().await?;
    // Parents first: a child without its parent is not published.
    sign_ins.sort_by_key(|stored| stored.sign_in.parent.is_some());
    for stored in sign_ins {
        let SignIn { id, expires_at, created_at, .. } = stored.sign_in;
        if let Some(by) = runs::heartbeat_end(&stored.sign_in, core.now()) {
            core.heartbeats.heard(id, by);
            deadlines.push((by, Ending::Silence(id)));
        }
        deadlines.push((expires_at, Ending::SignIn(id)));
        let seen_at = stored.seen_at.unwrap_or(created_at);
        core.seen.note(id, seen_at);
        deadlines.extend(idle::deadline(core, &stored.sign_in, seen_at));
        effects.push(Effect::SignIn(stored.hash, stored.sign_in));
    }
    for token in core.store.provider_tokens().await? {
        deadlines.push((token.due_at, Ending::Recheck(token.sign_in)));
        core.provider_tokens.keep(token);
    }
    let schedules = core.store.schedules().await?.into_iter().map(Effect::Schedule);
    let incidents = core.store.incidents(Incidents::Open, u32::MAX).await?;
    effects.extend(schedules.chain(incidents.into_iter().map(Effect::Incident)));
    for (grant, at) in core.store.grants_used().await? {
        core.grants_used.note(grant, at);
    }
    for grant in core.store.grants(Grants::InForce, u32::MAX).await? {
        deadlines.push(expiry::grant_end(&grant));
        deadlines.extend(idle::unused(&grant, core.now()));
        effects.push(Effect::Grant(grant));
    }
    for stored in core.store.grant_tokens().await? {
        effects.push(Effect::GrantToken(stored.hash, stored.token));
    }
    core.deadlines.add(deadlines);
    what_waits(core).await?;
    if recorded {
        core.publisher.publish(effects, core.now());
    } else {
        core.held_back.add(effects);
    }
    Ok(())
}

/// What has an end and opens nothing.
async fn what_waits(core: &Core) -> Result<()> {
    let mut deadlines = Vec::new();
    for request in core.store.access_requests(AccessRequests::Pending(None), u32::MAX).await? {
        deadlines.push((request.expires_at, Ending::AccessRequest(request.id)));
    }
    for notice in core.store.notices().await? {
        deadlines.push((notice.due_at, Ending::Notice(notice.id)));
    }
    let (refusal, device) = core.store.oldest_to_forget().await?;
    deadlines.extend(refusal.map(|time| expiry::leftover(expiry::refusal_end(time))));
    deadlines.extend(device.map(expiry::leftover));
    core.deadlines.add(deadlines);
    Ok(())
}

/// Sealed credentials that open nothing: said at once, record or not.
async fn revoked(core: &Core) -> Result<Vec<Effect>> {
    let all = core.store.sealed_credentials().await?.into_iter();
    let revoked = all.filter(|one| matches!(one.state, SealedState::Revoked { .. }));
    Ok(revoked.map(|one| Effect::SealedRevoked(one.id)).collect())
}

/// The background tasks; they end when what is returned is dropped.
pub(crate) fn background(core: &Arc<Core>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(expiry::run(Arc::clone(core)));
    tasks.spawn(connections::run(Arc::clone(core)));
    tasks.spawn(crate::usecase::sightings::run(Arc::clone(core)));
    tasks.spawn(crate::usecase::sealed_log::run(Arc::clone(core)));
    tasks.spawn(crate::settle::run(Arc::clone(core)));
    tasks.spawn(crate::usecase::set_back::run(Arc::clone(core)));
    tasks.spawn(crate::usecase::retention::run(Arc::clone(core)));
    tasks.spawn(alerts::run(Arc::clone(core)));
    tasks.spawn(connector::slack::run(Arc::clone(core)));
    for export in core.exports.each() {
        tasks.spawn(export::run(Arc::clone(core), export.clone()));
    }
    for connector in core.connectors.each() {
        tasks.spawn(connector::run(Arc::clone(core), Arc::clone(connector)));
    }
    tasks
}
