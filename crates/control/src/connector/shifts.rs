//! Who is on call, as another system says: until the shift ends, or nobody knows whether it goes on.

use std::sync::Arc;

use jiff::Timestamp;
use portcullis_model::{Schedule, ScheduleName};
use portcullis_store::Change;

use super::{Connector, people, vendor::Shift, wire::Trouble};
use crate::{
    OpContext,
    core::Core,
    publisher::Effect,
    settle::{Settlement, Unsettled},
    usecase::{parting::ROUNDS, schedules},
};

const MOST_PEOPLE: usize = 100;

/// Learns who is on call for `name`, asked at `since`; says when that ends, if it is known.
pub(super) async fn learn(
    core: &Arc<Core>,
    connector: &Connector,
    name: &ScheduleName,
    shift: &Shift,
    since: Timestamp,
) -> Result<Option<Timestamp>, Trouble> {
    let people = people::found(core, connector, &shift.people).await?;
    let lasts = connector.known_until(since);
    // The end that is said is the end, however often it is asked.
    let until = shift.until.map_or(lasts, |end| end.min(lasts));
    let op = OpContext::connector(connector.spec.door, None, core.now());
    for _ in 0..ROUNDS {
        let known = core.store.schedules().await?;
        let before = known.into_iter().find(|schedule| schedule.name == *name);
        let schedule = Schedule {
            name: name.clone(),
            version: before.as_ref().map_or(0, |before| before.version.saturating_add(1)),
            people: people.iter().take(MOST_PEOPLE).cloned().collect(),
            since: None,
            until: Some(until),
            source: connector.spec.door.to_owned(),
        };
        let same = before.is_some_and(|before| {
            before.people == schedule.people
                && before.source == schedule.source
                && before.is_known(op.now())
        });
        let settlement = if same {
            Settlement {
                changes: vec![Change::PutSchedule(schedule.clone())],
                quietly: vec![Effect::Schedule(schedule)],
                ..Settlement::default()
            }
        } else {
            schedules::said(core, &op, &schedule)
        };
        match core.settle(settlement).await {
            Ok(()) => return Ok(shift.until),
            Err(Unsettled::Conflict) => {}
            Err(Unsettled::Failed(error)) => return Err(error.into()),
        }
    }
    Err(Trouble::Own("a schedule changes all the while".to_owned()))
}
