//! Asking for access: from a refusal, or for named operations of one service.

use std::{collections::BTreeSet, sync::Arc};

use portcullis_identity::Authenticated;
use portcullis_model::{
    AccessQuery, AccessRequest, AccessRequestId, AccessRequestState, EventType, Grant,
    InstanceName, OperationName, PolicyId, PrincipalKind, RefusalId, Resource, ServiceName, Way,
    Window,
};
use portcullis_policy::Snapshot;
use portcullis_store::{AccessRequests, Change};

use super::{
    issue::{self, Issuable},
    refusals, text,
};
use crate::{
    ControlError, OpContext,
    core::Core,
    expiry::Ending,
    publisher::Effect,
    rights,
    settle::{Settlement, Unsettled},
    usecase::access_requests,
    views::{AccessRequestView, Ask, AskFor},
    ways::{self, Standing},
};

/// The most access requests of one requester that may wait.
const MOST_OPEN: u32 = 32;
const MOST_QUERIES: usize = 32;

type Result<T> = std::result::Result<T, ControlError>;

/// One thing asked for, before its way is known.
#[derive(Debug)]
struct Wanted {
    operation: OperationName,
    instance: Option<InstanceName>,
    digest: Option<Arc<str>>,
}

#[derive(Debug)]
struct Subject {
    service: ServiceName,
    wanted: Vec<Wanted>,
    refusal: Option<RefusalId>,
}

pub(crate) async fn ask(core: &Arc<Core>, op: &OpContext, ask: Ask) -> Result<AccessRequestView> {
    let reason = text::checked("reason", &ask.reason)?;
    let subject = subject(core, op, ask.what).await?;
    let snapshot = core.snapshot();
    let queries = queries(&snapshot, op, &subject, ask.rule.as_ref())?;
    let duration = duration(&queries, ask.duration)?;
    if let Some(grant) = covering(&snapshot, op, &queries)? {
        return access_requests::view_of(core, op, grant.access_request).await;
    }
    let request = request(core, op, subject, queries, reason, duration)?;
    if let Some(same) = same_pending(core, op, &request).await? {
        return Ok(access_requests::view(core, op, same));
    }
    let asked = if request.reviews_needed() == 0 {
        approve_at_once(core, op, request.clone()).await
    } else {
        wait_for_reviews(core, op, request.clone()).await
    };
    match asked {
        Ok(request) => Ok(access_requests::view(core, op, request)),
        Err(Unsettled::Conflict) => raced(core, op, &request).await,
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
    rule: Option<&PolicyId>,
) -> Result<Vec<AccessQuery>> {
    let caller = authenticated(op)?;
    let context = ways::ahead(op.now(), caller.method().as_str(), caller.authenticated_at());
    let mut queries = Vec::new();
    for wanted in &subject.wanted {
        known(snapshot, &subject.service, wanted)?;
        let resource =
            Resource { service: subject.service.clone(), instance: wanted.instance.clone() };
        let principal = caller.principal();
        let standing = ways::standing(snapshot, principal, &wanted.operation, &resource, &context);
        let way = chosen(standing, &wanted.operation, rule)?;
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

fn chosen(standing: Standing, operation: &OperationName, rule: Option<&PolicyId>) -> Result<Way> {
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
    let way = match rule {
        Some(rule) => ways.iter().find(|way| way.rule == *rule),
        None => ways.first(),
    };
    way.cloned().map(|way| Way { reviewers: Vec::new(), ..way }).ok_or_else(|| {
        let rule = rule.map_or("that", PolicyId::as_str);
        let reason = format!("rule `{rule}` would not open `{operation}` to you");
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

/// A grant in force that covers all of it already.
fn covering(
    snapshot: &Snapshot,
    op: &OpContext,
    queries: &[AccessQuery],
) -> Result<Option<Arc<Grant>>> {
    let principal = rights::caller(op)?;
    let covers = |query: &AccessQuery| {
        snapshot.grants_of(&principal.id).find(|grant| {
            grant.in_force(op.now())
                && grant.rule == query.way.rule
                && grant.operation == query.operation
                && grant.resource.instance == query.instance
                && grant.digest == query.digest
        })
    };
    let mut found = None;
    for query in queries {
        let Some(grant) = covers(query) else { return Ok(None) };
        found = Some(Arc::clone(grant));
    }
    Ok(found)
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
    core: &Core,
    op: &OpContext,
    wanted: &AccessRequest,
) -> Result<Option<AccessRequest>> {
    let own = AccessRequests::Of(wanted.requester.clone());
    let own = core.store.access_requests(own, MOST_OPEN * 4).await?;
    let same = |other: &AccessRequest| {
        other.state == AccessRequestState::Pending
            && op.now() < other.expires_at
            && other.queries == wanted.queries
            && other.duration == wanted.duration
    };
    Ok(own.into_iter().find(same))
}

async fn approve_at_once(
    core: &Arc<Core>,
    op: &OpContext,
    request: AccessRequest,
) -> std::result::Result<AccessRequest, Unsettled> {
    let issuable: Vec<Issuable<'_>> =
        request.queries.iter().map(|query| Issuable { query, way: query.way.clone() }).collect();
    let grants = issue::grants(core, op, &request, &issuable, 0);
    let ids = grants.iter().map(|grant| grant.id).collect();
    let conflict = |error: portcullis_model::access_request::InvalidTransition| {
        Unsettled::Failed(ControlError::Conflict(error.to_string()))
    };
    let approved = request.clone().approve(op.now(), ids).map_err(conflict)?;
    let mut settlement = asked(core, op, &approved);
    let ended = access_requests::ended_event(core, op, &approved);
    settlement.changes.push(Change::Record(ended));
    issue::start(core, op, grants, &mut settlement);
    core.settle(settlement).await?;
    Ok(approved)
}

async fn wait_for_reviews(
    core: &Arc<Core>,
    op: &OpContext,
    request: AccessRequest,
) -> std::result::Result<AccessRequest, Unsettled> {
    let mut settlement = asked(core, op, &request);
    settlement.deadlines.push((request.expires_at, Ending::AccessRequest(request.id)));
    core.settle(settlement).await?;
    Ok(request)
}

/// What asking changes, however it goes on.
fn asked(core: &Core, op: &OpContext, request: &AccessRequest) -> Settlement {
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
    settlement.changes.push(Change::Record(event));
    settlement
}

/// A guard of the store refused: the same was asked at the same moment, or too much waits.
async fn raced(core: &Core, op: &OpContext, request: &AccessRequest) -> Result<AccessRequestView> {
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

fn authenticated(op: &OpContext) -> Result<&Authenticated> {
    op.caller().ok_or(ControlError::Unauthenticated(portcullis_identity::AuthError::Missing))
}
