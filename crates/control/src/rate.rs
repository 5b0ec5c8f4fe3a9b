//! How often somebody may do something: so many in a second.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;
use portcullis_model::PrincipalId;

const SWEEP_ABOVE: usize = 4096;

/// Counts per principal and second.
#[derive(Debug)]
pub(crate) struct RateLimits {
    per_second: u32,
    counts: Mutex<HashMap<PrincipalId, (i64, u32)>>,
}

impl RateLimits {
    pub(crate) fn new(per_second: u32) -> Self {
        Self { per_second, counts: Mutex::default() }
    }

    /// Whether `principal` may once more; counts it if so.
    pub(crate) fn admit(&self, principal: &PrincipalId, now: Timestamp) -> bool {
        let second = now.as_second();
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() > SWEEP_ABOVE {
            counts.retain(|_, (last, _)| *last == second);
        }
        let count = counts.entry(principal.clone()).or_insert((second, 0));
        if count.0 != second {
            *count = (second, 0);
        }
        let admitted = count.1 < self.per_second;
        count.1 += u32::from(admitted);
        admitted
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use portcullis_model::PrincipalKind;

    use super::*;

    #[test]
    fn so_many_in_a_second_and_as_many_in_the_next_for_each() {
        let limits = RateLimits::new(2);
        let ana = PrincipalId::new(PrincipalKind::User, "corp", "ana");
        let ben = PrincipalId::new(PrincipalKind::User, "corp", "ben");
        let now = Timestamp::UNIX_EPOCH;
        assert!(limits.admit(&ana, now) && limits.admit(&ana, now));
        assert!(!limits.admit(&ana, now));
        assert!(limits.admit(&ben, now));
        assert!(limits.admit(&ana, now + SignedDuration::from_secs(1)));
    }
}
