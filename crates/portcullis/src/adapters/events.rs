//! The log, as control writes and reads it.

use async_trait::async_trait;
use portcullis_control::ports::{EventLog, LogEntry, LogPath, LogUnavailable};
use portcullis_log::{LogError, LogHandle, Reader, TreePath};
use portcullis_model::Event;

/// Appends through the sequencer, reads from the files.
#[derive(Debug)]
pub(crate) struct LogEvents {
    handle: LogHandle,
    reader: Reader,
}

impl LogEvents {
    /// Of an open log.
    pub(crate) fn new(handle: LogHandle, reader: Reader) -> Self {
        Self { handle, reader }
    }

    /// Reads away from the runtime: files may be slow.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogUnavailable> {
        let reader = self.reader.clone();
        let found = tokio::task::spawn_blocking(move || read(&reader)).await;
        found.map_err(|_| LogUnavailable)?.map_err(|error| unavailable(&error))
    }
}

#[async_trait]
impl EventLog for LogEvents {
    async fn append(&self, event: &Event) -> Result<u64, LogUnavailable> {
        self.handle.append(event).await.map_err(|error| unavailable(&error))
    }

    async fn size(&self) -> Result<u64, LogUnavailable> {
        self.read(Reader::size).await
    }

    async fn entries(&self, from: u64, limit: usize) -> Result<Vec<LogEntry>, LogUnavailable> {
        let entries = self.read(move |reader| reader.entries(from, limit)).await?;
        Ok(entries
            .into_iter()
            .map(|entry| LogEntry { position: entry.seq, json: entry.json })
            .collect())
    }

    async fn removed(&self) -> Result<Vec<(u64, u64)>, LogUnavailable> {
        let removed = self.read(Reader::removed).await?;
        let ranges = removed.map(|removed| removed.note.removed).unwrap_or_default();
        Ok(ranges.into_iter().map(|range| (range.from, range.to)).collect())
    }

    async fn file(&self, path: &str) -> Result<Option<Vec<u8>>, LogUnavailable> {
        let path = path.to_owned();
        self.read(move |reader| reader.file(&path)).await
    }

    async fn prove(&self, position: u64) -> Result<Option<String>, LogUnavailable> {
        let proof = self.read(move |reader| reader.prove(position)).await?;
        Ok(proof.map(|proof| proof.to_string()))
    }

    async fn prove_all(&self, positions: &[u64]) -> Result<Option<Vec<String>>, LogUnavailable> {
        let positions = positions.to_vec();
        let proofs = self.read(move |reader| reader.prove_all(&positions)).await?;
        Ok(proofs.map(|proofs| proofs.iter().map(ToString::to_string).collect()))
    }

    async fn inclusion(
        &self,
        position: u64,
        size: Option<u64>,
    ) -> Result<Option<LogPath>, LogUnavailable> {
        Ok(self.read(move |reader| reader.inclusion(position, size)).await?.map(path))
    }

    async fn consistency(
        &self,
        from: u64,
        to: Option<u64>,
    ) -> Result<Option<LogPath>, LogUnavailable> {
        Ok(self.read(move |reader| reader.consistency(from, to)).await?.map(path))
    }
}

fn path(TreePath { size, root, hashes, checkpoint }: TreePath) -> LogPath {
    LogPath { size, root, hashes, checkpoint }
}

fn unavailable(error: &LogError) -> LogUnavailable {
    tracing::error!(%error, "the record cannot be reached");
    LogUnavailable
}
