//! What the PDP would answer, and why.

use std::sync::Arc;

use portcullis_identity::Authenticated;
use portcullis_model::{Principal, PrincipalId, Resource};
use portcullis_policy::{Answer, DecisionCache, Subject};

use crate::{
    ControlError, OpContext,
    core::Core,
    rights,
    views::{Explain, Explanation},
    ways,
};

pub(crate) fn explain(
    core: &Core,
    op: &OpContext,
    question: &Explain,
) -> Result<Explanation, ControlError> {
    let snapshot = core.snapshot();
    let caller = rights::caller(op)?;
    let principal = match &question.principal {
        Some(other) if *other != caller.id => {
            if !rights::may_view_audit(&snapshot, op) {
                let why = "explaining what others may do takes `viewAudit`";
                return Err(ControlError::Denied(why.into()));
            }
            if *other == PrincipalId::anonymous() {
                Arc::new(Principal::anonymous())
            } else {
                let found = snapshot.principal(other);
                Arc::clone(found.ok_or(ControlError::NotFound("the principal"))?)
            }
        }
        _ => Arc::clone(caller),
    };
    let operation = &question.operation;
    if !snapshot.bundle().catalog().knows(operation) {
        return Err(ControlError::NotFound("the operation"));
    }
    let unknown = ControlError::NotFound("the service");
    let service = operation.service().parse().map_err(|_| unknown)?;
    let resource = Resource { service, instance: question.instance.clone() };
    // Of the caller more is known than of others: what they present right now.
    let presented = op.caller().filter(|caller| caller.principal().id == principal.id);
    let (known, since) = core.authentication(&principal);
    let method = presented.map_or(known, Authenticated::method).as_str();
    let since = since.unwrap_or(op.now());
    let context = ways::ahead(op.now(), method, since);
    let subject = Subject::new(principal);
    let mut cache = DecisionCache::default();
    let verdict =
        ways::decide(&snapshot, &subject, operation, &resource, &context, None, &mut cache);
    let (answer, ways) = match verdict.answer {
        Answer::Permit(_) => ("permit", Vec::new()),
        Answer::Requestable(ways) => ("requestable", ways),
        Answer::Deny(_) => ("deny", Vec::new()),
    };
    let mut to_be_checked = verdict.to_be_checked;
    // No policy says this one: a way that counts uses binds its grant to the request.
    if ways.iter().any(|way| way.max_uses.is_some()) {
        to_be_checked.push("that it is the very request that was approved".to_owned());
    }
    Ok(Explanation {
        answer,
        auth_method: method,
        policies: verdict.policies.to_vec(),
        ways,
        to_be_checked,
        bundle: snapshot.stamp().digest.clone(),
    })
}
