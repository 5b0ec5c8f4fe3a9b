//! How fast the record is: measurements, which mean something in a release build only.
//!
//! `cargo test --release -p portcullis-log --test pace -- --ignored --nocapture`

#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a measurement that fails should stop where it does"
)]

mod support;

use std::time::{Duration, Instant};

use portcullis_model::{Attempt, PolicyId, PrincipalId, PrincipalKind, RecordLevel};
use rustix::time::{ClockId, clock_gettime};
use support::{attempt, on_core, open, outcome, verified};

/// Attempts with an outcome, as the gate writes them.
const LEAVES: u128 = 1_000_000;

#[test]
#[ignore = "a measurement"]
fn leaves_a_second_and_the_time_to_verify_a_million() {
    let home = tempfile::tempdir().unwrap();
    let log = open(home.path());
    let (handle, health) = (log.handle(), log.handle().health());
    let begun = Instant::now();
    on_core(async {
        let journal = handle.open_journal(0).unwrap();
        for n in 0..LEAVES {
            while journal.refused(&attempt(n, "/v1/refunds/17"), &outcome(403)).is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if n % 256 == 0 {
                tokio::time::sleep(Duration::from_micros(1)).await;
            }
        }
        while u128::from(health.size()) < LEAVES {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let took = begun.elapsed().as_secs_f64();
    println!("leaves a second, written, sequenced and signed: {:.0}", LEAVES as f64 / took);
    let segments = u64::try_from(LEAVES / 65_536).unwrap();
    while health.sealed() < segments {
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("sealed after {:.1} s", begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    let size = verified(home.path(), None).unwrap().size;
    println!("{size} entries verified in {:.2} s", begun.elapsed().as_secs_f64());
    assert!(u128::from(size) >= LEAVES);
}

/// CPU of this thread so far, microseconds.
fn spent() -> f64 {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    spent.tv_sec as f64 * 1e6 + spent.tv_nsec as f64 / 1e3
}

/// Intent, waiting for it, and outcome, at the standard level: what the record takes of the thread that requests go
/// through, with as many in one tick as there are at a low and at a high load.
#[test]
#[ignore = "a measurement"]
fn what_an_attempt_costs_the_thread_of_requests() {
    const ATTEMPTS: u128 = 300_000;
    let principal = PrincipalId::new(PrincipalKind::User, "corp", "ana");
    let (service, operation) =
        ("payments".parse().unwrap(), "payments.createRefund".parse().unwrap());
    let policies: Vec<PolicyId> = vec!["payments.refund.oncall".parse().unwrap()];
    let made = |n| Attempt {
        principal: Some(&principal),
        auth_method: Some("sign_in"),
        service: Some(&service),
        operation: Some(&operation),
        policies: &policies,
        ..attempt(n, "/v1/refunds/17")
    };
    for together in [1, 16, 64] {
        let home = tempfile::tempdir().unwrap();
        let log = open(home.path());
        on_core(async {
            let journal = log.handle().open_journal(0).unwrap();
            let before = spent();
            for first in (0..ATTEMPTS).step_by(together) {
                let these = first..first + together as u128;
                let intents =
                    these.clone().map(|n| journal.intent(&made(n), RecordLevel::Standard));
                for recorded in intents.collect::<Vec<_>>() {
                    recorded.unwrap().await.unwrap();
                }
                for n in these {
                    journal.outcome(made(n).request, &outcome(200));
                }
            }
            let each = (spent() - before) / ATTEMPTS as f64;
            println!("{together} attempts in a tick: {each:.2} us of the thread for each");
        });
    }
}
