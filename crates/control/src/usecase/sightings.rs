//! Workloads that gates have seen, so that they are listed before they ever ask for anything.
//!
//! Gates tell it in passing and wait for nothing: what they tell is gathered, and written down once a
//! second. A workload is written when it is new, or when its issuer says something else of it than
//! before, and the latter now and then only: two tokens of one workload may differ all the time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{EventType, Principal, PrincipalId};
use portcullis_store::Change;
use tokio::sync::Notify;

use crate::{ControlError, OpContext, core::Core, publisher::Effect, settle::Settlement};

/// How many may wait to be written; beyond that they are seen again later.
const MOST_WAITING: usize = 1024;
/// How many are kept for having been seen only: whoever can have tokens issued under any name must
/// not fill the store.
const MOST_KNOWN: usize = 10_000;
const PAUSE: Duration = Duration::from_secs(1);
/// A workload that changes is written so often at most.
const BETWEEN: SignedDuration = SignedDuration::from_mins(10);

/// What gates have told and is not written yet.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    waiting: Mutex<HashMap<PrincipalId, Arc<Principal>>>,
    told: Notify,
}

/// A gate saw `workload`. Never waits.
pub(crate) fn seen(core: &Core, workload: &Arc<Principal>) {
    let mut waiting = core.sightings.waiting();
    if waiting.len() < MOST_WAITING || waiting.contains_key(&workload.id) {
        waiting.insert(workload.id.clone(), Arc::clone(workload));
        core.sightings.told.notify_one();
    }
}

/// Writes what was seen, for as long as control runs.
pub(crate) async fn run(core: Arc<Core>) {
    let mut written: HashMap<PrincipalId, Timestamp> = HashMap::new();
    loop {
        core.sightings.told.notified().await;
        let told = std::mem::take(&mut *core.sightings.waiting());
        let now = core.now();
        written.retain(|_, at| now.duration_since(*at) < BETWEEN);
        let worth = told.into_values().filter(|seen| {
            let known = core.snapshot().principal(&seen.id).cloned();
            known.is_none_or(|known| known != *seen && !written.contains_key(&seen.id))
        });
        let worth: Vec<_> = worth.collect();
        if let Err(error) = write(&core, &worth, now).await {
            tracing::warn!(%error, workloads = worth.len(), "workloads that were seen are not kept");
        }
        written.extend(worth.into_iter().map(|seen| (seen.id.clone(), now)));
        tokio::time::sleep(PAUSE).await;
    }
}

async fn write(
    core: &Arc<Core>,
    worth: &[Arc<Principal>],
    now: Timestamp,
) -> Result<(), ControlError> {
    if worth.is_empty() {
        return Ok(());
    }
    let room = MOST_KNOWN.saturating_sub(core.publisher.workloads());
    let op = OpContext::system("seen at a gate", now);
    let mut settlement = Settlement::default();
    for seen in worth.iter().take(room) {
        let principal = Principal::clone(seen);
        let mut event = core.event(&op, EventType::WorkloadSeen);
        event.principal = Some(principal.id.clone());
        settlement.changes.push(Change::Record(event));
        settlement.changes.push(Change::SeePrincipal { principal: principal.clone(), at: now });
        settlement.quietly.push(Effect::Principal(principal));
    }
    Ok(core.settle(settlement).await?)
}

impl Sightings {
    fn waiting(&self) -> MutexGuard<'_, HashMap<PrincipalId, Arc<Principal>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
