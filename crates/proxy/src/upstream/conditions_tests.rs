//! Properties of the state machine over random histories, and the cases that people think of.

use portcullis_model::Window;
use portcullis_policy::upstream::{Ejection, UpstreamSource};
use proptest::prelude::*;

use super::*;

/// Something that happens to one of a few instances.
#[derive(Debug, Clone, Copy)]
enum Step {
    Failed(usize, Failure),
    Succeeded(usize),
    Checked(usize, bool),
    Passed(u64),
}

/// A history with the counting that services do around the conditions.
#[derive(Debug)]
struct World {
    conditions: Conditions,
    in_row: Vec<u32>,
    now: u64,
}

fn settings(failures: u32, max_share: u8, panic_below: u8) -> UpstreamSource {
    let ejection = Ejection { failures, max_share, ..Ejection::default() };
    UpstreamSource { ejection, panic_below, ..UpstreamSource::default() }
}

/// The instances, `near` of them in the gate's zone and the last one addressed only if `apart`.
fn world(settings: UpstreamSource, count: usize, near: usize, apart: bool) -> World {
    let place = |at| Condition::new(!(apart && at + 1 == count), at < near);
    let conditions = Conditions::new(settings, (0..count).map(place).collect());
    World { conditions, in_row: vec![0; count], now: 1 }
}

impl World {
    fn step(&mut self, step: Step) {
        match step {
            Step::Failed(at, failure) => {
                self.in_row[at] += 1;
                self.conditions.failed(at, failure, self.in_row[at], self.now);
            }
            Step::Succeeded(at) => self.in_row[at] = 0,
            Step::Checked(at, well) => {
                self.conditions.checked(at, well, self.now);
            }
            Step::Passed(time) => self.now += time,
        }
    }

    fn fail(&mut self, at: usize, times: u32) {
        for _ in 0..times {
            self.step(Step::Failed(at, Failure::Failed));
        }
    }

    fn picks(&self) -> Vec<usize> {
        self.conditions.choice(self.now).picks.into_iter().map(|(at, _)| at).collect()
    }
}

fn steps(count: usize) -> impl Strategy<Value = Vec<Step>> {
    let failure = prop_oneof![Just(Failure::Unreachable), Just(Failure::Failed)];
    let step = prop_oneof![
        4 => (0..count, failure).prop_map(|(at, failure)| Step::Failed(at, failure)),
        2 => (0..count).prop_map(Step::Succeeded),
        2 => (0..count, any::<bool>()).prop_map(|(at, well)| Step::Checked(at, well)),
        2 => (1_u64..20_000).prop_map(Step::Passed),
    ];
    prop::collection::vec(step, 0..120)
}

fn cases() -> ProptestConfig {
    ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn somebody_can_always_be_picked_and_few_are_ejected(
        count in 1_usize..8,
        near in 0_usize..8,
        apart in any::<bool>(),
        failures in 0_u32..4,
        share in 0_u8..=100,
        panic_below in 0_u8..=100,
        steps in steps(7),
    ) {
        let settings = settings(failures, share, panic_below);
        let mut world = world(settings, count, near, apart && count > 1);
        let balanced = if apart && count > 1 { count - 1 } else { count };
        for step in steps {
            let at = match step {
                Step::Failed(at, _) | Step::Succeeded(at) | Step::Checked(at, _) => at,
                Step::Passed(_) => 0,
            };
            if at >= count {
                continue;
            }
            world.step(step);
            let choice = world.conditions.choice(world.now);
            let all: Vec<usize> = (0..count).collect();
            let out = |at: &&usize| world.conditions.is_ejected(**at, world.now);
            let ejected = all.iter().filter(out).count();
            let up = all.iter().filter(|at| **at < balanced && world.conditions.is_up(**at, world.now)).count();
            // Whom the balancer may never pick it never picks, and there is always somebody.
            prop_assert!(!choice.picks.is_empty());
            prop_assert!(choice.picks.iter().all(|(at, share)| *at < balanced && (LEAST..=100).contains(share)));
            // The share of ejected ones is kept, a lone instance and `failures: 0` are never ejected.
            let most = (balanced * usize::from(share) / 100).max(1);
            let may = if balanced > 1 && share > 0 && failures > 0 { most } else { 0 };
            prop_assert!(ejected <= may, "{ejected} of {balanced} are ejected");
            // Panic is when too few are up, and never else.
            prop_assert_eq!(choice.panic, up == 0 || up * 100 < balanced * usize::from(panic_below));
            if choice.panic {
                prop_assert_eq!(choice.picks.len(), balanced);
            } else {
                prop_assert!(choice.picks.iter().all(|(at, _)| world.conditions.is_up(*at, world.now)));
            }
            // A choice holds until the moment that it names.
            let last = choice.until.saturating_sub(1);
            if last > world.now && last < u64::MAX - 1 && !choice.uneven {
                prop_assert_eq!(&world.conditions.choice(last).picks, &choice.picks);
            }
        }
        // Whoever is left alone for long enough is back with its full share.
        for at in 0..count {
            world.step(Step::Checked(at, true));
        }
        world.now += 2 * 300_000;
        let all_near = (0..balanced).all(|at| at < near) || near == 0;
        let choice = world.conditions.choice(world.now);
        prop_assert!(!choice.uneven && (!all_near || choice.picks.len() == balanced));
    }

    #[test]
    fn an_ejection_lasts_at_least_its_time_and_at_most_the_longest(
        times in 1_u32..40,
        pause in 0_u64..30_000,
    ) {
        let mut world = world(settings(1, 50, 0), 2, 0, false);
        for _ in 0..times {
            let begun = world.now;
            world.fail(0, 1);
            prop_assert!(world.conditions.is_ejected(0, begun + 4999));
            prop_assert!(!world.conditions.is_ejected(0, begun + 300_000));
            while world.conditions.is_ejected(0, world.now) {
                world.now += 1000;
            }
            world.now += pause;
        }
    }
}

#[test]
fn failures_in_a_row_eject_and_a_success_between_them_does_not() {
    let mut world = world(settings(3, 50, 0), 3, 0, false);
    world.fail(1, 2);
    world.step(Step::Succeeded(1));
    world.fail(1, 2);
    assert_eq!(world.picks(), [0, 1, 2]);
    world.fail(1, 1);
    assert_eq!(world.picks(), [0, 2]);
    world.now += 5000;
    assert_eq!(world.picks(), [0, 1, 2], "it comes back by itself");
}

#[test]
fn what_cannot_be_reached_is_left_out_at_once() {
    let mut world = world(settings(5, 50, 0), 2, 0, false);
    world.step(Step::Failed(0, Failure::Unreachable));
    assert_eq!(world.picks(), [1]);
    world.step(Step::Failed(1, Failure::Unreachable));
    assert_eq!(world.picks(), [1], "not all of them");
}

#[test]
fn each_ejection_is_longer_and_good_times_are_remembered() {
    let mut world = world(settings(1, 50, 0), 2, 0, false);
    let mut lasted = Vec::new();
    for _ in 0..8 {
        let begun = world.now;
        world.fail(0, 1);
        while world.conditions.is_ejected(0, world.now) {
            world.now += 1000;
        }
        lasted.push((world.now - begun) / 1000);
    }
    assert_eq!(lasted, [5, 10, 20, 40, 80, 160, 300, 300]);
    world.now += 7 * 300_000;
    let begun = world.now;
    world.fail(0, 1);
    assert!(!world.conditions.is_ejected(0, begun + 10_000), "it was fine for long");
}

#[test]
fn who_comes_back_gets_more_by_and_by() {
    let mut world = world(settings(1, 50, 0), 2, 0, false);
    world.fail(0, 1);
    world.now += 5000;
    let mut shares = Vec::new();
    for _ in 0..5 {
        shares.push(world.conditions.choice(world.now).picks[0].1);
        world.now += 2500;
    }
    assert_eq!(shares, [10, 25, 50, 75, 100]);
}

#[test]
fn who_recovers_while_it_is_left_out_gets_more_by_and_by_only_once_it_is_back() {
    let mut settings = settings(1, 50, 0);
    settings.ejection.time = Window::minutes(1);
    let mut world = world(settings, 2, 0, false);
    let back = world.now + 60_000;
    world.fail(0, 1);
    world.step(Step::Checked(0, false));
    world.now += 1000;
    let condition = world.conditions.of(0).unwrap();
    assert!(condition.is_ejected(world.now));
    let unchecked = condition.unchecked(world.now);
    world.step(Step::Checked(0, true));
    world.now = back;
    assert_eq!(world.conditions.choice(back).picks, [(0, 10), (1, 100)]);
    assert_eq!(unchecked.share(back, 10_000), 10, "nor does the end of its checks use that up");
}

#[test]
fn the_zone_is_kept_to_while_enough_of_it_is_up() {
    let mut world = world(settings(1, 100, 0), 6, 4, false);
    assert_eq!(world.picks(), [0, 1, 2, 3]);
    world.fail(0, 1);
    world.fail(1, 1);
    assert_eq!(world.picks(), [2, 3], "half of them is enough");
    world.fail(2, 1);
    assert_eq!(world.picks(), [3, 4, 5], "fewer are not");
    world.now += 5000;
    assert_eq!(world.picks(), [0, 1, 2, 3]);
}

#[test]
fn health_checks_take_out_whatever_the_share_until_too_few_are_left() {
    let mut world = world(settings(5, 10, 25), 4, 0, false);
    for at in 0..3 {
        world.step(Step::Checked(at, false));
    }
    assert_eq!(world.picks(), [3]);
    world.step(Step::Checked(3, false));
    assert_eq!(world.picks(), [0, 1, 2, 3], "panic: all of them");
    assert!(world.conditions.choice(world.now).panic);
    world.step(Step::Checked(2, true));
    assert_eq!(world.picks(), [2]);
}
