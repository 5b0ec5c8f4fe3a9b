//! The control plane's own actions, decided by the same policies as everything else.
//!
//! Allowed or not, never requestable. Two things no policy can change: a workload never reviews, and
//! nobody reviews their own access request.

mod heads;

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use cedar_policy::{Entity, EntityUid, RestrictedExpression};
use jiff::{SignedDuration, Timestamp};
use portcullis_model::{AccessRequest, GrantKind, PolicyId, PrincipalKind, ServiceName};

use crate::{
    Bundle, Snapshot, Subject,
    clocks::Clocks,
    entities::{TYPES, on_call, principal_entity, principal_uid, uid},
    evaluate::{Findings, evaluate},
    facts::{NoContext, auth_record, datetime, duration, source_record, string},
    incidents::incident_entity,
    places::Action,
    policy::Scoped,
    slice::{About, NoSlice, Slice, World},
    subject::Prepared,
};

pub use heads::Admitting;

/// What people do at the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ControlAction {
    /// Answer somebody's access request.
    Review,
    /// End somebody's grant.
    Revoke,
    /// See who is connected.
    ViewConnections,
    /// Propose a sealed credential, or agree to one.
    SealCredential,
    /// Say which incidents are open, and who is on call.
    ManageIncident,
    /// Read the record.
    ViewAudit,
    /// Change the bundle, people and keys.
    Administer,
}

impl ControlAction {
    /// The id of its Cedar action.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Review => "review",
            Self::Revoke => "revoke",
            Self::ViewConnections => "viewConnections",
            Self::SealCredential => "sealCredential",
            Self::ManageIncident => "manageIncident",
            Self::ViewAudit => "viewAudit",
            Self::Administer => "administer",
        }
    }
}

/// What it is done to.
#[derive(Debug, Clone, Copy)]
pub enum ControlResource<'a> {
    /// An access request that has waited for so long.
    AccessRequest {
        /// The access request.
        request: &'a AccessRequest,
        /// For how long nobody has decided it.
        waited: SignedDuration,
    },
    /// One service, and what belongs to it.
    Service(&'a ServiceName),
    /// All of it.
    System,
}

/// Under which circumstances.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlContext {
    /// The time of the decision.
    pub now: Timestamp,
    /// Where it came from; `None` is unknown, not absent: a permit that reads it does not apply, a
    /// forbid that reads it denies.
    pub source: Option<IpAddr>,
    /// How the caller authenticated.
    pub auth_method: &'static str,
    /// How long ago.
    pub auth_age: SignedDuration,
}

/// The answer, with its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlVerdict {
    /// Yes or no.
    pub allowed: bool,
    /// The policies that permit, or those that forbid what others would permit.
    pub policies: Arc<[PolicyId]>,
}

impl Snapshot {
    /// Whether `subject` may do `action` to `on`.
    pub fn allows(
        &self,
        subject: &Subject,
        action: ControlAction,
        on: ControlResource<'_>,
        at: &ControlContext,
    ) -> ControlVerdict {
        let found = if is_excluded(subject, action, on) {
            Findings::none()
        } else {
            self.evaluate_control(subject, action, on, at).unwrap_or_else(|error| {
                tracing::error!(%error, action = action.as_str(), "cannot be decided; denied");
                Findings::none()
            })
        };
        ControlVerdict { allowed: found.permitted, policies: found.policies }
    }

    fn evaluate_control(
        &self,
        subject: &Subject,
        action: ControlAction,
        on: ControlResource<'_>,
        at: &ControlContext,
    ) -> Result<Findings, NoSlice> {
        let bundle = self.bundle();
        let prepared = subject.prepared().ok_or("the principal cannot be prepared")?;
        let action = bundle.places().control(action).ok_or("the action is not in the schema")?;
        let resource = control_uid(on);
        let scoped = Scoped { uid: &resource, ancestors: &[] };
        if !could_permit(bundle, prepared, action, scoped) {
            return Ok(Findings::none());
        }
        let extra = self.control_entities(on, at.now)?;
        let about = About { action, resource: scoped };
        let world = World {
            on_call: &self.schedules().on_call(&subject.principal().id, bundle.rotations(), at.now),
            request_incident_unknown: self.is_incident_unknown(on, at.now),
        };
        let slice = Slice::of_control(bundle, prepared, about, world, extra)?;
        if slice.reads.requester && !self.knows_requester(on) {
            return Err("policies ask who the requester is, whom nobody knows".into());
        }
        Ok(evaluate(bundle, &slice, &slice.standing, at.facts(bundle.clocks()), None))
    }

    /// Whether an access request names an incident that is closed, or of which nothing is known any
    /// more.
    fn is_incident_unknown(&self, on: ControlResource<'_>, now: Timestamp) -> bool {
        let ControlResource::AccessRequest { request, .. } = on else { return false };
        let known = |id| self.incident(id).is_some_and(|incident| incident.is_fresh(now));
        request.incident().is_some_and(|id| !known(id))
    }

    /// Whether the requester's groups and attributes are known: those of a workload are in its token
    /// only. Unknown is not absent.
    fn knows_requester(&self, on: ControlResource<'_>) -> bool {
        match on {
            ControlResource::AccessRequest { request, .. } => {
                self.principal(&request.requester).is_some()
            }
            ControlResource::Service(_) | ControlResource::System => true,
        }
    }

    /// The resource, and the other entities that are not the bundle's own.
    fn control_entities(
        &self,
        on: ControlResource<'_>,
        now: Timestamp,
    ) -> Result<Vec<Entity>, NoSlice> {
        match on {
            ControlResource::System => {
                Ok(vec![Entity::new_no_attrs(control_uid(on), HashSet::new())])
            }
            ControlResource::Service(_) => {
                let known = self.bundle().entities().get(&control_uid(on)).cloned();
                // A service that left the configuration still has grants and connections to look at.
                Ok(known.into_iter().collect())
            }
            ControlResource::AccessRequest { request, waited } => {
                let service = uid(&TYPES.service, request.service.as_str());
                let mut extra = vec![access_request(self.bundle(), request, waited)?];
                extra.extend(self.bundle().entities().get(&service).cloned());
                if let Some(requester) = self.principal(&request.requester) {
                    let rotations = self.bundle().rotations();
                    let known = self.schedules().on_call(&requester.id, rotations, now);
                    extra.push(on_call(principal_entity(requester)?, &known.on)?);
                }
                if let Some(incident) = request.incident().and_then(|id| self.incident(id)) {
                    extra.push(incident_entity(incident)?);
                }
                Ok(extra)
            }
        }
    }
}

/// The entity that stands for what something is done to.
fn control_uid(on: ControlResource<'_>) -> EntityUid {
    match on {
        ControlResource::System => uid(&TYPES.system, "portcullis"),
        ControlResource::Service(name) => uid(&TYPES.service, name.as_str()),
        ControlResource::AccessRequest { request, .. } => {
            uid(&TYPES.access_request, &request.id.to_string())
        }
    }
}

/// Whether a permit's head admits all three. Where none does, nothing needs to be built to say no.
fn could_permit(
    bundle: &Bundle,
    subject: &Prepared,
    action: &Action,
    resource: Scoped<'_>,
) -> bool {
    let policies = bundle.policies();
    let found = bundle.index().candidates(policies, subject.scoped(), action.scoped(), resource);
    found.into_iter().filter_map(|at| policies.at(at)).any(|policy| !policy.is_forbid())
}

impl ControlContext {
    fn facts(&self, clocks: &Clocks) -> Result<cedar_policy::Context, NoContext> {
        let mut pairs = vec![
            ("now".to_owned(), datetime(self.now)),
            ("auth".to_owned(), auth_record(self.auth_method, self.auth_age)?),
        ];
        pairs.extend(clocks.record(self.now)?.map(|clock| ("clock".to_owned(), clock)));
        if let Some(ip) = self.source {
            pairs.push(("source".to_owned(), source_record(ip)?));
        }
        Ok(cedar_policy::Context::from_pairs(pairs)?)
    }
}

/// What no policy can allow.
fn is_excluded(subject: &Subject, action: ControlAction, on: ControlResource<'_>) -> bool {
    let principal = subject.principal();
    let people_only = match action {
        ControlAction::Review
        | ControlAction::Revoke
        | ControlAction::ViewConnections
        | ControlAction::SealCredential => true,
        ControlAction::ManageIncident | ControlAction::ViewAudit | ControlAction::Administer => {
            false
        }
    };
    if people_only && principal.id.kind != PrincipalKind::User {
        return true;
    }
    match on {
        ControlResource::AccessRequest { request, .. } => {
            action != ControlAction::Review || principal.same_as(&request.requester, request.person)
        }
        ControlResource::Service(_) => action == ControlAction::Review,
        ControlResource::System => !matches!(
            action,
            ControlAction::ManageIncident | ControlAction::ViewAudit | ControlAction::Administer
        ),
    }
}

fn access_request(
    bundle: &Bundle,
    request: &AccessRequest,
    waited: SignedDuration,
) -> Result<Entity, NoSlice> {
    let kind = match request.reviews_needed() {
        _ if request.is_emergency() => GrantKind::Emergency,
        0 => GrantKind::Automatic,
        _ => GrantKind::Review,
    };
    let actions = request.queries.iter().flat_map(|query| {
        if query.operation.is_all() {
            bundle.operations_under(&query.way.rule, &request.service)
        } else {
            vec![query.operation.clone()]
        }
    });
    let actions = actions.map(|operation| string(operation.as_str()));
    let requester = RestrictedExpression::new_entity_uid(principal_uid(&request.requester));
    let service = uid(&TYPES.service, request.service.as_str());
    let mut attributes = HashMap::from([
        ("requester".to_owned(), requester),
        ("service".to_owned(), RestrictedExpression::new_entity_uid(service)),
        ("actions".to_owned(), RestrictedExpression::new_set(actions.collect::<Vec<_>>())),
        ("waited".to_owned(), duration(waited)),
        ("kind".to_owned(), string(kind.as_str())),
    ]);
    if let Some(id) = request.incident() {
        let incident = RestrictedExpression::new_entity_uid(uid(&TYPES.incident, id.as_str()));
        attributes.insert("incident".to_owned(), incident);
    }
    let uid = uid(&TYPES.access_request, &request.id.to_string());
    Ok(Entity::new(uid, attributes, HashSet::new())?)
}

#[cfg(test)]
mod tests;
