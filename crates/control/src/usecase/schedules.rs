//! Who is on call: what is said at the API.

use std::{collections::BTreeSet, sync::Arc};

use portcullis_model::{EventType, PrincipalId, PrincipalKind, Schedule, ScheduleName};
use portcullis_policy::{ControlAction, ControlResource};
use portcullis_store::Change;

use super::parting::ROUNDS;
use crate::{
    ControlError, OpContext,
    core::Core,
    publisher::Effect,
    rights,
    settle::{Settlement, Unsettled},
    views::OnCallInput,
};

const MOST_PEOPLE: usize = 100;
const MOST_SCHEDULES: usize = 1_000;

type Result<T> = std::result::Result<T, ControlError>;

/// All schedules, whoever keeps them, as they are now.
pub(crate) fn list(core: &Core, op: &OpContext) -> Result<Vec<Schedule>> {
    rights::caller(op)?;
    Ok(core.snapshot().schedules_at(op.now()))
}

/// Says who is on call from now on.
pub(crate) async fn put(
    core: &Arc<Core>,
    op: &OpContext,
    name: &ScheduleName,
    input: OnCallInput,
) -> Result<Schedule> {
    let who = rights::caller(op)?.id.clone();
    let snapshot = core.snapshot();
    if !rights::may(&snapshot, op, ControlAction::ManageIncident, ControlResource::System) {
        let why =
            "no policy lets you say who is on call; that takes `manageIncident` on the system";
        return Err(ControlError::Denied(why.into()));
    }
    if snapshot.bundle().keeps_schedule(name) {
        let why = format!("configuration says who is on call for `{name}`");
        return Err(ControlError::Conflict(why));
    }
    if let Some(connector) = core.connectors.of_schedule(name) {
        let why = format!("`{}` says who is on call for `{name}`", connector.spec.door);
        return Err(ControlError::Conflict(why));
    }
    checked(op, &input)?;
    for _ in 0..ROUNDS {
        let known = core.store.schedules().await?;
        if known.len() >= MOST_SCHEDULES {
            let message = format!("there are {MOST_SCHEDULES} schedules already");
            return Err(ControlError::Limited { message, retry_after: 60 });
        }
        let before = known.iter().find(|schedule| schedule.name == *name);
        let schedule = Schedule {
            name: name.clone(),
            version: before.map_or(0, |before| before.version.saturating_add(1)),
            people: input.people.clone(),
            since: None,
            until: input.until,
            source: format!("api:{}", who.id),
        };
        match core.settle(said(core, op, &schedule)).await {
            Ok(()) => return Ok(schedule),
            Err(Unsettled::Conflict) => {}
            Err(Unsettled::Failed(error)) => return Err(error),
        }
    }
    Err(Unsettled::Conflict.into())
}

pub(crate) fn said(core: &Core, op: &OpContext, schedule: &Schedule) -> Settlement {
    let mut event = core.event(op, EventType::ScheduleChanged);
    let names = |people: &BTreeSet<PrincipalId>| {
        let names: Vec<_> = people.iter().map(|person| person.id.to_string()).collect();
        if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
    };
    let until = schedule.until.map(|until| format!(", until {until}")).unwrap_or_default();
    let (name, people) = (&schedule.name, names(&schedule.people));
    event.detail = Some(format!("on call for {name}: {people}{until}"));
    Settlement {
        changes: vec![Change::PutSchedule(schedule.clone()), Change::Record(event)],
        once_recorded: vec![Effect::Schedule(schedule.clone())],
        ..Settlement::default()
    }
}

fn checked(op: &OpContext, input: &OnCallInput) -> Result<()> {
    let invalid =
        |field, message: &str| Err(ControlError::Invalid { field, message: message.to_owned() });
    if input.people.len() > MOST_PEOPLE {
        return invalid("people", "names more than 100 people");
    }
    if input.people.iter().any(|person| person.kind != PrincipalKind::User) {
        return invalid("people", "only people are on call");
    }
    if input.until.is_some_and(|until| until <= op.now()) {
        return invalid("until", "is over already");
    }
    Ok(())
}
