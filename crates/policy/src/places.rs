//! What a bundle knows ahead of every query: its operations, resources and control actions as Cedar
//! names them, and what follows from policy heads alone.

use std::collections::{HashMap, HashSet};

use cedar_policy::{ActionConstraint, EntityUid};
use portcullis_model::{OperationName, Resource, ServiceName, Window};

use crate::{
    ControlAction, Demands,
    entities::{TYPES, class_uid, resource_uid, uid},
    load::Loaded,
    policy::{Policy, Scoped},
    reads::Part,
};

/// The action of seeing a class of data.
pub(crate) const REVEAL: &str = "reveal";

/// An action and the groups that it is in.
#[derive(Debug)]
pub(crate) struct Action {
    pub(crate) uid: EntityUid,
    groups: Vec<EntityUid>,
}

impl Action {
    fn new(loaded: &Loaded, uid: EntityUid) -> Self {
        let groups = loaded.entities.ancestors(&uid).into_iter().flatten().cloned().collect();
        Self { uid, groups }
    }

    pub(crate) fn scoped(&self) -> Scoped<'_> {
        Scoped { uid: &self.uid, ancestors: &self.groups }
    }
}

/// One operation, or to see a class of data.
#[derive(Debug)]
pub(crate) struct OperationPlace {
    /// Its number in this bundle: what cache keys hold.
    pub(crate) number: u32,
    pub(crate) action: Action,
    pub(crate) demands: Demands,
    pub(crate) max_grant: Window,
    /// The class of data, if it is to see one: policy decides about that, wherever it is seen.
    pub(crate) class: Option<ResourcePlace>,
}

/// A service, or an instance of one.
#[derive(Debug)]
pub(crate) struct ResourcePlace {
    /// Its number in this bundle: what cache keys hold.
    pub(crate) number: u32,
    pub(crate) uid: EntityUid,
    parents: Vec<EntityUid>,
}

impl ResourcePlace {
    pub(crate) fn scoped(&self) -> Scoped<'_> {
        Scoped { uid: &self.uid, ancestors: &self.parents }
    }
}

/// Looked up for every request; what is in it, configuration chose, so a quick hash will do.
type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// All of them.
#[derive(Debug)]
pub(crate) struct Places {
    operations: Map<OperationName, OperationPlace>,
    resources: Map<Resource, ResourcePlace>,
    control: HashMap<ControlAction, Action>,
    permits: HashMap<ServiceName, Vec<u32>>,
}

impl Places {
    pub(crate) fn new(loaded: &Loaded) -> Self {
        let control = [
            ControlAction::Review,
            ControlAction::ReviewByChat,
            ControlAction::Revoke,
            ControlAction::ViewConnections,
            ControlAction::SealCredential,
            ControlAction::ManageIncident,
            ControlAction::ViewAudit,
            ControlAction::Administer,
        ];
        let control = control
            .into_iter()
            .map(|action| (action, Action::new(loaded, uid(&TYPES.action, action.as_str()))));
        Self {
            operations: operations(loaded),
            resources: resources(loaded),
            control: control.collect(),
            permits: permits(loaded),
        }
    }

    pub(crate) fn operation(&self, name: &OperationName) -> Option<&OperationPlace> {
        self.operations.get(name)
    }

    pub(crate) fn resource(&self, resource: &Resource) -> Option<&ResourcePlace> {
        self.resources.get(resource)
    }

    pub(crate) fn control(&self, action: ControlAction) -> Option<&Action> {
        self.control.get(&action)
    }

    /// Permits whose heads match some operation of `service`, whoever asks.
    pub(crate) fn permits_of(&self, service: &ServiceName) -> impl Iterator<Item = u32> {
        self.permits.get(service).into_iter().flatten().copied()
    }
}

fn operations(loaded: &Loaded) -> Map<OperationName, OperationPlace> {
    let demands = Wanted::new(loaded);
    let mut places = Map::default();
    for service in loaded.catalog.services() {
        for operation in service.operations() {
            let name = operation.name();
            let action = Action::new(loaded, uid(&TYPES.action, name.as_str()));
            let place = OperationPlace {
                number: number(places.len()),
                demands: demands.of(action.scoped()),
                action,
                max_grant: service.source().max_grant,
                class: None,
            };
            places.insert(name.clone(), place);
        }
        for name in service.reveals() {
            let action = Action::new(loaded, uid(&TYPES.action, REVEAL));
            let (uid, parents) = class_uid(name.service(), name.revealed().unwrap_or_default());
            let class = ResourcePlace { number: 0, uid, parents: parents.into() };
            let place = OperationPlace {
                number: number(places.len()),
                demands: demands.of(action.scoped()),
                action,
                max_grant: service.source().max_grant,
                class: Some(class),
            };
            places.insert(name.clone(), place);
        }
    }
    places
}

fn resources(loaded: &Loaded) -> Map<Resource, ResourcePlace> {
    let mut places = Map::default();
    for service in loaded.catalog.services() {
        let source = service.source();
        let instances = source.instances.keys().cloned().map(Some);
        for instance in instances.chain([None]) {
            let resource = Resource { service: source.name.clone(), instance };
            let parents = match resource.instance {
                Some(_) => vec![uid(&TYPES.service, source.name.as_str())],
                None => Vec::new(),
            };
            let uid = resource_uid(&resource);
            let place = ResourcePlace { number: number(places.len()), uid, parents };
            places.insert(resource, place);
        }
    }
    places
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn permits(loaded: &Loaded) -> HashMap<ServiceName, Vec<u32>> {
    let resources = resources(loaded);
    let mut permits = HashMap::new();
    for service in loaded.catalog.services() {
        let name = &service.source().name;
        let mut actions = HashSet::new();
        for operation in service.operations() {
            let action = Action::new(loaded, uid(&TYPES.action, operation.name().as_str()));
            actions.extend(action.groups);
            actions.insert(action.uid);
        }
        let of_service = resources.iter().filter(|(resource, _)| resource.service == *name);
        let of_service: Vec<_> = of_service.map(|(_, place)| place).collect();
        let matching = loaded.policies.iter().filter(|(_, policy)| {
            !policy.is_forbid()
                && names_action(policy, &actions)
                && of_service.iter().any(|place| policy.head.admits_resource(place.scoped()))
        });
        permits.insert(name.clone(), matching.map(|(at, _)| at).collect());
    }
    permits
}

fn names_action(policy: &Policy, actions: &HashSet<EntityUid>) -> bool {
    match &policy.head.action {
        ActionConstraint::Any => !actions.is_empty(),
        ActionConstraint::In(uids) => uids.iter().any(|uid| actions.contains(uid)),
        ActionConstraint::Eq(uid) => actions.contains(uid),
    }
}

/// What policies want inspected, by what their heads name as the action.
struct Wanted {
    anywhere: Demands,
    by_action: HashMap<EntityUid, Demands>,
}

impl Wanted {
    fn new(loaded: &Loaded) -> Self {
        let mut wanted = Self { anywhere: Demands::default(), by_action: HashMap::new() };
        for (_, policy) in loaded.policies.iter() {
            let demands = Demands {
                params: policy.reads.includes(Part::Params),
                body: policy.reads.includes(Part::Body),
                digest: policy.terms.is_some_and(|terms| terms.max_uses.is_some()),
                country: policy.reads.country(),
                kept_body: policy.record.body,
            };
            match &policy.head.action {
                ActionConstraint::Any => wanted.anywhere.join(demands),
                ActionConstraint::Eq(uid) => wanted.at(uid).join(demands),
                ActionConstraint::In(uids) => {
                    for uid in uids {
                        wanted.at(uid).join(demands);
                    }
                }
            }
        }
        wanted
    }

    fn at(&mut self, uid: &EntityUid) -> &mut Demands {
        self.by_action.entry(uid.clone()).or_default()
    }

    fn of(&self, action: Scoped<'_>) -> Demands {
        let mut all = self.anywhere;
        for uid in action.ancestors.iter().chain([action.uid]) {
            all.join(self.by_action.get(uid).copied().unwrap_or_default());
        }
        all
    }
}

impl Demands {
    fn join(&mut self, other: Self) {
        self.params |= other.params;
        self.body |= other.body;
        self.digest |= other.digest;
        self.country |= other.country;
        self.kept_body |= other.kept_body;
    }
}
