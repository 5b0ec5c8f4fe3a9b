//! Who may do what at the control plane. Every answer comes from the policies, now.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use portcullis_identity::AuthMethod;
use portcullis_model::{
    AccessQuery, AccessRequest, AccessRequestId, AccessRequestState, Grant, GrantKind,
    OperationName, PolicyId, Principal, PrincipalId, PrincipalKind, Review, ServiceName, Way,
    Window,
};
use portcullis_policy::{
    ControlAction, ControlContext, ControlResource, Snapshot, Subject, catalog::Service,
};

use crate::{ControlError, OpContext, core::Core};

/// What `amr` contains in a review that a passkey signed, and in no other: a provider's own word for
/// how somebody signed in is no signature over what they approve.
const PASSKEY: &str = "passkey";
/// Names that are shown with a way; enough to know whom to talk to.
const NAMES: usize = 8;

/// Whether the caller of `op` may do `action` to `on`.
pub(crate) fn may(
    snapshot: &Snapshot,
    op: &OpContext,
    action: ControlAction,
    on: ControlResource<'_>,
) -> bool {
    op.caller().is_some_and(|caller| may_as(snapshot, op, caller.principal(), action, on))
}

/// The same for the caller as `principal`: with another `amr`.
fn may_as(
    snapshot: &Snapshot,
    op: &OpContext,
    principal: &Arc<Principal>,
    action: ControlAction,
    on: ControlResource<'_>,
) -> bool {
    let Some(caller) = op.caller() else { return false };
    let subject = Subject::new(Arc::clone(principal));
    let at = ControlContext {
        now: op.now(),
        source: op.source(),
        auth_method: caller.method().as_str(),
        auth_age: op.now().duration_since(caller.authenticated_at()),
    };
    snapshot.allows(&subject, action, on, &at).allowed
}

pub(crate) fn may_on_service(
    snapshot: &Snapshot,
    op: &OpContext,
    action: ControlAction,
    service: &ServiceName,
) -> bool {
    may(snapshot, op, action, ControlResource::Service(service))
}

pub(crate) fn may_view_audit(snapshot: &Snapshot, op: &OpContext) -> bool {
    may(snapshot, op, ControlAction::ViewAudit, ControlResource::System)
}

/// Whether the caller sees what operators see: with `viewAudit` or `administer`.
pub(crate) fn may_oversee(snapshot: &Snapshot, op: &OpContext) -> bool {
    may_view_audit(snapshot, op)
        || may(snapshot, op, ControlAction::Administer, ControlResource::System)
}

/// How a review is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// By somebody who is signed in.
    Plain,
    /// By somebody who is signed in, and signed by their passkey.
    WithPasskey,
    /// By chat: by somebody of whom nothing is proven but that the account there is theirs.
    Chat,
}

impl How {
    /// How `review` was given.
    fn of(review: &Review) -> Self {
        match review.passkey {
            _ if review.chat => Self::Chat,
            Some(_) => Self::WithPasskey,
            None => Self::Plain,
        }
    }

    /// What policies must allow. A review by chat needs whatever any other needs, and that policy
    /// accepts chat.
    fn actions(self) -> &'static [ControlAction] {
        match self {
            Self::Plain | Self::WithPasskey => &[ControlAction::Review],
            Self::Chat => &[ControlAction::Review, ControlAction::ReviewByChat],
        }
    }

    /// What `context.auth.method` is.
    fn method(self) -> &'static str {
        match self {
            Self::Plain | Self::WithPasskey => AuthMethod::SignIn.as_str(),
            Self::Chat => AuthMethod::Chat.as_str(),
        }
    }
}

/// Whether what `op` does comes by chat.
pub(crate) fn is_by_chat(op: &OpContext) -> bool {
    op.caller().is_some_and(|caller| caller.method() == AuthMethod::Chat)
}

/// Whether somebody may review, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// Not at all.
    None,
    /// As they are signed in.
    Plain,
    /// If a passkey of theirs signs it.
    WithPasskey,
}

/// Whether the caller could review `request` at this moment, its state aside.
pub(crate) fn may_review(
    core: &Core,
    snapshot: &Snapshot,
    op: &OpContext,
    request: &AccessRequest,
) -> bool {
    review(core, snapshot, op, request) != Right::None
}

/// The same, and how.
pub(crate) fn review(
    core: &Core,
    snapshot: &Snapshot,
    op: &OpContext,
    request: &AccessRequest,
) -> Right {
    if may_review_by(core, snapshot, op, request, false) {
        Right::Plain
    } else if may_review_by(core, snapshot, op, request, true) {
        Right::WithPasskey
    } else {
        Right::None
    }
}

/// Whether the caller could review `request` with a passkey, or without.
pub(crate) fn may_review_by(
    core: &Core,
    snapshot: &Snapshot,
    op: &OpContext,
    request: &AccessRequest,
    passkey: bool,
) -> bool {
    let caller = op.caller().map(portcullis_identity::Authenticated::principal);
    let one = |caller: &&Arc<Principal>| reviews(caller, request) && caller.person.is_some();
    let Some(caller) = caller.filter(one) else { return false };
    let how = match (is_by_chat(op), passkey) {
        // INVARIANT: no passkey signs in a chat, whatever comes with a review from there.
        (true, true) => return false,
        (true, false) => How::Chat,
        (false, true) => How::WithPasskey,
        (false, false) => How::Plain,
    };
    let waited = op.now().duration_since(request.created_at);
    let on = ControlResource::AccessRequest { request, waited };
    let reviewer = reviewer(caller, how);
    let allows = |snapshot: &Snapshot| {
        how.actions().iter().all(|action| may_as(snapshot, op, &reviewer, *action, on))
    };
    !is_own(snapshot, op, request)
        && allows(snapshot)
        && core.brought.also_before(snapshot, request, allows)
}

/// Whether reviewing `request` is for somebody of this kind: people, and systems whose decisions the
/// configuration accepts. What happened in an emergency is looked at by a person.
pub(crate) fn reviews(principal: &Principal, request: &AccessRequest) -> bool {
    principal.id.kind == PrincipalKind::User || principal.id.is_decider() && !request.is_emergency()
}

/// `principal` as policies on reviewing see them.
fn reviewer(principal: &Arc<Principal>, how: How) -> Arc<Principal> {
    if how == How::Chat {
        return Arc::new(Principal { amr: BTreeSet::new(), ..Principal::clone(principal) });
    }
    let passkey = how == How::WithPasskey;
    if principal.amr.contains(PASSKEY) == passkey {
        return Arc::clone(principal);
    }
    let mut seen = Principal::clone(principal);
    if passkey {
        seen.amr.insert(PASSKEY.to_owned());
    } else {
        seen.amr.remove(PASSKEY);
    }
    Arc::new(seen)
}

/// Whether there could be an access request that the caller may review; `false` is certain. Unlike
/// [`may_review_anything`] it does not imagine one, which would be by nobody, and new.
pub(crate) fn could_ever_review(snapshot: &Snapshot, op: &OpContext) -> bool {
    op.caller().is_some_and(|caller| snapshot.may_admit_reviewer(caller.principal()))
}

/// Whether the caller could review an access request for any operation, whoever asked.
pub(crate) fn may_review_anything(core: &Core, op: &OpContext) -> bool {
    let snapshot = core.snapshot();
    let mut services = snapshot.bundle().catalog().services();
    services.any(|service| may_review_some(core, &snapshot, op, service))
}

fn may_review_some(core: &Core, snapshot: &Snapshot, op: &OpContext, service: &Service) -> bool {
    let may = |name: &OperationName| {
        imagined(name, op).is_some_and(|request| may_review(core, snapshot, op, &request))
    };
    service.operations().any(|operation| may(operation.name()))
}

/// The same for `operation`, which may stand for all of its service.
pub(crate) fn may_review_operation(
    core: &Core,
    snapshot: &Snapshot,
    op: &OpContext,
    operation: &OperationName,
) -> bool {
    let asked = imagined(operation, op);
    if asked.as_ref().is_some_and(|request| may_review(core, snapshot, op, request)) {
        return true;
    }
    let service = asked.filter(|_| operation.is_all());
    let service = service.and_then(|it| snapshot.bundle().catalog().service(&it.service));
    service.is_some_and(|service| may_review_some(core, snapshot, op, service))
}

/// Whether the caller is the one who asked, under whatever name.
pub(crate) fn is_own(snapshot: &Snapshot, op: &OpContext, request: &AccessRequest) -> bool {
    op.caller().is_some_and(|caller| asked(snapshot, caller.principal(), request))
}

/// Whether `principal` is the human being behind `request`: as they were known when they asked, or
/// as they are known since. Two names may be linked only after one of them asked.
fn asked(snapshot: &Snapshot, principal: &Principal, request: &AccessRequest) -> bool {
    let since = snapshot.principal(&request.requester).and_then(|requester| requester.person);
    principal.same_as(&request.requester, request.person)
        || since.is_some() && since == principal.person
}

/// Whether the caller holds `grant`.
pub(crate) fn holds(op: &OpContext, grant: &Grant) -> bool {
    op.caller().is_some_and(|caller| caller.principal().id == grant.principal)
}

/// Whether somebody who reviewed earlier could still do so, as they are known now.
pub(crate) fn still_may_review(
    core: &Core,
    snapshot: &Snapshot,
    op: &OpContext,
    request: &AccessRequest,
    review: &Review,
) -> bool {
    let Some(reviewer) = snapshot.principal(&review.reviewer) else { return false };
    let since = core.authenticated_at(&review.reviewer).unwrap_or(review.at);
    let by = By { source: review.source, since, how: How::of(review) };
    reviewer.person == Some(review.person)
        && could_review(core, snapshot, op, reviewer, request, &by)
}

/// What else a right to review depends on.
#[derive(Debug, Clone, Copy)]
struct By {
    source: Option<IpAddr>,
    /// When they authenticated.
    since: Timestamp,
    how: How,
}

fn could_review(
    core: &Core,
    snapshot: &Snapshot,
    op: &OpContext,
    principal: &Arc<Principal>,
    request: &AccessRequest,
    by: &By,
) -> bool {
    if !reviews(principal, request) || asked(snapshot, principal, request) {
        return false;
    }
    let By { source, since, how } = *by;
    let is_system = principal.id.is_decider();
    if is_system && how == How::Chat {
        return false;
    }
    // Whoever acts by chat has authenticated at no known time.
    let since = if how == How::Chat { Timestamp::UNIX_EPOCH } else { since };
    let auth_age = op.now().duration_since(since);
    let auth_method = if is_system { AuthMethod::Signed.as_str() } else { how.method() };
    let at = ControlContext { now: op.now(), source, auth_method, auth_age };
    let waited = op.now().duration_since(request.created_at);
    let on = ControlResource::AccessRequest { request, waited };
    let subject = Subject::new(reviewer(principal, how));
    let allows = |snapshot: &Snapshot| {
        how.actions().iter().all(|action| snapshot.allows(&subject, *action, on, &at).allowed)
    };
    allows(snapshot) && core.brought.also_before(snapshot, request, allows)
}

/// People who could review `request` now in one of these ways, at most so many.
pub(crate) fn who_could(
    core: &Core,
    op: &OpContext,
    request: &AccessRequest,
    hows: &[How],
    at_most: usize,
) -> Vec<Arc<Principal>> {
    let snapshot = core.snapshot();
    let (_, principals) = core.publisher.principals();
    let waited = op.now().duration_since(request.created_at);
    let on = ControlResource::AccessRequest { request, waited };
    let admitting = snapshot.admitting(ControlAction::Review, on);
    let could = |principal: &Arc<Principal>| {
        // Of thousands of people, few have to be asked about.
        if !admitting.may_admit(principal) {
            return false;
        }
        // Nobody knows from where they would review.
        let by = |how: &How| By { source: None, since: op.now(), how: *how };
        hows.iter().any(|how| could_review(core, &snapshot, op, principal, request, &by(how)))
    };
    principals.into_iter().filter(could).take(at_most).collect()
}

/// Names of people who could review `request` now, and whether they are on call: `lea (on call)`.
pub(crate) fn reviewers_of(core: &Core, op: &OpContext, request: &AccessRequest) -> Vec<String> {
    let principals = who_could(core, op, request, &[How::Plain, How::WithPasskey], NAMES);
    let snapshot = core.snapshot();
    let schedules = snapshot.schedules_at(op.now()).into_iter();
    let known = schedules.filter(|schedule| schedule.is_known(op.now()));
    let on_call: BTreeSet<PrincipalId> = known.flat_map(|schedule| schedule.people).collect();
    let name = |principal: &Arc<Principal>| {
        let note = if on_call.contains(&principal.id) { " (on call)" } else { "" };
        format!("{}{note}", principal.name)
    };
    let mut names: Vec<String> = principals.iter().map(name).collect();
    names.sort();
    names.dedup();
    names
}

/// What names were found for an operation, as long as neither policies, people nor facts have changed;
/// for a minute, because whose turn it is to be on call changes by itself.
#[derive(Debug, Default)]
pub(crate) struct ReviewerNames(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    stamp: (u64, u64, (u64, u64), i64),
    names: HashMap<OperationName, Vec<String>>,
}

impl Core {
    /// Names of people who could review an access request for `operation`, whoever asks.
    pub(crate) fn reviewers(&self, operation: &OperationName) -> Vec<String> {
        let snapshot = self.snapshot();
        let people = self.publisher.people_epoch();
        let minute = self.now().as_second().div_euclid(60);
        let stamp = (snapshot.stamp().generation, people, snapshot.facts_epoch(), minute);
        let remembered = {
            let mut cache = self.reviewer_names.0.lock().unwrap_or_else(PoisonError::into_inner);
            if cache.stamp != stamp {
                *cache = Remembered { stamp, names: HashMap::new() };
            }
            cache.names.get(operation).cloned()
        };
        if let Some(names) = remembered {
            return names;
        }
        let op = OpContext::system("reviewers", self.now());
        let Some(request) = imagined(operation, &op) else { return Vec::new() };
        let names = reviewers_of(self, &op, &request);
        let mut cache = self.reviewer_names.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.stamp == stamp {
            cache.names.insert(operation.clone(), names.clone());
        }
        names
    }
}

/// An access request for `operation` that nobody made.
fn imagined(operation: &OperationName, op: &OpContext) -> Option<AccessRequest> {
    let service: ServiceName = operation.service().parse().ok()?;
    let rule: PolicyId = "imagined".parse().ok()?;
    let way = Way {
        rule,
        kind: GrantKind::Review,
        reviews: 1,
        max_duration: Window::minutes(1),
        max_uses: None,
        incident: None,
        idle: None,
        to_be_checked: Vec::new(),
        hold: None,
        reviewers: Vec::new(),
    };
    Some(AccessRequest {
        id: AccessRequestId::from_bits(0),
        requester: PrincipalId::new(PrincipalKind::User, "", ""),
        person: None,
        requester_name: String::new(),
        service,
        queries: vec![AccessQuery {
            operation: operation.clone(),
            instance: None,
            digest: None,
            way,
        }],
        reason: String::new(),
        duration: Window::minutes(1),
        refusal: None,
        extends: None,
        held: None,
        created_at: op.now(),
        expires_at: op.now(),
        reviews: Vec::new(),
        state: AccessRequestState::Pending,
    })
}

/// The caller's principal, or nobody's business.
pub(crate) fn caller(op: &OpContext) -> Result<&Arc<Principal>, ControlError> {
    let caller = op.caller().map(portcullis_identity::Authenticated::principal);
    caller.ok_or(ControlError::Unauthenticated(portcullis_identity::AuthError::Missing))
}
