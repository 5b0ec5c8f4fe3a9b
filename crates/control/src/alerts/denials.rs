//! Refusals of one principal or service, counted in a sliding window.

use std::collections::{HashMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

/// Principals or services that one rule counts at a time. Whoever was refused longest ago is forgotten.
const MOST_COUNTED: usize = 10_000;

/// The times of the newest refusals of each.
#[derive(Debug, Default)]
pub(super) struct Counted(HashMap<String, VecDeque<Timestamp>>);

impl Counted {
    /// Counts one more of `whom`; whether that makes `count` within `within`. Counting begins anew then.
    pub(super) fn one_more(
        &mut self,
        whom: &str,
        at: Timestamp,
        count: u32,
        within: SignedDuration,
    ) -> bool {
        if self.0.len() >= MOST_COUNTED && !self.0.contains_key(whom) {
            self.forget(at, within);
        }
        let times = self.0.entry(whom.to_owned()).or_default();
        times.push_back(at);
        while times.front().is_some_and(|first| at.duration_since(*first) > within) {
            times.pop_front();
        }
        let enough = times.len() >= usize::try_from(count).unwrap_or(usize::MAX);
        if enough {
            self.0.remove(whom);
        }
        enough
    }

    fn forget(&mut self, now: Timestamp, within: SignedDuration) {
        let lasts = |times: &VecDeque<Timestamp>| {
            times.back().is_some_and(|last| now.duration_since(*last) <= within)
        };
        self.0.retain(|_, times| lasts(times));
        if self.0.len() >= MOST_COUNTED {
            let oldest = self.0.iter().min_by_key(|(_, times)| times.back().copied());
            if let Some(oldest) = oldest.map(|(whom, _)| whom.clone()) {
                self.0.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_the_window_and_not_one_fewer() {
        let (mut counted, within) = (Counted::default(), SignedDuration::from_secs(60));
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut more = |whom: &str, second| counted.one_more(whom, at(second), 3, within);
        assert!(!more("ana", 0) && !more("ben", 1) && !more("ana", 30));
        assert!(!more("ana", 61), "the first is out of the window");
        assert!(more("ana", 62));
        assert!(!more("ana", 63), "it begins anew");
    }

    #[test]
    fn many_names_take_so_much_and_no_more() {
        let (mut counted, within) = (Counted::default(), SignedDuration::from_hours(1));
        for n in 0..MOST_COUNTED + 50 {
            let at = Timestamp::from_second(i64::try_from(n).unwrap() / 100).unwrap();
            counted.one_more(&format!("who-{n}"), at, 3, within);
        }
        assert!(counted.0.len() <= MOST_COUNTED);
    }
}
