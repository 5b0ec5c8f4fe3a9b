//! Reviewing: one person's answer, and the grants if it was the last one missing.

use std::sync::Arc;

use jiff::Timestamp;
use portcullis_identity::{Authenticated, passkey::AuthenticationResponse};
use portcullis_model::{
    AccessQuery, AccessRequest, AccessRequestId, Decision, Event, EventType, Grant, Principal,
    Resource, Review, ReviewId, Scope, Way, Window, access_request::InvalidTransition,
};
use portcullis_policy::Snapshot;
use portcullis_store::Change;

use super::{
    access_requests, held,
    issue::{self, Issuable, Issue},
    review_afterwards,
    review_passkey::{self, Signed, Unsigned},
    text,
};
use crate::{
    ControlError, OpContext,
    core::Core,
    rights::{self, Right},
    settle::{Settlement, Unsettled},
    views::{AccessRequestView, ReviewInput},
    ways::{self, Standing},
};

const NO_RIGHT: &str = "no policy lets you review this access request";

/// What may be done elsewhere is said by the page of the access request.
pub(crate) const NOT_BY_CHAT: &str = "no policy lets you review this access request by chat";

type Result<T> = std::result::Result<T, ControlError>;

pub(crate) async fn review(
    core: &Arc<Core>,
    op: &OpContext,
    id: AccessRequestId,
    input: ReviewInput,
) -> Result<AccessRequestView> {
    review_with(core, op, id, input, &[]).await
}

/// The same, in one transaction with `also`.
pub(crate) async fn review_with(
    core: &Arc<Core>,
    op: &OpContext,
    id: AccessRequestId,
    input: ReviewInput,
    also: &[Change],
) -> Result<AccessRequestView> {
    // Two people who answer at the same moment both saw the state before: the second looks again.
    // It ends, because each round adds somebody's review, ends the access request or moves a grant of
    // the requester; a conflict that changed none of these is another.
    let mut last_seen = None;
    loop {
        let request = access_requests::visible(core, op, id).await?;
        let version = core.snapshot().version();
        let now_seen = Some((request.state.as_str(), request.reviews.len(), version));
        if std::mem::replace(&mut last_seen, now_seen) == now_seen {
            return Err(Unsettled::Conflict.into());
        }
        if let Some(why) = refused(core, op, &request) {
            return refuse(core, op, &request, why).await;
        }
        let mut review = answer(core, op, &request, &input)?;
        let seen = request.reviews.len();
        if let Err(why) = given(&request, &review) {
            return not_counted(core, op, &request, &why).await;
        }
        let signed = signature(core, op, &request, &review, input.passkey.as_deref()).await?;
        review.passkey = signed.as_ref().map(|signed| signed.proof.passkey);
        let reviewed = match given(&request, &review) {
            Ok(reviewed) => reviewed,
            Err(why) => return not_counted(core, op, &request, &why).await,
        };
        let settled = if reviewed.is_emergency() {
            review_afterwards::settle(core, op, reviewed, &review, signed).await
        } else {
            settle(core, op, reviewed, &review, Beside { signed, also, seen }).await
        };
        match settled {
            Ok(request) => return Ok(access_requests::view(core, op, request)),
            Err(Unsettled::Conflict) => held::catch_up(core, &request.requester).await?,
            Err(Unsettled::Failed(error)) => return Err(error),
        }
    }
}

/// `request` with `review`: before anything is granted, or after an emergency.
fn given(
    request: &AccessRequest,
    review: &Review,
) -> std::result::Result<AccessRequest, InvalidTransition> {
    let (request, review) = (request.clone(), review.clone());
    if request.is_emergency() { request.review_afterwards(review) } else { request.review(review) }
}

/// The signature that comes with `review`; `None` if none came and none is needed. A passkey that
/// signs is always checked, also where policy would do without.
async fn signature(
    core: &Arc<Core>,
    op: &OpContext,
    request: &AccessRequest,
    review: &Review,
    response: Option<&AuthenticationResponse>,
) -> Result<Option<Signed>> {
    let snapshot = core.snapshot();
    let Some(response) = response else {
        return match rights::review(core, &snapshot, op, request) {
            Right::Plain => Ok(None),
            Right::WithPasskey => Err(review_passkey::needed(core, op, request, review).await),
            Right::None => refuse(core, op, request, NO_RIGHT).await,
        };
    };
    match review_passkey::signed(core, op, request, review, response).await? {
        Ok(_) if !rights::may_review_by(core, &snapshot, op, request, true) => {
            refuse(core, op, request, NO_RIGHT).await
        }
        Ok(signed) => Ok(Some(signed)),
        Err(Unsigned { why, spent }) => {
            let changes = spent.map(Change::EndChallenge).into_iter().collect();
            record_refused(core, op, request, format!("by passkey: {why}"), changes).await?;
            let again = "give the review again for a new challenge";
            Err(ControlError::Denied(format!(
                "the passkey's answer does not count: {why}; {again}"
            )))
        }
    }
}

/// Why the caller must not review this, if they must not.
fn refused(core: &Core, op: &OpContext, request: &AccessRequest) -> Option<&'static str> {
    let caller = op.caller().map(Authenticated::principal);
    if caller.is_some_and(|caller| caller.id.is_decider()) && request.is_emergency() {
        return Some("an emergency is looked at by a person");
    }
    if !caller.is_some_and(|caller| rights::reviews(caller, request)) {
        return Some("a workload never reviews");
    }
    // INVARIANT: never one's own, whatever policies say of administrators.
    if rights::is_own(&core.snapshot(), op, request) {
        return Some("nobody reviews their own access request");
    }
    let may = rights::may_review(core, &core.snapshot(), op, request);
    let why = if rights::is_by_chat(op) { NOT_BY_CHAT } else { NO_RIGHT };
    (!may).then_some(why)
}

/// A review that may not count is on record too: it may be somebody trying.
async fn refuse<T>(
    core: &Arc<Core>,
    op: &OpContext,
    request: &AccessRequest,
    why: &'static str,
) -> Result<T> {
    record_refused(core, op, request, why.to_owned(), Vec::new()).await?;
    Err(ControlError::Denied(why.into()))
}

async fn not_counted<T>(
    core: &Arc<Core>,
    op: &OpContext,
    request: &AccessRequest,
    why: &InvalidTransition,
) -> Result<T> {
    record_refused(core, op, request, why.to_string(), Vec::new()).await?;
    Err(match why {
        InvalidTransition::OwnRequest => ControlError::Denied(why.to_string()),
        InvalidTransition::NotPending(_)
        | InvalidTransition::ReviewedAlready
        | InvalidTransition::NothingLeft
        | InvalidTransition::NothingToReview
        | InvalidTransition::Expired
        | InvalidTransition::NotEnoughReviews { .. } => ControlError::Conflict(why.to_string()),
    })
}

pub(crate) async fn record_refused(
    core: &Arc<Core>,
    op: &OpContext,
    request: &AccessRequest,
    why: String,
    mut changes: Vec<Change>,
) -> Result<()> {
    let mut event = core.event(op, EventType::ReviewRefused);
    access_requests::describe(&mut event, request);
    event.detail = Some(why);
    changes.push(Change::Record(event));
    Ok(core.settle(Settlement { changes, ..Settlement::default() }).await?)
}

fn answer(
    core: &Core,
    op: &OpContext,
    request: &AccessRequest,
    input: &ReviewInput,
) -> Result<Review> {
    let reviewer = rights::caller(op)?;
    let nobody = "you are known as a principal, but not as a person";
    let person = reviewer.person.ok_or_else(|| ControlError::Denied(nobody.into()))?;
    let note = input.note.as_deref().map(|note| text::checked("note", note)).transpose()?;
    if input.decision == Decision::Decline && note.is_none() {
        let message = "a decline must say why".into();
        return Err(ControlError::Invalid { field: "note", message });
    }
    if request.is_emergency() {
        review_afterwards::checked(input)?;
    }
    shorter(request, input.duration)?;
    narrower(core, request, input.decision, &input.scope)?;
    Ok(Review {
        id: ReviewId::new(op.now(), core.entropy.as_ref()),
        reviewer: reviewer.id.clone(),
        person,
        name: reviewer.name.clone(),
        decision: input.decision,
        note,
        duration: input.duration,
        scope: input.scope.clone(),
        at: op.now(),
        source: op.source(),
        passkey: None,
        chat: rights::is_by_chat(op),
    })
}

/// Reviewers shorten; they never lengthen.
fn shorter(request: &AccessRequest, duration: Option<Window>) -> Result<()> {
    let invalid = |message| Err(ControlError::Invalid { field: "duration", message });
    match duration {
        Some(asked) if asked > request.duration => {
            invalid(format!("`{asked}` is longer than what was asked for: {}", request.duration))
        }
        Some(asked) if asked.get().as_secs() == 0 => invalid("is shorter than a second".into()),
        _ => Ok(()),
    }
}

/// Reviewers narrow; they never widen.
fn narrower(core: &Core, request: &AccessRequest, decision: Decision, scope: &Scope) -> Result<()> {
    let invalid = |message| Err(ControlError::Invalid { field: "scope", message });
    if scope.is_whole() {
        return Ok(());
    }
    if decision == Decision::Decline {
        return invalid("a decline is about all of it".into());
    }
    if request.extends.is_some() {
        return invalid("more of a grant is more of what it is; approve a shorter time".into());
    }
    let asked = |name: &_| request.queries.iter().any(|query| query.operation == *name);
    let stranger = scope.operations.iter().flatten().find(|name| !asked(*name));
    if let Some(name) = stranger {
        return invalid(format!("`{name}` was not asked for"));
    }
    let snapshot = core.snapshot();
    let service = snapshot.bundle().catalog().service(&request.service);
    let known =
        |name: &_| service.is_some_and(|service| service.source().instances.contains_key(name));
    match scope.instance.as_ref().filter(|name| !known(*name)) {
        Some(name) => invalid(format!("`{}` has no instance `{name}`", request.service)),
        None => Ok(()),
    }
}

/// What comes with a review.
struct Beside<'a> {
    signed: Option<Signed>,
    /// What changes with it.
    also: &'a [Change],
    /// The reviews that were there before.
    seen: usize,
}

async fn settle(
    core: &Arc<Core>,
    op: &OpContext,
    reviewed: AccessRequest,
    review: &Review,
    beside: Beside<'_>,
) -> std::result::Result<AccessRequest, Unsettled> {
    let Beside { signed, also, seen: seen_reviews } = beside;
    let mut settlement = Settlement::default();
    let event = core.event(op, EventType::Reviewed);
    let recorded = on_record(event, &reviewed, review, signed);
    let request = decided(core, op, reviewed, &mut settlement)
        .map_err(|error| Unsettled::Failed(ControlError::Conflict(error.to_string())))?;
    let moved = Change::MoveAccessRequest { request: request.clone(), seen_reviews };
    let mut changes = vec![moved];
    changes.extend_from_slice(also);
    changes.extend(recorded);
    if request.state.as_str() != "pending" {
        changes.push(Change::Record(access_requests::ended_event(core, op, &request)));
    }
    changes.append(&mut settlement.changes);
    settlement.changes = changes;
    core.settle(settlement).await?;
    Ok(request)
}

/// Puts `review` of `reviewed` on record with `event`, and spends the signature that it came with.
pub(super) fn on_record(
    mut event: Event,
    reviewed: &AccessRequest,
    review: &Review,
    signed: Option<Signed>,
) -> impl Iterator<Item = Change> + use<> {
    access_requests::describe(&mut event, reviewed);
    event.decision = Some(match review.decision {
        Decision::Approve => "approve".into(),
        Decision::Decline => "decline".into(),
    });
    event.detail = match &review.note {
        Some(note) if review.chat => Some(format!("by chat: {note}")),
        None if review.chat => Some("by chat".to_owned()),
        note => note.clone(),
    };
    let (proof, spent) = signed.map(|signed| (signed.proof, signed.changes)).unzip();
    event.passkey = proof.map(Box::new);
    std::iter::once(Change::Record(event)).chain(spent.into_iter().flatten())
}

/// Where the access request stands after this review: waiting, declined, or with its grants.
fn decided(
    core: &Core,
    op: &OpContext,
    request: AccessRequest,
    into: &mut Settlement,
) -> std::result::Result<AccessRequest, InvalidTransition> {
    if request.state.as_str() != "pending" {
        return Ok(request);
    }
    let snapshot = core.snapshot();
    // INVARIANT: whoever has lost the right to review since does not count any more.
    let counting = |review: &&Review| {
        review.decision == Decision::Approve
            && rights::still_may_review(core, &snapshot, op, &request, review)
            || review.at == op.now() && Some(&review.reviewer) == caller(op)
    };
    let approvals = request.reviews.iter().filter(counting).count();
    if approvals < usize::from(request.reviews_needed()) {
        return Ok(request);
    }
    let issuable = match issuable(core, &snapshot, op, &request, approvals) {
        Ok(issuable) => issuable,
        Err(why) => return request.decline_by_policy(op.now(), why),
    };
    let issues = issue::issue(core, op, &snapshot, &request, issuable, approvals);
    let ids = issues.iter().map(Issue::id).collect();
    let approved = request.approve(op.now(), ids)?;
    issue::start(core, op, issues, false, into);
    Ok(approved)
}

fn caller(op: &OpContext) -> Option<&portcullis_model::PrincipalId> {
    op.caller().map(|caller| &caller.principal().id)
}

/// The ways as they are now, or why one of them is gone. What was approved is decided again.
fn issuable(
    core: &Core,
    snapshot: &Snapshot,
    op: &OpContext,
    request: &AccessRequest,
    approvals: usize,
) -> std::result::Result<Vec<Issuable>, String> {
    let gone = || "the requester is not known any more".to_owned();
    let requester = snapshot.principal(&request.requester).ok_or_else(gone)?;
    let (method, since) = authentication(core, requester, request.created_at);
    let context = ways::ahead(op.now(), method, since);
    let mut issuable = Vec::new();
    for query in request.agreed_queries() {
        let resource =
            Resource { service: request.service.clone(), instance: query.instance.clone() };
        let (operation, rule) = (&query.operation, &query.way.rule);
        let incident = query.way.incident.as_ref();
        let standing =
            ways::standing(snapshot, requester, operation, &resource, &context, incident);
        let ways = match standing {
            Standing::Ways(ways) => ways,
            Standing::Open | Standing::Checked(_) => {
                return Err(format!("policy: `{operation}` needs no grant any more"));
            }
            Standing::Closed | Standing::Invisible => {
                return Err(format!("policy: nothing would open `{operation}` any more"));
            }
        };
        let same =
            |way: &portcullis_model::Way| way.rule == *rule && way.incident.as_ref() == incident;
        let way = ways.into_iter().find(same);
        let way = way.ok_or_else(|| match incident {
            Some(id) => format!("policy: rule `{rule}` is no way for incident `{id}` any more"),
            None => format!("policy: rule `{rule}` is no way any more"),
        })?;
        if usize::from(way.reviews) > approvals {
            return Err(format!("policy: rule `{rule}` asks for {} reviews now", way.reviews));
        }
        // A grant bound to nothing must not come from a rule that now binds to a digest, nor carry
        // more requests than people approved.
        let max_uses = match (way.max_uses, query.way.max_uses) {
            (Some(now), Some(then)) => Some(now.min(then)),
            (now, then) => now.or(then),
        };
        let way = Way { max_uses, ..way };
        let held = held_of(snapshot, op, request, &query, &way)?;
        issuable.push(Issuable { query, way, held });
    }
    Ok(issuable)
}

/// The grant whose end an approval moves, if there is one.
fn held_of(
    snapshot: &Snapshot,
    op: &OpContext,
    request: &AccessRequest,
    query: &AccessQuery,
    way: &Way,
) -> std::result::Result<Option<Arc<Grant>>, String> {
    let Some(extended) = request.extends else {
        let counts = way.max_uses.is_some();
        return Ok(held::same(snapshot, request, query, op.now()).filter(|_| !counts));
    };
    let held = snapshot.grant(extended).filter(|grant| grant.in_force(op.now()));
    let over = || "the grant has ended meanwhile; ask for a new one".to_owned();
    held.cloned().map(Some).ok_or_else(over)
}

/// How the requester is authenticated, as far as control knows.
fn authentication(
    core: &Core,
    requester: &Arc<Principal>,
    asked_at: Timestamp,
) -> (&'static str, Timestamp) {
    let (method, since) = core.authentication(requester);
    (method.as_str(), since.unwrap_or(asked_at))
}
