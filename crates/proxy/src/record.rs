//! Every attempt is on record before a byte of it goes upstream, and every refusal before it is
//! answered. If the record cannot be written, nothing is forwarded, emergencies by sealed credential aside.

use std::{
    cell::Cell,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use http::StatusCode;
use jiff::Timestamp;
use portcullis_model::{
    Attempt, ClassName, ConnectionId, EventType, GrantId, InstanceName, Outcome, RecordLevel,
    Refusal, RefusalsCounted, RequestId, Revealed,
};
use portcullis_policy::{ClassSet, Country, Pass, Sensitive};

use crate::{
    connection::YOUNG,
    core::Core,
    exchange::{Exchange, Recorded},
    metrics::Answered,
    ports::RecordBroken,
    reveal::{self, Sight},
    sealed,
    spans::Phase,
};

/// Puts the intent to forward on record and waits until it is as safe as its level asks.
pub(crate) async fn intent(exchange: &mut Exchange, pass: &Pass) -> Result<(), Refusal> {
    exchange.spans.enter(Phase::Record);
    let level = level(exchange, pass);
    let recorded = exchange.core.journal.intent(&attempt(exchange, "permit", None), level);
    let safe = match recorded {
        Ok(recorded) => {
            exchange.recorded.set(Recorded::Intent);
            recorded.await
        }
        Err(broken) => Err(broken),
    };
    match safe {
        Ok(()) => Ok(()),
        Err(RecordBroken) => Box::pin(sealed::instead_of_record(exchange)).await,
    }
}

/// The intent to forward, as it would be on record.
pub(crate) fn as_text(exchange: &Exchange) -> Option<String> {
    serde_json::to_string(&attempt(exchange, "permit", None)).ok()
}

/// Whatever a grant opens is strict, and what its service says is.
fn level(exchange: &Exchange, pass: &Pass) -> RecordLevel {
    let strict = || {
        let service = exchange.service.as_ref();
        let service = service.and_then(|name| exchange.snapshot.bundle().catalog().service(name));
        service.is_some_and(|service| service.source().strict_audit)
    };
    let by_grant = || exchange.sight.as_deref().is_some_and(Sight::is_by_grant);
    if pass.grant().is_some() || by_grant() || strict() {
        RecordLevel::Strict
    } else {
        RecordLevel::Standard
    }
}

/// Completes an attempt with what the upstream answered.
pub(crate) fn outcome(
    exchange: &Exchange,
    status: StatusCode,
    answered_by: &InstanceName,
    connection: Option<ConnectionId>,
) {
    let sight = exchange.sight.as_deref();
    let met = sight.and_then(Sight::met);
    let answered = exchange.answered(exchange.service.as_ref(), "permit", status);
    let outcome = Outcome {
        status: status.as_u16(),
        latency_us: microseconds(answered.took),
        answered_by: Some(answered_by),
        connection,
        error: None,
        masked: &sight.map(Sight::masked).unwrap_or_default(),
        met: met.as_deref(),
        revealed: &sight.map(Sight::revealed).unwrap_or_default(),
    };
    exchange.core.journal.outcome(exchange.id, &outcome);
    told(exchange, answered_by, answered);
}

/// The same, once it is known what was met in the answer, or the answer goes on as a connection that others see: as
/// much later as a connection is young.
///
/// `connection` is what others see it as already.
pub(crate) fn outcome_late(
    exchange: &Exchange,
    status: StatusCode,
    answered_by: &InstanceName,
    connection: Option<ConnectionId>,
) {
    let Some(sight) = exchange.sight.as_deref() else {
        return outcome(exchange, status, answered_by, connection);
    };
    let answered = exchange.answered(exchange.service.as_ref(), "permit", status);
    let revealed = sight.revealed().into_iter().map(|seen| (seen.class.clone(), seen.grant));
    let late = Late {
        core: Rc::clone(&exchange.core),
        request: exchange.id,
        status,
        latency_us: microseconds(answered.took),
        answered_by: answered_by.clone(),
        sensitive: Arc::clone(sight.sensitive()),
        masked: sight.masked().into_iter().cloned().collect(),
        revealed: revealed.collect(),
        connection,
        since: Instant::now(),
    };
    reveal::met(exchange).wait(late);
    told(exchange, answered_by, answered);
}

/// The record has it, or will.
fn told(exchange: &Exchange, answered_by: &InstanceName, answered: Answered<'_>) {
    exchange.recorded.set(Recorded::Whole);
    exchange.spans.reached(answered_by);
    exchange.core.metrics.answered(answered);
}

/// An outcome that waits for the end of its answer.
#[derive(Debug)]
pub(crate) struct Late {
    core: Rc<Core>,
    request: RequestId,
    status: StatusCode,
    latency_us: u64,
    answered_by: InstanceName,
    sensitive: Arc<Sensitive>,
    masked: Vec<ClassName>,
    revealed: Vec<(ClassName, Option<GrantId>)>,
    connection: Option<ConnectionId>,
    since: Instant,
}

impl Late {
    /// Whether it has waited, at `now`, for longer than a short answer takes.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= YOUNG
    }

    /// Puts it on record with what was met, if that is all, or with the connection whose end will say it.
    pub(crate) fn tell(self, met: Option<ClassSet>, connection: Option<ConnectionId>) {
        let met: Option<Vec<&ClassName>> = met.map(|met| self.sensitive.names(met).collect());
        let masked: Vec<&ClassName> = self.masked.iter().collect();
        let revealed = self.revealed.iter().map(|(class, grant)| Revealed { class, grant: *grant });
        let outcome = Outcome {
            status: self.status.as_u16(),
            latency_us: self.latency_us,
            answered_by: Some(&self.answered_by),
            connection: connection.or(self.connection),
            error: None,
            masked: &masked,
            met: met.as_deref(),
            revealed: &revealed.collect::<Vec<_>>(),
        };
        self.core.journal.outcome(self.request, &outcome);
    }
}

/// Completes an attempt whose client did not wait for the answer. Nobody got a status; the record
/// says 499, as the field does.
pub(crate) fn abandoned(exchange: &Exchange) {
    let outcome = Outcome {
        status: 499,
        latency_us: latency(exchange),
        answered_by: None,
        connection: None,
        error: Some("client-gone"),
        masked: &[],
        met: None,
        revealed: &[],
    };
    exchange.recorded.set(Recorded::Whole);
    exchange.spans.told("permit", outcome.error);
    exchange.core.journal.outcome(exchange.id, &outcome);
}

/// Puts on record that a client left while its request waited. Nobody got a status; as above.
pub(crate) fn left(exchange: &Exchange) {
    exchange.recorded.set(Recorded::Whole);
    let outcome = Outcome {
        status: 499,
        latency_us: latency(exchange),
        answered_by: None,
        connection: None,
        error: None,
        masked: &[],
        met: None,
        revealed: &[],
    };
    exchange.spans.told("requestable", Some("client-gone"));
    let attempt = attempt(exchange, "requestable", Some("client-gone"));
    if exchange.core.journal.refused(&attempt, &outcome).is_err() {
        tracing::error!("that a client left could not be put on record");
    }
}

/// Puts a refusal on record: as the outcome of its intent if it has one, else as a whole attempt.
pub(crate) fn refused(
    exchange: &Exchange,
    refusal: &Refusal,
    status: StatusCode,
) -> Result<(), RecordBroken> {
    let answered = exchange.answered(exchange.service.as_ref(), refusal.decision(), status);
    exchange.core.metrics.refused(refusal, answered);
    exchange.spans.told(refusal.decision(), Some(refusal.code()));
    let had_intent = exchange.recorded.replace(Recorded::Whole) == Recorded::Intent;
    let outcome = Outcome {
        status: status.as_u16(),
        latency_us: microseconds(answered.took),
        answered_by: None,
        connection: None,
        error: had_intent.then_some(refusal.code()),
        masked: &[],
        met: None,
        revealed: &[],
    };
    if had_intent {
        exchange.core.journal.outcome(exchange.id, &outcome);
        return Ok(());
    }
    let stranger = exchange.identity.as_ref().is_none_or(|identity| identity.is_stranger());
    if stranger && !exchange.core.anonymous.admits(exchange.now) {
        return Ok(());
    }
    let attempt = attempt(exchange, refusal.decision(), Some(refusal.code()));
    exchange.core.journal.refused(&attempt, &outcome)
}

fn attempt<'a>(
    exchange: &'a Exchange,
    decision: &'static str,
    refusal: Option<&'static str>,
) -> Attempt<'a> {
    let identity = exchange.identity.as_deref();
    Attempt {
        request: exchange.id,
        time: exchange.now,
        kind: "attempt",
        class: EventType::Attempt.ocsf_class(),
        principal: identity.map(|identity| &identity.subject.principal().id),
        auth_method: exchange.auth_method,
        service: exchange.service.as_ref(),
        instance: exchange.instance.as_ref(),
        operation: exchange.operation.as_ref(),
        decision,
        refusal,
        policies: &exchange.policies,
        bundle: Some(exchange.snapshot.stamp()),
        grant: exchange.grant.or(exchange.only),
        source: exchange.peer.ip,
        country: exchange.country.as_ref().map(Country::as_str),
        method: exchange.method.as_str(),
        host: exchange.host(),
        path: exchange.path(),
        trace: Some(exchange.trace.trace_id()),
        content: exchange.content.as_deref(),
    }
}

fn latency(exchange: &Exchange) -> u64 {
    microseconds(exchange.started.elapsed())
}

fn microseconds(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// Puts on record how many strangers were refused and not listed, if any were: now and then, and in the end.
pub(crate) fn counted(core: &Core, in_the_end: bool) {
    let now = core.now();
    let Some((count, since)) = core.anonymous.take_counted(now, in_the_end) else { return };
    let counted = RefusalsCounted::new(core.event_id(now), count, since, now);
    if core.journal.counted(&counted).is_err() {
        tracing::error!(count, "refusals were counted and could not be put on record");
    }
}

/// Keeps a flood of strangers from filling the record: so many of them a second and so many an hour are
/// listed, the others are counted.
#[derive(Debug, Default)]
pub(crate) struct Anonymous {
    second: Cell<i64>,
    listed: Cell<u32>,
    hour: Cell<i64>,
    listed_in_hour: Cell<u32>,
    counted: Cell<Option<(u64, Timestamp)>>,
}

impl Anonymous {
    const LISTED_PER_SECOND: u32 = 100;
    /// Some megabytes.
    const LISTED_PER_HOUR: u32 = 10_000;
    /// Seconds, while there are more.
    const COUNTED_EVERY: i64 = 5;

    /// Whether one more is listed at `now`; if not, it is counted.
    pub(crate) fn admits(&self, now: Timestamp) -> bool {
        let second = now.as_second();
        if self.second.replace(second) != second {
            self.listed.set(0);
        }
        let hour = second.div_euclid(3600);
        if self.hour.replace(hour) != hour {
            self.listed_in_hour.set(0);
        }
        let (listed, in_hour) = (self.listed.get(), self.listed_in_hour.get());
        if listed < Self::LISTED_PER_SECOND && in_hour < Self::LISTED_PER_HOUR {
            self.listed.set(listed + 1);
            self.listed_in_hour.set(in_hour + 1);
            return true;
        }
        let (count, since) = self.counted.get().unwrap_or((0, now));
        self.counted.set(Some((count + 1, since)));
        false
    }

    /// How many were counted since it was some, and since when that is, if it has been a while.
    fn take_counted(&self, now: Timestamp, in_the_end: bool) -> Option<(u64, Timestamp)> {
        let (_, since) = self.counted.get()?;
        let is_due = now.as_second() - since.as_second() >= Self::COUNTED_EVERY;
        // A clock that was set back is no reason to say nothing.
        if is_due || in_the_end || now < since { self.counted.take() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_strangers_is_counted_and_not_listed() {
        let anonymous = Anonymous::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        let listed = (0..250).filter(|_| anonymous.admits(at(7))).count();
        assert_eq!((listed, anonymous.take_counted(at(8), false)), (100, None));
        assert_eq!(anonymous.take_counted(at(12), false), Some((150, at(7))));
        assert!(anonymous.admits(at(13)));
        assert_eq!(anonymous.take_counted(at(14), true), None);
        // For hours: so many in each, and all are counted.
        let listed = (3600..7200).map(|s| (0..50).filter(|_| anonymous.admits(at(s))).count());
        assert_eq!(listed.sum::<usize>(), 10_000);
        assert_eq!(anonymous.take_counted(at(7200), true).unwrap().0, 170_000);
        assert!(anonymous.admits(at(7200)));
    }
}
