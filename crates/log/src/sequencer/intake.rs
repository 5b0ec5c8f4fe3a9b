//! One journal, as the sequencer reads it: pairs intents with outcomes and makes entries of them.

use std::{collections::HashMap, ops::Range, sync::Arc};

use portcullis_model::RequestId;

use super::{committed::Progress, tree::Tree};
use crate::{
    LogError,
    journal::{
        frame::{self, Found, Frame, Kind},
        segments::Segments,
    },
};

/// Read at once; longer than any frame.
const CHUNK: usize = 1 << 20;

/// Bytes of a journal that hold no frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) core: usize,
    pub(super) position: u64,
    pub(super) bytes: u64,
}

/// One journal's reading end.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) segments: Arc<Segments>,
    position: u64,
    /// Intents of the chunk in hand: their texts lie in the buffer.
    fresh: HashMap<u128, Range<usize>>,
    /// Intents of earlier chunks.
    open: HashMap<u128, Box<[u8]>>,
}

impl Intake {
    pub(super) fn new(segments: Arc<Segments>, position: u64) -> Self {
        Self { segments, position, fresh: HashMap::new(), open: HashMap::new() }
    }

    /// A journal of an earlier process, from where it was sequenced to.
    pub(super) fn resume(segments: Arc<Segments>, progress: Progress) -> Self {
        let open = progress.open.into_iter();
        let open = open.map(|(request, text)| (request.to_bits(), text.into_bytes().into()));
        Self { segments, position: progress.position, fresh: HashMap::new(), open: open.collect() }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// What the commit record says about this journal.
    pub(super) fn progress(&self) -> Progress {
        let open = self.open.iter().map(|(request, text)| {
            (RequestId::from_bits(*request), String::from_utf8_lossy(text).into_owned())
        });
        Progress { core: self.segments.core, position: self.position, open: open.collect() }
    }

    /// Reads one chunk of what a living core has written. `true` if there is more.
    pub(super) fn read(&mut self, buffer: &mut Vec<u8>, tree: &mut Tree) -> Result<bool, LogError> {
        if self.position >= self.segments.written() {
            return Ok(false);
        }
        self.segments.read(self.position, CHUNK, buffer)?;
        let read = self.take_frames(buffer, self.position, tree)?;
        // INVARIANT: a living core writes whole frames below `written`, one file at a time.
        if read == 0 {
            let place = format!("journal of core {}", self.segments.core);
            return Err(LogError::damaged(place, format!("no frame at byte {}", self.position)));
        }
        self.position += read as u64;
        Ok(true)
    }

    /// Reads everything that an earlier process wrote, going on behind damage. Frames at the very
    /// end that are not whole were never acknowledged.
    pub(super) fn recover(&mut self, tree: &mut Tree) -> Result<Vec<Damage>, LogError> {
        let mut damages = Vec::new();
        let mut buffer = Vec::new();
        let last = self.segments.written();
        if let Some(start) = self.segments.start().filter(|start| *start > self.position) {
            damages.push(self.damage(self.position, start - self.position));
            self.position = start;
        }
        while self.position < last {
            let end = self.segments.read(self.position, usize::MAX, &mut buffer)?;
            let start = self.position;
            let mut at = 0;
            loop {
                let rest = buffer.get(at..).unwrap_or_default();
                let read = self.take_frames(rest, start + at as u64, tree)?;
                at += read;
                let Some(next) = frame::resynchronise(&buffer, start, at) else { break };
                damages.push(self.damage(start + at as u64, (next - at) as u64));
                at = next;
            }
            // Files but the newest were left at a whole frame: what is missing there was lost.
            let read = start + at as u64;
            if end < last && read < end {
                damages.push(self.damage(read, end - read));
            }
            self.position = end;
            tree.write_pending()?;
        }
        Ok(damages)
    }

    /// Every intent that is open becomes an entry with an unknown outcome.
    pub(super) fn give_up_open(&mut self, tree: &mut Tree) -> Result<(), LogError> {
        // In the order of request ids, which is that of time.
        let mut open: Vec<_> = self.open.drain().collect();
        open.sort_unstable_by_key(|(request, _)| *request);
        for (_, intent) in open {
            push_parts(tree, &intent, b"\"outcome\":\"unknown\"")?;
        }
        Ok(())
    }

    fn damage(&self, position: u64, bytes: u64) -> Damage {
        Damage { core: self.segments.core, position, bytes }
    }

    /// Makes entries of the frames at the start of `bytes`, which lie at position `base`; returns how
    /// many bytes they take.
    fn take_frames(&mut self, bytes: &[u8], base: u64, tree: &mut Tree) -> Result<usize, LogError> {
        let mut at = 0;
        while let Found::Frame(frame, next) = frame::read(bytes, base, at) {
            self.take(&frame, bytes, tree)?;
            at = next;
        }
        let texts = self.fresh.drain().map(|(request, text)| {
            (request, bytes.get(text).unwrap_or_default().to_owned().into_boxed_slice())
        });
        self.open.extend(texts);
        Ok(at)
    }

    fn take(&mut self, frame: &Frame, bytes: &[u8], tree: &mut Tree) -> Result<(), LogError> {
        let text = bytes.get(frame.text.clone()).unwrap_or_default();
        match frame.kind {
            Kind::Intent => {
                self.fresh.insert(frame.request, frame.text.clone());
            }
            Kind::Whole => {
                tree.push(|entry| write_closed(entry, text, b""))?;
            }
            Kind::Outcome => {
                if let Some(intent) = self.fresh.remove(&frame.request) {
                    push_parts(tree, bytes.get(intent).unwrap_or_default(), text)?;
                } else if let Some(intent) = self.open.remove(&frame.request) {
                    push_parts(tree, &intent, text)?;
                } else {
                    tracing::warn!(
                        request = %RequestId::from_bits(frame.request),
                        "an outcome without an intent was dropped"
                    );
                }
            }
        }
        Ok(())
    }
}

fn push_parts(tree: &mut Tree, intent: &[u8], outcome: &[u8]) -> Result<u64, LogError> {
    tree.push(|entry| write_closed(entry, intent, outcome))
}

/// The rest of an entry behind its position: an object without its opening brace.
fn write_closed(entry: &mut Vec<u8>, intent: &[u8], outcome: &[u8]) {
    entry.extend_from_slice(intent.strip_prefix(b"{").unwrap_or(intent));
    if !outcome.is_empty() {
        entry.push(b',');
        entry.extend_from_slice(outcome);
    }
    entry.push(b'}');
}
