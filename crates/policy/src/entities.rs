//! The entities that decisions read.
//!
//! A slice gets just those that its policies can reach: the principal with its groups, the resource
//! with its service, the action with its groups, and what the policies name literally. An entity
//! that is not there has no parents and no attributes, so leaving out anything else changes nothing.

use std::{
    collections::{HashMap, HashSet},
    str::FromStr,
    sync::LazyLock,
};

use cedar_policy::{
    Entities, Entity, EntityAttrEvaluationError, EntityId, EntityTypeName, EntityUid,
    RestrictedExpression, Schema,
};
use portcullis_model::{
    AttributeValue, Principal, PrincipalId, PrincipalKind, Resource, ScheduleName,
};

use crate::Catalog;

/// The names of the generated schema's entity types.
pub(crate) struct TypeNames {
    pub(crate) action: EntityTypeName,
    pub(crate) user: EntityTypeName,
    pub(crate) workload: EntityTypeName,
    pub(crate) anonymous: EntityTypeName,
    pub(crate) group: EntityTypeName,
    pub(crate) service: EntityTypeName,
    pub(crate) instance: EntityTypeName,
    pub(crate) data_class: EntityTypeName,
    pub(crate) access_request: EntityTypeName,
    pub(crate) system: EntityTypeName,
    pub(crate) schedule: EntityTypeName,
    pub(crate) incident: EntityTypeName,
}

/// Parsed once: a name costs more to parse than a small decision takes.
pub(crate) static TYPES: LazyLock<TypeNames> = LazyLock::new(|| TypeNames {
    action: type_name("Action"),
    user: type_name("User"),
    workload: type_name("Workload"),
    anonymous: type_name("Anonymous"),
    group: type_name("Group"),
    service: type_name("Service"),
    instance: type_name("Instance"),
    data_class: type_name("DataClass"),
    access_request: type_name("AccessRequest"),
    system: type_name("System"),
    schedule: type_name("Schedule"),
    incident: type_name("Incident"),
});

#[expect(
    clippy::expect_used,
    reason = "called with the literals above only, which are identifiers"
)]
fn type_name(text: &'static str) -> EntityTypeName {
    EntityTypeName::from_str(text).expect("an identifier is a type name")
}

/// The entity of this type with this id.
pub(crate) fn uid(ty: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(ty.clone(), EntityId::new(id))
}

/// The entity that stands for `id`.
pub(crate) fn principal_uid(id: &PrincipalId) -> EntityUid {
    match id.kind {
        PrincipalKind::User => uid(&TYPES.user, &id.id),
        PrincipalKind::Workload => uid(&TYPES.workload, &id.id),
        PrincipalKind::Anonymous => uid(&TYPES.anonymous, &id.id),
    }
}

/// The entity that stands for `resource`.
pub(crate) fn resource_uid(resource: &Resource) -> EntityUid {
    match &resource.instance {
        Some(_) => uid(&TYPES.instance, &resource.to_string()),
        None => uid(&TYPES.service, resource.service.as_str()),
    }
}

/// The entity that stands for a class of data of `service`, and what it lies in: the class of that
/// name wherever it is, and the service.
pub(crate) fn class_uid(service: &str, class: &str) -> (EntityUid, [EntityUid; 2]) {
    let ty = &TYPES.data_class;
    let parents = [uid(ty, class), uid(&TYPES.service, service)];
    (uid(ty, &format!("{service}/{class}")), parents)
}

/// `principal` and its groups, with all its claims.
pub(crate) fn principal_entity(
    principal: &Principal,
) -> Result<Entity, Box<EntityAttrEvaluationError>> {
    let strings = |texts: &mut dyn Iterator<Item = &str>| {
        RestrictedExpression::new_set(texts.map(string).collect::<Vec<_>>())
    };
    let mut attributes = HashMap::new();
    match principal.id.kind {
        PrincipalKind::User => {
            let amr = strings(&mut principal.amr.iter().map(String::as_str));
            attributes.insert("amr".to_owned(), amr);
            if let Some(email) = &principal.email {
                attributes.insert("email".to_owned(), string(email));
            }
        }
        PrincipalKind::Workload => {
            attributes.insert("issuer".to_owned(), string(&principal.issuer));
        }
        PrincipalKind::Anonymous => {}
    }
    // INVARIANT: no claim takes the place of an attribute that every principal of its kind has.
    for (name, value) in principal.claims.iter().filter(|(name, _)| *name != ON_CALL) {
        let value = match value {
            AttributeValue::Bool(value) => RestrictedExpression::new_bool(*value),
            AttributeValue::Long(value) => RestrictedExpression::new_long(*value),
            AttributeValue::String(value) => string(value),
            AttributeValue::Set(values) => strings(&mut values.iter().map(String::as_str)),
        };
        attributes.entry(name.clone()).or_insert(value);
    }
    let groups = principal.groups.iter().map(|group| uid(&TYPES.group, group)).collect();
    Entity::new(principal_uid(&principal.id), attributes, groups).map_err(Box::new)
}

/// The attribute that says on which schedules a person is. No token says it.
const ON_CALL: &str = "onCall";

/// `user`, who is on call on these schedules.
pub(crate) fn on_call(
    user: Entity,
    schedules: &[ScheduleName],
) -> Result<Entity, Box<EntityAttrEvaluationError>> {
    if schedules.is_empty() || user.uid().type_name() != &TYPES.user {
        return Ok(user);
    }
    let (id, mut attributes, parents) = user.into_inner();
    let uids = schedules.iter().map(|name| uid(&TYPES.schedule, name.as_str()));
    let uids = uids.map(RestrictedExpression::new_entity_uid).collect::<Vec<_>>();
    attributes.insert(ON_CALL.to_owned(), RestrictedExpression::new_set(uids));
    Entity::new(id, attributes, parents).map_err(Box::new)
}

fn string(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

/// All services, instances, classes of data and actions of a bundle.
///
/// INVARIANT: the actions come from the schema. Without them `action in Action::"write"` would
/// silently never hold, and every forbid with such a head would be void.
pub(crate) fn entities_of_bundle(
    catalog: &Catalog,
    schema: &Schema,
) -> Result<Entities, Box<dyn std::error::Error + Send + Sync>> {
    let mut entities = Vec::new();
    for service in catalog.services() {
        let source = service.source();
        let labels = || {
            let pairs = source.labels.iter().map(|(key, value)| (key.clone(), string(value)));
            RestrictedExpression::new_record(pairs.collect::<Vec<_>>())
        };
        let service_uid = uid(&TYPES.service, source.name.as_str());
        for name in source.instances.keys() {
            let resource = Resource { service: source.name.clone(), instance: Some(name.clone()) };
            let attributes = HashMap::from([("labels".to_owned(), labels()?)]);
            let parents = HashSet::from([service_uid.clone()]);
            entities.push(Entity::new(resource_uid(&resource), attributes, parents)?);
        }
        for class in service.sensitive().iter().flat_map(|sensitive| &sensitive.classes) {
            let (uid, parents) = class_uid(source.name.as_str(), class.name.as_str());
            let attributes = HashMap::from([("labels".to_owned(), labels()?)]);
            entities.push(Entity::new(uid, attributes, HashSet::from(parents))?);
        }
        let attributes = HashMap::from([("labels".to_owned(), labels()?)]);
        entities.push(Entity::new(service_uid, attributes, HashSet::new())?);
    }
    Ok(Entities::from_entities(entities, Some(schema))?
        .add_entities(schema.action_entities()?, None)?)
}

/// Copies of `uids` and all their ancestors out of `all`; what is not in `all` is skipped.
pub(crate) fn closure<'a>(
    all: &Entities,
    uids: impl Iterator<Item = &'a EntityUid>,
    into: &mut HashMap<EntityUid, Entity>,
) {
    for uid in uids {
        let ancestors = all.ancestors(uid).into_iter().flatten();
        for uid in ancestors.chain([uid]) {
            if !into.contains_key(uid)
                && let Some(entity) = all.get(uid)
            {
                into.insert(uid.clone(), entity.clone());
            }
        }
    }
}
