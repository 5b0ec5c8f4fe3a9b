//! What the newest of the record comes to: counts out of its index, grants in force, and how long people waited
//! for an answer. Reads no entry of the record, and no more with a long record than with a short one.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{AccessRequest, AccessRequestState};
use portcullis_store::{
    AccessRequests,
    index::{Counted, Index, IndexError, Tally},
};

use super::record;
use crate::{
    ControlError, OpContext,
    core::Core,
    views::overview::{Latency, Overview, Part, Span},
};

/// The newest access requests that are looked at.
const LOOKED_AT: u32 = 500;

type Counts = (Vec<Part>, Vec<(String, u64)>, u64);

pub(crate) async fn of(
    core: &Arc<Core>,
    op: &OpContext,
    span: Span,
) -> Result<Overview, ControlError> {
    record::reading(core, op, &format!("overview of {}", span.as_str())).await?;
    let (count, part) = span.parts();
    let length = part.as_secs();
    let end = (op.now().as_second().div_euclid(length) + 1) * length;
    let time = |second| Timestamp::from_second(second).unwrap_or(op.now());
    let begun = end - length * i64::try_from(count).unwrap_or(0);
    let (since, until) = (time(begun), time(end));
    let (approvals, is_cut) = approvals(core, since).await?;
    let index = core.index.load_full();
    let counts = match &index {
        Some(index) => counts(core, index, since, until, span).await,
        None => Ok(None),
    };
    let counts = counts.unwrap_or_else(|error| {
        tracing::warn!(%error, "the record cannot be counted");
        None
    });
    let (parts, refusals, behind) = match counts {
        Some((parts, refusals, behind)) => (Some(parts), refusals, behind),
        None => (None, Vec::new(), 0),
    };
    Ok(Overview { since, until, part, parts, refusals, behind, approvals, is_cut })
}

/// How long those who were approved by people waited, of the access requests since then; and whether there were more.
async fn approvals(
    core: &Core,
    since: Timestamp,
) -> Result<(Vec<SignedDuration>, bool), ControlError> {
    let newest = core.store.access_requests(AccessRequests::Newest(None), LOOKED_AT).await?;
    let is_full = newest.len() >= usize::try_from(LOOKED_AT).unwrap_or(usize::MAX);
    let is_cut = is_full && newest.last().is_some_and(|request| request.created_at >= since);
    let waited = |request: &AccessRequest| match &request.state {
        AccessRequestState::Approved { at, .. } if !request.reviews.is_empty() => {
            Some(at.duration_since(request.created_at).max(SignedDuration::ZERO))
        }
        _ => None,
    };
    let recent = newest.iter().filter(|request| request.created_at >= since);
    let mut approvals: Vec<_> = recent.filter_map(waited).collect();
    approvals.sort_unstable();
    Ok((approvals, is_cut))
}

async fn counts(
    core: &Core,
    index: &Index,
    since: Timestamp,
    until: Timestamp,
    span: Span,
) -> Result<Option<Counts>, IndexError> {
    let Ok(size) = core.log.size().await else { return Ok(None) };
    let (count, length) = span.parts();
    let seconds = length.as_secs();
    let behind = size.saturating_sub(index.covered().await?.next);
    let ask = async |tally| index.counted(tally, since, until, seconds).await;
    let mut parts = vec![Part::default(); count];
    for one in ask(Tally::Decisions).await? {
        if let Some(part) = part_of(&mut parts, &one) {
            part.decisions.push((one.value, one.count));
        }
    }
    let latencies = ask(Tally::Latencies).await?;
    for of_part in latencies.chunk_by(|one, other| one.part == other.part) {
        if let Some(part) = of_part.first().and_then(|one| part_of(&mut parts, one)) {
            (part.median, part.slow) = (within(of_part, 50), within(of_part, 95));
        }
    }
    grants(core, &mut parts, &ask(Tally::Grants).await?);
    let all = (until.as_second() - since.as_second()).max(1);
    let refusals = index.counted(Tally::Refusals, since, until, all).await?;
    let mut refusals: Vec<_> = refusals.into_iter().map(|one| (one.value, one.count)).collect();
    refusals.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    Ok(Some((parts, refusals, behind)))
}

fn part_of<'a>(parts: &'a mut [Part], one: &Counted) -> Option<&'a mut Part> {
    parts.get_mut(usize::try_from(one.part).ok()?)
}

/// Within what so many of a hundred are.
fn within(classes: &[Counted], percent: u64) -> Option<Latency> {
    let latency = |one: &Counted| one.value.parse().map_or(Latency::Longer, Latency::Within);
    let mut classes: Vec<_> = classes.iter().map(|one| (latency(one), one.count)).collect();
    classes.sort_by_key(|(latency, _)| match latency {
        Latency::Within(most) => *most,
        Latency::Longer => u64::MAX,
    });
    let all: u64 = classes.iter().map(|(_, count)| count).sum();
    let mut so_far = 0;
    let reached = classes.into_iter().find(|(_, count)| {
        so_far += count;
        so_far * 100 >= all * percent
    });
    reached.map(|(latency, _)| latency)
}

/// From those that are in force now back in time: those that ended were there before, those that started were not.
fn grants(core: &Core, parts: &mut [Part], changes: &[Counted]) {
    let mut in_force = u64::try_from(core.snapshot().grants_count()).unwrap_or(u64::MAX);
    for (at, part) in (0..).zip(parts.iter_mut()).collect::<Vec<_>>().into_iter().rev() {
        part.grants = in_force;
        for change in changes.iter().filter(|change| change.part == at) {
            in_force = match change.value.as_str() {
                "started" => in_force.saturating_sub(change.count),
                _ => in_force.saturating_add(change.count),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_and_nearly_all_are_within_a_class() {
        let class = |value: &str, count| Counted { part: 0, value: value.into(), count };
        let classes = [class("", 1), class("1000", 50), class("200", 50), class("5000", 20)];
        assert_eq!(within(&classes, 50), Some(Latency::Within(1000)));
        assert_eq!(within(&classes, 95), Some(Latency::Within(5000)));
        assert_eq!(within(&classes, 100), Some(Latency::Longer));
        assert_eq!(within(&[], 50), None);
    }
}
