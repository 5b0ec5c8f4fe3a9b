//! Asking for access: from a refusal, or for named operations of one service.

use std::{collections::BTreeSet, sync::Arc};

use portcullis_identity::Authenticated;
use portcullis_model::{
    AccessQuery, AccessRequest, AccessRequestId, AccessRequestState, EventType, Grant, IncidentId,
    InstanceName, OperationName, PolicyId, PrincipalId, PrincipalKind, RefusalId, Resource,
    ServiceName, Way, Window,
};
use portcullis_policy::Snapshot;
use portcullis_store::{AccessRequests, Change, Grants};

use super::{
    issue::{self, Issuable},
    once::Once,
    refusals, text,
};
use crate::{
    ControlError, OpContext,
    core::Core,
    expiry::Ending,
    publisher::Effect,
    rights,
    settle::{self, Settlement, Unsettled},
    usecase::access_requests,
    views::{AccessRequestView, Ask, AskFor},
    ways::{self, Standing},
};

/// The most access requests of one requester that may wait.
const MOST_OPEN: u32 = 32;
const MOST_QUERIES: usize = 32;
/// The newest grants of one principal that are looked at.
const LISTED: u32 = 500;
/// How often policy tries to approve what somebody else is given parts of at the same moment.
const ROUNDS: usize = 8;

type Result<T> = std::result::Result<T, ControlError>;

/// One thing asked for, before its way is known.
#[derive(Debug)]
struct Wanted {
    operation: OperationName,
    instance: Option<InstanceName>,
    digest: Option<Arc<str>>,
}

/// Which way shall be taken.
#[derive(Debug, Clone, Copy)]
struct Wish<'a> {
    rule: Option<&'a PolicyId>,
    incident: Option<&'a IncidentId>,
}

#[derive(Debug)]
struct Subject {
    service: ServiceName,
    wanted: Vec<Wanted>,
    refusal: Option<RefusalId>,
}

/// Asks; `once` is the key under which the answer is kept, if the caller named one.
pub(crate) async fn ask(
    core: &Arc<Core>,
    op: &OpContext,
    ask: Ask,
    once: Option<&Once>,
) -> Result<AccessRequestView> {
    let reason = text::checked("reason", &ask.reason)?;
    let subject = subject(core, op, ask.what).await?;
    let snapshot = core.snapshot();
    let wish = Wish { rule: ask.rule.as_ref(), incident: ask.incident.as_ref() };
    let queries = queries(&snapshot, op, &subject, wish)?;
    let duration = duration(&queries, ask.duration)?;
    if let Some(grant) = all(&held(&snapshot, op, &queries)?) {
        return access_requests::view_of(core, op, grant.access_request).await;
    }
    let request = request(core, op, subject, queries, reason, duration)?;
    if let Some(same) = same_pending(core, op, &request).await? {
        return Ok(access_requests::view(core, op, same));
    }
    if request.reviews_needed() == 0 {
        return automatic(core, op, &request, once).await;
    }
    match wait_for_reviews(core, op, request.clone(), once).await {
        Ok(request) => Ok(access_requests::view(core, op, request)),
        Err(Unsettled::Conflict) => raced(core, op, &request, once).await,
        Err(Unsettled::Failed(error)) => Err(error),
    }
}

async fn subject(core: &Core, op: &OpContext, what: AskFor) -> Result<Subject> {
    match what {
        AskFor::Refusal(id) => {
            let refusal = refusals::own(core, op, &id).await?;
            let digest = refusal.digest.map(Arc::from);
            let Resource { service, instance } = refusal.resource;
            let wanted = vec![Wanted { operation: refusal.operation, instance, digest }];
            Ok(Subject { service, wanted, refusal: Some(id) })
        }
        AskFor::Operations(operations) => {
            let invalid = |message: String| ControlError::Invalid { field: "queries", message };
            let first = operations.first();
            let first = first.ok_or_else(|| invalid("must name an operation".into()))?;
            if operations.len() > MOST_QUERIES {
                return Err(invalid(format!("names more than {MOST_QUERIES} operations")));
            }
            let service = first.operation.service().to_owned();
            let mut seen = BTreeSet::new();
            let mut wanted = Vec::new();
            for one in operations {
                if one.operation.service() != service {
                    let message =
                        "all operations must be of one service; ask for each service alone";
                    return Err(invalid(message.into()));
                }
                if seen.insert((one.operation.clone(), one.instance.clone())) {
                    let (operation, instance) = (one.operation, one.instance);
                    wanted.push(Wanted { operation, instance, digest: None });
                }
            }
            let service = service.parse().map_err(|_| ControlError::NotFound("the service"))?;
            Ok(Subject { service, wanted, refusal: None })
        }
    }
}

fn queries(
    snapshot: &Snapshot,
    op: &OpContext,
    subject: &Subject,
    wish: Wish<'_>,
) -> Result<Vec<AccessQuery>> {
    if let Some(id) = wish.incident {
        let incident = snapshot.incident(id);
        if incident.is_none_or(|incident| !incident.services.contains(&subject.service)) {
            let message = format!("`{id}` is no open incident of `{}`", subject.service);
            return Err(ControlError::Invalid { field: "incident", message });
        }
    }
    let caller = authenticated(op)?;
    let context = ways::ahead(op.now(), caller.method().as_str(), caller.authenticated_at());
    let mut queries = Vec::new();
    for wanted in &subject.wanted {
        known(snapshot, &subject.service, wanted)?;
        let resource =
            Resource { service: subject.service.clone(), instance: wanted.instance.clone() };
        let principal = caller.principal();
        let (operation, incident) = (&wanted.operation, wish.incident);
        let standing =
            ways::standing(snapshot, principal, operation, &resource, &context, incident);
        let way = chosen(standing, operation, wish)?;
        // A grant that counts uses admits the refused request again and no other.
        let digest = wanted.digest.clone().filter(|_| way.max_uses.is_some());
        let (operation, instance) = (wanted.operation.clone(), wanted.instance.clone());
        queries.push(AccessQuery { operation, instance, digest, way });
    }
    Ok(queries)
}

/// What is asked for must exist. Who cannot see the service learns the same as if it did not.
fn known(snapshot: &Snapshot, service: &ServiceName, wanted: &Wanted) -> Result<()> {
    let catalog = snapshot.bundle().catalog();
    let found = catalog.service(service).ok_or(ControlError::NotFound("the service"))?;
    let operation = catalog.operation(&wanted.operation);
    operation.ok_or(ControlError::NotFound("the operation"))?;
    match &wanted.instance {
        Some(instance) if !found.source().instances.contains_key(instance) => {
            Err(ControlError::NotFound("the instance"))
        }
        _ => Ok(()),
    }
}

fn chosen(standing: Standing, operation: &OperationName, wish: Wish<'_>) -> Result<Way> {
    let ways = match standing {
        Standing::Ways(ways) => ways,
        Standing::Open => {
            let why = format!("`{operation}` is open to you without asking");
            return Err(ControlError::Conflict(why));
        }
        Standing::Invisible => return Err(ControlError::NotFound("the service")),
        Standing::Closed => {
            let reason = format!("no policy would open `{operation}` to you, with any grant");
            return Err(ControlError::NoWay { reason, ways: Vec::new() });
        }
    };
    let way = ways.iter().find(|way| {
        wish.rule.is_none_or(|rule| way.rule == *rule)
            && wish.incident.is_none_or(|incident| way.incident.as_ref() == Some(incident))
    });
    way.cloned().map(|way| Way { reviewers: Vec::new(), ..way }).ok_or_else(|| {
        let rule = wish.rule.map_or("that".to_owned(), |rule| format!("rule `{rule}`"));
        let reason = match wish.incident {
            Some(id) => format!("no way to `{operation}` for you needs incident `{id}`"),
            None => format!("{rule} would not open `{operation}` to you"),
        };
        ControlError::NoWay { reason, ways }
    })
}

/// As long as was asked for, or as all ways allow.
fn duration(queries: &[AccessQuery], asked: Option<Window>) -> Result<Window> {
    let invalid = |message: String| ControlError::Invalid { field: "duration", message };
    let longest = queries.iter().map(|query| query.way.max_duration).min();
    let longest = longest.ok_or_else(|| invalid("nothing is asked for".into()))?;
    match asked {
        None => Ok(longest),
        Some(asked) if asked > longest => {
            Err(invalid(format!("`{asked}` is longer than the way allows: at most {longest}")))
        }
        Some(asked) if asked.get().as_secs() == 0 => {
            Err(invalid("is shorter than a second".into()))
        }
        Some(asked) => Ok(asked),
    }
}

/// For each query, a grant in force that covers it already.
fn held(
    snapshot: &Snapshot,
    op: &OpContext,
    queries: &[AccessQuery],
) -> Result<Vec<Option<Arc<Grant>>>> {
    let principal = rights::caller(op)?;
    let covering = |query: &AccessQuery| {
        let mut own = snapshot.grants_of(&principal.id);
        own.find(|grant| {
            grant.in_force(op.now())
                && grant.rule == query.way.rule
                && grant.operation == query.operation
                && grant.resource.instance == query.instance
                && grant.digest == query.digest
                && grant.incident == query.way.incident
        })
        .cloned()
    };
    Ok(queries.iter().map(covering).collect())
}

/// The last of them, if there is one for each query.
fn all(held: &[Option<Arc<Grant>>]) -> Option<&Arc<Grant>> {
    if held.iter().all(Option::is_some) { held.last()?.as_ref() } else { None }
}

fn request(
    core: &Core,
    op: &OpContext,
    subject: Subject,
    queries: Vec<AccessQuery>,
    reason: String,
    duration: Window,
) -> Result<AccessRequest> {
    let principal = rights::caller(op)?;
    Ok(AccessRequest {
        id: AccessRequestId::new(op.now(), core.entropy.as_ref()),
        requester: principal.id.clone(),
        person: principal.person,
        requester_name: principal.name.clone(),
        service: subject.service,
        queries,
        reason,
        duration,
        refusal: subject.refusal,
        created_at: op.now(),
        expires_at: op.now() + core.settings.access_request.signed(),
        reviews: Vec::new(),
        state: AccessRequestState::Pending,
    })
}

async fn same_pending(
    core: &Arc<Core>,
    op: &OpContext,
    wanted: &AccessRequest,
) -> Result<Option<AccessRequest>> {
    let own = AccessRequests::PendingOf(wanted.requester.clone());
    let own = core.store.access_requests(own, MOST_OPEN).await?;
    let Some(same) = own.into_iter().find(|other| asks_the_same(other, wanted)) else {
        return Ok(None);
    };
    if op.now() < same.expires_at {
        return Ok(Some(same));
    }
    // Its time is up and nobody has said so yet: it must not stand in the way.
    let expiry = OpContext::system("expiry", op.now());
    match access_requests::expire(core, &expiry, same.id).await {
        Ok(()) | Err(ControlError::Conflict(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same as the guard of the store: what is asked for and under which rules, not what the rules
/// say at the moment.
fn asks_the_same(one: &AccessRequest, other: &AccessRequest) -> bool {
    fn what(query: &AccessQuery) -> impl PartialEq + use<'_> {
        (&query.operation, &query.instance, &query.digest, &query.way.rule, &query.way.incident)
    }
    one.duration == other.duration
        && one.queries.len() == other.queries.len()
        && one.queries.iter().zip(&other.queries).all(|(one, other)| what(one) == what(other))
}

/// Policy approves by itself. What is held already is not given again: asking twice, one after the
/// other or at the same moment, stretches nothing.
async fn automatic(
    core: &Arc<Core>,
    op: &OpContext,
    request: &AccessRequest,
    once: Option<&Once>,
) -> Result<AccessRequestView> {
    for _ in 0..ROUNDS {
        let held = held(&core.snapshot(), op, &request.queries)?;
        if let Some(grant) = all(&held) {
            return access_requests::view_of(core, op, grant.access_request).await;
        }
        match approve_at_once(core, op, request.clone(), &held, once).await {
            Ok(request) => return Ok(access_requests::view(core, op, request)),
            Err(Unsettled::Conflict) => {
                if let Some(answered) = answered(core, op, once).await? {
                    return Ok(answered);
                }
                refuse_barred(core, op)?;
                catch_up(core, &request.requester).await?;
            }
            Err(Unsettled::Failed(error)) => return Err(error),
        }
    }
    Err(Unsettled::Conflict.into())
}

/// Publishes what the store has of somebody's grants and the snapshot may not have yet.
async fn catch_up(core: &Core, principal: &PrincipalId) -> Result<()> {
    let grants = core.store.grants(Grants::Of(principal.clone()), LISTED).await?;
    // INVARIANT: on record first. The start of each was committed before it could be read.
    core.outbox.drain().await.map_err(|_| settle::no_record())?;
    let now = core.now();
    let in_force = grants.into_iter().filter(|grant| grant.in_force(now));
    core.publisher.publish(in_force.map(Effect::Grant).collect(), now);
    Ok(())
}

async fn approve_at_once(
    core: &Arc<Core>,
    op: &OpContext,
    request: AccessRequest,
    held: &[Option<Arc<Grant>>],
    once: Option<&Once>,
) -> std::result::Result<AccessRequest, Unsettled> {
    let missing = request.queries.iter().zip(held).filter(|(_, held)| held.is_none());
    let issuable: Vec<Issuable<'_>> =
        missing.map(|(query, _)| Issuable { query, way: query.way.clone() }).collect();
    let grants = issue::grants(core, op, &request, &issuable, 0);
    let mut new = grants.iter().map(|grant| grant.id);
    let ids =
        held.iter().filter_map(|held| held.as_ref().map(|held| held.id).or_else(|| new.next()));
    let ids = ids.collect();
    let conflict = |error: portcullis_model::access_request::InvalidTransition| {
        Unsettled::Failed(ControlError::Conflict(error.to_string()))
    };
    let approved = request.clone().approve(op.now(), ids).map_err(conflict)?;
    let mut settlement = asked(core, op, &approved, once);
    let ended = access_requests::ended_event(core, op, &approved);
    settlement.changes.push(Change::Record(ended));
    issue::start(core, op, grants, Change::AddGrantOnce, &mut settlement);
    core.settle(settlement).await?;
    Ok(approved)
}

async fn wait_for_reviews(
    core: &Arc<Core>,
    op: &OpContext,
    request: AccessRequest,
    once: Option<&Once>,
) -> std::result::Result<AccessRequest, Unsettled> {
    let mut settlement = asked(core, op, &request, once);
    settlement.deadlines.push((request.expires_at, Ending::AccessRequest(request.id)));
    core.settle(settlement).await?;
    Ok(request)
}

/// What asking changes, however it goes on.
fn asked(core: &Core, op: &OpContext, request: &AccessRequest, once: Option<&Once>) -> Settlement {
    let mut settlement = Settlement::default();
    // A workload is known only by what its token said; the review decides by that.
    let workload = op.caller().map(Authenticated::principal);
    if let Some(workload) = workload.filter(|who| who.id.kind == PrincipalKind::Workload) {
        let principal = portcullis_model::Principal::clone(workload);
        settlement.quietly.push(Effect::Principal(principal.clone()));
        settlement.changes.push(Change::SeePrincipal { principal, at: op.now() });
    }
    let mut event = core.event(op, EventType::AccessRequested);
    access_requests::describe(&mut event, request);
    event.detail = Some(request.reason.clone());
    settlement
        .changes
        .push(Change::AddAccessRequest { request: request.clone(), at_most: MOST_OPEN });
    settlement.changes.extend(once.map(|once| once.change(op, request.id)));
    settlement.changes.push(Change::Record(event));
    settlement
}

/// A guard of the store refused: the same was asked at the same moment, or too much waits.
async fn raced(
    core: &Arc<Core>,
    op: &OpContext,
    request: &AccessRequest,
    once: Option<&Once>,
) -> Result<AccessRequestView> {
    if let Some(answered) = answered(core, op, once).await? {
        return Ok(answered);
    }
    refuse_barred(core, op)?;
    match same_pending(core, op, request).await? {
        Some(same) => Ok(access_requests::view(core, op, same)),
        None => Err(ControlError::Limited {
            message: format!(
                "{MOST_OPEN} of your access requests wait already; withdraw one or wait"
            ),
            retry_after: 60,
        }),
    }
}

/// Somebody who was deactivated while asking.
fn refuse_barred(core: &Core, op: &OpContext) -> Result<()> {
    if core.publisher.bars(rights::caller(op)?) {
        return Err(ControlError::Denied("this account is deactivated in the directory".into()));
    }
    Ok(())
}

async fn answered(
    core: &Core,
    op: &OpContext,
    once: Option<&Once>,
) -> Result<Option<AccessRequestView>> {
    match once {
        Some(once) => once.answered(core, op).await,
        None => Ok(None),
    }
}

fn authenticated(op: &OpContext) -> Result<&Authenticated> {
    op.caller().ok_or(ControlError::Unauthenticated(portcullis_identity::AuthError::Missing))
}
