//! What is known of the world in a test: everything, so that nothing in it is stale.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use portcullis_model::{
    Incident, IncidentSource, IncidentState, PrincipalId, PrincipalKind, Schedule, ScheduleName,
};

use super::file::{IncidentEntry, Tests};
use crate::Snapshot;

/// `snapshot` with what `tests` say. Of a schedule that policies name and nobody is on, it is known
/// that nobody is.
pub(super) fn told(snapshot: &Snapshot, tests: &Tests) -> Snapshot {
    let mut on_call: BTreeMap<ScheduleName, BTreeSet<PrincipalId>> = BTreeMap::new();
    for (_, policy) in snapshot.bundle().policies().iter() {
        let named = policy.literals.iter().filter(|uid| uid.type_name().basename() == "Schedule");
        let named = named.filter_map(|uid| uid.id().unescaped().parse().ok());
        on_call.extend(named.map(|name: ScheduleName| (name, BTreeSet::new())));
    }
    for entry in tests.principals.values() {
        for name in &entry.on_call {
            let id = PrincipalId { kind: entry.kind, id: entry.id.value.as_str().into() };
            on_call.entry(name.clone()).or_default().insert(id);
        }
    }
    let mut told = snapshot.clone();
    for (name, people) in on_call {
        let source = "test".to_owned();
        let schedule = Schedule { name, version: 0, people, since: None, until: None, source };
        told = told.with_schedule(Arc::new(schedule));
    }
    for (id, entry) in &tests.incidents {
        told = told.with_incident(Arc::new(incident(id, entry)));
    }
    told
}

fn incident(id: &portcullis_model::IncidentId, entry: &IncidentEntry) -> Incident {
    let opener = entry.opened_by.as_deref().unwrap_or("test:somebody");
    let principal = PrincipalId { kind: PrincipalKind::User, id: opener.into() };
    Incident {
        id: id.clone(),
        version: 0,
        title: id.to_string(),
        severity: entry.severity.clone(),
        services: entry.services.clone(),
        source: IncidentSource { door: "api".to_owned(), principal },
        responders: BTreeSet::new(),
        opened_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        fresh_until: None,
        elsewhere: None,
        state: IncidentState::Open,
    }
}
