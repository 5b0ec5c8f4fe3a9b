//! Who could be allowed something at the control plane, by the heads of policies alone.
//!
//! For asking about many people: whoever no permit's head admits is not allowed, and nothing has to be built to
//! know it. Whoever one admits still has to be asked about with [`Snapshot::allows`].

use cedar_policy::{EntityTypeName, EntityUid, PrincipalConstraint, ResourceConstraint};
use portcullis_model::{Principal, PrincipalKind};

use super::{ControlAction, ControlResource, control_uid};
use crate::{
    Snapshot,
    entities::TYPES,
    policy::{Head, Scoped},
};

/// The heads of the permits that could allow one action on one thing.
#[derive(Debug)]
pub struct Admitting<'a>(Vec<&'a Head>);

impl Snapshot {
    /// The heads of the permits that could allow `action` on `on`.
    pub fn admitting(&self, action: ControlAction, on: ControlResource<'_>) -> Admitting<'_> {
        let bundle = self.bundle();
        let Some(action) = bundle.places().control(action) else { return Admitting(Vec::new()) };
        let resource = control_uid(on);
        let resource = Scoped { uid: &resource, ancestors: &[] };
        let permits = bundle.policies().iter().filter(|(_, policy)| !policy.is_forbid());
        let heads = permits.map(|(_, policy)| &policy.head);
        let admit =
            |head: &&Head| head.admits_action(action.scoped()) && head.admits_resource(resource);
        Admitting(heads.filter(admit).collect())
    }

    /// Whether a permit's head admits `principal` to reviewing some access request; `false` is certain,
    /// whatever is asked for, by whom and since when.
    pub fn may_admit_reviewer(&self, principal: &Principal) -> bool {
        let bundle = self.bundle();
        let Some(action) = bundle.places().control(ControlAction::Review) else { return false };
        let permits = bundle.policies().iter().filter(|(_, policy)| !policy.is_forbid());
        let mut heads = permits.map(|(_, policy)| &policy.head);
        heads.any(|head| {
            head.admits_action(action.scoped())
                && admits_access_requests(&head.resource)
                && admits(head, principal)
        })
    }
}

/// Whether there could be an access request that is such a resource. None is within anything else.
fn admits_access_requests(resource: &ResourceConstraint) -> bool {
    let is_one = |ty: &EntityTypeName| *ty == TYPES.access_request;
    match resource {
        ResourceConstraint::Any => true,
        ResourceConstraint::Is(ty) => is_one(ty),
        ResourceConstraint::Eq(uid) | ResourceConstraint::In(uid) => is_one(uid.type_name()),
        ResourceConstraint::IsIn(ty, uid) => is_one(ty) && is_one(uid.type_name()),
    }
}

impl Admitting<'_> {
    /// Whether `principal` could be allowed it; `false` is certain.
    pub fn may_admit(&self, principal: &Principal) -> bool {
        self.0.iter().any(|head| admits(head, principal))
    }
}

fn admits(head: &Head, principal: &Principal) -> bool {
    let ty = match principal.id.kind {
        PrincipalKind::User => &TYPES.user,
        PrincipalKind::Workload => &TYPES.workload,
        PrincipalKind::Anonymous => &TYPES.anonymous,
    };
    let is_itself =
        |uid: &EntityUid| uid.type_name() == ty && uid.id().unescaped() == &*principal.id.id;
    let is_within = |uid: &EntityUid| {
        let is_group = *uid.type_name() == TYPES.group;
        is_itself(uid) || is_group && principal.groups.contains(uid.id().unescaped())
    };
    match &head.principal {
        PrincipalConstraint::Any => true,
        PrincipalConstraint::Eq(uid) => is_itself(uid),
        PrincipalConstraint::In(uid) => is_within(uid),
        PrincipalConstraint::Is(wanted) => wanted == ty,
        PrincipalConstraint::IsIn(wanted, uid) => wanted == ty && is_within(uid),
    }
}
