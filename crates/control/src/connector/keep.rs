//! Asks one system over and over: all incidents that are under way, those that were and are not among
//! them, and who is on call.
//!
//! One that does not answer is asked less and less often, and one that wants rest gets it, whatever its
//! messages say meanwhile. What cannot be learned of one incident or schedule keeps no other from being
//! learned. When it has been silent for as long as what it said is known, that goes on record, once.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use portcullis_model::EventType;
use portcullis_store::Incidents;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{
    Connector,
    apply::{self, Learned},
    people, shifts,
    wire::Trouble,
};
use crate::{OpContext, core::Core, usecase::record};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// One look at everything takes no longer.
const LONGEST_LOOK: Duration = Duration::from_mins(2);
/// Looks at single incidents do not follow one another faster.
const APART: Duration = Duration::from_millis(100);
/// Looks at everything that messages ask for do not begin faster one after another.
const ALL_APART: Duration = Duration::from_secs(10);

/// How a system has been doing.
struct Standing {
    answered_at: Timestamp,
    /// Whether it is on record that it is silent.
    said: bool,
    pause: Duration,
}

/// Asks until aborted.
pub(crate) async fn run(core: Arc<Core>, connector: Arc<Connector>) {
    let mut standing = Standing { answered_at: core.now(), said: false, pause: FIRST_PAUSE };
    loop {
        let (begun, since) = (core.now(), Instant::now());
        connector.looks().remove(ALL);
        let late = Err(Trouble::Silent("it takes too long".to_owned()));
        let looked = timeout(LONGEST_LOOK, look(&core, &connector, begun)).await.unwrap_or(late);
        let (wait, rest) = match looked {
            Ok(next) => {
                standing.answered(&core, &connector, begun).await;
                (until_next(&core, &connector, next), Duration::ZERO)
            }
            Err(trouble) => {
                let rest = standing.failed(&core, &connector, &trouble).await;
                (rest, rest)
            }
        };
        let now = Instant::now();
        let mut turns = Turns { next: now + wait, early: since + ALL_APART, free: now + rest };
        turns.until_all(&core, &connector).await;
    }
}

/// Stands for everything among the keys of incidents.
pub(super) const ALL: &str = "";

/// When a system is asked.
struct Turns {
    /// Everything, whatever happens. Never before it is left alone for long enough.
    next: Instant,
    /// Everything because of a message: not before.
    early: Instant,
    /// Anything: not before.
    free: Instant,
}

impl Turns {
    /// Returns when everything is to be looked at; looks at single incidents until then.
    async fn until_all(&mut self, core: &Arc<Core>, connector: &Connector) {
        loop {
            let (due, is_all) = self.due(&connector.looks());
            tokio::select! {
                () = sleep_until(due) => {}
                () = connector.wake.notified() => continue,
            }
            if is_all {
                return;
            }
            self.singles(core, connector).await;
            sleep(APART).await;
        }
    }

    /// When something is to be looked at, and whether that is everything.
    fn due(&self, looks: &BTreeSet<String>) -> (Instant, bool) {
        let early = looks.contains(ALL).then(|| self.early.max(self.free));
        let all = early.map_or(self.next, |early| early.min(self.next));
        let has_singles = looks.iter().any(|key| key != ALL);
        // However many single ones there are, they hold everything up no longer.
        if has_singles && self.free < all && Instant::now() < all {
            (self.free, false)
        } else {
            (all, true)
        }
    }

    async fn singles(&mut self, core: &Arc<Core>, connector: &Connector) {
        for key in &taken(connector) {
            // What fails is found by the next look at all.
            if let Err(trouble) = single(core, connector, key).await {
                tracing::warn!(system = connector.spec.door, %trouble, "an incident was not seen");
                if let Trouble::Limited(rest) = &trouble {
                    self.free = Instant::now() + *rest;
                    self.next = self.next.max(self.free);
                }
                let (why, rest) = (trouble.to_string(), trouble.rest());
                core.contacts.failed(connector.spec.door, core.now(), &why, rest);
                return;
            }
        }
    }
}

/// The single incidents that are to be looked at. A look at everything stays to be done.
fn taken(connector: &Connector) -> BTreeSet<String> {
    let mut looks = connector.looks();
    let mut keys = std::mem::take(&mut *looks);
    looks.extend(keys.take(ALL));
    keys
}

/// Until the next look, or the end of the first shift that is known to end before it.
fn until_next(core: &Core, connector: &Connector, next: Option<Timestamp>) -> Duration {
    let every = connector.spec.every.get();
    let left = next.map(|at| at.duration_since(core.now()).max(SignedDuration::ZERO));
    let left = left.and_then(|left| Duration::try_from(left).ok());
    left.map_or(every, |left| every.min(left + APART))
}

/// Looks at everything; says when the first shift ends. The first trouble is said when all was tried.
async fn look(
    core: &Arc<Core>,
    connector: &Connector,
    since: Timestamp,
) -> Result<Option<Timestamp>, Trouble> {
    let spec = &connector.spec;
    let open = spec.vendor.open(&spec.line, since).await?;
    let (mut seen, mut trouble) = (BTreeSet::new(), open.trouble);
    for report in &open.reports {
        seen.extend(connector.id(&report.word));
        past(&mut trouble, learn(core, connector, report, since).await)?;
    }
    let ours = core.store.incidents(Incidents::Open, u32::MAX).await?;
    for incident in ours {
        let theirs = incident.source.door == spec.door;
        let Some(elsewhere) = incident.elsewhere.clone().filter(|_| theirs) else { continue };
        if seen.contains(&incident.id) {
            continue;
        }
        let found = spec.vendor.one(&spec.line, &elsewhere.key, since).await;
        let Some(found) = past(&mut trouble, found)? else { continue };
        let learned = if let Some(report) = found {
            learn(core, connector, &report, since).await
        } else {
            let op = OpContext::connector(spec.door, None, core.now());
            apply::gone(core, &op, incident).await.map_err(Trouble::from)
        };
        past(&mut trouble, learned)?;
    }
    let first = past(&mut trouble, shifts_of(core, connector, since).await)?.flatten();
    trouble.map_or(Ok(first), Err)
}

/// What was done, or nothing if there was trouble: the first is kept, and the rest goes on. A system
/// that wants rest gets it at once.
fn past<T>(first: &mut Option<Trouble>, done: Result<T, Trouble>) -> Result<Option<T>, Trouble> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(limited @ Trouble::Limited(_)) => Err(limited),
        Err(other) => {
            *first = first.take().or(Some(other));
            Ok(None)
        }
    }
}

/// One schedule that cannot be read keeps no other from being read.
async fn shifts_of(
    core: &Arc<Core>,
    connector: &Connector,
    since: Timestamp,
) -> Result<Option<Timestamp>, Trouble> {
    let spec = &connector.spec;
    let (mut first, mut trouble) = (None, None);
    for (ours, theirs) in &spec.schedules {
        let learned = match spec.vendor.shift(&spec.line, theirs, since).await {
            Ok(Some(shift)) => shifts::learn(core, connector, ours, &shift, since).await,
            Ok(None) => Err(Trouble::Silent(format!("it has no schedule `{theirs}`"))),
            Err(other) => Err(other),
        };
        let end = past(&mut trouble, learned)?.flatten();
        first = first.into_iter().chain(end).min();
    }
    trouble.map_or(Ok(first), Err)
}

async fn learn(
    core: &Arc<Core>,
    connector: &Connector,
    report: &super::vendor::Report,
    since: Timestamp,
) -> Result<(), Trouble> {
    // Nobody is asked for of incidents that are over, or do not matter here.
    if report.open && !connector.services(&report.services).is_empty() {
        people::found(core, connector, &report.responders).await?;
    }
    let op = OpContext::connector(connector.spec.door, None, core.now());
    apply::apply(core, connector, &op, report, Learned::Asked(since)).await?;
    Ok(())
}

async fn single(core: &Arc<Core>, connector: &Connector, key: &str) -> Result<(), Trouble> {
    let since = core.now();
    match connector.spec.vendor.one(&connector.spec.line, key, since).await? {
        Some(report) => learn(core, connector, &report, since).await,
        // The next look at all ends it, if it was one of ours.
        None => Ok(()),
    }
}

impl Standing {
    async fn answered(&mut self, core: &Arc<Core>, connector: &Connector, at: Timestamp) {
        self.answered_at = at;
        self.pause = FIRST_PAUSE;
        core.contacts.answered(connector.spec.door, at);
        if self.said
            && put(core, connector, EventType::ConnectorRecovered, "it answers again").await
        {
            self.said = false;
        }
    }

    /// Says how long to wait.
    async fn failed(
        &mut self,
        core: &Arc<Core>,
        connector: &Connector,
        trouble: &Trouble,
    ) -> Duration {
        let spec = &connector.spec;
        tracing::warn!(system = spec.door, place = spec.line.place(), %trouble, "it is asked again");
        core.contacts.failed(spec.door, core.now(), &trouble.to_string(), trouble.rest());
        let silent = core.now().duration_since(self.answered_at) >= spec.fresh_for.signed();
        if silent && !self.said {
            let why = format!("{trouble}; what it keeps is unknown");
            self.said = put(core, connector, EventType::ConnectorFailing, &why).await;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        let mut byte = [0];
        core.entropy.fill(&mut byte);
        let jittered = pause / 2 + pause * u32::from(byte[0]) / 512;
        match trouble {
            Trouble::Limited(rest) => (*rest).max(jittered),
            _ => jittered,
        }
    }
}

async fn put(core: &Arc<Core>, connector: &Connector, kind: EventType, why: &str) -> bool {
    let op = OpContext::connector(connector.spec.door, None, core.now());
    let mut event = core.event(&op, kind);
    let spec = &connector.spec;
    event.detail = Some(format!("{} at {}: {why}", spec.door, spec.line.place()));
    record::note(core, event).await.is_ok()
}
