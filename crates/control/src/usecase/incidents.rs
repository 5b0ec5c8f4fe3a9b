//! Incidents: opening, changing, closing and reopening them, and ending what they opened.

use std::sync::Arc;

use portcullis_model::{
    EventId, EventType, GrantEnd, Incident, IncidentId, IncidentSource, IncidentState, ServiceName,
    fact::IncidentIs,
};
use portcullis_policy::{ControlAction, Snapshot, Subject};
use portcullis_store::{Change, Grants, Incidents};

use super::{grants, parting::ROUNDS, text};
use crate::{
    ControlError, OpContext,
    core::Core,
    publisher::Effect,
    rights,
    settle::{Settlement, Unsettled},
    views::{IncidentChange, NewIncident},
};

const NOT_FOUND: ControlError = ControlError::NotFound("the incident");
pub(crate) const LISTED: u32 = 500;
/// More open incidents than this are a mistake of whatever opens them.
pub(crate) const MOST_OPEN: usize = 1_000;
const MOST_NAMED: usize = 100;
/// By which door incidents come in that somebody opens at the API.
const DOOR: &str = "api";

type Result<T> = std::result::Result<T, ControlError>;

pub(crate) async fn list(core: &Core, op: &OpContext) -> Result<Vec<Incident>> {
    rights::caller(op)?;
    let snapshot = core.snapshot();
    let all = core.store.incidents(Incidents::Newest, LISTED).await?;
    Ok(all.into_iter().filter(|incident| sees(&snapshot, op, incident)).collect())
}

pub(crate) async fn one(core: &Core, op: &OpContext, id: &IncidentId) -> Result<Incident> {
    rights::caller(op)?;
    let found = core.store.incident(id).await?.ok_or(NOT_FOUND)?;
    if sees(&core.snapshot(), op, &found) { Ok(found) } else { Err(NOT_FOUND) }
}

/// Whoever sees one of its services, manages incidents of one, or reads the record.
fn sees(snapshot: &Snapshot, op: &OpContext, incident: &Incident) -> bool {
    let Ok(caller) = rights::caller(op) else { return false };
    let subject = Subject::new(Arc::clone(caller));
    let of_service = |service: &ServiceName| {
        snapshot.bundle().head_matches_service(&subject, service)
            || rights::may_on_service(snapshot, op, ControlAction::ManageIncident, service)
    };
    incident.services.iter().any(of_service) || rights::may_view_audit(snapshot, op)
}

pub(crate) async fn open(core: &Arc<Core>, op: &OpContext, new: NewIncident) -> Result<Incident> {
    let NewIncident { id, title, severity, services, responders, fresh_for } = new;
    let source = source(op)?;
    let made = || EventId::new(op.now(), core.entropy.as_ref()).to_string().parse();
    let id = match id {
        Some(id) => id,
        None => made().map_err(|error| ControlError::Internal(Box::new(error)))?,
    };
    let incident = Incident {
        id,
        version: 0,
        title: text::checked("title", &title)?,
        severity,
        services,
        source,
        responders,
        opened_at: op.now(),
        updated_at: op.now(),
        fresh_until: fresh_for.map(|window| op.now() + window.signed()),
        elsewhere: None,
        state: IncidentState::Open,
    };
    checked(core, op, &incident)?;
    if let Some(connector) = core.connectors.of_incident(&incident.id) {
        let (prefix, door) = (&connector.spec.prefix, connector.spec.door);
        let message = format!("ids that begin with `{prefix}-` are those of `{door}`");
        return Err(ControlError::Invalid { field: "id", message });
    }
    if core.store.incidents(Incidents::Open, LISTED * 2).await?.len() >= MOST_OPEN {
        let message = format!("{MOST_OPEN} incidents are open already; close some");
        return Err(ControlError::Limited { message, retry_after: 60 });
    }
    let add = Change::AddIncident(incident.clone());
    match core.settle(opened(core, op, EventType::IncidentOpened, &incident, add)).await {
        Ok(()) => Ok(incident),
        Err(Unsettled::Conflict) => {
            let id = &incident.id;
            let why = format!("there is an incident `{id}` already; if it is closed, reopen it");
            Err(ControlError::Conflict(why))
        }
        Err(Unsettled::Failed(error)) => Err(error),
    }
}

/// Says something about an incident, or the same again: then what is known is fresh again.
pub(crate) async fn change(
    core: &Arc<Core>,
    op: &OpContext,
    id: &IncidentId,
    change: IncidentChange,
) -> Result<Incident> {
    let title = change.title.as_deref().map(|title| text::checked("title", title)).transpose()?;
    moved(core, op, id, EventType::IncidentChanged, |incident| {
        let limit = incident.fresh_until.map(|until| until.duration_since(incident.updated_at));
        let limit = change.fresh_for.map(portcullis_model::Window::signed).or(limit);
        let incident = incident.updated(op.now());
        Ok(Incident {
            title: title.clone().unwrap_or(incident.title),
            severity: change.severity.clone().unwrap_or(incident.severity),
            services: change.services.clone().unwrap_or(incident.services),
            responders: change.responders.clone().unwrap_or(incident.responders),
            fresh_until: limit.map(|span| op.now() + span),
            ..incident
        })
    })
    .await
}

/// Opens a closed one again. What it opened before stays shut.
pub(crate) async fn reopen(core: &Arc<Core>, op: &OpContext, id: &IncidentId) -> Result<Incident> {
    let source = source(op)?;
    moved(core, op, id, EventType::IncidentOpened, |incident| {
        let limit = incident.fresh_until.map(|until| until.duration_since(incident.updated_at));
        let again = incident.reopen(op.now(), source.clone())?;
        Ok(Incident { fresh_until: limit.map(|span| op.now() + span), ..again })
    })
    .await
}

async fn moved(
    core: &Arc<Core>,
    op: &OpContext,
    id: &IncidentId,
    kind: EventType,
    to: impl Fn(Incident) -> std::result::Result<Incident, IncidentIs>,
) -> Result<Incident> {
    for _ in 0..ROUNDS {
        let before = managed(core, op, id).await?;
        let seen_version = before.version;
        let after = to(before).map_err(|error| ControlError::Conflict(error.to_string()))?;
        checked(core, op, &after)?;
        let change = Change::MoveIncident { incident: after.clone(), seen_version };
        match core.settle(opened(core, op, kind, &after, change)).await {
            Ok(()) => return Ok(after),
            Err(Unsettled::Conflict) => {}
            Err(Unsettled::Failed(error)) => return Err(error),
        }
    }
    Err(Unsettled::Conflict.into())
}

/// Closes one, and ends all grants that were for it. When this returns, they open nothing any more.
pub(crate) async fn close(core: &Arc<Core>, op: &OpContext, id: &IncidentId) -> Result<Incident> {
    for _ in 0..ROUNDS {
        let before = managed(core, op, id).await?;
        let seen_version = before.version;
        let by = rights::caller(op)?.id.clone();
        let closed = before.close(op.now(), by);
        let closed = closed.map_err(|error| ControlError::Conflict(error.to_string()))?;
        match core.settle(closing(core, op, &closed, seen_version).await?).await {
            Ok(()) => return Ok(closed),
            Err(Unsettled::Conflict) => {}
            Err(Unsettled::Failed(error)) => return Err(error),
        }
    }
    Err(Unsettled::Conflict.into())
}

/// What it takes to close an incident: the end of all grants that are for it, too.
pub(crate) async fn closing(
    core: &Core,
    op: &OpContext,
    closed: &Incident,
    seen_version: u32,
) -> Result<Settlement> {
    let mut settlement = Settlement::default();
    for grant in core.store.grants(Grants::InForceFor(closed.id.clone()), u32::MAX).await? {
        let seen_version = grant.version;
        let why = GrantEnd::IncidentResolved;
        let Ok(ended) = grant.end(op.now(), why, None) else { continue };
        settlement.changes.extend(grants::changes(core, op, &ended, seen_version, why));
        settlement.at_once.push(Effect::Grant(ended));
    }
    // After the grants: the store refuses to close one that has some in force.
    settlement.changes.push(Change::MoveIncident { incident: closed.clone(), seen_version });
    settlement.changes.push(event(core, op, EventType::IncidentClosed, closed));
    settlement.at_once.push(Effect::Incident(closed.clone()));
    Ok(settlement)
}

/// One that the caller may manage, as it is.
async fn managed(core: &Core, op: &OpContext, id: &IncidentId) -> Result<Incident> {
    let incident = one(core, op, id).await?;
    may_manage(core, op, &incident)?;
    // INVARIANT: what another system keeps, nobody changes here. One that is not asked any more keeps
    // nothing.
    match core.connectors.named(&incident.source.door) {
        None => Ok(incident),
        Some(_) => Err(ControlError::Conflict(format!(
            "`{}` keeps incident `{id}`; change it there",
            incident.source.door
        ))),
    }
}

/// INVARIANT: it takes the right for every service that the incident is about, and was about.
fn may_manage(core: &Core, op: &OpContext, incident: &Incident) -> Result<()> {
    let snapshot = core.snapshot();
    let may = |service: &&ServiceName| {
        rights::may_on_service(&snapshot, op, ControlAction::ManageIncident, service)
    };
    match incident.services.iter().find(|service| !may(service)) {
        None => Ok(()),
        Some(service) => Err(ControlError::Denied(format!(
            "no policy lets you manage incidents of `{service}`; that takes `manageIncident`"
        ))),
    }
}

fn checked(core: &Core, op: &OpContext, incident: &Incident) -> Result<()> {
    let invalid =
        |field, message: &str| Err(ControlError::Invalid { field, message: message.to_owned() });
    if incident.services.is_empty() {
        return invalid("services", "must name a service");
    }
    if incident.services.len() > MOST_NAMED || incident.responders.len() > MOST_NAMED {
        return invalid("services", "an incident names 100 services and 100 responders at most");
    }
    may_manage(core, op, incident)?;
    let snapshot = core.snapshot();
    let catalog = snapshot.bundle().catalog();
    match incident.services.iter().find(|service| catalog.service(service).is_none()) {
        None => Ok(()),
        Some(service) => invalid("services", &format!("there is no service `{service}`")),
    }
}

fn source(op: &OpContext) -> Result<IncidentSource> {
    let principal = rights::caller(op)?.id.clone();
    Ok(IncidentSource { door: DOOR.to_owned(), principal })
}

/// What may open something takes effect when it is on record.
pub(crate) fn opened(
    core: &Core,
    op: &OpContext,
    kind: EventType,
    incident: &Incident,
    change: Change,
) -> Settlement {
    Settlement {
        changes: vec![change, event(core, op, kind, incident)],
        once_recorded: vec![Effect::Incident(incident.clone())],
        ..Settlement::default()
    }
}

pub(crate) fn event(core: &Core, op: &OpContext, kind: EventType, incident: &Incident) -> Change {
    let mut event = core.event(op, kind);
    event.incident = Some(incident.id.clone());
    if let (Some(only), 1) = (incident.services.first(), incident.services.len()) {
        event.service = Some(only.clone());
    }
    let services: Vec<_> = incident.services.iter().map(ServiceName::as_str).collect();
    let Incident { title, severity, source, .. } = incident;
    event.detail = Some(format!("{title} ({severity}, {}; from {source})", services.join(", ")));
    Change::Record(event)
}
