//! The files of the record, for what removes old ones: here, and where they are shipped to.

use std::sync::Arc;

use async_trait::async_trait;
use portcullis_control::{
    keeping::{KeptSegment, NotRemoved, RecordKeeper},
    ports::{LogEntry, LogUnavailable},
};
use portcullis_log::{Entry, Keys, LogError, Reader};
use portcullis_model::RemovedRange;

use crate::ship::Shipping;

const NOT_SHIPPED: &str = "it is not copied elsewhere yet";
const HANDS_OVER: &str = "a record in it hands the log over to another key";

/// One record, and its copy if it has one.
#[derive(Debug)]
pub(crate) struct KeptRecord {
    reader: Reader,
    keys: Keys,
    shipping: Option<Arc<Shipping>>,
}

impl KeptRecord {
    /// Of an open log.
    pub(crate) fn new(reader: Reader, keys: Keys, shipping: Option<Arc<Shipping>>) -> Self {
        Self { reader, keys, shipping }
    }

    fn stays(&self, number: u64, from: u64, to: u64) -> Option<&'static str> {
        let is_shipped = |shipping: &Arc<Shipping>| shipping.segments() > number;
        if !self.shipping.as_ref().is_none_or(is_shipped) {
            return Some(NOT_SHIPPED);
        }
        let hands_over = self.keys.handover_records().iter().any(|seq| (from..to).contains(seq));
        hands_over.then_some(HANDS_OVER)
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, String> {
        let reader = self.reader.clone();
        let found = tokio::task::spawn_blocking(move || read(&reader)).await;
        let found = found.map_err(|error| error.to_string())?;
        found.map_err(|error| error.to_string())
    }
}

#[async_trait]
impl RecordKeeper for KeptRecord {
    async fn segments(&self) -> Result<Vec<KeptSegment>, LogUnavailable> {
        let numbers = self.read(Reader::segments).await.map_err(|why| unavailable(&why))?;
        let segment = |number| {
            let (from, to) = (number * Reader::SEGMENT, (number + 1) * Reader::SEGMENT);
            KeptSegment { from, to, stays: self.stays(number, from, to) }
        };
        Ok(numbers.into_iter().map(segment).collect())
    }

    async fn removed(&self) -> Result<Vec<RemovedRange>, LogUnavailable> {
        let keys = self.keys.clone();
        let removed = self.read(move |reader| reader.removed_mended(&keys)).await;
        let removed = removed.map_err(|why| unavailable(&why))?;
        Ok(removed.map(|removed| removed.note.removed).unwrap_or_default())
    }

    async fn entries(&self, from: u64, count: u64) -> Result<Vec<LogEntry>, LogUnavailable> {
        let keys = self.keys.clone();
        let read = self.read(move |reader| reader.entries_as_signed(from, count, &keys)).await;
        let read = read.map_err(|why| unavailable(&why))?;
        Ok(read.into_iter().map(|Entry { seq, json }| LogEntry { position: seq, json }).collect())
    }

    async fn entry(&self, position: u64) -> Result<LogEntry, LogUnavailable> {
        let keys = self.keys.clone();
        let read = self.read(move |reader| reader.entry_as_signed(position, &keys)).await;
        let Entry { seq, json } = read.map_err(|why| unavailable(&why))?;
        Ok(LogEntry { position: seq, json })
    }

    async fn digest(&self, from: u64, to: u64) -> Result<String, LogUnavailable> {
        let keys = self.keys.clone();
        let digest = self.read(move |reader| reader.digest_as_signed(from, to, &keys)).await;
        digest.map_err(|why| unavailable(&why))
    }

    async fn remove(&self, position: u64) -> Result<(), NotRemoved> {
        // A copy that lacks the record is left alone, and so is what it may have to be made anew from.
        self.shipping.as_ref().map_or(Ok(()), |copy| copy.says(position)).map_err(NotRemoved)?;
        // Here first: whoever makes a copy anew goes by what is there.
        let keys = self.keys.clone();
        let removed = self.read(move |reader| {
            reader.removed_mended(&keys)?;
            let removed = reader.removal_as_signed(position, &keys)?;
            reader.remove(position)?;
            Ok(removed)
        });
        let removed = removed.await.map_err(NotRemoved)?;
        let Some(shipping) = &self.shipping else { return Ok(()) };
        let files = removed.note.now.iter().flat_map(Reader::files_of).collect();
        shipping.remove(&self.reader, position, files).await.map_err(NotRemoved)
    }
}

fn unavailable(why: &str) -> LogUnavailable {
    tracing::error!(why, "the record cannot be reached");
    LogUnavailable
}
