//! Ways: for each rule, whether exactly the grant that it would issue opens the gate.

use jiff::Timestamp;
use portcullis_model::{GrantKind, Way, Window};

use crate::{
    Bundle, Context,
    evaluate::evaluate,
    facts::{GrantFacts, cedar_context},
    policy::{MOST_REVIEWS, Policy},
    slice::Slice,
};

/// A grant that a rule could issue, and the way to it.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) way: Way,
    pub(crate) grant: GrantFacts,
}

/// What `rule` can issue on this slice, fewest reviews first. The first is what it asks for; the
/// others are for floors: forbids that more reviews lift.
pub(crate) fn candidates(rule: &Policy, slice: &Slice, now: Timestamp) -> Vec<Candidate> {
    let Some(terms) = rule.terms else { return Vec::new() };
    let max_duration: Window = terms.max_duration.min(slice.max_grant);
    let highest = if slice.forbids_read_grant { MOST_REVIEWS } else { terms.reviews };
    let expires = now.checked_add(max_duration.signed()).unwrap_or(Timestamp::MAX);
    (terms.reviews..=highest)
        .map(|reviews| {
            let kind = if reviews == 0 { GrantKind::Automatic } else { GrantKind::Review };
            let way = Way {
                rule: rule.id.clone(),
                kind,
                reviews,
                max_duration,
                max_uses: terms.max_uses,
                idle: terms.idle,
                to_be_checked: Vec::new(),
                hold: terms.hold,
                reviewers: Vec::new(),
            };
            Candidate { way, grant: GrantFacts { kind, reviews, expires } }
        })
        .collect()
}

/// All ways to what `slice` is about, best first.
pub(crate) fn ways(bundle: &Bundle, slice: &Slice, context: &Context) -> Vec<Way> {
    let rules = slice.rules.iter().filter_map(|at| bundle.policies().at(*at));
    let mut ways: Vec<Way> = rules.filter_map(|rule| way(bundle, slice, rule, context)).collect();
    ways.sort_by(Way::order);
    ways
}

fn way(bundle: &Bundle, slice: &Slice, rule: &Policy, context: &Context) -> Option<Way> {
    for (raised, candidate) in candidates(rule, slice, context.now).into_iter().enumerate() {
        let facts = || cedar_context(&slice.reads, context, Some(candidate.grant));
        if !evaluate(bundle, slice, &rule.alone, facts()).permitted {
            // What its own grant does not open, no floor is to blame for.
            if raised == 0 {
                return None;
            }
            continue;
        }
        if !evaluate(bundle, slice, &slice.forbids, facts()).forbids() {
            return Some(candidate.way);
        }
    }
    None
}
