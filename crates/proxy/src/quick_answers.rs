//! Staying awake for an answer that comes at once.
//!
//! On many machines, virtual ones above all, being woken costs more than the request did. A core that
//! has just asked an upstream, and has nothing else to do, therefore looks for the answer for a moment
//! before it sleeps. It remembers whether that was worth it: after answers that did not come in time it
//! looks less and less often, so that slow upstreams cost nothing. A core with more in flight does not
//! get here: something of that is always about to come.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task::yield_now};

/// How long a core looks for one answer.
const MOST: Duration = Duration::from_micros(50);
/// With more answers outstanding than these, it does not look.
const FEW: u32 = 2;
/// After so many misses in a row, one answer in 2^6 is looked for.
const MOST_MISSES: u32 = 6;

/// The answers that a core waits for.
#[derive(Debug, Default)]
pub(crate) struct QuickAnswers {
    waiting: Cell<u32>,
    came: Cell<u64>,
    /// Misses in a row.
    misses: Cell<u32>,
    /// Answers that are not looked for, because earlier ones were late.
    skipping: Cell<u32>,
    asked: Notify,
}

/// An upstream was asked; it has answered, or will not, when this is dropped.
#[derive(Debug)]
pub(crate) struct Asked<'a>(&'a QuickAnswers);

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let answers = self.0;
        answers.waiting.set(answers.waiting.get().saturating_sub(1));
        answers.came.set(answers.came.get().wrapping_add(1));
    }
}

impl QuickAnswers {
    /// An upstream is asked.
    pub(crate) fn asked(&self) -> Asked<'_> {
        self.waiting.set(self.waiting.get() + 1);
        if self.waiting.get() <= FEW && self.is_promising() {
            self.asked.notify_one();
        }
        Asked(self)
    }

    /// Looks for answers that are promising, for as long as the core runs.
    pub(crate) async fn look(self: Rc<Self>) {
        loop {
            self.asked.notified().await;
            let came = self.look_once(MOST).await;
            self.learn(came);
        }
    }

    /// Whether an answer came within `most`.
    async fn look_once(&self, most: Duration) -> bool {
        let (began, seen) = (Instant::now(), self.came.get());
        while self.came.get() == seen && self.waiting.get() > 0 {
            if began.elapsed() > most {
                return false;
            }
            // The runtime polls for events, without waiting, before it goes on here.
            yield_now().await;
        }
        true
    }

    fn is_promising(&self) -> bool {
        let skipping = self.skipping.get();
        self.skipping.set(skipping.saturating_sub(1));
        skipping == 0
    }

    fn learn(&self, came: bool) {
        let misses = if came { 0 } else { (self.misses.get() + 1).min(MOST_MISSES) };
        self.misses.set(misses);
        self.skipping.set(if came { 0 } else { 1 << misses });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than a busy machine keeps a thread waiting.
    const LONG: Duration = Duration::from_secs(30);

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn an_answer_ends_the_looking() {
        run(async {
            let answers = Rc::new(QuickAnswers::default());
            let upstream = Rc::clone(&answers);
            tokio::task::spawn_local(async move {
                let asked = upstream.asked();
                tokio::time::sleep(Duration::from_millis(5)).await;
                drop(asked);
            });
            assert!(answers.look_once(LONG).await);
            assert_eq!(answers.waiting.get(), 0);
        });
    }

    #[test]
    fn an_answer_that_is_late_is_not_waited_for() {
        run(async {
            let answers = QuickAnswers::default();
            let _asked = answers.asked();
            assert!(!answers.look_once(Duration::from_millis(1)).await);
        });
    }

    #[test]
    fn late_answers_are_looked_for_less_and_less_often_and_quick_ones_again() {
        let answers = QuickAnswers::default();
        let mut looked = 0;
        for _ in 0..1000 {
            if answers.is_promising() {
                looked += 1;
                answers.learn(false);
            }
        }
        assert!((1000 / 65..1000 / 65 + 7).contains(&looked), "{looked}");
        while !answers.is_promising() {}
        answers.learn(true);
        assert!((0..100).all(|_| answers.is_promising()));
    }

    #[test]
    fn a_core_with_much_in_flight_does_not_look() {
        run(async {
            let answers = QuickAnswers::default();
            let few: Vec<_> = (0..FEW).map(|_| answers.asked()).collect();
            // The permit of those few.
            answers.asked.notified().await;
            let more = answers.asked();
            let woken = tokio::time::timeout(Duration::from_millis(1), answers.asked.notified());
            assert!(woken.await.is_err());
            drop((few, more));
            assert_eq!(answers.waiting.get(), 0);
        });
    }
}
