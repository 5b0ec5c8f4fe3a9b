//! The log's journals, as each core of the gate writes them.

use std::{io, rc::Rc};

use portcullis_log::{CoreJournal, LogHandle};
use portcullis_model::{Attempt, Outcome, RecordLevel, RefusalsCounted, RequestId};
use portcullis_proxy::ports::{Journal, Journals, RecordBroken, Recorded};

/// Opens the log's journals.
#[derive(Debug)]
pub(crate) struct LogJournals(pub(crate) LogHandle);

#[derive(Debug)]
struct CoreLog(Rc<CoreJournal>);

impl Journals for LogJournals {
    fn open(&self, core: usize) -> io::Result<Rc<dyn Journal>> {
        let journal = self.0.open_journal(core).map_err(io::Error::other)?;
        Ok(Rc::new(CoreLog(journal)))
    }
}

impl Journal for CoreLog {
    fn intent(&self, attempt: &Attempt<'_>, level: RecordLevel) -> Result<Recorded, RecordBroken> {
        let recorded = self.0.intent(attempt, level).map_err(broken)?;
        Ok(Box::pin(async { recorded.await.map_err(broken) }))
    }

    fn outcome(&self, request: RequestId, outcome: &Outcome<'_>) {
        self.0.outcome(request, outcome);
    }

    fn refused(&self, attempt: &Attempt<'_>, outcome: &Outcome<'_>) -> Result<(), RecordBroken> {
        self.0.refused(attempt, outcome).map_err(broken)
    }

    fn counted(&self, refusals: &RefusalsCounted) -> Result<(), RecordBroken> {
        self.0.counted(refusals).map_err(broken)
    }
}

fn broken(_: portcullis_log::RecordBroken) -> RecordBroken {
    RecordBroken
}
