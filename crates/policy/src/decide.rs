//! One question, three answers.
//!
//! Standing policy first, then each grant in force that covers the query under the one rule that
//! issued it, then what would open it. Anything that goes wrong on the way ends in Deny.

use std::{borrow::Cow, sync::Arc};

use jiff::Timestamp;
use portcullis_model::{
    ContentParts, Grant, GrantId, GrantKind, Incident, IncidentId, OperationName, PolicyId,
    PrincipalId, PrincipalKind, Resource, ServiceName, Way,
};

pub use crate::cache::DecisionCache;
use crate::{
    Bundle, Snapshot, ahead,
    cache::{Asked, IncidentSeen, Outcome, Remembered, SliceKey, VisibleKey},
    context::{Context, Subject},
    evaluate::{Findings, evaluate, evaluate_standing},
    facts::{GrantFacts, cedar_context},
    incidents::IncidentsKey,
    rate_limit::RateLimit,
    schedules::OnCallKey,
    slice::Slice,
    ways::ways,
};

/// An access query.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// Who.
    pub subject: &'a Subject,
    /// What.
    pub operation: &'a OperationName,
    /// On what.
    pub resource: &'a Resource,
    /// Under which circumstances.
    pub context: &'a Context,
    /// The digest of the request at hand, if it was computed: grants may be bound to one.
    pub digest: Option<&'a str>,
    /// The only incident that ways shall be for, if the asker named one.
    pub incident: Option<&'a IncidentId>,
    /// The only grant that may open it: then no standing policy does, no other grant, and nothing can
    /// be asked for.
    pub only: Option<GrantId>,
}

/// Proof of one decision to permit. Only the PDP makes one; it is never stored.
#[derive(Debug)]
pub struct Pass {
    principal: PrincipalId,
    operation: OperationName,
    resource: Resource,
    grant: Option<Arc<Grant>>,
    rereads_time: bool,
    rate_limit: Option<RateLimit>,
    record: ContentParts,
}

impl Pass {
    /// For whom.
    pub fn principal(&self) -> &PrincipalId {
        &self.principal
    }

    /// For what.
    pub fn operation(&self) -> &OperationName {
        &self.operation
    }

    /// On what.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// The grant that opened the gate; `None` if standing policy did. If its uses are counted, one
    /// must be consumed durably before anything is sent.
    pub fn grant(&self) -> Option<&Grant> {
        self.grant.as_deref()
    }

    /// How often the permits that determined it admit this principal, if they say so.
    pub fn rate_limit(&self) -> Option<RateLimit> {
        self.rate_limit
    }

    /// What the permits that determined it have kept of the request.
    pub fn record(&self) -> ContentParts {
        self.record
    }

    /// Whether the policies read time, so that a live connection must be decided again every second.
    pub fn rereads_time(&self) -> bool {
        self.rereads_time
    }
}

/// Why not, and nothing would open it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// No policy permits, or one forbids.
    ByPolicy,
    /// A `forbid` could not be evaluated.
    ErroringForbid,
    /// To evaluate the policies took longer than a decision may.
    TookTooLong,
    /// No permit's head matches this principal on any operation of the service: the service does not exist for it.
    Invisible,
}

/// The three answers.
#[derive(Debug)]
pub enum Answer {
    /// Yes.
    Permit(Pass),
    /// Not yet: these ways, best first, never empty.
    Requestable(Vec<Way>),
    /// No.
    Deny(Denial),
}

impl Answer {
    fn pass(self) -> Option<Pass> {
        match self {
            Self::Permit(pass) => Some(pass),
            Self::Requestable(_) | Self::Deny(_) => None,
        }
    }
}

/// Not open as it stands.
enum Closed {
    TookTooLong(Findings),
    /// What standing policy says, if it was asked.
    Asked(Option<Findings>),
}

/// An answer with its reasons.
#[derive(Debug)]
pub struct Verdict {
    /// The answer.
    pub answer: Answer,
    /// The determining policies: those that permit, or those that forbid.
    pub policies: Arc<[PolicyId]>,
    /// Until when the same question has the same answer, state unchanged; windows excepted.
    pub valid_until: Option<Timestamp>,
    /// Asked ahead of time: what the gate will check when the request comes, in Cedar's syntax, each
    /// with the policy that it is from. With a Deny: standing policy may permit the request under
    /// these conditions, and there is nothing to ask for.
    pub to_be_checked: Vec<String>,
}

impl Snapshot {
    /// Decides `query` against this snapshot.
    pub fn decide(&self, query: &Query<'_>, cache: &mut DecisionCache) -> Verdict {
        match self.remembered(query, cache) {
            Some(slice) if query.only.is_some() => self.decide_under_one(query, &slice, cache),
            Some(slice) if slice.slice.reads_unknown(query.context) => {
                let ahead = ahead::decide(self, query, &slice.slice);
                ahead.unwrap_or_else(|denied| self.denied(query, cache, denied))
            }
            Some(slice) => self.decide_on(query, &slice, cache),
            None => self.denied(query, cache, Findings::none()),
        }
    }

    /// The pass that [`Self::decide`] would give, for who would not ask for one: what would open it
    /// otherwise, or why nothing would, is not looked for.
    pub fn pass(&self, query: &Query<'_>, cache: &mut DecisionCache) -> Option<Pass> {
        let remembered = self.remembered(query, cache)?;
        if query.only.is_some() || remembered.slice.reads_unknown(query.context) {
            return self.decide(query, cache).answer.pass();
        }
        self.opened(query, &remembered, cache).ok()?.answer.pass()
    }

    fn decide_on(
        &self,
        query: &Query<'_>,
        remembered: &Remembered,
        cache: &mut DecisionCache,
    ) -> Verdict {
        let (bundle, slice) = (&**self.bundle(), &remembered.slice);
        let standing = match self.opened(query, remembered, cache) {
            Ok(verdict) => return verdict,
            Err(Closed::TookTooLong(found)) => return self.denied(query, cache, found),
            Err(Closed::Asked(stood)) => {
                stood.unwrap_or_else(|| self.standing(query, remembered, cache))
            }
        };
        let ask_ways = || {
            let incidents = self.incidents_for(query, slice);
            Outcome::Ways(ways(bundle, slice, query.context, &incidents).into())
        };
        // Whoever names an incident asks something else.
        let outcome = if query.incident.is_some() {
            ask_ways()
        } else {
            let reads = slice.facts.incident;
            let now = query.context.now;
            let seen = if reads { self.incidents().key(now) } else { IncidentsKey::default() };
            cache.outcome(remembered, Asked::Ways(seen), query.context, ask_ways)
        };
        match outcome {
            Outcome::Ways(ways) if !ways.is_empty() => Verdict {
                answer: Answer::Requestable(ways.to_vec()),
                policies: standing.policies,
                valid_until: self.valid_until(slice, query.context.now),
                to_be_checked: Vec::new(),
            },
            Outcome::Ways(_) | Outcome::Found(_) => self.denied(query, cache, standing),
        }
    }

    /// What opens `query` as it stands: standing policy, or a grant.
    fn opened(
        &self,
        query: &Query<'_>,
        remembered: &Remembered,
        cache: &mut DecisionCache,
    ) -> Result<Verdict, Closed> {
        let slice = &remembered.slice;
        // Where only forbids stand, a grant is looked for first: it is judged under them all anyway.
        let stood = match slice.may_stand.then(|| self.standing(query, remembered, cache)) {
            Some(found) if found.permitted => {
                return Ok(permit(self, query, slice, None, found.policies));
            }
            Some(found) if found.took_too_long => return Err(Closed::TookTooLong(found)),
            stood => stood,
        };
        match self.decide_by_grants(query, remembered, cache) {
            Ok(verdict) => Ok(verdict),
            Err(Some(found)) if found.took_too_long => Err(Closed::TookTooLong(found)),
            Err(_) => Err(Closed::Asked(stood)),
        }
    }

    fn standing(
        &self,
        query: &Query<'_>,
        remembered: &Remembered,
        cache: &mut DecisionCache,
    ) -> Findings {
        let found = cache.outcome(remembered, Asked::Standing, query.context, || {
            Outcome::Found(evaluate_standing(self.bundle(), &remembered.slice, query.context))
        });
        if let Outcome::Found(found) = found { found } else { Findings::none() }
    }

    /// For who presents one grant and nothing else.
    fn decide_under_one(
        &self,
        query: &Query<'_>,
        remembered: &Remembered,
        cache: &mut DecisionCache,
    ) -> Verdict {
        // Nobody is promised anything by one grant ahead of time.
        let decided = if remembered.slice.reads_unknown(query.context) {
            Err(None)
        } else {
            self.decide_by_grants(query, remembered, cache)
        };
        decided.unwrap_or_else(|against| {
            self.denied(query, cache, against.unwrap_or_else(Findings::none))
        })
    }

    /// The first grant that opens `query`, or what stood against the last one.
    fn decide_by_grants(
        &self,
        query: &Query<'_>,
        remembered: &Remembered,
        cache: &mut DecisionCache,
    ) -> Result<Verdict, Option<Findings>> {
        let (bundle, slice) = (&**self.bundle(), &remembered.slice);
        let mut against = None;
        for grant in self.covering(query) {
            let incident = self.incident_of(grant);
            let seen = incident.map(|incident| IncidentSeen {
                version: incident.version,
                is_fresh: incident.is_fresh(query.context.now),
            });
            let asked = Asked::Grant(grant.id, grant.version, seen);
            let outcome = cache.outcome(remembered, asked, query.context, || {
                Outcome::Found(under_grant(bundle, slice, query.context, grant, incident))
            });
            match outcome {
                Outcome::Found(Findings { permitted: true, policies, .. }) => {
                    return Ok(permit(self, query, slice, Some(Arc::clone(grant)), policies));
                }
                Outcome::Found(found) => against = Some(found),
                Outcome::Ways(_) => {}
            }
        }
        Err(against)
    }

    /// The grants that could open `query`: of this principal, for this operation, here, now.
    pub(crate) fn covering(&self, query: &Query<'_>) -> impl Iterator<Item = &Arc<Grant>> {
        let held = self.grants_of(&query.subject.principal().id);
        held.filter(move |grant| {
            let instance = &grant.resource.instance;
            query.only.is_none_or(|only| grant.id == only)
                // The head of its rule says which of all operations an emergency opens.
                && grant.operation.covers(query.operation)
                && grant.resource.service == query.resource.service
                && (instance.is_none() || *instance == query.resource.instance)
                && (grant.digest.is_none() || grant.digest.as_deref() == query.digest)
                && grant.in_force(query.context.now)
                // INVARIANT: an emergency is worth nothing under a rule that asks for reviews since.
                && (grant.kind != GrantKind::Emergency
                    || self.bundle().is_for_emergencies(&grant.rule))
                // INVARIANT: a grant for an incident is worth nothing when that is over, or is about
                // another service.
                && (grant.incident.is_none() || self.incident_of(grant).is_some())
        })
    }

    /// The incident that `grant` is for, if it is open and about its service.
    pub(crate) fn incident_of(&self, grant: &Grant) -> Option<&Incident> {
        let incident = self.incident(grant.incident.as_ref()?)?;
        incident.services.contains(&grant.resource.service).then_some(incident)
    }

    /// The incidents that ways to `query` are tried with, if its policies ask for any.
    pub(crate) fn incidents_for(&self, query: &Query<'_>, slice: &Slice) -> Vec<&Arc<Incident>> {
        if !slice.facts.incident {
            return Vec::new();
        }
        let (service, now) = (&query.resource.service, query.context.now);
        self.incidents().of_service(service, query.incident, now)
    }

    /// Until when the same question has the same answer by waiting; windows of grants excepted.
    fn valid_until(&self, slice: &Slice, now: Timestamp) -> Option<Timestamp> {
        let time = slice.reads.time().then_some(now);
        let minute = slice.reads.clock().then(|| slice.clocks.next_minute(now)).flatten();
        let on_call = || self.schedules().next_change(self.bundle().rotations(), now);
        let incidents = || self.incidents().next_change(now);
        let on_call = slice.facts.on_call().then(on_call).flatten();
        let incidents = slice.facts.incident.then(incidents).flatten();
        [time, minute, on_call, incidents].into_iter().flatten().min()
    }

    /// `None` if the principal cannot be prepared, the operation or resource is unknown, or they do
    /// not belong together.
    fn remembered(&self, query: &Query<'_>, cache: &mut DecisionCache) -> Option<Arc<Remembered>> {
        if query.operation.service() != query.resource.service.as_str() {
            return None;
        }
        let bundle = self.bundle();
        // INVARIANT: strangers are somebody only where their service says so, however wide a permit
        // is; also when it said so at the time that a connection began.
        if is_stranger(query) && !lets_strangers_in(bundle, &query.resource.service) {
            return None;
        }
        let prepared = query.subject.prepared()?;
        let operation = bundle.places().operation(query.operation)?;
        let resource = bundle.places().resource(query.resource)?;
        let (principal, now) = (&query.subject.principal().id, query.context.now);
        let asks = bundle.asks_who_is_on_call();
        let on_call = if asks {
            self.schedules().key(principal, bundle.rotations(), now)
        } else {
            OnCallKey::default()
        };
        let key = SliceKey {
            generation: self.stamp().generation,
            epoch: prepared.epoch,
            on_call,
            operation: operation.number,
            resource: resource.number,
        };
        let made = cache.slice(key, || {
            let on_call = self.schedules().on_call(principal, bundle.rotations(), now);
            let resource = operation.class.as_ref().unwrap_or(resource);
            Slice::of_operation(bundle, prepared, operation, resource, &on_call)
        });
        made.inspect_err(|error| {
            tracing::error!(%error, operation = %query.operation, "no slice can be made; denied");
        })
        .ok()
    }

    fn denied(&self, query: &Query<'_>, cache: &mut DecisionCache, found: Findings) -> Verdict {
        let denial = if !self.sees(query, cache) {
            Denial::Invisible
        } else if found.took_too_long {
            Denial::TookTooLong
        } else if found.erring_forbid {
            Denial::ErroringForbid
        } else {
            Denial::ByPolicy
        };
        Verdict {
            answer: Answer::Deny(denial),
            policies: found.policies,
            valid_until: None,
            to_be_checked: Vec::new(),
        }
    }

    fn sees(&self, query: &Query<'_>, cache: &mut DecisionCache) -> bool {
        let (bundle, service) = (self.bundle(), &query.resource.service);
        if is_stranger(query) && !lets_strangers_in(bundle, service) {
            return false;
        }
        let whole = Resource { service: service.clone(), instance: None };
        let place = bundle.places().resource(&whole);
        let (Some(place), Some(prepared)) = (place, query.subject.prepared()) else {
            return false;
        };
        let key = VisibleKey {
            generation: self.stamp().generation,
            epoch: prepared.epoch,
            resource: place.number,
        };
        cache.visible(key, || bundle.head_matches_service(query.subject, service))
    }
}

fn is_stranger(query: &Query<'_>) -> bool {
    query.subject.principal().id.kind == PrincipalKind::Anonymous
}

fn lets_strangers_in(bundle: &Bundle, service: &ServiceName) -> bool {
    bundle.catalog().service(service).is_some_and(|service| service.source().anonymous)
}

/// All forbids and the one rule that issued `grant`, which is for `incident`.
fn under_grant(
    bundle: &Bundle,
    slice: &Slice,
    context: &Context,
    grant: &Grant,
    incident: Option<&Incident>,
) -> Findings {
    let is_known = incident.is_none_or(|incident| incident.is_fresh(context.now));
    let rule = grant.rule.as_str();
    let policies = if is_known {
        slice.guarded(bundle, rule).map(Cow::Borrowed)
    } else {
        slice.guarded_unread(bundle, rule).map(Cow::Owned)
    };
    let Some(policies) = policies else { return Findings::none() };
    let facts = GrantFacts::of(grant, incident);
    let context = cedar_context(&slice.clocks, &slice.reads, context, Some(facts));
    evaluate(bundle, slice, &policies, context, incident)
}

/// The only place that makes a pass.
pub(crate) fn permit(
    snapshot: &Snapshot,
    query: &Query<'_>,
    slice: &Slice,
    grant: Option<Arc<Grant>>,
    policies: Arc<[PolicyId]>,
) -> Verdict {
    // Facts may lapse without anybody saying so.
    let reads_facts = slice.facts.on_call() || slice.facts.incident;
    let rereads_time = slice.reads.time() || slice.reads.clock() || reads_facts;
    let rate_limit = snapshot.bundle().policies().rate_limit(&policies);
    let record = snapshot.bundle().policies().record(&policies);
    let pass = Pass {
        principal: query.subject.principal().id.clone(),
        operation: query.operation.clone(),
        resource: query.resource.clone(),
        grant,
        rereads_time,
        rate_limit,
        record,
    };
    Verdict {
        answer: Answer::Permit(pass),
        policies,
        valid_until: snapshot.valid_until(slice, query.context.now),
        to_be_checked: Vec::new(),
    }
}

#[cfg(test)]
mod emergency_tests;
#[cfg(test)]
mod facts_tests;
#[cfg(test)]
mod reveal_tests;
#[cfg(test)]
mod tests;
