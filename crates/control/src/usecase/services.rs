//! What the caller can see and reach.

use portcullis_model::{OperationName, Resource, ServiceName};
use portcullis_policy::{
    Answer, Context, DecisionCache, Denial, Snapshot, Subject, bundle::OperationGroup,
    catalog::Service,
};

use super::refusals;
use crate::{
    ControlError, OpContext,
    core::Core,
    rights,
    views::{OperationView, Reach, ServiceView, WhoAmI},
    ways,
};

type Result<T> = std::result::Result<T, ControlError>;

pub(crate) fn whoami(op: &OpContext) -> Result<WhoAmI> {
    let principal = rights::caller(op)?;
    let missing = ControlError::Unauthenticated(portcullis_identity::AuthError::Missing);
    let caller = op.caller().ok_or(missing)?;
    Ok(WhoAmI {
        principal: principal.id.clone(),
        name: principal.name.clone(),
        email: principal.email.clone(),
        groups: principal.groups.clone(),
        method: caller.method().as_str(),
        authenticated_at: caller.authenticated_at(),
        ends_at: caller.ends_at(),
    })
}

pub(crate) fn all(core: &Core, op: &OpContext) -> Result<Vec<ServiceView>> {
    let snapshot = core.snapshot();
    let mut asking = Asking::new(op)?;
    let services = snapshot.bundle().catalog().services();
    Ok(services.filter_map(|service| view(core, &snapshot, service, &mut asking)).collect())
}

pub(crate) fn one(core: &Core, op: &OpContext, name: &ServiceName) -> Result<ServiceView> {
    let snapshot = core.snapshot();
    let mut asking = Asking::new(op)?;
    let service = snapshot.bundle().catalog().service(name);
    let view = service.and_then(|service| view(core, &snapshot, service, &mut asking));
    view.ok_or(ControlError::NotFound("the service"))
}

/// One caller who asks about many operations.
struct Asking {
    subject: Subject,
    context: Context,
    cache: DecisionCache,
}

impl Asking {
    fn new(op: &OpContext) -> Result<Self> {
        let principal = rights::caller(op)?;
        let missing = ControlError::Unauthenticated(portcullis_identity::AuthError::Missing);
        let caller = op.caller().ok_or(missing)?;
        Ok(Self {
            subject: Subject::new(std::sync::Arc::clone(principal)),
            context: ways::ahead(op.now(), caller.method().as_str(), caller.authenticated_at()),
            cache: DecisionCache::default(),
        })
    }
}

/// The service as the caller sees it; `None` if it does not exist for them.
fn view(
    core: &Core,
    snapshot: &Snapshot,
    service: &Service,
    asking: &mut Asking,
) -> Option<ServiceView> {
    let source = service.source();
    let resource = Resource { service: source.name.clone(), instance: None };
    let mut operations = Vec::new();
    for operation in service.operations() {
        let reach = reach(core, snapshot, operation.name(), &resource, asking)?;
        let group = match operation.group() {
            OperationGroup::Read => "read",
            OperationGroup::Write => "write",
            OperationGroup::Admin => "admin",
        };
        operations.push(OperationView { name: operation.name().clone(), group, reach });
    }
    let mut classes = Vec::new();
    for name in service.reveals() {
        let reach = reach(core, snapshot, name, &resource, asking)?;
        classes.push(OperationView { name: name.clone(), group: "reveal", reach });
    }
    Some(ServiceView {
        name: source.name.clone(),
        hosts: source.hosts.clone(),
        instances: source.instances.keys().cloned().collect(),
        operations,
        classes,
    })
}

fn reach(
    core: &Core,
    snapshot: &Snapshot,
    operation: &OperationName,
    resource: &Resource,
    asking: &mut Asking,
) -> Option<Reach> {
    let Asking { subject, context, cache } = asking;
    let verdict = ways::decide(snapshot, subject, operation, resource, context, None, cache);
    match verdict.answer {
        Answer::Permit(_) => Some(Reach::Open),
        Answer::Requestable(ways) => {
            Some(Reach::Requestable(refusals::named(core, operation, ways)))
        }
        Answer::Deny(Denial::ByPolicy)
            if operation.revealed().is_some() && !verdict.to_be_checked.is_empty() =>
        {
            Some(Reach::Conditional(verdict.to_be_checked))
        }
        Answer::Deny(Denial::ByPolicy | Denial::ErroringForbid | Denial::TookTooLong) => {
            Some(Reach::Closed)
        }
        Answer::Deny(Denial::Invisible) => None,
    }
}
