//! Bytes between two WebSocket ends until one closes or the connection is cut.
//!
//! Most tunnels are idle most of the time, so that none has a buffer of its own: bytes pass through one that
//! all tunnels of a core share, and only what cannot be written at once is kept.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};

use super::frames::{Frames, close_1008};
use crate::{body::in_words, connection::Watch, ports::ConnectionEnd, share::One};

/// How long the rest of a frame that is under way may take before the tunnel just ends.
const REST_OF_FRAME: Duration = Duration::from_millis(200);
const CLOSE: Duration = Duration::from_millis(200);
const BUFFER: usize = 16 * 1024;

thread_local! {
    static SHARED: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into_boxed_slice());
}

/// Carries a WebSocket to its end and says why it ended.
pub(super) async fn run(
    client: OnUpgrade,
    upstream: OnUpgrade,
    watch: Rc<Watch>,
    _share: Option<One>,
) {
    let ends = async { tokio::try_join!(client, upstream) };
    let upgraded = tokio::select! {
        ends = ends => ends.ok(),
        _ = watch.must_end() => None,
    };
    let why = match upgraded {
        Some((client, upstream)) => {
            carry(TokioIo::new(client), TokioIo::new(upstream), &watch).await
        }
        None => ConnectionEnd::ClientGone,
    };
    watch.over(why);
}

async fn carry(
    client: TokioIo<Upgraded>,
    upstream: TokioIo<Upgraded>,
    watch: &Watch,
) -> ConnectionEnd {
    let (from_client, to_client) = tokio::io::split(client);
    let (from_upstream, to_upstream) = tokio::io::split(upstream);
    let mut up = Way::new(from_client, to_upstream);
    let mut down = Way::new(from_upstream, to_client);
    let finished = tokio::select! {
        why = up.pass_up(watch) => Some(why),
        why = down.pass_down(watch) => Some(why),
        _ = watch.must_end() => None,
    };
    if let Some(why) = finished {
        // One side closed: what the other had still to say has a moment to pass.
        let _ = tokio::time::timeout(REST_OF_FRAME, down.pass_down(watch)).await;
        let _ = tokio::time::timeout(CLOSE, down.to.shutdown()).await;
        return why;
    }
    // INVARIANT: nothing more goes up; the upstream's half is dropped with this function.
    let why = watch.cut_as().unwrap_or(ConnectionEnd::Closed);
    let _ = tokio::time::timeout(REST_OF_FRAME + CLOSE, down.close(why)).await;
    why
}

/// Who ended a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Where the bytes come from has no more.
    Closed,
    /// It broke off.
    Broken,
    /// Where they go to takes no more.
    Refused,
}

/// One direction, which can be ended at a frame boundary.
struct Way {
    from: ReadHalf<TokioIo<Upgraded>>,
    to: WriteHalf<TokioIo<Upgraded>>,
    /// Bytes that were read and are not written yet.
    rest: Vec<u8>,
    /// Something may have been written and not sent.
    unsent: bool,
    /// Of what was written.
    frames: Frames,
}

impl Way {
    fn new(from: ReadHalf<TokioIo<Upgraded>>, to: WriteHalf<TokioIo<Upgraded>>) -> Self {
        Self { from, to, rest: Vec::new(), unsent: false, frames: Frames::default() }
    }

    /// Passes bytes until the client closes, or sends too many frames that carry nothing.
    async fn pass_up(&mut self, watch: &Watch) -> ConnectionEnd {
        let mut came = Frames::default();
        let passing = std::future::poll_fn(|cx| {
            self.poll_pass(cx, |bytes| {
                watch.went_up(bytes.len());
                came.pass(bytes);
                watch.chatters(came.take_chatter());
            })
        });
        match passing.await {
            End::Closed | End::Broken => ConnectionEnd::ClientGone,
            End::Refused => ConnectionEnd::UpstreamGone,
        }
    }

    /// Passes bytes until the upstream closes.
    async fn pass_down(&mut self, watch: &Watch) -> ConnectionEnd {
        let passing =
            std::future::poll_fn(|cx| self.poll_pass(cx, |bytes| watch.went_down(bytes.len())));
        match passing.await {
            End::Closed => ConnectionEnd::Finished,
            End::Broken => ConnectionEnd::UpstreamGone,
            End::Refused => ConnectionEnd::ClientGone,
        }
    }

    /// Passes what there is; ready when no more can pass.
    fn poll_pass(&mut self, cx: &mut Context<'_>, mut came: impl FnMut(&[u8])) -> Poll<End> {
        loop {
            while !self.rest.is_empty() {
                let written = std::task::ready!(Pin::new(&mut self.to).poll_write(cx, &self.rest));
                let Ok(written @ 1..) = written else { return Poll::Ready(End::Refused) };
                self.frames.pass(self.rest.get(..written).unwrap_or_default());
                self.rest.drain(..written);
            }
            // Most never need it again.
            self.rest = Vec::new();
            let through = SHARED.with_borrow_mut(|shared| self.poll_through(cx, shared, &mut came));
            match through {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(end)) => return Poll::Ready(end),
                Poll::Pending if std::mem::take(&mut self.unsent) => {
                    match Pin::new(&mut self.to).poll_flush(cx) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(_)) => return Poll::Ready(End::Refused),
                        Poll::Pending => self.unsent = true,
                    }
                    return Poll::Pending;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Reads once, and writes of it what can be written at once.
    fn poll_through(
        &mut self,
        cx: &mut Context<'_>,
        shared: &mut [u8],
        came: &mut impl FnMut(&[u8]),
    ) -> Poll<Result<(), End>> {
        let mut buffer = ReadBuf::new(shared);
        let read = std::task::ready!(Pin::new(&mut self.from).poll_read(cx, &mut buffer));
        let bytes = buffer.filled();
        if read.is_err() {
            return Poll::Ready(Err(End::Broken));
        }
        if bytes.is_empty() {
            return Poll::Ready(Err(End::Closed));
        }
        came(bytes);
        self.unsent = true;
        let written = match Pin::new(&mut self.to).poll_write(cx, bytes) {
            Poll::Ready(Ok(written @ 1..)) => written,
            Poll::Ready(_) => return Poll::Ready(Err(End::Refused)),
            Poll::Pending => 0,
        };
        let (passed, rest) = bytes.split_at_checked(written).unwrap_or((bytes, &[]));
        self.frames.pass(passed);
        self.rest = rest.to_vec();
        Poll::Ready(Ok(()))
    }

    /// Ends with a close frame: at once between two frames, else after the rest of the one that is
    /// under way, if that comes soon. A frame cut in half would make the reason unreadable.
    async fn close(&mut self, why: ConnectionEnd) {
        let _ = tokio::time::timeout(REST_OF_FRAME, self.finish_frame()).await;
        if self.frames.at_boundary() {
            let _ = self.to.write_all(&close_1008(in_words(why))).await;
        }
        let _ = self.to.shutdown().await;
    }

    async fn finish_frame(&mut self) {
        let mut bytes = std::mem::take(&mut self.rest);
        while !self.frames.at_boundary() {
            if bytes.is_empty() {
                bytes.resize(BUFFER, 0);
                let Ok(read @ 1..) = self.from.read(&mut bytes).await else { return };
                bytes.truncate(read);
            }
            let until = self.frames.boundary_in(&bytes).unwrap_or(bytes.len());
            if self.write(bytes.get(..until).unwrap_or_default()).await.is_err() {
                return;
            }
            bytes.drain(..until);
        }
    }

    /// Writes piece by piece, so that the frames are known also when this is dropped half-way.
    async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = self.to.write(rest).await?;
            let (passed, after) = rest.split_at_checked(written).unwrap_or((rest, &[]));
            if passed.is_empty() {
                return Err(std::io::ErrorKind::WriteZero.into());
            }
            self.frames.pass(passed);
            rest = after;
        }
        self.to.flush().await
    }
}
