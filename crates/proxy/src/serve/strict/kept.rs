//! Bytes on their way to the parser that were not handed on with the read that brought them.

use tokio::io::ReadBuf;

/// Bytes that were read and are not handed on yet. The first `sound` of them may be.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) bytes: Vec<u8>,
    pub(super) sound: usize,
}

impl Kept {
    /// Hands on what is sound, as far as there is room.
    pub(super) fn hand_on(&mut self, buffer: &mut ReadBuf<'_>) {
        let length = self.sound.min(buffer.remaining());
        buffer.put_slice(self.bytes.get(..length).unwrap_or_default());
        self.sound -= length;
        self.bytes.drain(..length);
        if self.bytes.is_empty() {
            // Most connections never need it again.
            self.bytes = Vec::new();
        }
    }
}
