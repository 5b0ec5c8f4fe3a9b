//! Asking for access: from a refusal, for named operations of one service, or for more of a grant.

mod chosen;
mod emergency;
mod subject;

use std::{collections::BTreeSet, sync::Arc};

use portcullis_identity::Authenticated;
use portcullis_model::{
    AccessQuery, AccessRequest, AccessRequestId, AccessRequestState, EventType, Grant, GrantId,
    IncidentId, OperationName, PolicyId, PrincipalKind, Resource, Window,
};
use portcullis_policy::{Context, Snapshot};
use portcullis_store::{AccessRequests, Change};

pub(super) use self::subject::{Subject, Wanted};
use self::{
    chosen::chosen,
    subject::{known, subject},
};
use super::{
    held,
    issue::{self, Issuable, Issue},
    notices,
    once::Once,
    text,
};
use crate::{
    ControlError, OpContext,
    core::Core,
    expiry::Ending,
    publisher::Effect,
    rights,
    settle::{Settlement, Unsettled},
    usecase::access_requests,
    views::{AccessRequestView, Ask},
    ways::{self, Standing},
};

/// The most access requests of one requester that may wait.
const MOST_OPEN: u32 = 32;
/// How often policy tries to approve what somebody else is given parts of at the same moment.
const ROUNDS: usize = 8;

type Result<T> = std::result::Result<T, ControlError>;

/// Which way shall be taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) rule: Option<&'a PolicyId>,
    pub(super) incident: Option<&'a IncidentId>,
}

/// Asks; `once` is the key under which the answer is kept, if the caller named one.
pub(crate) async fn ask(
    core: &Arc<Core>,
    op: &OpContext,
    ask: Ask,
    once: Option<&Once>,
) -> Result<AccessRequestView> {
    let reason = text::checked("reason", &ask.reason)?;
    let subject = subject(core, op, ask.what, ask.incident.is_some()).await?;
    let snapshot = core.snapshot();
    let extends = subject.extends.as_ref();
    let incident = ask.incident.as_ref().or(extends.and_then(|grant| grant.incident.as_ref()));
    let wish = Wish { rule: ask.rule.as_ref(), incident };
    let queries = queries(core, &snapshot, op, &subject, wish)?;
    let duration = duration(&queries, ask.duration)?;
    if let Some(grant) = &subject.extends {
        extendable(&snapshot, op, grant, &queries, duration)?;
    } else if let Some(grant) = held::all(&covering(&snapshot, op, &queries)?) {
        return access_requests::view_of(core, op, grant.access_request).await;
    }
    let request = request(core, op, subject, queries, reason, duration)?;
    if request.is_emergency() {
        emergency::admitted(core, &snapshot, op, &request)?;
    }
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

pub(super) fn queries(
    core: &Core,
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
    if subject.wanted.iter().any(|wanted| wanted.operation.is_all()) {
        return emergency::queries(snapshot, op, subject, wish);
    }
    let caller = authenticated(op)?;
    let context = ways::ahead(op.now(), caller.method().as_str(), caller.authenticated_at());
    let mut queries = Vec::new();
    let brought = core.brought.by_caller(snapshot, caller.principal());
    for wanted in &subject.wanted {
        known(core, op, snapshot, &subject.service, wanted)?;
        let resource =
            Resource { service: subject.service.clone(), instance: wanted.instance.clone() };
        let principal = caller.principal();
        let (operation, incident) = (&wanted.operation, wish.incident);
        let ask = |seen_in: Option<&OperationName>| {
            let context = Context { seen_in: seen_in.cloned(), ..context.clone() };
            ways::standing(snapshot, principal, operation, &resource, &context, incident)
        };
        let beside = subject.beside(wanted);
        // Where it is seen in several answers, what is missing anywhere is asked for.
        let standing = beside.iter().map(|operation| ask(Some(operation)));
        let standing = standing.reduce(Standing::or_missing).unwrap_or_else(|| ask(None));
        // Who asks to see data in what they may do anyway asks for the data alone, and the other way
        // round.
        let is_open = matches!(standing, Standing::Open | Standing::Checked(_));
        if is_open && subject.is_to_see() && subject.wanted.len() > 1 {
            continue;
        }
        let mut way = chosen(standing, subject, wanted, wish)?;
        if way.is_emergency() {
            let wish = Wish { rule: Some(&way.rule), ..wish };
            return emergency::queries(snapshot, op, subject, wish);
        }
        // As many people as stand behind a grant are needed to go on with it.
        let behind = subject.extends.as_ref().map_or(0, |grant| grant.reviews);
        way.reviews = way.reviews.max(behind).max(u8::from(brought));
        // A grant that counts uses admits the refused request again and no other.
        let is_bound = way.max_uses.is_some() || subject.extends.is_some();
        let digest = wanted.digest.clone().filter(|_| is_bound);
        let (operation, instance) = (wanted.operation.clone(), wanted.instance.clone());
        queries.push(AccessQuery { operation, instance, digest, way });
    }
    if queries.is_empty() {
        let why = "all of it is open to you without asking";
        return Err(ControlError::Conflict(why.into()));
    }
    for_one_incident(&queries, wish)?;
    let own = subject.wanted.iter().flat_map(|wanted| &wanted.rules);
    let own = own.filter(|_| subject.shares_rules());
    let mut named = wish.rule.filter(|_| subject.is_to_see()).into_iter().chain(own);
    if let Some(rule) = named.find(|rule| !queries.iter().any(|query| query.way.rule == **rule)) {
        let reason = format!("rule `{rule}` opens nothing of this to you");
        return Err(ControlError::NoWay { reason, ways: Vec::new() });
    }
    Ok(queries)
}

/// Who reviews sees one incident, and a wish for one is not passed over.
fn for_one_incident(queries: &[AccessQuery], wish: Wish<'_>) -> Result<()> {
    let invalid = |message: String| Err(ControlError::Invalid { field: "incident", message });
    let named: BTreeSet<_> =
        queries.iter().filter_map(|query| query.way.incident.as_ref()).collect();
    match wish.incident {
        Some(id) if named.is_empty() => invalid(format!("nothing of this needs incident `{id}`")),
        _ if named.len() > 1 => {
            invalid("the ways are for several incidents; name one, or ask for each alone".into())
        }
        _ => Ok(()),
    }
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
    if approved.is_emergency() {
        emergency::announce(core, op, &approved, &mut settlement);
    }
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
