//! The sequencer's thread.

use std::{
    collections::{HashMap, VecDeque},
    fs,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use portcullis_model::EventId;
use tokio::sync::oneshot;

use super::{
    Command,
    committed::{Committed, Progress},
    intake::Intake,
    tree::Tree,
};
use crate::{
    Health, LogError, Signer,
    layout::{Layout, has_room},
};

/// How often journals are read.
const READ_EVERY: Duration = Duration::from_millis(25);
/// The least time between checkpoints that appended events ask for.
const COMMIT_GAP: Duration = Duration::from_millis(5);
/// How often room is looked for while there is none.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How many appended events are known by their ids.
const KNOWN_EVENTS: usize = 2048;

/// The only one who makes leaves.
#[derive(Debug)]
pub(super) struct Sequencer {
    layout: Layout,
    signer: Signer,
    health: Arc<Health>,
    tree: Tree,
    intakes: Vec<Intake>,
    /// Journals of earlier processes, which are in the log to the end.
    settled: HashMap<usize, Progress>,
    /// The newest appended events.
    events: VecDeque<(EventId, u64)>,
    places: HashMap<EventId, u64>,
    /// Whoever waits for the next commit.
    replies: Vec<(u64, oneshot::Sender<Result<u64, LogError>>)>,
    buffer: Vec<u8>,
    /// How often a checkpoint is made while there is something new.
    commit_every: Duration,
    /// Something is not committed.
    dirty: bool,
    committed_at: Instant,
    committed_size: u64,
    /// Everything written before this moment has been read.
    read_until: Instant,
}

impl Sequencer {
    pub(super) fn new(
        layout: Layout,
        signer: Signer,
        tree: Tree,
        events: VecDeque<(EventId, u64)>,
        health: Arc<Health>,
        commit_every: Duration,
    ) -> Self {
        let now = Instant::now();
        Self {
            layout,
            signer,
            health,
            committed_size: tree.size(),
            tree,
            intakes: Vec::new(),
            settled: HashMap::new(),
            places: events.iter().copied().collect(),
            events,
            replies: Vec::new(),
            buffer: Vec::new(),
            commit_every,
            dirty: false,
            committed_at: now,
            read_until: now,
        }
    }

    pub(super) fn signer(&self) -> &Signer {
        &self.signer
    }

    pub(super) fn tree(&mut self) -> &mut Tree {
        &mut self.tree
    }

    /// The journal of an earlier process is in the log to the end.
    pub(super) fn settle(&mut self, progress: Progress) {
        self.settled.insert(progress.core, progress);
    }

    /// Where each journal goes on.
    pub(super) fn positions(&self) -> HashMap<usize, u64> {
        self.settled.iter().map(|(core, progress)| (*core, progress.position)).collect()
    }

    /// Works until it is told to stop, or something fails: then nothing is written any more.
    pub(super) fn run(mut self, commands: &mpsc::Receiver<Command>) {
        self.health.sequenced_until(Instant::now());
        if let Err(error) = self.work(commands) {
            self.health.break_down(error.to_string());
        } else {
            self.health.unwatched();
        }
    }

    fn work(&mut self, commands: &mpsc::Receiver<Command>) -> Result<(), LogError> {
        let mut going_on = true;
        while going_on {
            going_on = match self.round(commands) {
                Ok(going_on) if !self.health.is_stalled() => going_on,
                // A journal has no room: it is looked for here.
                Ok(going_on) => going_on && self.wait_for_room(commands)?,
                Err(error) if error.passes() => {
                    self.health.fail(&error);
                    self.wait_for_room(commands)?
                }
                Err(error) => return Err(error),
            };
            if self.health.is_broken() {
                return Ok(());
            }
        }
        if self.dirty || !self.replies.is_empty() { self.commit() } else { Ok(()) }
    }

    /// Listens, reads, commits if that is due. `false` when it is told to stop.
    fn round(&mut self, commands: &mpsc::Receiver<Command>) -> Result<bool, LogError> {
        let mut going_on = match commands.recv_timeout(self.pause()) {
            Ok(command) => self.obey(command)?,
            Err(mpsc::RecvTimeoutError::Timeout) => true,
            Err(mpsc::RecvTimeoutError::Disconnected) => false,
        };
        while let Ok(command) = commands.try_recv() {
            going_on = self.obey(command)? && going_on;
        }
        self.read_journals()?;
        if self.commit_is_due() {
            self.commit()?;
        }
        if !self.dirty {
            self.health.sequenced_until(self.read_until);
        }
        Ok(going_on)
    }

    /// Looks for room until there is some and everything in hand is written; adds nothing meanwhile, so
    /// that what was begun is written again as it was. `false` when it is told to stop.
    fn wait_for_room(&mut self, commands: &mpsc::Receiver<Command>) -> Result<bool, LogError> {
        for (_, reply) in self.replies.drain(..) {
            // Those events may be in the tree already: asked for again, they keep their places.
            let _gone = reply.send(Err(LogError::Stalled(self.health.want())));
        }
        let mut look_at = Instant::now() + LOOK_EVERY;
        loop {
            match commands.recv_timeout(look_at.saturating_duration_since(Instant::now())) {
                Ok(Command::Append { reply, .. }) => {
                    let _gone = reply.send(Err(LogError::Stalled(self.health.want())));
                }
                Ok(command @ Command::Journal(_)) => {
                    self.obey(command)?;
                }
                Ok(Command::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(false),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            if self.health.is_broken() {
                return Ok(false);
            }
            if Instant::now() < look_at {
                continue;
            }
            look_at = Instant::now() + LOOK_EVERY;
            if !self.health.is_over_quota() && has_room(&self.layout) {
                match self.commit() {
                    Ok(()) => {
                        self.health.go_on();
                        return Ok(true);
                    }
                    Err(error) if error.passes() => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// How long there is nothing to do but to listen.
    fn pause(&self) -> Duration {
        if self.replies.is_empty() {
            READ_EVERY
        } else {
            COMMIT_GAP.saturating_sub(self.committed_at.elapsed())
        }
    }

    fn obey(&mut self, command: Command) -> Result<bool, LogError> {
        match command {
            Command::Journal(segments) => {
                let core = segments.core;
                let position = self.settled.get(&core).map_or(0, |progress| progress.position);
                // INVARIANT: each core is in one of the two, so the commit record always has its position.
                self.settled.remove(&core);
                self.intakes.push(Intake::new(segments, position));
            }
            Command::Append { id, text, reply } => {
                let place = match self.places.get(&id) {
                    Some(place) => *place,
                    None => self.append(id, &text)?,
                };
                if place < self.committed_size {
                    let _gone = reply.send(Ok(place));
                } else {
                    self.replies.push((place, reply));
                }
            }
            Command::Stop => return Ok(false),
        }
        Ok(true)
    }

    fn append(&mut self, id: EventId, text: &[u8]) -> Result<u64, LogError> {
        let object = text.strip_prefix(b"{").unwrap_or(text);
        let place = self.tree.push(|entry| entry.extend_from_slice(object))?;
        self.dirty = true;
        self.events.push_back((id, place));
        self.places.insert(id, place);
        if self.events.len() > KNOWN_EVENTS
            && let Some((oldest, _)) = self.events.pop_front()
        {
            self.places.remove(&oldest);
        }
        Ok(place)
    }

    fn read_journals(&mut self) -> Result<(), LogError> {
        let started = Instant::now();
        for index in 0..self.intakes.len() {
            while let Some(intake) = self.intakes.get_mut(index)
                && intake.read(&mut self.buffer, &mut self.tree)?
            {
                self.dirty = true;
                self.tree.write_pending()?;
                if self.commit_is_due() {
                    self.commit()?;
                }
            }
        }
        self.read_until = started;
        Ok(())
    }

    fn commit_is_due(&self) -> bool {
        let since = self.committed_at.elapsed();
        (self.dirty && since >= self.commit_every)
            || (!self.replies.is_empty() && since >= COMMIT_GAP)
    }

    /// Makes everything sequenced so far durable, signs it, publishes it. The order is what makes a
    /// crash harmless: tiles, then the commit record, then what others see.
    pub(super) fn commit(&mut self) -> Result<(), LogError> {
        let size = self.tree.size();
        self.tree.sync()?;
        let journals = self.intakes.iter().map(Intake::progress);
        let committed = Committed {
            checkpoint: self.signer.checkpoint(size, self.tree.root())?,
            journals: journals.chain(self.settled.values().cloned()).collect(),
            events: self.events.clone(),
        };
        committed.store(&self.layout)?;
        self.publish(&committed.checkpoint)?;
        self.dirty = false;
        self.committed_size = size;
        self.health.signed_until(size);
        self.committed_at = Instant::now();
        // Under constant load there is always something new: what the last whole reading found is
        // committed all the same.
        self.health.sequenced_until(self.read_until);
        for (place, reply) in self.replies.drain(..) {
            // Whoever asked may have gone; the event stays.
            let _gone = reply.send(Ok(place));
        }
        self.tree.delete_replaced()?;
        for intake in &self.intakes {
            intake.segments.delete_below(intake.position())?;
        }
        Ok(())
    }

    /// Puts the checkpoint where readers look. Needs no sync: the commit record has it, and opening
    /// publishes it again.
    fn publish(&self, checkpoint: &str) -> Result<(), LogError> {
        let scratch = self.layout.root().join("checkpoint.new");
        let target = self.layout.log().join("checkpoint");
        fs::write(&scratch, checkpoint)
            .map_err(|source| LogError::io("write", &scratch, source))?;
        fs::rename(&scratch, &target).map_err(|source| LogError::io("replace", target, source))
    }
}
