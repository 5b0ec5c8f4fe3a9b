//! Incidents and schedules.

use portcullis_model::{
    Grant, GrantEnd, Incident, IncidentId, IncidentSource, IncidentState, Schedule,
};
use portcullis_store::{Change, Grants, Incidents};

use super::{Shared, is_conflict, made, made::now};

fn incident() -> Incident {
    Incident {
        id: "PD-1".parse().unwrap(),
        version: 0,
        title: "refunds are stuck".into(),
        severity: "sev1".parse().unwrap(),
        services: ["payments".parse().unwrap()].into(),
        source: IncidentSource { door: "api".into(), principal: made::id("lea") },
        responders: [made::id("ana")].into(),
        opened_at: now(),
        updated_at: now(),
        fresh_until: None,
        elsewhere: None,
        state: IncidentState::Open,
    }
}

fn moved(incident: &Incident) -> Change {
    Change::MoveIncident { incident: incident.clone(), seen_version: incident.version - 1 }
}

pub(crate) async fn n07_a_closed_incident_has_no_grant_in_force(store: Shared) {
    let open = incident();
    let id: &IncidentId = &open.id;
    let add = Change::AddIncident(open.clone());
    store.commit(vec![add.clone()]).await.unwrap();
    assert!(is_conflict(&store.commit(vec![add]).await), "an id is taken once");
    let request = made::request(1, "ana", "payments.createRefund");
    let granted = |n| Grant { incident: Some(id.clone()), ..made::grant(n, 1, None) };
    let add_request = Change::AddAccessRequest { request, at_most: 32 };
    store.commit(vec![add_request, Change::AddGrant(granted(1))]).await.unwrap();
    let closed = open.clone().close(now(), made::id("lea")).unwrap();
    assert!(is_conflict(&store.commit(vec![moved(&closed)]).await), "its grant is in force");
    assert_eq!(store.grants(Grants::InForceFor(id.clone()), 10).await.unwrap(), [granted(1)]);

    let ended = granted(1).end(now(), GrantEnd::IncidentResolved, None).unwrap();
    let end = Change::MoveGrant { grant: ended, seen_version: 0 };
    store.commit(vec![end, moved(&closed)]).await.unwrap();
    assert!(store.grants(Grants::InForceFor(id.clone()), 10).await.unwrap().is_empty());
    assert_eq!(store.incident(id).await.unwrap(), Some(closed.clone()));
    assert!(store.incidents(Incidents::Open, 10).await.unwrap().is_empty());
    assert_eq!(store.incidents(Incidents::Newest, 10).await.unwrap().len(), 1);
    let late = store.commit(vec![Change::AddGrant(granted(2))]).await;
    assert!(is_conflict(&late), "nothing is granted for a closed one");
    assert!(is_conflict(&store.commit(vec![moved(&closed)]).await), "seen before");
    let again = closed.reopen(now(), open.source.clone()).unwrap();
    store.commit(vec![moved(&again), Change::AddGrant(granted(2))]).await.unwrap();
    let other = Grant { incident: Some("PD-9".parse().unwrap()), ..made::grant(3, 1, None) };
    assert!(is_conflict(&store.commit(vec![Change::AddGrant(other)]).await), "nobody knows it");
}

pub(crate) async fn a_schedule_is_put_from_what_was_seen(store: Shared) {
    let schedule = |version, person: &str| Schedule {
        name: "payments-primary".parse().unwrap(),
        version,
        people: [made::id(person)].into(),
        since: None,
        until: Some(now()),
        source: "api:corp:lea".into(),
    };
    let put = |version, person| vec![Change::PutSchedule(schedule(version, person))];
    store.commit(put(0, "ana")).await.unwrap();
    store.commit(put(1, "ben")).await.unwrap();
    assert!(is_conflict(&store.commit(put(1, "ana")).await));
    assert!(is_conflict(&store.commit(put(0, "ana")).await));
    assert_eq!(store.schedules().await.unwrap(), [schedule(1, "ben")]);
}
