//! Ways: for each rule, whether exactly the grant that it would issue opens the gate.

use std::sync::Arc;

use jiff::Timestamp;
use portcullis_model::{Incident, Way, Window};

use crate::{
    Bundle, Context,
    entities::TYPES,
    evaluate::evaluate,
    facts::{GrantFacts, cedar_context},
    policy::{MOST_REVIEWS, Policy},
    slice::Slice,
};

/// A grant that a rule could issue, and the way to it.
#[derive(Debug, Clone)]
pub(crate) struct Candidate<'a> {
    pub(crate) way: Way,
    pub(crate) grant: GrantFacts<'a>,
}

/// What `rule` can issue on this slice, fewest reviews first. The first is what it asks for; the
/// others are for floors: forbids that more reviews lift.
pub(crate) fn candidates<'a>(
    rule: &Policy,
    slice: &Slice,
    now: Timestamp,
    incident: Option<&'a Incident>,
) -> Vec<Candidate<'a>> {
    let Some(terms) = rule.terms else { return Vec::new() };
    // Who takes an emergency answers for it afterwards: a human being.
    if terms.emergency && *slice.principal.type_name() != TYPES.user {
        return Vec::new();
    }
    let max_duration: Window = terms.max_duration.min(slice.max_grant);
    // INVARIANT: a floor never raises an emergency. A forbid lets it pass by naming it, or not at all.
    let raised = slice.forbids_read_grant && !terms.emergency;
    let highest = if raised { MOST_REVIEWS } else { terms.reviews };
    let expires = now.checked_add(max_duration.signed()).unwrap_or(Timestamp::MAX);
    (terms.reviews..=highest)
        .map(|reviews| {
            let kind = terms.kind(reviews);
            let way = Way {
                rule: rule.id.clone(),
                kind,
                reviews,
                max_duration,
                max_uses: terms.max_uses,
                incident: incident.map(|incident| incident.id.clone()),
                idle: terms.idle,
                to_be_checked: Vec::new(),
                hold: terms.hold,
                reviewers: Vec::new(),
            };
            Candidate { way, grant: GrantFacts { kind, reviews, expires, incident } }
        })
        .collect()
}

/// All ways to what `slice` is about, best first.
pub(crate) fn ways(
    bundle: &Bundle,
    slice: &Slice,
    context: &Context,
    incidents: &[&Arc<Incident>],
) -> Vec<Way> {
    let rules = slice.rules.iter().filter_map(|at| bundle.policies().at(*at));
    let mut ways: Vec<Way> = rules
        .flat_map(|rule| {
            with_incidents(incidents, |incident| way(bundle, slice, rule, context, incident))
        })
        .collect();
    ways.sort_by(Way::order);
    ways
}

/// What `find` finds without an incident, or else with each of `incidents`.
pub(crate) fn with_incidents<T>(
    incidents: &[&Arc<Incident>],
    mut find: impl FnMut(Option<&Incident>) -> Option<T>,
) -> Vec<T> {
    match find(None) {
        Some(found) => vec![found],
        None => incidents.iter().filter_map(|incident| find(Some(incident))).collect(),
    }
}

fn way(
    bundle: &Bundle,
    slice: &Slice,
    rule: &Policy,
    context: &Context,
    incident: Option<&Incident>,
) -> Option<Way> {
    let candidates = candidates(rule, slice, context.now, incident);
    for (raised, candidate) in candidates.into_iter().enumerate() {
        let facts = || cedar_context(&slice.clocks, &slice.reads, context, Some(candidate.grant));
        if !evaluate(bundle, slice, &rule.alone, facts(), incident).permitted {
            // What its own grant does not open, no floor is to blame for.
            if raised == 0 {
                return None;
            }
            continue;
        }
        if !evaluate(bundle, slice, &slice.forbids, facts(), incident).forbids() {
            return Some(candidate.way);
        }
    }
    None
}
