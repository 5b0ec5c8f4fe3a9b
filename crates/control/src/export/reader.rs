//! Reads the log for one sink and brings what it finds there, over and over.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{Event, EventType};
use portcullis_store::{Change, ExportChange, ExportCursor};
use tokio::time::{Instant, sleep, timeout};

use super::{Export, Outgoing, form};
use crate::{
    ControlError, OpContext,
    core::Core,
    ports::NotDelivered,
    settle::{Settlement, Unsettled},
    usecase::{record::scan, undelivered},
};

/// Entries that are looked at in one go, one bundle of the log.
const PAGE: usize = 256;
/// How often the end of the log is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Entries that a sink does not want are stepped over so many at a time before it is written down.
const STEP: u64 = 4096;
/// And so often, if nothing else is to be written down.
const WRITE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// A message that is refused for good is sent so often: whoever changes a receiver has a moment.
const MOST_REFUSALS: u32 = 3;
/// However long a sink says that it takes.
const LONGEST_DELIVERY: Duration = Duration::from_mins(1);

type Result<T> = std::result::Result<T, ControlError>;

/// Why a page did not arrive.
enum Trouble {
    /// The sink's own, and how long it wants to be left alone.
    Sink(String, SignedDuration),
    /// Ours: it is no failure of the sink.
    Own(ControlError),
}

impl<E: Into<ControlError>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Own(error.into())
    }
}

struct Reader {
    core: Arc<Core>,
    export: Export,
    cursor: ExportCursor,
    /// Where the cursor is in the store.
    stored: u64,
    written: Instant,
    /// What was to be on record may be there or not.
    unsure: bool,
    /// How often the message at the head was not taken, and how often of these for good.
    tries: (u32, u32),
    /// What was gathered from behind the cursor, for a sink that gathers.
    gathered: Gathered,
}

/// What waits for a sink, read once however often it is brought.
#[derive(Default)]
struct Gathered {
    batch: Vec<Outgoing>,
    /// As far as the log was read for it.
    next: u64,
}

/// Reads for one sink until aborted.
pub(crate) async fn run(core: Arc<Core>, export: Export) {
    let mut pause = FIRST_PAUSE;
    let mut reader = loop {
        match Reader::begin(&core, &export).await {
            Ok(reader) => break reader,
            Err(error) => tracing::error!(sink = export.spec.name, %error, "a sink cannot begin"),
        }
        sleep(jittered(&core, pause)).await;
        pause = longer(pause);
    };
    loop {
        match reader.page().await {
            Ok(waits) => {
                pause = FIRST_PAUSE;
                sleep(waits).await;
            }
            Err(trouble) => {
                if let Trouble::Sink(_, rest) = &trouble {
                    export.standing.rests(*rest);
                }
                reader.failed(trouble).await;
                sleep(jittered(&core, pause)).await;
                pause = longer(pause);
            }
        }
    }
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).min(LONGEST_PAUSE)
}

/// Half of `pause`, and up to as much again: sinks that failed together do not come back together.
fn jittered(core: &Core, pause: Duration) -> Duration {
    let mut byte = [0];
    core.entropy.fill(&mut byte);
    pause / 2 + pause * u32::from(byte[0]) / 512
}

/// Where `reader` goes on; one that is new begins at the oldest entry, or behind the newest.
pub(crate) async fn cursor(
    core: &Core,
    reader: &str,
    from_the_beginning: bool,
) -> Result<ExportCursor> {
    if let Some(cursor) = core.store.export_cursor(reader).await? {
        return Ok(cursor);
    }
    let next = if from_the_beginning {
        // As far as there is one.
        scan::kept_from(core).await.map_err(unreadable)?
    } else {
        core.log.size().await.map_err(unreadable)?
    };
    let cursor = ExportCursor { reader: reader.to_owned(), next, said: false };
    let begin = ExportChange::Begin(cursor.clone());
    core.store.commit(vec![Change::Export(Box::new(begin))]).await?;
    Ok(cursor)
}

impl Reader {
    async fn begin(core: &Arc<Core>, export: &Export) -> Result<Self> {
        let spec = &export.spec;
        let cursor = cursor(core, &spec.reader(), spec.from_the_beginning).await?;
        export.standing.state().next = cursor.next;
        let stored = cursor.next;
        let (core, export) = (Arc::clone(core), export.clone());
        let written = Instant::now();
        Ok(Self {
            core,
            export,
            cursor,
            stored,
            written,
            unsure: false,
            tries: (0, 0),
            gathered: Gathered::default(),
        })
    }

    /// Brings what is in the next page of the log; says how long to wait before the one after it.
    async fn page(&mut self) -> std::result::Result<Duration, Trouble> {
        let size = self.core.log.size().await.map_err(unreadable)?;
        self.export.standing.state().behind = size.saturating_sub(self.cursor.next);
        if self.cursor.next > size {
            let why = format!(
                "the record has {size} entries, and {} were passed on: it was cut or set back; `portcullis audit verify` says more",
                self.cursor.next
            );
            return Err(Trouble::Sink(why, SignedDuration::ZERO));
        }
        if self.cursor.next == size {
            self.is_well();
            let is_due = self.stored < self.cursor.next && self.written.elapsed() >= WRITE;
            self.write_down(self.cursor.said || is_due).await?;
            return Ok(LOOK);
        }
        if self.export.spec.sink.gathers() {
            return self.gather(size).await;
        }
        let most = self.export.spec.sink.most();
        let page = self.core.log.entries(self.cursor.next, PAGE).await.map_err(unreadable)?;
        let Some(last) = page.last().map(|entry| entry.position) else { return Ok(LOOK) };
        self.say_what_is_gone(page.first().map(|entry| entry.position));
        let mut batch: Vec<Outgoing> = Vec::new();
        for entry in &page {
            batch.extend(form::outgoing(&self.export.spec, entry));
            if batch.len() == most {
                self.bring_in_time(&batch, entry.position + 1).await?;
                batch.clear();
            }
        }
        self.bring_in_time(&batch, last + 1).await?;
        Ok(Duration::ZERO)
    }

    /// The same as `bring`, and then a pause for as long as so many take: nobody gets a page at once.
    async fn bring_in_time(
        &mut self,
        batch: &[Outgoing],
        next: u64,
    ) -> std::result::Result<(), Trouble> {
        let begun = Instant::now();
        self.bring(batch, next).await?;
        sleep(self.export.spec.time_of(batch.len()).saturating_sub(begun.elapsed())).await;
        Ok(())
    }

    /// Brings what waits in one go, as far as a sink takes it, whatever else lies between.
    async fn gather(&mut self, size: u64) -> std::result::Result<Duration, Trouble> {
        let begun = Instant::now();
        let most = self.export.spec.sink.most();
        if self.gathered.next < self.cursor.next {
            self.gathered = Gathered { batch: Vec::new(), next: self.cursor.next };
        }
        while self.gathered.next < size && self.gathered.batch.len() < most {
            let page = self.core.log.entries(self.gathered.next, PAGE).await.map_err(unreadable)?;
            if page.is_empty() && self.gathered.batch.is_empty() {
                return Ok(LOOK);
            }
            if page.is_empty() {
                break;
            }
            if self.gathered.next == self.cursor.next {
                self.say_what_is_gone(page.first().map(|entry| entry.position));
            }
            for entry in &page {
                self.gathered.batch.extend(form::outgoing(&self.export.spec, entry));
                self.gathered.next = entry.position + 1;
                if self.gathered.batch.len() == most {
                    break;
                }
            }
            if self.gathered.batch.is_empty() {
                self.bring(&[], self.gathered.next).await?;
            }
        }
        // What does not arrive stays gathered.
        let Gathered { batch, next } = std::mem::take(&mut self.gathered);
        let brought = self.bring(&batch, next).await;
        let count = batch.len();
        let batch = if brought.is_ok() { Vec::new() } else { batch };
        self.gathered = Gathered { batch, next };
        brought?;
        Ok(self.export.spec.time_of(count).saturating_sub(begun.elapsed()))
    }

    /// A sink that nobody named in the configuration for long has not held retention up.
    fn say_what_is_gone(&self, first: Option<u64>) {
        let (sink, from) = (&self.export.spec.name, self.cursor.next);
        if let Some(to) = first.filter(|first| *first > from) {
            tracing::warn!(
                sink,
                from,
                to,
                "entries before `to` were removed by retention: it never gets them"
            );
        }
    }

    async fn bring(&mut self, batch: &[Outgoing], next: u64) -> std::result::Result<(), Trouble> {
        if batch.is_empty() {
            self.came_to(next);
            return Ok(self.write_down(next - self.stored >= STEP).await?);
        }
        // It may have said so to whoever sent something again, too.
        while let Some(rest) = self.export.standing.rest() {
            sleep(rest).await;
        }
        let delivered = timeout(LONGEST_DELIVERY, self.export.spec.sink.deliver(batch)).await;
        match delivered {
            Ok(Ok(())) => {}
            Ok(Err(trouble)) => return self.not_taken(batch, next, trouble).await,
            Err(_) => {
                return self.not_taken(batch, next, NotDelivered::yet("it does not answer")).await;
            }
        }
        self.tries = (0, 0);
        self.came_to(next);
        {
            let mut state = self.export.standing.state();
            state.passed_over = None;
            state.delivered += batch.len() as u64;
            state.delivered_at = Some(self.core.now());
        }
        Ok(self.write_down(true).await?)
    }

    /// What is not taken waits at the head, unless this receiver's messages are set aside and this one's time is
    /// over.
    async fn not_taken(
        &mut self,
        batch: &[Outgoing],
        next: u64,
        NotDelivered { why, again, rest, .. }: NotDelivered,
    ) -> std::result::Result<(), Trouble> {
        self.tries = (self.tries.0.saturating_add(1), self.tries.1 + u32::from(!again));
        let (Some(keeps_trying), [message]) = (self.export.spec.sets_aside, batch) else {
            return Err(Trouble::Sink(why, rest.unwrap_or_default()));
        };
        let now = self.core.now();
        let is_old = lasted(message.time, now, keeps_trying.signed());
        if !is_old && self.tries.1 < MOST_REFUSALS {
            return Err(Trouble::Sink(why, rest.unwrap_or_default()));
        }
        self.set_aside(message, next, &why, rest).await?;
        // One that is down is asked for each of them, further and further apart.
        if again { Err(Trouble::Sink(why, rest.unwrap_or_default())) } else { Ok(()) }
    }

    /// Sets `message` aside and goes on behind it: both, or neither.
    async fn set_aside(
        &mut self,
        message: &Outgoing,
        next: u64,
        why: &str,
        rest: Option<SignedDuration>,
    ) -> std::result::Result<(), Trouble> {
        let op = OpContext::system("export", self.core.now());
        let receiver = self.export.spec.reader();
        let mut event = self.core.event(&op, EventType::DeliverySetAside);
        event.detail = Some(format!("{receiver}: {} {}: {why}", message.kind, message.id));
        let aside =
            undelivered::event(&self.core, &op, receiver, message, self.tries.0, why.to_owned());
        let cursor = ExportCursor { next, ..self.cursor.clone() };
        let advance = ExportChange::Advance { cursor: cursor.clone(), seen: self.stored };
        let changes = vec![Change::Export(Box::new(advance)), aside, Change::Record(event)];
        match self.core.settle(Settlement { changes, ..Settlement::default() }).await {
            Ok(()) => {}
            Err(Unsettled::Conflict) => {
                self.unsure = true;
                let full = format!(
                    "{why}; and {} of its messages are set aside already: send them again or drop them, and it goes on",
                    undelivered::MOST_OF_ONE
                );
                return Err(Trouble::Sink(full, rest.unwrap_or_default()));
            }
            Err(error) => {
                self.unsure = true;
                return Err(Trouble::Own(error.into()));
            }
        }
        self.tries = (0, 0);
        self.cursor = cursor;
        self.stored = next;
        self.written = Instant::now();
        // It is not well for that: what is said of it stays.
        let mut state = self.export.standing.state();
        let since = state.passed_over.take().map_or(op.now(), |(since, _)| since);
        state.passed_over = Some((since, why.to_owned()));
        state.behind = state.behind.saturating_sub(next.saturating_sub(state.next));
        state.next = next;
        Ok(())
    }

    fn came_to(&mut self, next: u64) {
        self.cursor.next = next;
        let mut state = self.export.standing.state();
        state.behind = state.behind.saturating_sub(next.saturating_sub(state.next));
        state.next = next;
        drop(state);
        self.is_well();
    }

    /// What could not be brought or read stood before what now is behind: it is over.
    fn is_well(&self) {
        let mut state = self.export.standing.state();
        state.failing_since = None;
        state.trouble = None;
    }

    /// Moves the cursor in the store; with it, what is on record about the sink is put right.
    async fn write_down(&mut self, is_worth_it: bool) -> Result<()> {
        if !is_worth_it {
            return Ok(());
        }
        let recovered = self.cursor.said && self.export.standing.state().trouble.is_none();
        let event =
            recovered.then(|| self.event(EventType::ExportRecovered, "it takes events again"));
        self.cursor.said &= !recovered;
        self.commit(event).await
    }

    async fn commit(&mut self, event: Option<Event>) -> Result<()> {
        let advance = ExportChange::Advance { cursor: self.cursor.clone(), seen: self.stored };
        let mut changes = vec![Change::Export(Box::new(advance))];
        changes.extend(event.map(Change::Record));
        // With an event it takes the way of all events; without one, nobody else has to know.
        if changes.len() == 1 {
            self.core.store.commit(changes).await?;
        } else {
            self.core.settle(Settlement { changes, ..Settlement::default() }).await?;
        }
        self.stored = self.cursor.next;
        self.written = Instant::now();
        Ok(())
    }

    /// It did not arrive. That goes on record once, when it has lasted.
    async fn failed(&mut self, trouble: Trouble) {
        let name = self.export.spec.name.clone();
        let why = match trouble {
            Trouble::Sink(why, _) => why,
            Trouble::Own(error) => {
                tracing::error!(sink = name, %error, "a sink waits for the store or the record");
                self.look_again().await;
                return;
            }
        };
        let now = self.core.now();
        let (since, is_news) = {
            let mut state = self.export.standing.state();
            state.failures += 1;
            let is_news = state.trouble.as_ref() != Some(&why);
            state.trouble = Some(why.clone());
            (*state.failing_since.get_or_insert(now), is_news)
        };
        if is_news {
            tracing::warn!(sink = name, %why, "events do not arrive, and are sent again");
        }
        if self.unsure {
            self.look_again().await;
        }
        let lasted = lasted(since, now, self.export.spec.failing_after.signed());
        if !self.cursor.said && !self.unsure && lasted {
            self.cursor.said = true;
            let event = self.event(EventType::ExportFailing, &why);
            if let Err(error) = self.commit(Some(event)).await {
                self.cursor.said = false;
                self.unsure = true;
                tracing::error!(sink = self.export.spec.name, %error, "it cannot be put on record");
            }
        }
    }

    /// A commit whose answer was lost may have happened: the store knows where we are.
    async fn look_again(&mut self) {
        if let Ok(Some(cursor)) = self.core.store.export_cursor(&self.cursor.reader).await {
            self.stored = cursor.next;
            self.export.standing.state().next = cursor.next;
            self.cursor = cursor;
            self.unsure = false;
        }
    }

    fn event(&self, kind: EventType, what: &str) -> Event {
        let op = OpContext::system("export", self.core.now());
        let mut event = self.core.event(&op, kind);
        let spec = &self.export.spec;
        let behind = self.export.standing.state().behind;
        event.detail = Some(format!(
            "{} at {}: {what}; {behind} entries of the record wait",
            spec.reader(),
            spec.place
        ));
        event
    }
}

fn lasted(since: Timestamp, now: Timestamp, long: SignedDuration) -> bool {
    now.duration_since(since) >= long
}

fn unreadable(_: crate::ports::LogUnavailable) -> ControlError {
    ControlError::Unavailable("the record cannot be read".into())
}
