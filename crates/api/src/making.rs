//! Files that are put together in memory while somebody waits for them: a few at one time, each of bounded size, so
//! that those who ask for them cannot take the memory of those who come to the gates.

use std::sync::Arc;

use portcullis_control::ControlError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Evidence packs at one time. One is all in memory, some hundred megabytes at the most.
const PACKS: usize = 2;
/// Parquet files at one time. Of one, a row group is in memory, some tens of megabytes.
const TABLES: usize = 4;
const AGAIN: u32 = 30;

/// How many may be under way.
#[derive(Debug)]
pub struct Making {
    packs: Arc<Semaphore>,
    tables: Arc<Semaphore>,
}

/// One that is: it counts until it is dropped, which is when the last byte is on its way.
#[derive(Debug)]
pub(crate) struct Turn {
    _place: OwnedSemaphorePermit,
}

impl Default for Making {
    fn default() -> Self {
        let of = |most| Arc::new(Semaphore::new(most));
        Self { packs: of(PACKS), tables: of(TABLES) }
    }
}

impl Making {
    /// Begins an evidence pack, unless there are enough.
    pub(crate) fn pack(&self) -> Result<Turn, ControlError> {
        turn(&self.packs, PACKS, "evidence packs")
    }

    /// Begins a Parquet file, unless there are enough.
    pub(crate) fn table(&self) -> Result<Turn, ControlError> {
        turn(&self.tables, TABLES, "Parquet files")
    }
}

fn turn(places: &Arc<Semaphore>, most: usize, what: &str) -> Result<Turn, ControlError> {
    let place = Arc::clone(places).try_acquire_owned();
    place.map(|place| Turn { _place: place }).map_err(|_| ControlError::Limited {
        message: format!(
            "{most} {what} are being made already; try again when one of them is done"
        ),
        retry_after: AGAIN,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_a_few_wait_until_one_is_done() {
        let making = Making::default();
        let mut turns: Vec<_> = (0..PACKS).map(|_| making.pack().unwrap()).collect();
        assert!(matches!(making.pack(), Err(ControlError::Limited { .. })));
        let _other = making.table().unwrap();
        turns.pop();
        turns.push(making.pack().unwrap());
    }
}
