//! What an access request is about, before its ways are known.

use std::{collections::BTreeSet, sync::Arc};

use portcullis_model::{
    Grant, InstanceName, OperationName, PolicyId, RefusalId, Resource, ServiceName,
};

use portcullis_policy::Snapshot;

use super::Result;
use crate::{
    ControlError, OpContext,
    core::Core,
    rights,
    usecase::{grants, refusals, services},
    views::{AskFor, AskOperation},
};

const MOST_QUERIES: usize = 32;

/// One thing asked for, before its way is known.
#[derive(Debug)]
pub(in crate::usecase) struct Wanted {
    pub(in crate::usecase) operation: OperationName,
    pub(in crate::usecase) instance: Option<InstanceName>,
    pub(in crate::usecase) digest: Option<Arc<str>>,
    /// The only ways that count, by their rules; all if there is none.
    pub(in crate::usecase) rules: Vec<PolicyId>,
}

/// What is asked for, wherever that is said.
#[derive(Debug)]
pub(in crate::usecase) struct Subject {
    pub(in crate::usecase) service: ServiceName,
    pub(in crate::usecase) wanted: Vec<Wanted>,
    pub(in crate::usecase) refusal: Option<RefusalId>,
    pub(in crate::usecase) extends: Option<Grant>,
}

impl Subject {
    /// Whether each rule counts where it is a way, and nowhere else: one rule seldom opens an operation and
    /// shows data.
    pub(super) fn shares_rules(&self) -> bool {
        self.is_to_see() && self.wanted.len() > 1 && self.refusal.is_none()
    }

    /// The operations in whose answers `wanted`, if it is data, is to be seen.
    pub(super) fn beside<'s>(&'s self, wanted: &Wanted) -> Vec<&'s OperationName> {
        if wanted.operation.revealed().is_none() {
            return Vec::new();
        }
        let others = self.wanted.iter().filter(|other| other.operation.revealed().is_none());
        others.map(|other| &other.operation).collect()
    }

    /// Whether it is about seeing sensitive data, perhaps among other things.
    pub(super) fn is_to_see(&self) -> bool {
        self.wanted.iter().any(|wanted| wanted.operation.revealed().is_some())
    }
}

/// Finds out what `what` is about.
pub(super) async fn subject(
    core: &Core,
    op: &OpContext,
    what: AskFor,
    for_incident: bool,
) -> Result<Subject> {
    match what {
        AskFor::Refusal(id) => {
            let refusal = refusals::own(core, op, &id).await?;
            let digest = refusal.digest.map(Arc::from);
            // What would not have opened the refused request is no way to it; but its incident may be
            // open since then only.
            let ways = refusal.ways.into_iter().filter(|_| !for_incident);
            let rules = ways.map(|way| way.rule).collect();
            let Resource { service, instance } = refusal.resource;
            let wanted = vec![Wanted { operation: refusal.operation, instance, digest, rules }];
            Ok(Subject { service, wanted, refusal: Some(id), extends: None })
        }
        AskFor::Operations(operations) => named(operations),
        AskFor::Extension(id) => {
            let grant = grants::one(core, op, id).await?;
            if !rights::holds(op, &grant) {
                let why = "only its holder asks for more of a grant";
                return Err(ControlError::Denied(why.into()));
            }
            let Grant { operation, digest, rule, .. } = grant.clone();
            let Resource { service, instance } = grant.resource.clone();
            let wanted = vec![Wanted { operation, instance, digest, rules: vec![rule] }];
            Ok(Subject { service, wanted, refusal: None, extends: Some(grant) })
        }
    }
}

fn named(operations: Vec<AskOperation>) -> Result<Subject> {
    let invalid = |message: String| ControlError::Invalid { field: "queries", message };
    let first = operations.first();
    let first = first.ok_or_else(|| invalid("must name an operation".into()))?;
    if operations.len() > MOST_QUERIES {
        return Err(invalid(format!("names more than {MOST_QUERIES} operations")));
    }
    let service = first.operation.service().to_owned();
    let mut seen = BTreeSet::new();
    let mut wanted = Vec::new();
    for AskOperation { operation, instance, rule } in operations {
        if operation.service() != service {
            let message = "all operations must be of one service; ask for each service alone";
            return Err(invalid(message.into()));
        }
        if !seen.insert((operation.clone(), instance.clone())) {
            let same =
                |wanted: &&mut Wanted| wanted.operation == operation && wanted.instance == instance;
            // One class of data may be seen in the answers of several operations.
            let same = wanted.iter_mut().find(same).filter(|_| operation.revealed().is_some());
            let Some(same) = same else {
                return Err(invalid(format!("names `{operation}` twice")));
            };
            same.rules.extend(rule);
            continue;
        }
        let rules = rule.into_iter().collect();
        wanted.push(Wanted { operation, instance, digest: None, rules });
    }
    let service = service.parse().map_err(|_| ControlError::NotFound("the service"))?;
    Ok(Subject { service, wanted, refusal: None, extends: None })
}

/// What is asked for must exist. Who cannot see the service learns the same as if it did not.
pub(super) fn known(
    core: &Core,
    op: &OpContext,
    snapshot: &Snapshot,
    service: &ServiceName,
    wanted: &Wanted,
) -> Result<()> {
    let catalog = snapshot.bundle().catalog();
    let found = catalog.service(service).ok_or(ControlError::NotFound("the service"))?;
    if !catalog.knows(&wanted.operation) {
        let Some(class) = wanted.operation.revealed() else {
            return Err(ControlError::NotFound("the operation"));
        };
        let seen = services::one(core, op, service)?.classes;
        let known = seen.iter().filter_map(|class| class.name.revealed());
        return Err(ControlError::NoSuchClass {
            service: service.to_string(),
            class: class.to_owned(),
            known: known.map(str::to_owned).collect(),
        });
    }
    match &wanted.instance {
        Some(instance) if !found.source().instances.contains_key(instance) => {
            Err(ControlError::NotFound("the instance"))
        }
        _ => Ok(()),
    }
}
