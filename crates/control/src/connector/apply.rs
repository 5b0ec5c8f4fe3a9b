//! What another system says of an incident becomes what is known of it here.
//!
//! INVARIANT: nothing older than what is known counts, and what closes counts in doubt: a message of the
//! same moment closes and does not open. An incident that was opened by another door is not touched.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{EventType, Incident, IncidentSource, IncidentState, KeptElsewhere};
use portcullis_store::{Change, Incidents};

use super::{Connector, people, vendor::Report};
use crate::{
    ControlError, OpContext,
    core::Core,
    publisher::Effect,
    settle::{Settlement, Unsettled},
    usecase::{incidents, parting::ROUNDS},
};

/// Characters of a title that are kept.
const LONGEST_TITLE: usize = 200;
const MOST_RESPONDERS: usize = 100;
const NO_SEVERITY: &str = "unknown";

/// How something was learned.
#[derive(Debug, Clone, Copy)]
pub(super) enum Learned<'a> {
    /// By a message with this id.
    Told(&'a str),
    /// By asking, since then.
    Asked(Timestamp),
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Applied {
    /// It is what is known now, or was before, or does not matter here.
    Known,
    /// It is older than what is known.
    Older,
    /// It would open something, and is so old that nobody knows whether it is so still.
    Late,
    /// Somebody opened an incident of this id by another door.
    NotTheirs,
}

/// How what is known changes.
enum Step {
    Nothing(Applied),
    Add(Incident),
    Open(Incident),
    Close(Incident),
    Change(Incident),
    /// The same, said again.
    Again(Incident),
}

/// Applies one report.
pub(super) async fn apply(
    core: &Arc<Core>,
    connector: &Connector,
    op: &OpContext,
    report: &Report,
    learned: Learned<'_>,
) -> Result<Applied, ControlError> {
    let Some(id) = connector.id(&report.word) else { return Ok(Applied::Known) };
    for _ in 0..ROUNDS {
        let known = core.store.incident(&id).await?;
        let seen_version = known.as_ref().map(|known| known.version);
        let ours = Ours { core, connector, op, report, learned };
        let step = match known {
            None => ours.first(id.clone()),
            Some(known) => ours.next(&known),
        };
        let settlement = match step {
            Step::Nothing(applied) => return Ok(applied),
            Step::Add(incident) if incident.is_open() => {
                room(core).await?;
                let add = Change::AddIncident(incident.clone());
                incidents::opened(core, op, EventType::IncidentOpened, &incident, add)
            }
            // Over when it was first heard of: so that what comes late from before does not open it.
            Step::Add(incident) => quiet(Change::AddIncident(incident), None),
            Step::Open(incident) => {
                moved(core, op, EventType::IncidentOpened, &incident, seen_version)
            }
            Step::Change(incident) => {
                moved(core, op, EventType::IncidentChanged, &incident, seen_version)
            }
            Step::Close(incident) => {
                incidents::closing(core, op, &incident, seen_version.unwrap_or_default()).await?
            }
            Step::Again(incident) => again(incident, seen_version),
        };
        match core.settle(settlement).await {
            Ok(()) => return Ok(Applied::Known),
            Err(Unsettled::Conflict) => {}
            Err(Unsettled::Failed(error)) => return Err(error),
        }
    }
    Err(Unsettled::Conflict.into())
}

/// One of theirs that is gone there is over.
pub(super) async fn gone(
    core: &Arc<Core>,
    op: &OpContext,
    incident: Incident,
) -> Result<(), ControlError> {
    let (seen_version, by) = (incident.version, incident.source.principal.clone());
    let Ok(closed) = incident.close(op.now(), by) else { return Ok(()) };
    match core.settle(incidents::closing(core, op, &closed, seen_version).await?).await {
        // Whoever was faster knows better; the next look sees it.
        Ok(()) | Err(Unsettled::Conflict) => Ok(()),
        Err(Unsettled::Failed(error)) => Err(error),
    }
}

async fn room(core: &Core) -> Result<(), ControlError> {
    let open = core.store.incidents(Incidents::Open, incidents::LISTED * 2).await?;
    if open.len() < incidents::MOST_OPEN {
        return Ok(());
    }
    let message = format!("{} incidents are open already", incidents::MOST_OPEN);
    Err(ControlError::Limited { message, retry_after: 60 })
}

fn moved(
    core: &Core,
    op: &OpContext,
    kind: EventType,
    incident: &Incident,
    seen_version: Option<u32>,
) -> Settlement {
    let seen_version = seen_version.unwrap_or_default();
    let change = Change::MoveIncident { incident: incident.clone(), seen_version };
    incidents::opened(core, op, kind, incident, change)
}

/// What was said once and is said again needs no entry of its own.
fn again(incident: Incident, seen_version: Option<u32>) -> Settlement {
    let seen_version = seen_version.unwrap_or_default();
    let effect = incident.is_open().then(|| Effect::Incident(incident.clone()));
    quiet(Change::MoveIncident { incident, seen_version }, effect)
}

fn quiet(change: Change, effect: Option<Effect>) -> Settlement {
    Settlement {
        changes: vec![change],
        quietly: effect.into_iter().collect(),
        ..Settlement::default()
    }
}

struct Ours<'a> {
    core: &'a Core,
    connector: &'a Connector,
    op: &'a OpContext,
    report: &'a Report,
    learned: Learned<'a>,
}

impl Ours<'_> {
    fn first(&self, id: portcullis_model::IncidentId) -> Step {
        let report = self.report;
        let services = self.connector.services(&report.services);
        if services.is_empty() {
            return Step::Nothing(Applied::Known);
        }
        if report.open && self.known_until(None) <= self.op.now() {
            return Step::Nothing(Applied::Late);
        }
        let source = IncidentSource::system(self.connector.spec.door);
        let state = if report.open {
            IncidentState::Open
        } else {
            IncidentState::Closed { at: self.op.now(), by: source.principal.clone() }
        };
        let severity = self.connector.severity(&report.severities);
        let severity = severity.or_else(|| NO_SEVERITY.parse().ok());
        let Some(severity) = severity else { return Step::Nothing(Applied::Known) };
        Step::Add(Incident {
            id,
            version: 0,
            title: title(&report.title),
            severity,
            services,
            source,
            responders: self.responders(),
            opened_at: self.op.now(),
            updated_at: self.op.now(),
            fresh_until: Some(self.known_until(None)),
            elsewhere: Some(self.elsewhere(None)),
            state,
        })
    }

    fn next(&self, known: &Incident) -> Step {
        let door = self.connector.spec.door;
        if known.source != IncidentSource::system(door) {
            return Step::Nothing(Applied::NotTheirs);
        }
        if let Some(applied) = self.nothing_new(known) {
            return Step::Nothing(applied);
        }
        let services = self.connector.services(&self.report.services);
        // One that went over to services that are not here is over here.
        let open = self.report.open && !services.is_empty();
        let until = self.known_until(known.fresh_until);
        let was_fresh = known.is_fresh(self.op.now());
        let elsewhere = Some(self.elsewhere(known.elsewhere.as_ref()));
        let before = Incident { elsewhere, fresh_until: Some(until), ..known.clone() };
        match (known.is_open(), open) {
            (false, false) => Step::Again(before.updated(self.op.now())),
            (true, false) => {
                let by = before.source.principal.clone();
                match before.close(self.op.now(), by) {
                    Ok(closed) => Step::Close(closed),
                    Err(_) => Step::Nothing(Applied::Known),
                }
            }
            (false, true) if until <= self.op.now() => Step::Nothing(Applied::Late),
            (false, true) => {
                let source = before.source.clone();
                match before.reopen(self.op.now(), source) {
                    Ok(again) => Step::Open(self.said_of(again, services)),
                    Err(_) => Step::Nothing(Applied::Known),
                }
            }
            (true, true) => {
                let now = self.said_of(before.updated(self.op.now()), services);
                let same = now.title == known.title
                    && now.severity == known.severity
                    && now.services == known.services
                    && now.responders == known.responders;
                // What was unknown and is known again may open something: that goes on record.
                if same && was_fresh { Step::Again(now) } else { Step::Change(now) }
            }
        }
    }

    /// Whether it has to be left as it is, and why.
    fn nothing_new(&self, known: &Incident) -> Option<Applied> {
        let elsewhere = known.elsewhere.as_ref()?;
        let reopens = self.report.open && !known.is_open();
        let (at, last) = (self.report.at, elsewhere.at);
        match self.learned {
            Learned::Told(message) => {
                if elsewhere.message.as_deref() == Some(message) {
                    return Some(Applied::Known);
                }
                let older = if reopens { at <= last } else { at < last };
                older.then_some(Applied::Older)
            }
            Learned::Asked(since) => {
                // Told meanwhile: the answer may be from before.
                if known.updated_at > since {
                    return Some(Applied::Older);
                }
                // What is told has fractions of seconds; what is asked for may have none.
                let (at, last) = (second(at), second(last));
                let older = if reopens { at <= last } else { at < last };
                older.then_some(Applied::Older)
            }
        }
    }

    fn said_of(
        &self,
        incident: Incident,
        services: std::collections::BTreeSet<portcullis_model::ServiceName>,
    ) -> Incident {
        let severity = self.connector.severity(&self.report.severities);
        let responders =
            if self.report.whole { self.responders() } else { incident.responders.clone() };
        Incident {
            title: title(&self.report.title),
            severity: severity.unwrap_or(incident.severity),
            services,
            responders,
            ..incident
        }
    }

    fn responders(&self) -> std::collections::BTreeSet<portcullis_model::PrincipalId> {
        let all = people::known(self.core, self.connector, &self.report.responders);
        all.into_iter().take(MOST_RESPONDERS).collect()
    }

    /// Never less than what is known already.
    fn known_until(&self, before: Option<Timestamp>) -> Timestamp {
        let said = match self.learned {
            Learned::Told(_) => self.report.at.min(self.op.now()),
            Learned::Asked(since) => since,
        };
        let until = self.connector.known_until(said);
        before.map_or(until, |before| before.max(until))
    }

    fn elsewhere(&self, before: Option<&KeptElsewhere>) -> KeptElsewhere {
        let at = before.map_or(self.report.at, |before| before.at.max(self.report.at));
        let message = match self.learned {
            Learned::Told(message) => Some(message.to_owned()),
            Learned::Asked(_) => before.and_then(|before| before.message.clone()),
        };
        KeptElsewhere { key: self.report.key.clone(), at, message }
    }
}

fn second(at: Timestamp) -> Timestamp {
    at.checked_sub(SignedDuration::from_nanos(i64::from(at.subsec_nanosecond()))).unwrap_or(at)
}

fn title(text: &str) -> String {
    let line: String = text.chars().filter(|c| !c.is_control()).take(LONGEST_TITLE).collect();
    let line = line.trim();
    if line.is_empty() { "an incident".to_owned() } else { line.to_owned() }
}
