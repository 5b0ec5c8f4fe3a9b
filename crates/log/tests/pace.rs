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
