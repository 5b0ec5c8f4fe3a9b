//! What is not an entry of the record and has to be looked at now and then: the record itself, and
//! certificates.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc::Sender,
    time::{Instant, sleep},
};

use super::{LooksFor, RecordTrouble, Surroundings, firing, firing::Finding};
use crate::core::Core;

const TICK: Duration = Duration::from_secs(1);
/// Between two looks at certificates.
const CERTIFICATES: Duration = Duration::from_mins(1);
/// Bundles that one look at the record proves, beside the newest.
const BUNDLES: usize = 16;
/// So many seconds on end: what ends by itself is no alert.
const LASTS: u32 = 3;
/// And so many later it is said again; the cool-down of the rule is for it to judge.
const STILL: u32 = 60;

/// Looks, until aborted; tells which rule found what.
pub(super) async fn run(
    core: Arc<Core>,
    around: Arc<dyn Surroundings>,
    tell: Sender<(usize, Finding)>,
) {
    let rules: Vec<_> = core.alerts.rules().iter().map(|rule| rule.looks_for.clone()).collect();
    let mut due: Vec<Instant> = vec![Instant::now(); rules.len()];
    let mut broken = 0;
    loop {
        sleep(TICK).await;
        let wrong = core.outbox.is_broken() || core.log.size().await.is_err();
        broken = if wrong { broken + 1 } else { 0 };
        for (index, (looks_for, due)) in rules.iter().zip(&mut due).enumerate() {
            let findings = match looks_for {
                LooksFor::Record { .. }
                    if broken >= LASTS && (broken - LASTS).is_multiple_of(STILL) =>
                {
                    let why =
                        "the record cannot be written or read; the log of this process says why";
                    vec![firing::record(&RecordTrouble::Stopped(why.to_owned()))]
                }
                LooksFor::Record { every } if *due <= Instant::now() => {
                    *due = Instant::now() + every.get();
                    let mut numbers = [[0; 8]; BUNDLES];
                    for bytes in &mut numbers {
                        core.entropy.fill(bytes);
                    }
                    let numbers = numbers.into_iter().map(u64::from_le_bytes).collect();
                    let wrong = around.verify(numbers).await.err();
                    wrong.iter().map(firing::record).collect()
                }
                LooksFor::Certificate { within } if *due <= Instant::now() => {
                    *due = Instant::now() + CERTIFICATES;
                    let now = core.now();
                    let mut ends = around.certificates().await;
                    ends.retain(|end| end.at.duration_since(now) <= within.signed());
                    ends.iter().map(|end| firing::certificate(end, now)).collect()
                }
                _ => continue,
            };
            for finding in findings {
                if tell.send((index, finding)).await.is_err() {
                    return;
                }
            }
        }
    }
}
