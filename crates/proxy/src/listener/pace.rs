//! How long a client connection may take its time.
//!
//! Between two requests it may rest for a while; a head that has begun must be there soon, however
//! slowly its bytes drip. While a request is served, other limits apply. There is no timer, and no
//! clock is read for a request: the core looks at all of its connections now and then, and tells them
//! the time. So a phase may end that much early.
//!
//! Over HTTP/2 only rests are timed here: heads are where their frames are read.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::bounds::Bounds;

/// What a connection is doing, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Head,
    Serving,
}

/// The pace of one connection. Shared with its stream, which must be `Send`.
#[derive(Debug)]
pub(crate) struct Pace {
    opened: Instant,
    /// Milliseconds since `opened`, as it was told last.
    now: AtomicU64,
    /// Milliseconds since `opened`, times four, plus the phase that began then.
    state: AtomicU64,
    /// Bytes that the client took.
    taken: AtomicU64,
    /// It takes no more at the moment.
    is_full: AtomicBool,
    /// What was taken when a span began in which it took too little, and milliseconds since `opened`.
    span: (AtomicU64, AtomicU64),
}

impl Pace {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            now: AtomicU64::new(0),
            state: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            is_full: AtomicBool::new(false),
            span: Default::default(),
        })
    }

    /// A request is served until what this returns is dropped.
    pub(crate) fn serve(self: &Arc<Self>) -> Serving {
        self.state.store(2, Ordering::Relaxed);
        Serving(Arc::clone(self))
    }

    /// Tells the time.
    pub(super) fn tell(&self, now: Instant) {
        let since = now.saturating_duration_since(self.opened).as_millis();
        self.now.store(u64::try_from(since).unwrap_or(u64::MAX >> 2), Ordering::Relaxed);
    }

    /// Whether the connection has taken too long.
    pub(super) fn is_exceeded(&self, now: Instant, bounds: &Bounds) -> bool {
        self.end(bounds).is_some_and(|end| end <= now)
    }

    /// How long ago the present phase began.
    pub(super) fn rests(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.phase().1)
    }

    /// When the present phase must be over.
    fn end(&self, bounds: &Bounds) -> Option<Instant> {
        let (phase, since) = self.phase();
        match phase {
            Phase::Idle => Some(since + bounds.idle),
            Phase::Head => Some(since + bounds.head),
            Phase::Serving => None,
        }
    }

    /// Whether the client takes next to nothing of what there is for it, for longer than it may.
    pub(super) fn is_stuck(&self, now: Instant, bounds: &Bounds) -> bool {
        let now = now.saturating_duration_since(self.opened).as_millis();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let taken = self.taken.load(Ordering::Relaxed);
        let (before, since) = &self.span;
        let goes_on = !self.is_full.load(Ordering::Relaxed)
            || taken.wrapping_sub(before.load(Ordering::Relaxed)) >= Bounds::LEAST;
        if goes_on {
            before.store(taken, Ordering::Relaxed);
            since.store(now, Ordering::Relaxed);
        }
        let most = u64::try_from(bounds.answer.as_millis()).unwrap_or(u64::MAX);
        now.saturating_sub(since.load(Ordering::Relaxed)) > most
    }

    fn phase(&self) -> (Phase, Instant) {
        let state = self.state.load(Ordering::Relaxed);
        let phase = match state & 3 {
            0 => Phase::Idle,
            1 => Phase::Head,
            _ => Phase::Serving,
        };
        (phase, self.opened + Duration::from_millis(state >> 2))
    }

    fn begin(&self, phase: u64) {
        let since = self.now.load(Ordering::Relaxed);
        self.state.store((since << 2) | phase, Ordering::Relaxed);
    }

    fn is_idle(&self) -> bool {
        self.state.load(Ordering::Relaxed).trailing_zeros() >= 2
    }
}

/// A request is being served.
#[derive(Debug)]
pub(crate) struct Serving(Arc<Pace>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.begin(0);
    }
}

/// A stream whose reads and writes set the pace.
#[derive(Debug)]
pub(super) struct Paced<S> {
    stream: S,
    pace: Arc<Pace>,
    speaks: Speaks,
}

/// Where in the frames of HTTP/2 a stream is (RFC 9113 section 4.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Frames {
    /// Of its head the length and the kind.
    head: [u8; 4],
    /// Bytes of the head that are there.
    have: u8,
    /// Bytes of the present frame that are still to come.
    left: u32,
    /// It is a part of an answer.
    answers: bool,
}

const FRAME_HEAD: u8 = 9;

impl Frames {
    /// Goes on by `bytes`, and says whether any of them are of an answer.
    fn pass(&mut self, mut bytes: &[u8]) -> bool {
        let mut found = false;
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                found |= self.answers;
                let passed = self.left.min(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
                self.left -= passed;
                bytes = bytes.get(passed as usize..).unwrap_or_default();
                continue;
            }
            if let Some(place) = self.head.get_mut(usize::from(self.have)) {
                *place = *first;
            }
            self.have += 1;
            bytes = rest;
            if self.have == FRAME_HEAD {
                let [high, middle, low, kind] = self.head;
                self.have = 0;
                self.left = u32::from_be_bytes([0, high, middle, low]);
                // DATA, HEADERS and CONTINUATION: all others acknowledge or administer.
                self.answers = matches!(kind, 0 | 1 | 9);
                found |= self.answers;
            }
        }
        found
    }
}

/// What bytes mean for the pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    /// What comes begins a head, and what goes is of an answer.
    Http1,
    /// Both may be a ping, which is no request: only the end of one begins a rest.
    Http2(Frames),
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, pace: Arc<Pace>) -> Self {
        Self { stream, pace, speaks: Speaks::Http1 }
    }

    /// A connection that speaks HTTP/2.
    pub(super) fn of_http2(stream: S, pace: Arc<Pace>) -> Self {
        Self { stream, pace, speaks: Speaks::Http2(Frames::default()) }
    }

    fn wrote(&mut self, parts: &[io::IoSlice<'_>], result: &Poll<io::Result<usize>>) {
        self.pace.is_full.store(result.is_pending(), Ordering::Relaxed);
        if let Poll::Ready(Ok(more)) = result {
            // No other thread writes here, so that no locked instruction is needed.
            let taken = self.pace.taken.load(Ordering::Relaxed).wrapping_add(*more as u64);
            self.pace.taken.store(taken, Ordering::Relaxed);
        }
        let Poll::Ready(Ok(mut more)) = *result else { return };
        let answers = match &mut self.speaks {
            Speaks::Http1 => more > 0,
            Speaks::Http2(frames) => parts.iter().fold(false, |answers, part| {
                let taken = part.len().min(more);
                more -= taken;
                frames.pass(part.get(..taken).unwrap_or_default()) || answers
            }),
        };
        // The end of an answer that a slow client still takes is not idle time.
        if answers && self.pace.is_idle() {
            self.pace.begin(0);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let more = buffer.filled().len() > before;
        if more && self.speaks == Speaks::Http1 && self.pace.is_idle() {
            self.pace.begin(1);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(&[io::IoSlice::new(bytes)], &result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.wrote(parts, &result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_has_ten_seconds_and_a_rest_has_seventy_five() {
        let (pace, bounds) = (Pace::new(), Bounds::default());
        let left = |pace: &Pace| pace.end(&bounds).map(|end| end - pace.opened);
        assert_eq!(left(&pace), Some(bounds.idle));
        pace.begin(1);
        assert!(left(&pace).unwrap() < bounds.head + Duration::from_secs(2));
        let serving = pace.serve();
        assert_eq!(left(&pace), None, "a request may take as long as it takes");
        drop(serving);
        assert!(left(&pace).unwrap() >= bounds.idle);
        assert!(!pace.is_exceeded(pace.opened + bounds.idle / 2, &bounds));
        assert!(pace.is_exceeded(pace.opened + bounds.idle + Duration::from_secs(2), &bounds));
    }

    #[test]
    fn i02_who_takes_next_to_nothing_of_what_there_is_is_stuck() {
        let (pace, bounds) = (Pace::new(), Bounds::default());
        let (_, server) = tokio::io::duplex(64);
        let mut paced = Paced::new(server, Arc::clone(&pace));
        let at = |seconds| pace.opened + Duration::from_secs(seconds);
        // Nothing to take, for as long as it likes.
        assert!(!(0..10_000).any(|seconds| pace.is_stuck(at(seconds), &bounds)));
        let mut stuck = |from: u64, taken: usize| {
            paced.wrote(&[], &Poll::Ready(Ok(1)));
            assert!(!pace.is_stuck(at(from), &bounds));
            (from..from + 10_000).find(|seconds| {
                paced.wrote(&[], &Poll::Ready(Ok(taken)));
                paced.wrote(&[], &Poll::Pending);
                pace.is_stuck(at(*seconds), &bounds)
            })
        };
        assert_eq!(stuck(20_000, 100), None, "slow, and not too slow");
        assert!((40_300..40_400).contains(&stuck(40_000, 0).unwrap()));
        assert!((60_000..60_700).contains(&stuck(60_000, 1).unwrap()));
    }

    #[test]
    fn pings_over_http2_do_not_make_a_rest_longer() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(64);
            let pace = Pace::new();
            let mut paced = Paced::of_http2(server, Arc::clone(&pace));
            let at = |seconds| pace.opened + Duration::from_secs(seconds);
            pace.tell(at(10));
            drop(pace.serve());
            let ping = [0_u8, 0, 8, 6, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
            // However many come at once, and wherever they are cut.
            let mut ping = [ping, ping].concat();
            ping.extend([0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 8, 6, 1, 0, 0]);
            let end = [0_u8, 0, 1, 2, 3, 4, 5, 6, 7, 8];
            for second in [40, 70] {
                pace.tell(at(second));
                tokio::io::AsyncWriteExt::write_all(&mut paced, &ping).await.unwrap();
                tokio::io::AsyncReadExt::read_exact(&mut client, &mut ping).await.unwrap();
                tokio::io::AsyncWriteExt::write_all(&mut client, &ping).await.unwrap();
                tokio::io::AsyncReadExt::read_exact(&mut paced, &mut ping).await.unwrap();
                assert_eq!(pace.rests(at(second)), Duration::from_secs(second - 10));
                let mut rest = end;
                tokio::io::AsyncWriteExt::write_all(&mut paced, &rest).await.unwrap();
                tokio::io::AsyncReadExt::read_exact(&mut client, &mut rest).await.unwrap();
                assert_eq!(pace.rests(at(second)), Duration::from_secs(second - 10));
            }
            // The end of an answer that is taken late is another matter.
            tokio::io::AsyncWriteExt::write_all(&mut paced, &[0; 60]).await.unwrap();
            assert_eq!(pace.rests(at(71)), Duration::from_secs(1));
        });
    }

    #[test]
    fn only_the_first_byte_of_a_head_starts_its_time() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(64);
            let pace = Pace::new();
            let mut paced = Paced::new(server, Arc::clone(&pace));
            let mut byte = [0];
            tokio::io::AsyncWriteExt::write_all(&mut client, b"GE").await.unwrap();
            tokio::io::AsyncReadExt::read_exact(&mut paced, &mut byte).await.unwrap();
            let first = pace.phase();
            assert_eq!(first.0, Phase::Head);
            pace.tell(pace.opened + Duration::from_secs(5));
            assert!(!pace.is_exceeded(pace.opened + Duration::from_secs(5), &Bounds::default()));
            tokio::io::AsyncReadExt::read_exact(&mut paced, &mut byte).await.unwrap();
            assert_eq!(pace.phase(), first, "dripping bytes win no time");
        });
    }
}
