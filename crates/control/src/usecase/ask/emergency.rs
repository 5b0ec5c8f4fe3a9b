//! Emergencies: granted at once to whoever names them, for all that the head of their rule matches.
//!
//! Loud, short, with a reason, and an open item until somebody else has looked at it. Nothing takes an
//! emergency by itself: not asking without naming it, not a request that waits at the gate.

use portcullis_model::{
    AccessQuery, AccessRequest, EventType, IncidentId, OperationName, PolicyId, Resource,
    ServiceName, Way,
};
use portcullis_policy::Snapshot;
use portcullis_store::Change;

use super::{Result, Subject, Wish, authenticated};
use crate::{
    ControlError, OpContext,
    core::Core,
    settle::Settlement,
    usecase::{access_requests, notices},
    ways::{self, Standing},
};

/// The one query of an emergency: all operations of the service, whatever was named.
pub(super) fn queries(
    snapshot: &Snapshot,
    op: &OpContext,
    subject: &Subject,
    wish: Wish<'_>,
) -> Result<Vec<AccessQuery>> {
    let [wanted] = subject.wanted.as_slice() else {
        let message = "an emergency is for a whole service; ask for it alone".to_owned();
        return Err(ControlError::Invalid { field: "queries", message });
    };
    if subject.extends.is_some() {
        let why = "an emergency is not extended; take it again when it is over, with its reason";
        return Err(ControlError::Conflict(why.into()));
    }
    if wanted.operation.is_all() && wanted.instance.is_some() {
        let message = "an emergency is for a whole service, not for an instance".to_owned();
        return Err(ControlError::Invalid { field: "instance", message });
    }
    // The rules of a refusal are what would open it, and not what somebody chose.
    let chosen = wanted.rules.first().filter(|_| subject.refusal.is_none());
    let offered = offered(snapshot, op, &subject.service, wish.incident)?;
    let way = chosen_of(offered, &subject.service, wish.rule.or(chosen), wish.incident)?;
    let operation = OperationName::all_of(&subject.service);
    Ok(vec![AccessQuery { operation, instance: None, digest: None, way }])
}

/// The emergency ways to anything on `service`, with all that will still be checked somewhere.
fn offered(
    snapshot: &Snapshot,
    op: &OpContext,
    service: &ServiceName,
    incident: Option<&IncidentId>,
) -> Result<Vec<Way>> {
    let found = snapshot.bundle().catalog().service(service);
    let found = found.ok_or(ControlError::NotFound("the service"))?;
    let caller = authenticated(op)?;
    let context = ways::ahead(op.now(), caller.method().as_str(), caller.authenticated_at());
    let resource = Resource { service: service.clone(), instance: None };
    let mut offered: Vec<Way> = Vec::new();
    let operations = found.operations().map(portcullis_policy::catalog::Operation::name);
    for operation in operations.chain(found.reveals()) {
        let standing =
            ways::standing(snapshot, caller.principal(), operation, &resource, &context, incident);
        let ways = match standing {
            Standing::Invisible => return Err(ControlError::NotFound("the service")),
            Standing::Ways(ways) => ways,
            Standing::Open | Standing::Checked(_) | Standing::Closed => continue,
        };
        for way in ways.into_iter().filter(Way::is_emergency) {
            let same = |other: &&mut Way| other.rule == way.rule && other.incident == way.incident;
            match offered.iter_mut().find(same) {
                Some(known) => {
                    let seen = |text: &String| !known.to_be_checked.contains(text);
                    let more: Vec<_> = way.to_be_checked.into_iter().filter(seen).collect();
                    known.to_be_checked.extend(more);
                }
                None => offered.push(way),
            }
        }
    }
    offered.sort_by(Way::order);
    Ok(offered)
}

/// The only one, or the one that is named: nobody should have to guess in a hurry what was opened.
fn chosen_of(
    mut offered: Vec<Way>,
    service: &ServiceName,
    rule: Option<&PolicyId>,
    incident: Option<&IncidentId>,
) -> Result<Way> {
    let of_rule = |way: &Way| rule.is_none_or(|rule| way.rule == *rule);
    offered.retain(|way| of_rule(way) && (incident.is_none() || way.incident.as_ref() == incident));
    let reason = match (offered.as_slice(), rule) {
        ([only], _) => return Ok(only.clone()),
        ([], Some(rule)) => {
            format!("rule `{rule}` opens nothing of `{service}` to you as an emergency")
        }
        ([], None) => format!("no emergency rule would open anything of `{service}` to you"),
        ([first, rest @ ..], _) if rest.iter().all(|other| other.rule == first.rule) => {
            return Ok(first.clone());
        }
        (several, _) => {
            let names = several.iter().map(|way| format!("`{}`", way.rule));
            let names = names.collect::<Vec<_>>().join(", ");
            format!("`{service}` has several emergency rules for you; name one: {names}")
        }
    };
    Err(ControlError::NoWay { reason, ways: offered })
}

/// Whoever brought the policies in force takes an emergency only if it was there before, too.
pub(super) fn admitted(
    core: &Core,
    snapshot: &Snapshot,
    op: &OpContext,
    request: &AccessRequest,
) -> Result<()> {
    if let Err(retry_after) = core.ask_rates.admit_or_wait(&request.requester, op.now()) {
        let message = "you take emergencies too often".to_owned();
        return Err(ControlError::Limited { message, retry_after });
    }
    let rules: Vec<&PolicyId> = request.queries.iter().map(|query| &query.way.rule).collect();
    let was_there = core.brought.also_before(snapshot, request, |before| {
        let offered = offered(before, op, &request.service, request.incident()).unwrap_or_default();
        rules.iter().all(|rule| offered.iter().any(|way| way.rule == **rule))
    });
    if was_there {
        return Ok(());
    }
    let why = "you brought the policies in force yourself, and this emergency rule with them; \
               somebody else has to take it";
    Err(ControlError::Denied(why.into()))
}

/// Tells everybody, in the transaction that grants it.
pub(super) fn announce(
    core: &Core,
    op: &OpContext,
    request: &AccessRequest,
    into: &mut Settlement,
) {
    let mut event = core.event(op, EventType::EmergencyOpened);
    access_requests::describe(&mut event, request);
    event.detail = Some(request.reason.clone());
    into.changes.push(Change::Record(event));
    notices::plan(core, op, request, into);
    tracing::warn!(
        access_request = %request.id,
        principal = %request.requester,
        service = %request.service,
        "an emergency is opened"
    );
}
