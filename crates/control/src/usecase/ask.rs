//! Asking for access: from a refusal, for named operations of one service, or for more of a grant.

use std::{collections::BTreeSet, sync::Arc};

use portcullis_identity::Authenticated;
use portcullis_model::{
    AccessQuery, AccessRequest, AccessRequestId, AccessRequestState, EventType, Grant, GrantId,
    InstanceName, OperationName, PolicyId, PrincipalKind, RefusalId, Resource, ServiceName, Way,
    Window,
};
use portcullis_policy::Snapshot;
use portcullis_store::{AccessRequests, Change};

use super::{
    grants, held,
    issue::{self, Issuable, Issue},
    notices,
    once::Once,
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
    views::{AccessRequestView, Ask, AskFor, AskOperation},
    ways::{self, Standing},
};

/// The most access requests of one requester that may wait.
const MOST_OPEN: u32 = 32;
const MOST_QUERIES: usize = 32;
/// How often policy tries to approve what somebody else is given parts of at the same moment.
const ROUNDS: usize = 8;

type Result<T> = std::result::Result<T, ControlError>;

/// One thing asked for, before its way is known.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) operation: OperationName,
    pub(super) instance: Option<InstanceName>,
    pub(super) digest: Option<Arc<str>>,
    /// The only ways that count, by their rules; all if there is none.
    pub(super) rules: Vec<PolicyId>,
}

#[derive(Debug)]
pub(super) struct Subject {
    pub(super) service: ServiceName,
    pub(super) wanted: Vec<Wanted>,
    pub(super) refusal: Option<RefusalId>,
    pub(super) extends: Option<Grant>,
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
    let queries = queries(core, &snapshot, op, &subject, ask.rule.as_ref())?;
    let duration = duration(&queries, ask.duration)?;
    if let Some(grant) = &subject.extends {
        extendable(&snapshot, op, grant, &queries, duration)?;
    } else if let Some(grant) = held::all(&covering(&snapshot, op, &queries)?) {
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
            // What would not have opened the refused request is no way to it.
            let rules = refusal.ways.into_iter().map(|way| way.rule).collect();
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
            return Err(invalid(format!("names `{operation}` twice")));
        }
        let rules = rule.into_iter().collect();
        wanted.push(Wanted { operation, instance, digest: None, rules });
    }
    let service = service.parse().map_err(|_| ControlError::NotFound("the service"))?;
    Ok(Subject { service, wanted, refusal: None, extends: None })
}

pub(super) fn queries(
    core: &Core,
    snapshot: &Snapshot,
    op: &OpContext,
    subject: &Subject,
    rule: Option<&PolicyId>,
) -> Result<Vec<AccessQuery>> {
    let caller = authenticated(op)?;
    let context = ways::ahead(op.now(), caller.method().as_str(), caller.authenticated_at());
    let mut queries = Vec::new();
    let brought = core.brought.by_caller(snapshot, caller.principal());
    for wanted in &subject.wanted {
        known(snapshot, &subject.service, wanted)?;
        let resource =
            Resource { service: subject.service.clone(), instance: wanted.instance.clone() };
        let principal = caller.principal();
        let standing = ways::standing(snapshot, principal, &wanted.operation, &resource, &context);
        let mut way = chosen(standing, wanted, rule)?;
        // As many people as stand behind a grant are needed to go on with it.
        let behind = subject.extends.as_ref().map_or(0, |grant| grant.reviews);
        way.reviews = way.reviews.max(behind).max(u8::from(brought));
        // A grant that counts uses admits the refused request again and no other.
        let is_bound = way.max_uses.is_some() || subject.extends.is_some();
        let digest = wanted.digest.clone().filter(|_| is_bound);
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

fn chosen(standing: Standing, wanted: &Wanted, rule: Option<&PolicyId>) -> Result<Way> {
    let operation = &wanted.operation;
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
    let counts = |way: &&Way| {
        (wanted.rules.is_empty() || wanted.rules.contains(&way.rule))
            && rule.is_none_or(|rule| way.rule == *rule)
    };
    let way = ways.iter().find(counts);
    way.cloned().map(|way| Way { reviewers: Vec::new(), ..way }).ok_or_else(|| {
        let reason = match rule.or(wanted.rules.first()) {
            Some(rule) => format!("rule `{rule}` would not open `{operation}` to you"),
            None => format!("nothing would open `{operation}` to you"),
        };
        ControlError::NoWay { reason, ways }
    })
}

/// More of `grant` must be possible at all.
fn extendable(
    snapshot: &Snapshot,
    op: &OpContext,
    grant: &Grant,
    queries: &[AccessQuery],
    duration: Window,
) -> Result<()> {
    if !grant.in_force(op.now()) {
        let why = format!("grant `{}` has ended; ask for a new one", grant.id);
        return Err(ControlError::Conflict(why));
    }
    let Some(way) = queries.first().map(|query| &query.way) else { return Ok(()) };
    let longest = issue::longest(snapshot, grant, way);
    if longest <= grant.expires_at {
        let longest = text::time(longest);
        let why = format!("grant `{}` ends at {longest} at the latest; ask anew then", grant.id);
        return Err(ControlError::Conflict(why));
    }
    if op.now() + duration.signed() <= grant.expires_at {
        let end = text::time(grant.expires_at);
        let message = format!("`{duration}` from now is not after its end, {end}");
        return Err(ControlError::Invalid { field: "duration", message });
    }
    Ok(())
}

/// As long as was asked for, or as all ways allow.
pub(super) fn duration(queries: &[AccessQuery], asked: Option<Window>) -> Result<Window> {
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

fn covering(
    snapshot: &Snapshot,
    op: &OpContext,
    queries: &[AccessQuery],
) -> Result<Vec<Option<Arc<Grant>>>> {
    let principal = rights::caller(op)?;
    Ok(held::covering(snapshot, &principal.id, queries, op.now()))
}

pub(super) fn request(
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
        extends: subject.extends.map(|grant| grant.id),
        held: None,
        created_at: op.now(),
        expires_at: op.now() + core.settings.access_request.signed(),
        reviews: Vec::new(),
        state: AccessRequestState::Pending,
    })
}

pub(super) async fn same_pending(
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
    one.duration == other.duration
        && one.extends == other.extends
        && one.queries.len() == other.queries.len()
        && one.queries.iter().zip(&other.queries).all(|(one, other)| one.asks_the_same(other))
}

/// Policy approves by itself. What is held already is not given again: asking twice, one after the
/// other or at the same moment, stretches nothing.
pub(super) async fn automatic(
    core: &Arc<Core>,
    op: &OpContext,
    request: &AccessRequest,
    once: Option<&Once>,
) -> Result<AccessRequestView> {
    for _ in 0..ROUNDS {
        let snapshot = core.snapshot();
        let held = match request.extends {
            Some(id) => vec![Some(still_held(&snapshot, id)?)],
            None => covering(&snapshot, op, &request.queries)?,
        };
        if let Some(grant) = held::all(&held).filter(|_| request.extends.is_none()) {
            return access_requests::view_of(core, op, grant.access_request).await;
        }
        match approve_at_once(core, op, request.clone(), held, once).await {
            Ok(request) => return Ok(access_requests::view(core, op, request)),
            Err(Unsettled::Conflict) => {
                if let Some(answered) = answered(core, op, once).await? {
                    return Ok(answered);
                }
                refuse_barred(core, op)?;
                held::catch_up(core, &request.requester).await?;
            }
            Err(Unsettled::Failed(error)) => return Err(error),
        }
    }
    Err(Unsettled::Conflict.into())
}

async fn approve_at_once(
    core: &Arc<Core>,
    op: &OpContext,
    request: AccessRequest,
    held: Vec<Option<Arc<Grant>>>,
    once: Option<&Once>,
) -> std::result::Result<AccessRequest, Unsettled> {
    let snapshot = core.snapshot();
    // What is held already is not given again, unless more of it is what was asked for.
    let issues = request.queries.iter().zip(held).flat_map(|(query, held)| match held {
        Some(held) if request.extends.is_none() => vec![Issue::Held(held.id)],
        held => {
            let (query, way) = (query.clone(), query.way.clone());
            let issuable = vec![Issuable { query, way, held }];
            issue::issue(core, op, &snapshot, &request, issuable, 0)
        }
    });
    let issues: Vec<Issue> = issues.collect();
    let ids = issues.iter().map(Issue::id).collect();
    let conflict = |error: portcullis_model::access_request::InvalidTransition| {
        Unsettled::Failed(ControlError::Conflict(error.to_string()))
    };
    let approved = request.clone().approve(op.now(), ids).map_err(conflict)?;
    let mut settlement = asked(core, op, &approved, once);
    let ended = access_requests::ended_event(core, op, &approved);
    settlement.changes.push(Change::Record(ended));
    issue::start(core, op, issues, true, &mut settlement);
    core.settle(settlement).await?;
    Ok(approved)
}

pub(super) async fn wait_for_reviews(
    core: &Arc<Core>,
    op: &OpContext,
    request: AccessRequest,
    once: Option<&Once>,
) -> std::result::Result<AccessRequest, Unsettled> {
    if let Err(wait) = core.ask_rates.admit_or_wait(&request.requester, op.now()) {
        let message = "you ask for access too often; the same again would be joined".to_owned();
        let limited = ControlError::Limited { message, retry_after: wait };
        return Err(Unsettled::Failed(limited));
    }
    let mut settlement = asked(core, op, &request, once);
    settlement.deadlines.push((request.expires_at, Ending::AccessRequest(request.id)));
    notices::plan(core, op, &request, &mut settlement);
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
    event.detail = Some(detail(request));
    settlement
        .changes
        .push(Change::AddAccessRequest { request: request.clone(), at_most: MOST_OPEN });
    settlement.changes.extend(once.map(|once| once.change(op, request.id)));
    settlement.changes.push(Change::Record(event));
    settlement
}

/// The reason; of a request that waits, which one as well.
fn detail(request: &AccessRequest) -> String {
    let digest = request.queries.iter().find_map(|query| query.digest.as_deref());
    match (&request.held, digest) {
        (Some(held), Some(digest)) => {
            let (reason, summary, size) = (&request.reason, &held.summary, held.size);
            format!("{reason}: {summary}, {size} bytes, {digest}")
        }
        (Some(_) | None, _) => request.reason.clone(),
    }
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

fn still_held(snapshot: &Snapshot, id: GrantId) -> Result<Arc<Grant>> {
    let over = || ControlError::Conflict(format!("grant `{id}` has ended; ask for a new one"));
    snapshot.grant(id).cloned().ok_or_else(over)
}

fn authenticated(op: &OpContext) -> Result<&Authenticated> {
    op.caller().ok_or(ControlError::Unauthenticated(portcullis_identity::AuthError::Missing))
}
