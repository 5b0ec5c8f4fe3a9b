//! Looking for work for a moment before falling asleep.
//!
//! On many machines, virtual ones above all, being woken costs more than most requests. A core whose
//! work comes in quick succession therefore stays awake between two pieces of it. It learns, apart for
//! requests and for answers, what came after the last one and how soon: behind a slow upstream it does
//! not stay awake for the answer, under slow traffic not for the next request, and at rest it sleeps at
//! once. Nor does it stay awake where several requests are under way at a time, or were a moment ago: then
//! sleep gathers their answers, which makes each of them cheaper, and being woken is shared by all. There,
//! this costs one timer.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task::yield_now};

/// A piece of work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A request's head, from a client; what follows is mostly its answer.
    #[default]
    Request,
    /// An answer's head, from an upstream; what follows is mostly the next request.
    Answer,
}

/// With more requests under way, sleeping costs nobody anything.
const FEW: u32 = 4;

/// How long there must have been no more than [`FEW`] under way.
const CALM: Duration = Duration::from_millis(20);

/// A core's pieces of work.
#[derive(Debug, Default)]
pub(crate) struct Work {
    count: Cell<u64>,
    under_way: Cell<u32>,
    /// Whether more than [`FEW`] were under way since it was last asked.
    was_crowded: Cell<bool>,
    last: Cell<Piece>,
    comes: Notify,
    is_watched: Cell<bool>,
}

/// One request that has no answer yet.
#[derive(Debug)]
pub(crate) struct UnderWay(Rc<Work>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get().saturating_sub(1));
    }
}

impl Work {
    /// A request came, and is under way until what is returned is dropped.
    pub(crate) fn began(self: &Rc<Self>) -> UnderWay {
        self.came(Piece::Request);
        let under_way = self.under_way.get() + 1;
        self.under_way.set(under_way);
        if under_way > FEW {
            self.was_crowded.set(true);
        }
        UnderWay(Rc::clone(self))
    }

    /// One more piece.
    pub(crate) fn came(&self, piece: Piece) {
        if self.is_watched.get() {
            self.count.set(self.count.get().wrapping_add(1));
            self.last.set(piece);
            self.comes.notify_one();
        }
    }

    /// Keeps the core awake for at most `most` after each piece, for as long as it runs, where few
    /// requests are under way and the last piece of its kind was followed by another within that.
    pub(crate) async fn stay_awake(self: Rc<Self>, most: Duration) {
        loop {
            self.is_watched.set(true);
            self.stay_awake_while_calm(most).await;
            self.is_watched.set(false);
            while self.was_crowded.replace(self.under_way.get() > FEW) {
                tokio::time::sleep(CALM).await;
            }
        }
    }

    async fn stay_awake_while_calm(&self, most: Duration) {
        let mut learned = Learned::default();
        let (mut piece, mut at, mut seen) = (Piece::Request, Instant::now(), self.count.get());
        loop {
            self.comes.notified().await;
            if self.was_crowded.get() {
                return;
            }
            // What was found while looking has left its notice behind.
            let mut came = (self.count.get() != seen).then(Instant::now);
            let is_new = came.is_some();
            while let Some(now) = came {
                learned.note(piece, now.duration_since(at) <= most);
                (piece, at, seen) = (self.last.get(), now, self.count.get());
                if self.was_crowded.get() || !learned.is_worth_it(piece) {
                    break;
                }
                came = self.look_for_more(at, most).await;
            }
            if is_new && came.is_none() {
                learned.note(piece, false);
            }
        }
    }

    /// Looks for events until there is work, and tells when it came, or until `most` after `last`.
    async fn look_for_more(&self, last: Instant, most: Duration) -> Option<Instant> {
        let seen = self.count.get();
        loop {
            // The runtime polls for events, without waiting, before it goes on here.
            yield_now().await;
            let now = Instant::now();
            if self.count.get() != seen {
                return Some(now);
            }
            if now.duration_since(last) > most {
                return None;
            }
        }
    }
}

/// Whether the last piece of each kind was soon followed by another.
#[derive(Debug, Default)]
struct Learned {
    of_requests: bool,
    of_answers: bool,
}

impl Learned {
    fn note(&mut self, piece: Piece, soon: bool) {
        match piece {
            Piece::Request => self.of_requests = soon,
            Piece::Answer => self.of_answers = soon,
        }
    }

    /// Whether to stay awake after it.
    fn is_worth_it(&self, piece: Piece) -> bool {
        match piece {
            Piece::Request => self.of_requests,
            Piece::Answer => self.of_answers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than a busy machine keeps a thread waiting.
    const MOST: Duration = Duration::from_millis(500);

    fn on_a_core(doing: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, doing);
    }

    #[test]
    fn work_that_comes_meanwhile_is_found() {
        on_a_core(async {
            let work = Rc::new(Work::default());
            work.is_watched.set(true);
            let (began, worker) = (Instant::now(), Rc::clone(&work));
            tokio::task::spawn_local(async move {
                tokio::time::sleep(MOST / 10).await;
                worker.came(Piece::Answer);
            });
            let came = work.look_for_more(began, MOST).await.unwrap();
            assert!(came > began && work.last.get() == Piece::Answer);
        });
    }

    #[test]
    fn a_request_is_under_way_until_it_is_answered_or_gone() {
        let work = Rc::new(Work::default());
        let (first, second) = (work.began(), work.began());
        drop(first);
        assert_eq!(work.under_way.get(), 1);
        drop(second);
        assert_eq!(work.under_way.get(), 0);
    }

    #[test]
    fn it_does_not_look_where_many_are_under_way_until_they_were_few_for_a_while() {
        on_a_core(async {
            let work = Rc::new(Work::default());
            tokio::task::spawn_local(Rc::clone(&work).stay_awake(MOST));
            tokio::task::yield_now().await;
            assert!(work.is_watched.get());
            let many: Vec<UnderWay> = (0..=FEW).map(|_| work.began()).collect();
            tokio::task::yield_now().await;
            tokio::time::sleep(CALM * 3).await;
            assert!(!work.is_watched.get(), "while they are under way");
            drop(many);
            for _ in 0..500 {
                if work.is_watched.get() {
                    return;
                }
                tokio::time::sleep(CALM).await;
            }
            panic!("it never looks again");
        });
    }

    #[test]
    fn looking_ends_when_nothing_comes() {
        on_a_core(async {
            let work = Work::default();
            let began = Instant::now();
            assert_eq!(work.look_for_more(began, MOST).await, None);
            assert!(began.elapsed() > MOST);
        });
    }

    #[test]
    fn behind_a_slow_upstream_only_requests_are_looked_for() {
        let mut learned = Learned::default();
        assert!(!learned.is_worth_it(Piece::Request) && !learned.is_worth_it(Piece::Answer));
        learned.note(Piece::Answer, true);
        learned.note(Piece::Request, false);
        assert!(learned.is_worth_it(Piece::Answer) && !learned.is_worth_it(Piece::Request));
        learned.note(Piece::Answer, false);
        assert!(!learned.is_worth_it(Piece::Answer));
    }
}
