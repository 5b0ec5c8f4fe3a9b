//! Which incidents are open, as snapshots know it. Those that are closed are not in them: nothing is
//! opened for one.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use cedar_policy::{Entity, RestrictedExpression};
use jiff::Timestamp;
use portcullis_model::{Incident, IncidentId, PrincipalKind, ServiceName};
use rpds::RedBlackTreeMapSync;

use crate::{
    entities::{TYPES, principal_uid, uid},
    facts::{NoContext, string},
};

/// Ways are tried for so many incidents of a service, the newest; others can be named.
const TRIED: usize = 8;

/// The open incidents. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Incidents {
    open: RedBlackTreeMapSync<IncidentId, Arc<Incident>>,
    /// Grows with every change.
    epoch: u64,
}

/// Two equal ones, of one snapshot and its successors, stand for one state of knowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct IncidentsKey {
    epoch: u64,
    /// How many are not known any more: in one epoch, that says which.
    stale: usize,
}

impl Incidents {
    /// The incident as it is now; one that is closed leaves.
    pub(crate) fn put(&mut self, incident: Arc<Incident>) {
        self.epoch += 1;
        if incident.is_open() {
            self.open.insert_mut(incident.id.clone(), incident);
        } else {
            self.open.remove_mut(&incident.id);
        }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn lookup(&self, id: &IncidentId) -> Option<&Arc<Incident>> {
        self.open.get(id)
    }

    /// Those that ways to `service` are tried with, newest first: the one that is named, or all that
    /// are known at `now`.
    pub(crate) fn of_service(
        &self,
        service: &ServiceName,
        named: Option<&IncidentId>,
        now: Timestamp,
    ) -> Vec<&Arc<Incident>> {
        let asked = |incident: &&Arc<Incident>| {
            named.is_none_or(|named| incident.id == *named)
                && incident.services.contains(service)
                && incident.is_fresh(now)
        };
        let mut found: Vec<_> = self.open.values().filter(asked).collect();
        found.sort_by_key(|incident| (std::cmp::Reverse(incident.opened_at), incident.id.clone()));
        found.truncate(TRIED);
        found
    }

    /// What stands for all that [`Self::of_service`] says.
    pub(crate) fn key(&self, now: Timestamp) -> IncidentsKey {
        let stale = self.open.values().filter(|incident| !incident.is_fresh(now)).count();
        IncidentsKey { epoch: self.epoch, stale }
    }

    /// When what is known changes next by waiting.
    pub(crate) fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let times = self.open.values().filter_map(|incident| incident.fresh_until);
        times.filter(|at| now < *at).min()
    }
}

/// `incident` as policies see it.
pub(crate) fn incident_entity(incident: &Incident) -> Result<Entity, NoContext> {
    let entities = |uids: Vec<cedar_policy::EntityUid>| {
        let uids = uids.into_iter().map(RestrictedExpression::new_entity_uid);
        RestrictedExpression::new_set(uids.collect::<Vec<_>>())
    };
    let services = incident.services.iter().map(|name| uid(&TYPES.service, name.as_str()));
    let people = incident.responders.iter().filter(|who| who.kind == PrincipalKind::User);
    let mut attributes = HashMap::from([
        ("open".to_owned(), RestrictedExpression::new_bool(incident.is_open())),
        ("severity".to_owned(), string(incident.severity.as_str())),
        ("services".to_owned(), entities(services.collect())),
        ("source".to_owned(), string(&incident.source.to_string())),
        ("responders".to_owned(), entities(people.map(principal_uid).collect())),
    ]);
    let opener = &incident.source.principal;
    if opener.kind == PrincipalKind::User {
        let opener = RestrictedExpression::new_entity_uid(principal_uid(opener));
        attributes.insert("openedBy".to_owned(), opener);
    }
    Ok(Entity::new(uid(&TYPES.incident, incident.id.as_str()), attributes, HashSet::new())?)
}
