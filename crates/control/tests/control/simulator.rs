//! The simulator of truth: random histories of a whole control on a real store, with the PDP deciding
//! on its snapshots, against a small reference model.
//!
//! After each step the store, what gates decide from and the record must be what the model says; so
//! must be the answers. Where two actors race, one order of the two must explain what happened; where
//! the process dies, the step happened as a whole or not at all. A history that fails is made small by
//! taking steps out of it, and is printed as a list.
//!
//! It can fail. Each of these was broken in turn, and a history was found within 150:
//!
//! | broken | what the simulator saw |
//! |---|---|
//! | one's own request is known by the principal only, not by the person | ana, under her other name, is a stranger to it |
//! | closing an incident leaves its grants | they stay in force |
//! | the last use does not end a grant | it is not used up |
//! | ends come by the wall clock only | a clock that was set back keeps a grant alive |
//! | a use is not stored by its request (`INSERT OR REPLACE`) | the same request spends two |
//! | a new bundle leaves grants whose rule is gone | they stay in force |
//! | a revocation is stored and not published | gates go on with the grant |
//! | a use is spent without its event | the record lacks it |
//!
//! Two mistakes were in the product: a grant whose start lies ahead, because the wall clock was set back, was
//! forgotten by a restart; and a grant that was issued while a bundle came into force kept a rule that was gone,
//! and would have come back with it.
//!
//! `PORTCULLIS_SOAK` says how many histories there are: 50 for each. `PORTCULLIS_SEED` says which.

mod asking;
mod compare;
mod model;
mod real;
mod rules;
mod steps;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    future::Future,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use self::{
    compare::{Candidate, Seen},
    model::{Key, Model, Over, Said, State},
    real::{Heard, Real},
    steps::{Act, History, Step},
};
use crate::world::moment;

/// When every history begins: that of a new world.
const START: Timestamp = Timestamp::constant(1_795_341_600, 0);
/// Every step takes a second.
const STEP: i64 = 1;
const MINUTE: i64 = 60;
const HISTORIES: u32 = 50;
const LANES: u32 = 8;
/// In so many histories everything happens.
const MANY: u32 = 1_000;
const LONGEST: usize = 80;
/// However busy the machine is, what the background does is done by then.
const PATIENCE: Duration = Duration::from_mins(1);
const A_WHILE: Duration = Duration::from_millis(700);
/// While a history that failed is made smaller.
const BRIEF: Duration = Duration::from_secs(2);

struct Simulation {
    model: Model,
    real: Real,
    told: String,
    forwarded: usize,
    patience: Duration,
}

/// How often what happened: a simulation in which nothing does proves nothing.
#[derive(Debug, Default)]
struct Reached(Mutex<BTreeMap<&'static str, usize>>);

impl Reached {
    fn note(&self, what: &'static str, times: usize) {
        *self.0.lock().unwrap().entry(what).or_default() += times;
    }

    fn end_of(&self, model: &Model) {
        let requests = || model.requests.values();
        let grants = || model.grants.values();
        self.note("histories", 1);
        self.note("access requests", requests().count());
        self.note("reviews", requests().map(|request| request.reviews.len()).sum());
        for (what, state) in [
            ("approved", State::Approved),
            ("declined", State::Declined),
            ("withdrawn", State::Withdrawn),
            ("requests expired", State::Expired),
        ] {
            self.note(what, requests().filter(|request| request.state == state).count());
        }
        let by_people =
            requests().filter(|one| one.state == State::Approved && one.reviews_needed > 1);
        self.note("approved by two or more", by_people.count());
        self.note("grants", grants().count());
        self.note("extended", grants().map(|grant| grant.extended).sum());
        self.note("uses counted", grants().map(|grant| grant.spent_on.len()).sum());
        for (what, over) in [
            ("grants expired", Over::Expired),
            ("revoked", Over::Revoked),
            ("used up", Over::UsedUp),
            ("given back", Over::GivenBack),
            ("lost their rule", Over::RuleGone),
            ("ended with their incident", Over::IncidentResolved),
        ] {
            self.note(what, grants().filter(|grant| grant.over == Some(over)).count());
        }
        self.note("one-time tokens", model.tokens.len());
        self.note("redeemed", model.tokens.values().filter(|token| token.redeemed).count());
    }
}

impl Simulation {
    async fn step(&mut self, n: usize, step: &Step) -> Result<(), String> {
        let _ = writeln!(self.told, "  {:>2}. {step:?}", n + 1);
        self.model.wait(STEP);
        self.real.wait(STEP).await;
        self.is_as_the_model_says().await?;
        let key = Key(u32::try_from(n * 2 + 1).unwrap());
        match step {
            Step::Wait { minutes } => {
                self.model.wait(minutes * MINUTE);
                self.real.wait(minutes * MINUTE).await;
                self.is_as_the_model_says().await
            }
            Step::SetClock { minutes } => {
                self.real.set_clock(minutes * MINUTE);
                self.model.set_clock(minutes * MINUTE);
                self.model.wait(STEP);
                self.real.wait(STEP).await;
                self.is_as_the_model_says().await
            }
            Step::Restart => {
                self.real.restart().await;
                self.model.restart();
                self.is_as_the_model_says().await
            }
            Step::Crash => {
                self.real.crash().await;
                self.model.restart();
                self.is_as_the_model_says().await
            }
            Step::CrashDuring { step, polls } => self.dies_during(step, key, Some(*polls)).await,
            Step::LostAnswer(step) => self.dies_during(step, key, None).await,
            Step::Race { one, other, head_start } => self.race(one, other, key, *head_start).await,
            alone => self.alone(alone, key).await,
        }
    }

    async fn is_as_the_model_says(&mut self) -> Result<(), String> {
        let model = self.model.clone();
        self.settle(vec![Candidate { name: "", model, said: Vec::new() }], &[]).await
    }

    /// Waits until one of `candidates` is what there is.
    async fn settle(
        &mut self,
        mut candidates: Vec<Candidate>,
        heard: &[Heard],
    ) -> Result<(), String> {
        let begun = Instant::now();
        let mut next = A_WHILE;
        loop {
            let seen = Seen::of(&self.real).await;
            let mut all = String::new();
            for candidate in &candidates {
                let (differences, names) = candidate.differences(&self.real, heard, &seen);
                if differences.is_empty() {
                    self.model = candidate.model.clone();
                    self.real.requests = names.requests;
                    self.real.grants = names.grants;
                    return Ok(());
                }
                let _ = write!(all, "\n{}\n    {}", candidate.name, differences.join("\n    "));
            }
            if begun.elapsed() > self.patience {
                return Err(format!("{}{all}\nheard: {heard:?}", self.told));
            }
            moment().await;
            // What could not be done at once, because the store was busy when time leapt, is tried again
            // when more of it passes.
            if begun.elapsed() > next {
                next += A_WHILE;
                for candidate in &mut candidates {
                    candidate.model.wait(STEP);
                }
                self.real.wait(STEP).await;
            }
        }
    }

    async fn alone(&mut self, step: &Step, key: Key) -> Result<(), String> {
        let Some(act) = Act::of(step, key, &self.model) else { return Ok(()) };
        let Some(acting) = self.real.acting(&act, &self.model).await else { return Ok(()) };
        let mut model = self.model.clone();
        let said = vec![model.apply(&act)];
        let heard = self.real.act(&act, &acting).await;
        self.forwarded += usize::from(matches!(said[..], [Said::Passed(Some(_))]));
        self.keep(&act, &heard);
        self.settle(vec![Candidate { name: "", model, said }], &[heard]).await
    }

    /// One order of the two explains what happened.
    async fn race(
        &mut self,
        one: &Step,
        other: &Step,
        key: Key,
        head_start: u8,
    ) -> Result<(), String> {
        let one = Act::of(one, key, &self.model);
        let other = Act::of(other, Key(key.0 + 1), &self.model);
        let (Some(one), Some(other)) = (one, other) else { return Ok(()) };
        let first = self.real.acting(&one, &self.model).await;
        let second = self.real.acting(&other, &self.model).await;
        let (Some(first), Some(second)) = (first, second) else { return Ok(()) };
        let mut candidates = Vec::new();
        for (name, order) in [("one, then the other:", [0, 1]), ("the other first:", [1, 0])] {
            let mut model = self.model.clone();
            let acts = [&one, &other];
            let mut said = order.map(|n| model.apply(acts[n]));
            if order == [1, 0] {
                said.reverse();
            }
            candidates.push(Candidate { name, model, said: said.into() });
        }
        let (one_heard, other_heard) = tokio::join!(self.real.act(&one, &first), async {
            for _ in 0..head_start {
                a_little_later().await;
            }
            self.real.act(&other, &second).await
        });
        self.keep(&one, &one_heard);
        self.keep(&other, &other_heard);
        self.settle(candidates, &[one_heard, other_heard]).await
    }

    /// The process dies under it: it happened as a whole, or not at all.
    async fn dies_during(
        &mut self,
        step: &Step,
        key: Key,
        polls: Option<u8>,
    ) -> Result<(), String> {
        let Some(act) = Act::of(step, key, &self.model) else { return Ok(()) };
        let Some(acting) = self.real.acting(&act, &self.model).await else { return Ok(()) };
        let mut after = self.model.clone();
        after.apply(&act);
        if let Some(polls) = polls {
            let mut act = Box::pin(self.real.act(&act, &acting));
            for _ in 0..polls {
                if is_done(act.as_mut()).await {
                    break;
                }
                a_little_later().await;
            }
        } else {
            self.real.forget_to_answer();
            self.real.act(&act, &acting).await;
        }
        let before = self.model.clone();
        // What is activated was in the files.
        if let Act::Policy { book } = act {
            self.real.book = book;
            self.real.crash().await;
            // Whichever it was: the files say so at the next start.
            after.restart();
            let after = Candidate { name: "", model: after, said: Vec::new() };
            return self.settle(vec![after], &[]).await;
        }
        self.real.crash().await;
        let candidates = [("it happened:", after), ("it did not happen:", before)];
        let restarted = candidates.map(|(name, mut model)| {
            model.restart();
            Candidate { name, model, said: Vec::new() }
        });
        self.settle(restarted.into(), &[]).await
    }

    /// Keeps the secrets that were handed out, and what the files say.
    fn keep(&mut self, act: &Act, heard: &Heard) {
        match (act, heard) {
            (Act::OneTimeToken { .. }, Heard::Token(key, token)) => {
                self.real.one_time.insert(*key, token.clone());
            }
            (Act::Redeem { .. }, Heard::Token(key, token)) => {
                self.real.grant_tokens.insert(*key, token.clone());
            }
            (Act::Policy { book }, _) => self.real.book = *book,
            _ => {}
        }
    }
}

/// The store works on threads of its own: some of it gets done.
async fn a_little_later() {
    std::thread::sleep(Duration::from_micros(60));
    tokio::task::yield_now().await;
}

async fn is_done<F: Future + Unpin>(mut future: F) -> bool {
    std::future::poll_fn(|context| {
        let poll = std::pin::Pin::new(&mut future).poll(context);
        Poll::Ready(poll.is_ready())
    })
    .await
}

/// Runs one history in a time of its own, which passes only when it is told to.
fn run(history: &History, reached: &Reached, patience: Duration) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    // As long as somebody blocks, the runtime does not move its clock by itself.
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let result = runtime.block_on(async {
        tokio::task::spawn_blocking(move || stopped.recv());
        let model = Model::new();
        let real = Real::new(&model).await;
        let mut simulation =
            Simulation { model, real, told: "\n".to_owned(), forwarded: 0, patience };
        for (n, step) in history.0.iter().enumerate() {
            simulation.step(n, step).await?;
        }
        reached.end_of(&simulation.model);
        reached.note("forwarded", simulation.forwarded);
        simulation.real.world.control().stop().await;
        Ok(())
    });
    drop(stop);
    result
}

/// One lane's histories, drawn from a seed of its own; the first that fails, made smaller.
fn lane(seed: u32, lane: u32, cases: u32, reached: &Reached) -> Result<(), String> {
    let config =
        Config { cases, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let mut seeded = [0; 32];
    seeded[..4].copy_from_slice(&seed.to_le_bytes());
    seeded[4..8].copy_from_slice(&lane.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seeded);
    let has_failed = AtomicBool::new(false);
    let failed = TestRunner::new_with_rng(config, rng).run(&steps::histories(LONGEST), |history| {
        let patience = if has_failed.load(Ordering::Relaxed) { BRIEF } else { PATIENCE };
        let result = run(&history, reached, patience);
        if let Err(why) = &result
            && !has_failed.swap(true, Ordering::Relaxed)
        {
            println!("a history fails, and is made smaller: {why}");
        }
        result.map_err(TestCaseError::fail)
    });
    match failed {
        Ok(()) => Ok(()),
        Err(TestError::Fail(why, history)) => Err(format!("{history:?}\n\n{why}")),
        Err(TestError::Abort(why)) => Err(why.to_string()),
    }
}

#[test]
fn whatever_happens_is_what_the_model_says() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u32>().ok());
    let seed = number("PORTCULLIS_SEED").unwrap_or(1);
    let cases = number("PORTCULLIS_SOAK").unwrap_or(3) * HISTORIES;
    println!("{cases} histories, PORTCULLIS_SEED={seed}");
    let reached = Reached::default();
    // A history mostly waits for the disk: several at once.
    let failed: Vec<String> = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|n| {
                let reached = &reached;
                scope.spawn(move || lane(seed, n, cases / LANES, reached))
            })
            .collect();
        lanes.into_iter().filter_map(|lane| lane.join().unwrap().err()).collect()
    });
    assert!(failed.is_empty(), "PORTCULLIS_SEED={seed} fails:{}", failed.join("\n"));
    let reached = reached.0.into_inner().unwrap();
    println!("{reached:#?}");
    let never = reached.iter().find(|(_, times)| **times == 0);
    assert!(never.is_none() || cases < MANY, "it happens in no history: {never:?}");
}
