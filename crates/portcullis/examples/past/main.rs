//! Writes a long past into the state of a house that stands still: `past FOLDER EVENTS GRANTS NOW WHO`.
//!
//! For measuring (`bench/pages.py`). FOLDER is where `portcullis.db` and `audit` are; the house has been open once,
//! and is not now. Grants and their events go through the store's own changes, attempts through the log itself,
//! so that what is measured afterwards is what would be there. NOW is the end of that past; WHO holds some grants.

mod events;
mod grants;

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{PrincipalId, PrincipalKind};
use portcullis_store::{SqliteStore, Store};

use events::{Fault, Past};
use grants::{Grants, TOGETHER};

const DAYS: i64 = 30;

fn main() -> Result<(), Fault> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let [folder, count, grants, now, who] = given.as_slice() else {
        return Err("past FOLDER EVENTS GRANTS NOW WHO".into());
    };
    let (folder, now): (PathBuf, Timestamp) = (folder.into(), now.parse()?);
    let also = PrincipalId { kind: PrincipalKind::User, id: who.as_str().into() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let grants = Grants { count: grants.parse()?, now, also };
    let store = runtime.block_on(SqliteStore::open(&folder.join("portcullis.db")))?;
    let stored = runtime.block_on(grants.write(&store))?;
    let count: u64 = count.parse()?;
    let span = SignedDuration::from_hours(24 * DAYS);
    let step = SignedDuration::from_nanos_i128(span.as_nanos() / i128::from(count.max(1)));
    let past = Past { count, start: now - span, step };
    let marks = past.write(folder.join("audit"), &stored)?;
    runtime.block_on(async {
        for marks in marks.chunks(TOGETHER) {
            store.logged(marks).await?;
        }
        store.close().await;
        Ok(())
    })
}
