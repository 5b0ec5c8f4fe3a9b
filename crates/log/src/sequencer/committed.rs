//! The commit record: the one file whose replacement moves the log forward.
//!
//! It holds the checkpoint together with how far the journals are sequenced and the intents that are
//! still open there, so that a crash at any point neither loses nor doubles a leaf: tiles beyond its
//! checkpoint do not count, frames below its positions are never read again. `log/checkpoint` is a
//! copy, for everybody else.

use std::{collections::VecDeque, fs, io, path::Path};

use portcullis_model::{EventId, RequestId};
use serde::{Deserialize, Serialize};

use crate::{
    LogError,
    layout::{Layout, replace_durably},
};

/// How far one journal is sequenced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    pub(super) core: usize,
    /// Frames below are in the log, or among `open`.
    pub(super) position: u64,
    /// Intents without an outcome so far, as their frames have them.
    pub(super) open: Vec<(RequestId, String)>,
}

/// The commit record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Committed {
    /// The signed checkpoint; empty for a log that has none yet.
    pub(super) checkpoint: String,
    pub(super) journals: Vec<Progress>,
    /// The newest appended events and their positions, oldest first.
    pub(super) events: VecDeque<(EventId, u64)>,
}

impl Committed {
    /// Reads the record; that of an empty log if there is none.
    pub(super) fn load(layout: &Layout) -> Result<Self, LogError> {
        let path = layout.committed();
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(LogError::io("read", path, error)),
        };
        Self::decode(&text, &path)
    }

    /// Makes this the record. When this returns, it is durable.
    pub(super) fn store(&self, layout: &Layout) -> Result<(), LogError> {
        let target = layout.committed();
        let body = serde_json::to_string(self)
            .map_err(|error| LogError::damaged(&target, error.to_string()))?;
        let text = format!("{:08x}\n{body}\n", crc32fast::hash(body.as_bytes()));
        replace_durably(&target, &layout.root().join("committed.new"), text.as_bytes())
    }

    fn decode(text: &str, path: &Path) -> Result<Self, LogError> {
        let wrong = |what: &str| LogError::damaged(path, what);
        let (crc, body) = text.split_once('\n').ok_or_else(|| wrong("it has one line only"))?;
        let body = body.strip_suffix('\n').ok_or_else(|| wrong("its end is missing"))?;
        if u32::from_str_radix(crc, 16).ok() != Some(crc32fast::hash(body.as_bytes())) {
            return Err(wrong("its checksum does not match"));
        }
        serde_json::from_str(body).map_err(|error| wrong(&error.to_string()))
    }
}
