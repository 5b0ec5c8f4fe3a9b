//! Looking for work for a moment before falling asleep.
//!
//! On many machines, virtual ones above all, being woken costs more than most requests. A core whose
//! work comes in quick succession therefore stays awake between two pieces of it. It learns from the
//! last gap whether that is worth it: under slow traffic, and at rest, it sleeps at once. A core that
//! always has work never gets here.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task::yield_now};

/// A core's pieces of work: request heads that came from clients, and answers from upstreams.
#[derive(Debug, Default)]
pub(crate) struct Work {
    count: Cell<u64>,
    comes: Notify,
    is_watched: Cell<bool>,
}

impl Work {
    /// One more piece.
    pub(crate) fn came(&self) {
        if self.is_watched.get() {
            self.count.set(self.count.get().wrapping_add(1));
            self.comes.notify_one();
        }
    }

    /// Keeps the core awake for at most `most` after each piece, for as long as it runs.
    pub(crate) async fn stay_awake(self: Rc<Self>, most: Duration) {
        self.is_watched.set(true);
        let mut last = Instant::now();
        loop {
            self.comes.notified().await;
            let gap = last.elapsed();
            last = Instant::now();
            if gap <= most {
                last = self.look_for_more(last, most).await;
            }
        }
    }

    /// Looks for events until there was no work for `most`; tells when the last piece came.
    async fn look_for_more(&self, mut last: Instant, most: Duration) -> Instant {
        let mut seen = self.count.get();
        loop {
            // The runtime polls for events, without waiting, before it goes on here.
            yield_now().await;
            let now = Instant::now();
            if self.count.get() != seen {
                seen = self.count.get();
                last = now;
            } else if now.duration_since(last) > most {
                return last;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than a busy machine keeps a thread waiting.
    const MOST: Duration = Duration::from_millis(500);

    #[test]
    fn work_that_comes_meanwhile_is_waited_on_in_turn() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let work = Rc::new(Work::default());
            work.is_watched.set(true);
            let (began, worker) = (Instant::now(), Rc::clone(&work));
            tokio::task::spawn_local(async move {
                for _ in 0..5 {
                    tokio::time::sleep(MOST / 10).await;
                    worker.came();
                }
            });
            let last = work.look_for_more(began, MOST).await;
            assert!(work.count.get() > 0 && last > began);
        });
    }

    #[test]
    fn looking_ends_when_nothing_comes() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let work = Work::default();
            let began = Instant::now();
            let last = work.look_for_more(began, MOST).await;
            assert_eq!(last, began);
            assert!(began.elapsed() > MOST);
        });
    }
}
