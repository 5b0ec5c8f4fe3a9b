//! The public keys of a log, each for the sizes that it may sign: one line each in `log.pub`.
//!
//! ```text
//! gate.example.com/audit+1f2e3d4c+AQ… sizes 0-4711
//! gate.example.com/audit+5b6a7988+AQ… sizes 4711-
//! ```
//!
//! A key that was replaced signs nothing beyond its range, so that whoever steals it later cannot go on
//! with the log. The last record of its range is the handover: it names the next key, signed by the
//! one before.

use std::fmt;

use serde::Deserialize;
use signed_note::{Note, StandardVerifier, Verifier as _, VerifierList};

/// What a handover says first.
const HANDOVER: &str = "portcullis log key handover";

/// The keys that checkpoints of one log verify with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys(Vec<RangedKey>);

/// A key, and what it may sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangedKey {
    /// A C2SP signed-note verifier key.
    pub key: String,
    /// Checkpoints of this size and more.
    pub from: u64,
    /// Checkpoints of this size and less; of any, for the newest key.
    pub until: Option<u64>,
}

impl RangedKey {
    fn parse(line: &str) -> Result<Self, String> {
        let (key, sizes) = match line.split_once(" sizes ") {
            Some((key, sizes)) => (key, Some(sizes)),
            None => (line, None),
        };
        StandardVerifier::new(key)
            .map_err(|error| format!("the verifier key is not one ({error})"))?;
        let (from, until) = match sizes {
            None => (0, None),
            Some(sizes) => sizes_of(sizes)
                .ok_or_else(|| format!("`{sizes}` names no sizes, such as 0-4711 or 4711-"))?,
        };
        Ok(Self { key: key.to_owned(), from, until })
    }

    fn signs_for(&self, size: u64) -> bool {
        size >= self.from && self.until.is_none_or(|until| size <= until)
    }

    /// The name of the log that it signs for.
    fn name(&self) -> &str {
        self.key.split('+').next().unwrap_or_default()
    }

    fn has_signed(&self, note: &Note) -> bool {
        let Ok(verifier) = StandardVerifier::new(&self.key) else { return false };
        verifier.name() == self.name()
            && note.verify(&VerifierList::new(vec![Box::new(verifier)])).is_ok()
    }
}

impl fmt::Display for RangedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.until {
            None if self.from == 0 => f.write_str(&self.key),
            None => write!(f, "{} sizes {}-", self.key, self.from),
            Some(until) => write!(f, "{} sizes {}-{until}", self.key, self.from),
        }
    }
}

fn sizes_of(text: &str) -> Option<(u64, Option<u64>)> {
    let (from, until) = text.split_once('-')?;
    let from = from.parse().ok()?;
    let until = if until.is_empty() { None } else { Some(until.parse().ok()?) };
    until.is_none_or(|until| from <= until).then_some((from, until))
}

impl Keys {
    /// Reads what `log.pub` holds.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let keys: Vec<_> = lines.map(RangedKey::parse).collect::<Result<_, _>>()?;
        let Some(first) = keys.first() else { return Err("there is no verifier key".to_owned()) };
        if let Some(other) = keys.iter().find(|key| key.name() != first.name()) {
            return Err(format!("keys of two logs: `{}` and `{}`", first.name(), other.name()));
        }
        // INVARIANT: one key at a time, from the first record on: a stolen key that was replaced is good for
        // nothing that comes after.
        let mut from = Some(0);
        for key in &keys {
            if from != Some(key.from) {
                let expected = from.map_or("none behind an open end".to_owned(), |from| {
                    format!("one from {from} on")
                });
                return Err(format!(
                    "the sizes of its keys do not follow one another: `{}` begins at {}, expected {expected}",
                    key.key, key.from
                ));
            }
            from = key.until;
        }
        if from.is_some() {
            return Err("its last key has an end: the key that signs now is missing".to_owned());
        }
        Ok(Self(keys))
    }

    /// One key for a log that has never had another.
    pub(crate) fn one(key: &str) -> Self {
        Self(vec![RangedKey { key: key.to_owned(), from: 0, until: None }])
    }

    /// The name of the log.
    pub fn name(&self) -> &str {
        self.0.first().map_or("", RangedKey::name)
    }

    /// All of them, the oldest first.
    pub fn all(&self) -> &[RangedKey] {
        &self.0
    }

    /// The one that signs now.
    pub fn newest(&self) -> &str {
        self.0.last().map_or("", |key| &key.key)
    }

    /// Whether only a key that was replaced since may have signed for `size` records.
    pub fn is_of_replaced(&self, size: u64) -> bool {
        self.0.last().is_some_and(|newest| size < newest.from)
    }

    /// The positions of the records that hand the log over: without them, a newer key proves nothing.
    pub fn handover_records(&self) -> Vec<u64> {
        self.handovers().map(|(seq, ..)| seq).collect()
    }

    /// These, and `next` from `size` on.
    pub(crate) fn followed_by(&self, next: &str, size: u64) -> Self {
        let mut keys = self.0.clone();
        if let Some(last) = keys.last_mut() {
            last.until = Some(size);
        }
        keys.push(RangedKey { key: next.to_owned(), from: size, until: None });
        Self(keys)
    }

    /// Whether one of them signed `note`, which speaks of `size` records.
    pub(crate) fn check(&self, note: &Note, size: u64) -> Result<(), String> {
        if self.0.iter().any(|key| key.signs_for(size) && key.has_signed(note)) {
            return Ok(());
        }
        match self.0.iter().find(|key| key.has_signed(note)) {
            Some(key) => Err(format!(
                "it speaks of {size} records and is signed by a key that is good for {} to {} only: `{}`",
                key.from,
                key.until.map_or("any number".to_owned(), |until| until.to_string()),
                key.key
            )),
            None => Err(
                "none of the keys that you gave has signed it; if the log's key was changed since, \
                 get its new log.pub from whoever keeps it"
                    .to_owned(),
            ),
        }
    }

    /// The keys that follow one another, with the number of the record that hands over.
    pub(crate) fn handovers(&self) -> impl Iterator<Item = (u64, &RangedKey, &RangedKey)> {
        let pairs = self.0.windows(2).filter_map(|pair| match pair {
            [before, after] => Some((after.from.checked_sub(1)?, before, after)),
            _ => None,
        });
        pairs.filter(|(_, before, after)| before.until == Some(after.from))
    }

    /// Checks that `record`, at `seq`, hands over where these keys say that one does.
    pub(crate) fn check_handover(&self, seq: u64, record: &[u8]) -> Result<(), String> {
        let Some((_, before, after)) = self.handovers().find(|(at, ..)| *at == seq) else {
            return Ok(());
        };
        let wrong =
            || format!("does not hand over to the key `{}`, signed by the one before", after.key);
        let note = serde_json::from_slice::<Handover>(record).map_err(|_| wrong())?.handover;
        let note = Note::from_bytes(note.as_bytes()).map_err(|_| wrong())?;
        let said = handover(before.name(), after.from, &after.key);
        (note.text() == said.as_bytes() && before.has_signed(&note)).then_some(()).ok_or_else(wrong)
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|key| writeln!(f, "{key}"))
    }
}

/// What the record of a handover has beside what every record has.
#[derive(Deserialize)]
struct Handover {
    /// The signed note.
    handover: String,
}

/// What is signed: from `size` on, `next` signs for the log called `name`.
pub(crate) fn handover(name: &str, size: u64, next: &str) -> String {
    format!("{HANDOVER}\n{name}\n{size}\n{next}\n")
}

/// Whether `record` hands over to `next`.
pub(crate) fn hands_over_to(record: &[u8], next: &str) -> bool {
    serde_json::from_slice::<Handover>(record)
        .is_ok_and(|record| record.handover.lines().nth(3) == Some(next))
}
