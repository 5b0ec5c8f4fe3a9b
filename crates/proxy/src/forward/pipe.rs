//! Bytes that pass from one end to the other.
//!
//! They pass through one buffer per core, which belongs to whoever is being polled: a connection that
//! is idle holds no buffer, and only what its destination does not take is kept aside.

use std::{
    borrow::Cow,
    cell::RefCell,
    io::ErrorKind,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What passes at once.
pub(crate) const SCRATCH: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
}

/// Reads through the core's buffer.
pub(crate) fn with_buffer<T>(reading: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| reading(buffer))
}

/// How a direction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The source said all that it had to say, and the destination has it.
    Finished,
    /// The source broke off.
    SourceGone,
    /// The destination takes no more.
    DestinationGone,
    /// What the source said must not pass.
    Refused,
}

/// What came must not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MustNotPass;

/// One direction: what was read and is not written yet.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    rest: Vec<u8>,
    written: usize,
    is_unflushed: bool,
}

/// What is told of the bytes that pass.
pub(crate) trait Passing {
    /// So many came from the source.
    fn came(&mut self, count: usize);
    /// What passes in place of `bytes`.
    fn instead<'b>(&mut self, bytes: &'b [u8]) -> Result<Cow<'b, [u8]>, MustNotPass> {
        Ok(Cow::Borrowed(bytes))
    }
    /// These went to the destination.
    fn went(&mut self, bytes: &[u8]);
}

impl Pipe {
    /// Passes bytes for as long as there are any and they are taken.
    pub(crate) fn poll_pass(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        passing: &mut impl Passing,
        cx: &mut Context<'_>,
    ) -> Poll<Ended> {
        loop {
            if ready!(self.poll_empty(to, passing, cx)).is_err() {
                return Poll::Ready(Ended::DestinationGone);
            }
            let passed = with_buffer(|buffer| {
                let mut buffer = ReadBuf::new(buffer);
                let read = Pin::new(&mut *from).poll_read(cx, &mut buffer);
                match ready!(read) {
                    Err(_) => Poll::Ready(Some(Ended::SourceGone)),
                    Ok(()) if buffer.filled().is_empty() => Poll::Ready(Some(Ended::Finished)),
                    Ok(()) => {
                        passing.came(buffer.filled().len());
                        let Ok(bytes) = passing.instead(buffer.filled()) else {
                            return Poll::Ready(Some(Ended::Refused));
                        };
                        Poll::Ready(self.take(&bytes, to, passing, cx))
                    }
                }
            });
            if let Some(ended) = ready!(passed) {
                return Poll::Ready(ended);
            }
        }
    }

    /// Writes what is left, and no more than `most` of it.
    pub(crate) fn poll_rest(
        &mut self,
        most: usize,
        to: &mut (impl AsyncWrite + Unpin),
        passing: &mut impl Passing,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        let end = self.written.saturating_add(most).min(self.rest.len());
        while self.written < end {
            let bytes = self.rest.get(self.written..end).unwrap_or_default();
            let count = ready!(Pin::new(&mut *to).poll_write(cx, bytes))?;
            if count == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            passing.went(bytes.get(..count).unwrap_or(bytes));
            self.written += count;
            self.is_unflushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// What was read and is not written yet.
    pub(crate) fn rest(&self) -> &[u8] {
        self.rest.get(self.written..).unwrap_or_default()
    }

    /// Writes all that is left and flushes it; then nothing is held.
    fn poll_empty(
        &mut self,
        to: &mut (impl AsyncWrite + Unpin),
        passing: &mut impl Passing,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        if !self.rest.is_empty() {
            ready!(self.poll_rest(usize::MAX, to, passing, cx))?;
            (self.rest, self.written) = (Vec::new(), 0);
        }
        if self.is_unflushed {
            ready!(Pin::new(to).poll_flush(cx))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes as much of `bytes` as is taken at once, and keeps the rest.
    fn take(
        &mut self,
        bytes: &[u8],
        to: &mut (impl AsyncWrite + Unpin),
        passing: &mut impl Passing,
        cx: &mut Context<'_>,
    ) -> Option<Ended> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let Poll::Ready(written) = Pin::new(&mut *to).poll_write(cx, rest) else { break };
            let Ok(count @ 1..) = written else { return Some(Ended::DestinationGone) };
            let (went, after) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            passing.went(went);
            self.is_unflushed = true;
            rest = after;
        }
        self.rest.extend_from_slice(rest);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[derive(Default)]
    struct Counted {
        came: usize,
        went: Vec<u8>,
    }

    impl Passing for Counted {
        fn came(&mut self, count: usize) {
            self.came += count;
        }

        fn went(&mut self, bytes: &[u8]) {
            self.went.extend_from_slice(bytes);
        }
    }

    #[tokio::test]
    async fn what_a_slow_destination_does_not_take_is_kept_in_order_and_let_go() {
        let sent: Vec<u8> = (0..300_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let (mut source, mut from) = tokio::io::duplex(100_000);
        let (mut to, mut sink) = tokio::io::duplex(1000);
        let (mut pipe, mut counted) = (Pipe::default(), Counted::default());
        let writing = async {
            source.write_all(&sent).await.unwrap();
            drop(source);
        };
        let passing = async {
            let ended = poll_fn(|cx| pipe.poll_pass(&mut from, &mut to, &mut counted, cx)).await;
            drop(to);
            ended
        };
        let mut received = Vec::new();
        let ((), ended, _) = tokio::join!(writing, passing, sink.read_to_end(&mut received));
        assert_eq!(ended, Ended::Finished);
        assert!(received == sent && counted.went == sent && counted.came == sent.len());
        assert_eq!((pipe.rest.capacity(), pipe.rest()), (0, &[][..]));
    }

    #[tokio::test]
    async fn a_destination_that_is_gone_ends_it() {
        let (mut source, mut from) = tokio::io::duplex(100);
        let (mut to, sink) = tokio::io::duplex(100);
        drop(sink);
        source.write_all(b"lost").await.unwrap();
        let (mut pipe, mut counted) = (Pipe::default(), Counted::default());
        let ended = poll_fn(|cx| pipe.poll_pass(&mut from, &mut to, &mut counted, cx)).await;
        assert_eq!(ended, Ended::DestinationGone);
    }
}
