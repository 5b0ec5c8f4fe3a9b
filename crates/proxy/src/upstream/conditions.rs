//! What is known of the instances of one service, and which of them the balancer may therefore pick.
//!
//! A state machine without a clock: time is milliseconds, told by whoever asks. It promises that
//! there is always an instance to pick as long as there is any, that at most `max_share` are ejected
//! at a time, and that what is ejected comes back by itself.

use portcullis_policy::upstream::UpstreamSource;

/// A share of requests, in percent, for an instance that is only coming back.
const LEAST: u8 = 10;
/// So long after the last failure, requests that could be sent again are kept for it.
const WARY: u64 = 10_000;

/// What is known of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Condition {
    /// The balancer may pick it: it is not `addressed_only`.
    balanced: bool,
    /// It is in the gate's own zone.
    near: bool,
    /// The percentage of requests that it may have where the strongest has all.
    weight: u8,
    /// What the last health checks said.
    well: bool,
    /// It is left out until then.
    ejected_until: u64,
    /// How often in a row it was ejected, and for how long the last time.
    ejections: u32,
    ejected_for: u64,
    /// When it came (back), if that was after the others.
    came: Option<u64>,
}

/// How an exchange with an instance failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection was made: the next request has no better chance.
    Unreachable,
    /// It broke off, took too long, or answered 502, 503 or 504.
    Failed,
}

/// What is known of the instances of one service.
#[derive(Debug, Clone)]
pub(crate) struct Conditions {
    settings: UpstreamSource,
    all: Vec<Condition>,
    /// Nothing is known to go wrong after that.
    wary_until: u64,
}

/// The instances that the balancer may pick, for as long as nothing changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Their places in the list, and the percentage of requests that each may have.
    pub(crate) picks: Vec<(usize, u8)>,
    /// Some are only coming back.
    pub(crate) uneven: bool,
    /// So few are up that what is known of them is disregarded.
    pub(crate) panic: bool,
    /// Time alone changes the choice then.
    pub(crate) until: u64,
    /// Something went wrong a moment ago.
    pub(crate) wary: bool,
}

impl Condition {
    pub(crate) fn new(balanced: bool, near: bool) -> Self {
        Self {
            balanced,
            near,
            weight: 100,
            well: true,
            ejected_until: 0,
            ejections: 0,
            ejected_for: 0,
            came: None,
        }
    }

    /// One that is said to carry so much of what the strongest does.
    pub(crate) fn weighing(self, weight: u8) -> Self {
        Self { weight: weight.clamp(1, 100), ..self }
    }

    /// The same instance in a new list.
    pub(crate) fn moved_to(self, place: Self) -> Self {
        Self { balanced: place.balanced, near: place.near, weight: place.weight, ..self }
    }

    /// It joins others that are there already, as soon as it may.
    pub(crate) fn coming(self, now: u64) -> Self {
        Self { came: Some(now.max(self.ejected_until)), ..self }
    }

    /// Nobody asks it any more whether it is well: what was said last would hold for ever.
    pub(crate) fn unchecked(self, now: u64) -> Self {
        if self.well { self } else { Self { well: true, ..self.coming(now) } }
    }

    fn is_ejected(&self, now: u64) -> bool {
        now < self.ejected_until
    }

    fn is_up(&self, now: u64) -> bool {
        self.well && !self.is_ejected(now)
    }

    /// The same, of what its weight leaves it.
    fn weighed(&self, share: u8) -> u8 {
        u8::try_from(u16::from(share) * u16::from(self.weight) / 100).unwrap_or(100).max(1)
    }

    /// The percentage of requests that it may have, coming back.
    fn share(&self, now: u64, slow_start: u64) -> u8 {
        let Some(came) = self.came else { return 100 };
        let age = now.saturating_sub(came);
        if age >= slow_start {
            return 100;
        }
        u8::try_from(age * 100 / slow_start).unwrap_or(100).max(LEAST)
    }
}

impl Conditions {
    pub(crate) fn new(settings: UpstreamSource, all: Vec<Condition>) -> Self {
        Self { settings, all, wary_until: 0 }
    }

    pub(crate) fn of(&self, at: usize) -> Option<Condition> {
        self.all.get(at).copied()
    }

    /// `at` failed, for the `in_row`th time since its last success. Whether it is ejected now.
    pub(crate) fn failed(&mut self, at: usize, failure: Failure, in_row: u32, now: u64) -> bool {
        self.wary_until = now.saturating_add(WARY);
        let ejection = self.settings.ejection;
        let enough = failure == Failure::Unreachable || in_row >= ejection.failures;
        if ejection.failures == 0 || !enough || !self.may_eject(now) {
            return false;
        }
        let Some(condition) = self.all.get_mut(at) else { return false };
        if !condition.balanced || condition.is_ejected(now) {
            return false;
        }
        let base = millis(ejection.time.get());
        // It forgets one ejection for each time that it was fine for as long as it was ejected.
        let fine = now.saturating_sub(condition.ejected_until);
        let forgiven = fine / condition.ejected_for.max(base).max(1);
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        condition.ejections = condition.ejections.saturating_sub(forgiven);
        let doubled = base.saturating_mul(1 << condition.ejections.min(32));
        condition.ejected_for = doubled.min(millis(ejection.max_time.get()).max(base));
        condition.ejections = condition.ejections.saturating_add(1);
        condition.ejected_until = now.saturating_add(condition.ejected_for);
        condition.came = Some(condition.ejected_until);
        true
    }

    /// Whether something went wrong a moment ago.
    pub(crate) fn is_wary(&self, now: u64) -> bool {
        now < self.wary_until
    }

    /// One more may be ejected: there are others, and not too many of them are ejected already.
    fn may_eject(&self, now: u64) -> bool {
        let balanced = self.all.iter().filter(|it| it.balanced);
        let (count, out) = balanced
            .fold((0, 0), |(all, out), it| (all + 1, out + usize::from(it.is_ejected(now))));
        let share = usize::from(self.settings.ejection.max_share);
        count > 1 && share > 0 && out < (count * share / 100).max(1)
    }

    /// What the health checks of `at` say. Whether that is news.
    pub(crate) fn checked(&mut self, at: usize, well: bool, now: u64) -> bool {
        let Some(condition) = self.all.get_mut(at) else { return false };
        if condition.well == well {
            return false;
        }
        condition.well = well;
        if well {
            *condition = condition.coming(now);
        }
        true
    }

    /// Whether `at` is picked while enough others are.
    pub(crate) fn is_up(&self, at: usize, now: u64) -> bool {
        self.all.get(at).is_some_and(|it| it.is_up(now))
    }

    /// Whether `at` is left out because of how requests went.
    pub(crate) fn is_ejected(&self, at: usize, now: u64) -> bool {
        self.all.get(at).is_some_and(|it| it.is_ejected(now))
    }

    /// The instances that the balancer may pick.
    pub(crate) fn choice(&self, now: u64) -> Choice {
        let balanced = || self.all.iter().enumerate().filter(|(_, it)| it.balanced);
        let up = || balanced().filter(|(_, it)| it.is_up(now));
        let (count, well) = (balanced().count(), up().count());
        let panic = well == 0 || well * 100 < count * usize::from(self.settings.panic_below);
        let slow_start = self.settings.slow_start.map_or(0, |time| millis(time.get()));
        let mut uneven = false;
        let picks: Vec<(usize, u8)> = if panic {
            balanced().map(|(at, it)| (at, it.weighed(100))).collect()
        } else {
            let near_all = balanced().filter(|(_, it)| it.near).count();
            let near_up = up().filter(|(_, it)| it.near).count();
            let stays =
                near_up > 0 && near_up * 100 >= near_all * usize::from(self.settings.zone_share);
            let chosen = up().filter(|(_, it)| !stays || it.near);
            chosen
                .map(|(at, it)| {
                    let share = it.share(now, slow_start);
                    uneven |= share < 100;
                    (at, it.weighed(share))
                })
                .collect()
        };
        Choice { uneven, panic, until: self.until(now, uneven), wary: self.is_wary(now), picks }
    }

    /// When time alone changes the choice.
    fn until(&self, now: u64, uneven: bool) -> u64 {
        const STEP: u64 = 500;
        let ends = self.all.iter().map(|it| it.ejected_until).chain([self.wary_until]);
        let next = ends.filter(|end| *end > now).min().unwrap_or(u64::MAX);
        if uneven { next.min(now + STEP) } else { next }
    }
}

/// A span in milliseconds.
pub(crate) fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "conditions_tests.rs"]
mod tests;
