//! How often somebody may do something, as the permits that admitted them say.
//!
//! Small rates are counted exactly, in one place behind a port. Large ones are counted here, over all
//! cores of this process, from two neighbouring spans: cheap, and at most a little too strict or too
//! generous.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{OperationName, PrincipalId, Refusal};
use portcullis_policy::{Pass, rate_limit::RateLimit};

use crate::{exchange::Exchange, ports::TooOften};

/// Beyond so many, what is over is forgotten from time to time.
const SWEEP_ABOVE: usize = 8192;
/// The least time between two times, while there are not twice as many as were left.
const SWEEP_EVERY: SignedDuration = SignedDuration::from_secs(60);

/// Admits one request under `pass`, or refuses it for now.
pub(crate) async fn admit(exchange: &Exchange, pass: &Pass) -> Result<(), Refusal> {
    let Some(limit) = pass.rate_limit() else { return Ok(()) };
    let (core, who, what) = (&exchange.core, pass.principal(), pass.operation());
    let admitted = if limit.is_exact() {
        core.parts.limits.admit(who, what, limit).await
    } else {
        core.rates.admit(who, what, limit, exchange.now)
    };
    admitted.map_err(|TooOften { retry_after }| Refusal::Limited { retry_after })
}

/// Large rates of this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rates(Arc<Mutex<Counted>>);

/// What was admitted to each.
#[derive(Debug)]
struct Counted {
    all: HashMap<(PrincipalId, OperationName), Spans>,
    /// With more than these it is looked for what is over.
    sweep_above: usize,
    swept_at: Timestamp,
}

/// What was admitted in one span and in the one before.
#[derive(Debug, Clone, Copy)]
struct Spans {
    /// Milliseconds.
    span: i64,
    number: i64,
    before: u32,
    now: u32,
}

impl Rates {
    fn admit(
        &self,
        who: &PrincipalId,
        what: &OperationName,
        limit: RateLimit,
        now: Timestamp,
    ) -> Result<(), TooOften> {
        let span = i64::try_from(limit.per().get().as_millis()).unwrap_or(i64::MAX).max(1);
        let (number, into) = {
            let millis = now.as_millisecond();
            (millis.div_euclid(span), millis.rem_euclid(span))
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.sweep_if_due(now);
        let spans = all.all.entry((who.clone(), what.clone())).or_insert(Spans {
            span,
            number,
            before: 0,
            now: 0,
        });
        *spans = spans.at(span, number);
        if spans.estimate(into) < u64::from(limit.count()) {
            spans.now += 1;
            return Ok(());
        }
        let left = u64::try_from(span - into).unwrap_or(0);
        let retry_after = u32::try_from(left.div_ceil(1000)).unwrap_or(1).max(1);
        Err(TooOften { retry_after })
    }
}

impl Default for Counted {
    fn default() -> Self {
        let (all, swept_at) = (HashMap::new(), Timestamp::UNIX_EPOCH);
        Self { all, sweep_above: SWEEP_ABOVE, swept_at }
    }
}

impl Counted {
    /// Forgets what is over. Whoever comes pays for one look at two of them on average, however many
    /// matter; what does not matter admits as much as what is not there. Says whether it looked.
    fn sweep_if_due(&mut self, now: Timestamp) -> bool {
        let many = self.all.len() > SWEEP_ABOVE && now >= self.swept_at + SWEEP_EVERY;
        if self.all.len() <= self.sweep_above && !many {
            return false;
        }
        self.all.retain(|_, spans| spans.matters_at(now));
        self.sweep_above = SWEEP_ABOVE.max(2 * self.all.len());
        self.all.shrink_to(self.sweep_above);
        self.swept_at = now;
        true
    }
}

impl Spans {
    /// As they are in span `number`. Spans of another length, by another bundle, begin anew.
    fn at(self, span: i64, number: i64) -> Self {
        match number - self.number {
            0 if span == self.span => self,
            1 if span == self.span => Self { number, before: self.now, now: 0, span },
            _ => Self { number, before: 0, now: 0, span },
        }
    }

    fn matters_at(self, now: Timestamp) -> bool {
        now.as_millisecond().div_euclid(self.span) <= self.number + 1
    }

    /// As many of the span before as still lie within one span of now, if they came evenly.
    fn estimate(self, into: i64) -> u64 {
        let rest = u64::try_from(self.span - into).unwrap_or(0);
        let span = u64::try_from(self.span).unwrap_or(1).max(1);
        u64::from(self.now) + u64::from(self.before) * rest / span
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use portcullis_model::PrincipalKind;

    use super::*;

    #[test]
    fn many_that_matter_are_not_looked_at_for_each_that_comes() {
        let limit: RateLimit = "600/1m".parse().unwrap();
        let read: OperationName = "payments.read".parse().unwrap();
        let rates = Rates::default();
        let somebody = |n: usize| PrincipalId::new(PrincipalKind::User, "corp", &n.to_string());
        let first = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1);
        let mut looks = 0;
        for n in 0..8 * SWEEP_ABOVE {
            looks += u32::from(rates.0.lock().unwrap().sweep_if_due(first));
            rates.admit(&somebody(n), &read, limit, first).unwrap();
        }
        assert!(looks <= 4, "{looks}");
        assert_eq!(rates.0.lock().unwrap().all.len(), 8 * SWEEP_ABOVE, "all of them matter");
        // When they are over, the next who comes a minute later forgets them, and counts as before.
        let later = first + SignedDuration::from_mins(3);
        rates.admit(&somebody(0), &read, limit, later).unwrap();
        assert_eq!(rates.0.lock().unwrap().all.len(), 1);
    }

    #[test]
    fn large_rates_are_kept_over_time_and_for_each() {
        let limit: RateLimit = "600/1m".parse().unwrap();
        let rates = Rates::default();
        let ana = PrincipalId::new(PrincipalKind::User, "corp", "ana");
        let ben = PrincipalId::new(PrincipalKind::User, "corp", "ben");
        let read: OperationName = "payments.read".parse().unwrap();
        let mut admitted = 0;
        // Fifty a second for five minutes: ten a second may pass.
        for tick in 0..15_000_i64 {
            let now = Timestamp::UNIX_EPOCH + SignedDuration::from_millis(tick * 20);
            admitted += u32::from(rates.admit(&ana, &read, limit, now).is_ok());
        }
        assert!((3000..=3600).contains(&admitted), "{admitted}");
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(299);
        let TooOften { retry_after } = rates.admit(&ana, &read, limit, now).unwrap_err();
        assert!((1..=60).contains(&retry_after), "{retry_after}");
        assert!(rates.admit(&ben, &read, limit, now).is_ok());
    }
}
