//! Follows the record and asks the rules.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{AlertNote, Event};
use portcullis_store::{Change, ExportChange, ExportCursor, StoredFiring};
use tokio::{
    sync::mpsc::{self, Receiver},
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    LooksFor, RecordTrouble, Rule,
    denials::Counted,
    firing::{self, Finding},
    habits::Habits,
    leaf::Leaf,
    rounds,
};
use crate::{
    ControlError,
    core::Core,
    export::{self, Form, form},
    ports::LogEntry,
    settle::Settlement,
};

pub(crate) const READER: &str = "alerts";
const PAGE: usize = 1024;
const LOOK: Duration = Duration::from_millis(250);
const RETRY: Duration = Duration::from_secs(1);
/// Entries in which nothing happens are stepped over so many at a time before it is written down.
const STEP: u64 = 4096;
/// And so often, if nothing else happens.
const WRITE: Duration = Duration::from_secs(10);
/// Entries before the cursor whose refusals may still count after a restart, and how they are gone back over.
const WARM: u64 = 65_536;
const BACK: u64 = 4096;
const FORGET: Duration = Duration::from_mins(10);
const MOST_FIRINGS: usize = 10_000;
/// Alerts that wait for the store to be put on record; more were told, and are not.
const MOST_UNSAID: usize = 100;
/// How often something that cannot be put on record is tried to be told.
const TRIES: u32 = 30;

type Result<T> = std::result::Result<T, ControlError>;

/// Watches until aborted.
pub(crate) async fn run(core: Arc<Core>) {
    let Some(around) = core.alerts.around.clone() else { return };
    let (tell, mut found) = mpsc::channel(64);
    let mut rounds = JoinSet::new();
    rounds.spawn(rounds::run(Arc::clone(&core), around, tell));
    let mut unsaid = Unsaid::default();
    loop {
        // What went wrong may have left more here than in the store: it is read anew.
        let ended = match Watch::begin(&core, &mut unsaid).await {
            Ok(mut watch) => watch.go_on(&mut found, &mut rounds, &mut unsaid).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::error!(%error, "alert rules wait for the store or the record");
        }
        // What may keep us from going on is told all the same.
        while let Ok((index, finding)) = found.try_recv() {
            let Some(rule) = core.alerts.rules().get(index) else { continue };
            if finding.directly && !unsaid.was_lately(&core, rule, &finding) {
                let event = finding.event(&core, rule, 0);
                directly(&core, &finding, &event, &mut rounds);
                unsaid.keep(rule, event);
            }
        }
        sleep(RETRY).await;
    }
}

/// What was told directly and may not be on record yet.
#[derive(Debug, Default)]
struct Unsaid {
    events: Vec<Event>,
    lately: HashMap<(String, String), Timestamp>,
}

impl Unsaid {
    /// Whether the same was told within the cool-down.
    fn was_lately(&self, core: &Core, rule: &Rule, finding: &Finding) -> bool {
        let told = self.lately.get(&(rule.name.clone(), firing::key(&finding.about)));
        told.is_some_and(|told| core.now().duration_since(*told) < rule.cool_down.signed())
    }

    fn keep(&mut self, rule: &Rule, event: Event) {
        let Some(note) = &event.alert else { return };
        let lasts = |told: &Timestamp| event.time.duration_since(*told) < rule.cool_down.signed();
        self.lately.retain(|(other, _), told| *other != rule.name || lasts(told));
        self.lately.insert(key_of(note), event.time);
        if self.events.len() < MOST_UNSAID {
            self.events.push(event);
        }
    }
}

fn key_of(note: &AlertNote) -> (String, String) {
    (note.rule.clone(), note.about.clone())
}

struct Watch {
    core: Arc<Core>,
    cursor: ExportCursor,
    stored: u64,
    written: Instant,
    counted: Vec<Counted>,
    habits: Habits,
    firings: HashMap<(String, String), StoredFiring>,
    changes: Vec<Change>,
    fired: Vec<Event>,
}

impl Watch {
    async fn begin(core: &Arc<Core>, unsaid: &mut Unsaid) -> Result<Self> {
        // What happened before there were rules is history.
        let cursor = export::cursor(core, READER, false).await?;
        let firings = core.store.firings().await?.into_iter();
        let mut watch = Self {
            core: Arc::clone(core),
            stored: cursor.next,
            written: Instant::now(),
            cursor,
            counted: core.alerts.rules().iter().map(|_| Counted::default()).collect(),
            habits: Habits::of(core.store.habits().await?),
            firings: firings.map(|one| ((one.rule.clone(), one.about.clone()), one)).collect(),
            changes: Vec::new(),
            fired: Vec::new(),
        };
        watch.warm_up().await?;
        watch.catch_up(unsaid);
        Ok(watch)
    }

    /// Refusals before the cursor count, and fire nothing again.
    async fn warm_up(&mut self) -> Result<()> {
        let Some(mut from) = self.warm_from().await? else { return Ok(()) };
        while from < self.cursor.next {
            let page = self.core.log.entries(from, PAGE).await.map_err(unreadable)?;
            let Some(last) = page.last() else { return Ok(()) };
            let before = self.cursor.next;
            for leaf in page.iter().filter(|e| e.position < before).filter_map(Leaf::of) {
                let _fired_before = self.count(&leaf);
            }
            from = last.position + 1;
        }
        Ok(())
    }

    /// Where the longest window begins that the newest entry before the cursor is in.
    async fn warm_from(&self) -> Result<Option<u64>> {
        let windows = self.core.alerts.rules().iter().filter_map(|rule| match &rule.looks_for {
            LooksFor::Denials { within, .. } => Some(within.signed()),
            _ => None,
        });
        let (Some(longest), next) = (windows.max(), self.cursor.next) else { return Ok(None) };
        let Some(newest) = self.time_of(next.saturating_sub(1)).await? else { return Ok(None) };
        let mut from = next;
        while from > 0 && next - from < WARM {
            from = from.saturating_sub(BACK);
            let time = self.time_of(from).await?;
            if time.is_none_or(|time| newest.duration_since(time) > longest) {
                break;
            }
        }
        Ok(Some(from))
    }

    async fn time_of(&self, position: u64) -> Result<Option<Timestamp>> {
        let entries = self.core.log.entries(position, 1).await.map_err(unreadable)?;
        Ok(entries.first().and_then(Leaf::of).map(|leaf| leaf.time))
    }

    /// What was told while it could not be put on record is put there now, under the same ids.
    fn catch_up(&mut self, unsaid: &mut Unsaid) {
        // An answer that was lost may have been that it is there.
        unsaid.events.retain(|event| {
            let before = event.alert.as_ref().and_then(|note| self.firings.get(&key_of(note)));
            let to_the_store = |at: Timestamp| at.as_microsecond();
            before.is_none_or(|one| to_the_store(one.fired_at) < to_the_store(event.time))
        });
        for event in &unsaid.events {
            let Some(note) = &event.alert else { continue };
            let (rule, about) = key_of(note);
            let firing = StoredFiring { rule, about, fired_at: event.time, suppressed: 0 };
            self.changes.push(Change::Export(Box::new(ExportChange::Fired(firing.clone()))));
            self.changes.push(Change::Record(event.clone()));
            self.fired.push(event.clone());
            self.firings.insert(key_of(note), firing);
        }
    }

    /// A record that is shorter than what was read of it was cut or replaced; rules would be blind until it
    /// has grown as long again.
    async fn set_back(&mut self, tasks: &mut JoinSet<()>, unsaid: &mut Unsaid) -> Result<()> {
        let size = self.core.log.size().await.map_err(unreadable)?;
        if self.cursor.next <= size {
            return Ok(());
        }
        let why = format!(
            "the record was cut or set back: it has {size} entries, and rules were asked about {}",
            self.cursor.next
        );
        tracing::error!("{why}");
        let core = Arc::clone(&self.core);
        for (index, rule) in core.alerts.rules().iter().enumerate() {
            if matches!(rule.looks_for, LooksFor::Record { .. }) {
                let finding = firing::record(&RecordTrouble::Changed(why.clone()));
                self.fire(index, &finding, tasks, unsaid);
            }
        }
        self.cursor.next = size;
        Ok(())
    }

    async fn go_on(
        &mut self,
        found: &mut Receiver<(usize, Finding)>,
        tasks: &mut JoinSet<()>,
        unsaid: &mut Unsaid,
    ) -> Result<()> {
        let mut forget = Instant::now();
        loop {
            while let Ok((index, finding)) = found.try_recv() {
                self.fire(index, &finding, tasks, unsaid);
            }
            if forget <= Instant::now() {
                self.forget();
                forget = Instant::now() + FORGET;
            }
            let page = self.core.log.entries(self.cursor.next, PAGE).await.map_err(unreadable)?;
            for entry in &page {
                self.ask(entry, tasks, unsaid);
                self.cursor.next = entry.position + 1;
            }
            if page.is_empty() {
                self.set_back(tasks, unsaid).await?;
            }
            self.commit(page.is_empty()).await?;
            unsaid.events.clear();
            while tasks.try_join_next().is_some() {}
            if page.len() < PAGE {
                sleep(LOOK).await;
            }
        }
    }

    /// Asks every rule about one entry.
    fn ask(&mut self, entry: &LogEntry, tasks: &mut JoinSet<()>, unsaid: &mut Unsaid) {
        let Some(mut leaf) = Leaf::of(entry) else { return };
        let core = Arc::clone(&self.core);
        let around = core.alerts.around.as_ref();
        let countries = core.alerts.rules().iter();
        let asks = |rule: &Rule| matches!(rule.looks_for, LooksFor::NewCountry(_));
        if leaf.country.is_none() && countries.clone().any(asks) {
            leaf.country = leaf.source.and_then(|source| around?.country(source));
        }
        let mut findings = self.count(&leaf);
        for (index, rule) in core.alerts.rules().iter().enumerate() {
            let finding = match &rule.looks_for {
                LooksFor::Emergency => {
                    let is_one = ["emergency_opened", "sealed_used"].contains(&leaf.kind.as_str());
                    is_one.then(|| firing::emergency(&leaf))
                }
                LooksFor::SinkFailing => {
                    (leaf.kind == "export_failing").then(|| firing::sink_failing(&leaf))
                }
                LooksFor::NewCountry(memory) => country_of(&leaf).and_then(|(who, country)| {
                    let unusual =
                        self.habits.is_unusual("country", who, country, leaf.time, *memory);
                    unusual.then(|| firing::new_country(&leaf, who, country))
                }),
                LooksFor::UnusualOperation(memory) => leaf.done().and_then(|(who, operation)| {
                    let unusual =
                        self.habits.is_unusual("operation", who, operation, leaf.time, *memory);
                    unusual.then(|| firing::unusual_operation(&leaf, who, operation))
                }),
                LooksFor::Denials { .. }
                | LooksFor::Record { .. }
                | LooksFor::Certificate { .. } => None,
            };
            findings.extend(finding.map(|finding| (index, finding)));
        }
        self.remember(&leaf);
        for (index, finding) in findings {
            self.fire(index, &finding, tasks, unsaid);
        }
    }

    fn count(&mut self, leaf: &Leaf) -> Vec<(usize, Finding)> {
        let mut findings = Vec::new();
        if !leaf.is_denial() {
            return findings;
        }
        let core = Arc::clone(&self.core);
        let rules = core.alerts.rules().iter().enumerate();
        for ((index, rule), counted) in rules.zip(&mut self.counted) {
            let LooksFor::Denials { count, within, by_service } = &rule.looks_for else { continue };
            let whom = if *by_service { leaf.service.as_deref() } else { leaf.who() };
            let Some(whom) = whom else { continue };
            if counted.one_more(whom, leaf.time, *count, within.signed()) {
                findings.push((index, firing::denials(whom, leaf, *count, *within, *by_service)));
            }
        }
        findings
    }

    /// After all rules were asked: each asks what was before.
    fn remember(&mut self, leaf: &Leaf) {
        let mut changes = Vec::new();
        for (kind, seen) in [("country", country_of(leaf)), ("operation", leaf.done())] {
            let (Some((who, what)), Some(long)) = (seen, self.memory(kind)) else { continue };
            self.habits.see(kind, who, what, leaf.time, long, &mut changes);
        }
        self.changes.extend(changes.into_iter().map(|change| Change::Export(Box::new(change))));
    }

    /// How long habits of a kind are of use to some rule.
    fn memory(&self, kind: &str) -> Option<SignedDuration> {
        let memory = |rule: &Rule| match &rule.looks_for {
            LooksFor::NewCountry(memory) if kind == "country" => Some(memory.remember.signed()),
            LooksFor::UnusualOperation(memory) if kind == "operation" => {
                Some(memory.remember.signed())
            }
            _ => None,
        };
        self.core.alerts.rules().iter().filter_map(memory).max()
    }

    /// Fires, unless it did so for the same a short while ago.
    fn fire(
        &mut self,
        index: usize,
        finding: &Finding,
        tasks: &mut JoinSet<()>,
        unsaid: &mut Unsaid,
    ) {
        let core = Arc::clone(&self.core);
        let Some(rule) = core.alerts.rules().get(index) else { return };
        let (now, about) = (core.now(), firing::key(&finding.about));
        let before = self.firings.get(&(rule.name.clone(), about.clone()));
        let quiet =
            before.is_some_and(|one| now.duration_since(one.fired_at) < rule.cool_down.signed());
        let suppressed = before.map_or(0, |one| one.suppressed);
        let mut firing = StoredFiring {
            rule: rule.name.clone(),
            about: about.clone(),
            fired_at: before.map_or(now, |one| one.fired_at),
            suppressed: if quiet { suppressed.saturating_add(1) } else { 0 },
        };
        if !quiet {
            let event = finding.event(&core, rule, suppressed);
            firing.fired_at = event.time;
            directly(&core, finding, &event, tasks);
            if finding.directly {
                unsaid.keep(rule, event.clone());
            }
            self.fired.push(event.clone());
            self.changes.push(Change::Record(event));
        }
        self.changes.push(Change::Export(Box::new(ExportChange::Fired(firing.clone()))));
        self.firings.insert((rule.name.clone(), about), firing);
    }

    fn forget(&mut self) {
        let now = self.core.now();
        let mut changes = Vec::new();
        for kind in ["country", "operation"] {
            if let Some(long) = self.memory(kind) {
                self.habits.forget(kind, now - long, &mut changes);
            }
        }
        let rules = self.core.alerts.rules().iter();
        let long = rules.map(|rule| rule.cool_down.signed()).max().unwrap_or_default();
        // Firings are shown for a month.
        let mut before = now - long.max(SignedDuration::from_hours(30 * 24));
        let mut times: Vec<Timestamp> = self.firings.values().map(|one| one.fired_at).collect();
        times.sort_unstable();
        if let Some(oldest) = times.len().checked_sub(MOST_FIRINGS).and_then(|at| times.get(at)) {
            before = before.max(*oldest);
        }
        let count = self.firings.len();
        self.firings.retain(|_, one| one.fired_at >= before);
        if self.firings.len() < count {
            changes.push(ExportChange::ForgetFirings(before));
        }
        self.changes.extend(changes.into_iter().map(|change| Change::Export(Box::new(change))));
    }

    /// One transaction: what fired, what is remembered, and how far it has come.
    async fn commit(&mut self, is_idle: bool) -> Result<()> {
        let ahead = self.cursor.next.abs_diff(self.stored);
        let waits = self.stored < self.cursor.next
            && ahead < STEP
            && (!is_idle || self.written.elapsed() < WRITE);
        if self.changes.is_empty() && (ahead == 0 || waits) {
            return Ok(());
        }
        self.written = Instant::now();
        let mut changes = std::mem::take(&mut self.changes);
        if ahead > 0 {
            let advance = ExportChange::Advance { cursor: self.cursor.clone(), seen: self.stored };
            changes.push(Change::Export(Box::new(advance)));
        }
        self.core.settle(Settlement { changes, ..Settlement::default() }).await?;
        self.stored = self.cursor.next;
        for event in std::mem::take(&mut self.fired) {
            if let Some(note) = &event.alert {
                tracing::warn!(rule = note.rule, about = note.about, "alert.fired: {}", note.title);
                self.core.alerts.note(&note.rule);
            }
        }
        Ok(())
    }
}

fn country_of(leaf: &Leaf) -> Option<(&str, &str)> {
    (leaf.kind == "attempt").then_some(())?;
    Some((leaf.habitual()?, leaf.country.as_deref()?))
}

/// Tells webhooks without the record, which will tell them again once it can: the message has the same id.
fn directly(core: &Arc<Core>, finding: &Finding, event: &Event, tasks: &mut JoinSet<()>) {
    if !finding.directly {
        return;
    }
    let Ok(json) = serde_json::to_string(event) else { return };
    let entry = LogEntry { position: 0, json };
    for export in core.exports.each() {
        if export.spec.form != Form::Alert {
            continue;
        }
        let Some(message) = form::outgoing(&export.spec, &entry) else { continue };
        let sink = Arc::clone(&export.spec.sink);
        tasks.spawn(async move {
            for tried in 0..TRIES {
                if sink.deliver(std::slice::from_ref(&message)).await.is_ok() {
                    return;
                }
                sleep(RETRY * (tried + 1)).await;
            }
        });
    }
}

fn unreadable(_: crate::ports::LogUnavailable) -> ControlError {
    ControlError::Unavailable("the record cannot be read".into())
}
