//! How often somebody may do something: so many in a second, or in some other span.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;
use portcullis_model::PrincipalId;

const SWEEP_ABOVE: usize = 4096;

/// Counts per principal and span of time.
#[derive(Debug)]
pub(crate) struct RateLimits {
    most: u32,
    seconds: i64,
    counts: Mutex<HashMap<PrincipalId, (i64, u32)>>,
}

impl RateLimits {
    /// At most `most` in each span of `seconds`.
    pub(crate) fn new(most: u32, seconds: u32) -> Self {
        Self { most, seconds: i64::from(seconds.max(1)), counts: Mutex::default() }
    }

    /// Whether `principal` may once more; counts it if so.
    pub(crate) fn admit(&self, principal: &PrincipalId, now: Timestamp) -> bool {
        self.admit_or_wait(principal, now).is_ok()
    }

    /// The same; if not, how many seconds from now they may.
    pub(crate) fn admit_or_wait(&self, principal: &PrincipalId, now: Timestamp) -> Result<(), u32> {
        let span = now.as_second().div_euclid(self.seconds);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() > SWEEP_ABOVE {
            counts.retain(|_, (last, _)| *last == span);
        }
        let count = counts.entry(principal.clone()).or_insert((span, 0));
        if count.0 != span {
            *count = (span, 0);
        }
        if count.1 < self.most {
            count.1 += 1;
            return Ok(());
        }
        let wait = (span + 1) * self.seconds - now.as_second();
        Err(u32::try_from(wait).unwrap_or(1).max(1))
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use portcullis_model::PrincipalKind;

    use super::*;

    #[test]
    fn so_many_in_a_second_and_as_many_in_the_next_for_each() {
        let limits = RateLimits::new(2, 1);
        let ana = PrincipalId::new(PrincipalKind::User, "corp", "ana");
        let ben = PrincipalId::new(PrincipalKind::User, "corp", "ben");
        let now = Timestamp::UNIX_EPOCH;
        assert!(limits.admit(&ana, now) && limits.admit(&ana, now));
        assert!(!limits.admit(&ana, now));
        assert!(limits.admit(&ben, now));
        assert!(limits.admit(&ana, now + SignedDuration::from_secs(1)));
    }

    #[test]
    fn who_must_wait_is_told_how_long() {
        let limits = RateLimits::new(1, 60);
        let ana = PrincipalId::new(PrincipalKind::User, "corp", "ana");
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(10);
        assert_eq!(limits.admit_or_wait(&ana, now), Ok(()));
        assert_eq!(limits.admit_or_wait(&ana, now), Err(50));
        assert_eq!(limits.admit_or_wait(&ana, now + SignedDuration::from_secs(50)), Ok(()));
    }
}
