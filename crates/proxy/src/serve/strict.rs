//! Strict reading: an unambiguous grammar of HTTP/1 below the HTTP parser, and in [`http2`] what there is to
//! add to the HTTP/2 library.
//!
//! A parser repairs, ignores or tolerates by design: bare line feeds, a length beside a transfer encoding, a
//! fragment in a target. Somebody behind the gate may repair it otherwise, and one sequence of bytes is two
//! sequences of requests. So what clients send is read here first. What reads one way only is handed on as it
//! came, head by head; anything else never reaches the parser. Answers of upstreams are read in the same way.
//!
//! - A head is handed on whole or not at all. What is not sound of one is replaced by a request of the gate's
//!   own, [`STAND_IN`], which takes its place in the order, is refused like any other, and is on record.
//! - A body that is not sound ends its connection; the request that it belongs to is refused or broken off.
//! - Bytes are looked at in the buffer that the parser reads into. Only the beginning of a head that did not
//!   arrive at once is kept aside.
//! - Behind a 101 it is out of the way.

mod defect;
pub(crate) mod frames;
mod heads;
mod hpack;
pub(crate) mod http2;
pub(crate) mod interim;
mod kept;
mod line;
mod reader;

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

pub(crate) use defect::Defect;
use kept::Kept;
pub(crate) use reader::{Asked, MAX_HEAD};
use reader::{Reader, Step, Then};

/// Stands for a request that cannot be read. No client can send it: its method is no word.
const STAND_IN: &[u8] = b"- * HTTP/1.1\r\nhost: -\r\nconnection: close\r\n\r\n";
/// Bytes that are kept while it is open whether they are a request.
const MAX_KEPT: usize = 64 * 1024;
/// What a refused client still sends is thrown away for a moment, so that it gets to see its answer.
const LINGER_BYTES: usize = 4 * 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(1);

/// So much of what is to be gathered is copied: that costs less than a gathering write, which is the system's.
const MOST_COPIED: usize = 4 * 1024;

thread_local! {
    /// Where it is copied to; nothing rests there.
    static GATHERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Whether a method is that of [`STAND_IN`].
pub(crate) fn is_stand_in(method: &http::Method) -> bool {
    method.as_str() == "-"
}

/// What the two ends of a connection's reader tell each other: the one in the stream, which must be `Send`,
/// and the one that serves or asks.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    defect: AtomicU8,
    settled: AtomicU8,
    asked: AtomicU8,
    /// Waits until an upgrade is settled. The parser above reads again only when it is woken.
    waiting: Mutex<Option<Waker>>,
}

impl Verdict {
    const TUNNEL: u8 = 1;
    const DECLINED: u8 = 2;

    /// What was wrong, if anything was.
    pub(crate) fn defect(&self) -> Option<Defect> {
        Defect::numbered(self.defect.load(Ordering::Relaxed))
    }

    /// The request that asked for another protocol is answered.
    pub(crate) fn settle(&self, is_tunnel: bool) {
        let settled = if is_tunnel { Self::TUNNEL } else { Self::DECLINED };
        self.settled.store(settled, Ordering::Relaxed);
        if let Some(waker) = self.waiting().take() {
            waker.wake();
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request is about to be sent.
    pub(crate) fn ask(&self, asked: Asked) {
        let asked = match asked {
            Asked::Plain => 1,
            Asked::Head => 2,
            Asked::Upgrade => 3,
        };
        self.asked.store(asked, Ordering::Relaxed);
    }

    fn take_settled(&self) -> Option<bool> {
        match self.settled.swap(0, Ordering::Relaxed) {
            0 => None,
            settled => Some(settled == Self::TUNNEL),
        }
    }

    fn take_asked(&self) -> Option<Asked> {
        match self.asked.swap(0, Ordering::Relaxed) {
            1 => Some(Asked::Plain),
            2 => Some(Asked::Head),
            3 => Some(Asked::Upgrade),
            _ => None,
        }
    }
}

/// What becomes of a connection behind the bytes that are sound.
#[derive(Debug)]
enum Fate {
    Read,
    /// Nothing more is read; what still arrives is thrown away, so many bytes of it.
    Over {
        left: usize,
        until: Option<Pin<Box<Sleep>>>,
    },
    Broken(Defect),
}

impl Fate {
    const OVER: Self = Self::Over { left: LINGER_BYTES, until: None };
}

/// A stream of which only what is sound is read.
#[derive(Debug)]
pub(crate) struct Strict<S> {
    stream: S,
    reader: Reader,
    verdict: Arc<Verdict>,
    kept: Kept,
    fate: Fate,
}

impl<S> Strict<S> {
    /// For requests that come on `stream`.
    pub(crate) fn of_requests(stream: S, verdict: Arc<Verdict>) -> Self {
        Self::of(stream, Reader::of_requests(), verdict)
    }

    /// For answers that come on `stream`.
    pub(crate) fn of_answers(stream: S, verdict: Arc<Verdict>) -> Self {
        Self::of(stream, Reader::of_answers(), verdict)
    }

    fn of(stream: S, reader: Reader, verdict: Arc<Verdict>) -> Self {
        Self { stream, reader, verdict, kept: Kept::default(), fate: Fate::Read }
    }

    /// Reads on in what is kept.
    fn read_kept(&mut self) {
        let step = self.reader.read(&self.kept.bytes);
        self.kept.sound = step.sound;
        self.settle_fate(step.then);
    }

    /// What comes behind the sound bytes of `kept`.
    fn settle_fate(&mut self, then: Then) {
        match then {
            Then::More | Then::Wait => return,
            Then::Nothing => self.fate = Fate::OVER,
            Then::Refuse(defect) | Then::Break(defect) => {
                self.verdict.defect.store(defect as u8, Ordering::Relaxed);
                tracing::debug!(why = defect.words(), "a message is not read");
                self.fate = Fate::Broken(defect);
            }
        }
        self.kept.bytes.truncate(self.kept.sound);
        if let Then::Refuse(_) = then {
            self.fate = Fate::OVER;
            self.kept.bytes.extend_from_slice(STAND_IN);
            self.kept.sound = self.kept.bytes.len();
        }
    }
}

impl<S: AsyncRead + Unpin> Strict<S> {
    /// Reads something new; whether anything of it, or the end, is in `buffer`.
    fn poll_new(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if let Some(asked) = self.verdict.take_asked() {
            self.reader.ask(asked);
        }
        let new = buffer.filled().get(before..).unwrap_or_default();
        if new.is_empty() {
            return Poll::Ready(Ok(true));
        }
        if self.kept.bytes.is_empty() {
            let Step { sound, then } = self.reader.read(new);
            if sound == new.len() && then == Then::More {
                return Poll::Ready(Ok(true));
            }
            self.kept.bytes.extend_from_slice(new.get(sound..).unwrap_or_default());
            buffer.set_filled(before + sound);
            self.settle_fate(then);
            return Poll::Ready(Ok(sound > 0));
        }
        self.kept.bytes.extend_from_slice(new);
        buffer.set_filled(before);
        self.read_kept();
        Poll::Ready(Ok(false))
    }

    /// Throws away what still arrives, until it has been enough; then, or at the end, ready.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; 4096];
        while let Fate::Over { left: left @ 1.., .. } = &mut self.fate {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    *left = left.saturating_sub(buffer.filled().len());
                }
                Poll::Ready(_) => *left = 0,
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Strict<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.kept.sound > 0 {
                this.kept.hand_on(buffer);
                return Poll::Ready(Ok(()));
            }
            match this.fate {
                Fate::Read => {}
                Fate::Broken(defect) => {
                    let error = io::Error::new(io::ErrorKind::InvalidData, defect.words());
                    return Poll::Ready(Err(error));
                }
                // INVARIANT: no end is told of, which would break off what is being answered.
                Fate::Over { .. } => {
                    let _ = this.poll_discard(cx);
                    return Poll::Pending;
                }
            }
            if this.reader.is_waiting() {
                if let Some(is_tunnel) = this.verdict.take_settled() {
                    this.reader.settle(is_tunnel);
                    this.read_kept();
                    continue;
                }
                *this.verdict.waiting() = Some(cx.waker().clone());
                if this.kept.bytes.len() >= MAX_KEPT {
                    return Poll::Pending;
                }
            }
            if std::task::ready!(this.poll_new(cx, buffer))? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Strict<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // A gathering write costs the system more than a write, and most requests are a head alone.
        if let [whole] = parts {
            return Pin::new(&mut self.stream).poll_write(cx, whole);
        }
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length > MOST_COPIED {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        }
        GATHERED.with_borrow_mut(|gathered| {
            gathered.clear();
            for part in parts {
                gathered.extend_from_slice(part);
            }
            Pin::new(&mut self.stream).poll_write(cx, gathered)
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        std::task::ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        // A connection that is closed with bytes unread is reset, and the client may miss its answer.
        if matches!(this.fate, Fate::Broken(_)) && this.reader.is_of_requests() {
            this.fate = Fate::OVER;
        }
        if let Fate::Over { until, .. } = &mut this.fate {
            let until = until.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER_TIME)));
            if until.as_mut().poll(cx).is_pending() {
                std::task::ready!(this.poll_discard(cx));
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod properties;
#[cfg(any(test, fuzzing))]
pub(crate) mod reading;
#[cfg(test)]
mod tests;
