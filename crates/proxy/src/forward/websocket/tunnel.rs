//! Bytes between two WebSocket ends until one closes or the connection is cut.

use std::{rc::Rc, time::Duration};

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use super::frames::{Frames, close_1008};
use crate::{body::in_words, connection::Watch, ports::ConnectionEnd, upstream::Tunnelled};

/// How long the rest of a frame that is under way may take before the tunnel just ends.
const REST_OF_FRAME: Duration = Duration::from_millis(200);
const CLOSE: Duration = Duration::from_millis(200);
const BUFFER: usize = 16 * 1024;

/// Carries a WebSocket to its end and says why it ended.
pub(super) async fn run(
    client: OnUpgrade,
    upstream: OnUpgrade,
    watch: Rc<Watch>,
    _counted: Tunnelled,
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
    let (mut from_client, to_client) = tokio::io::split(client);
    let (from_upstream, mut to_upstream) = tokio::io::split(upstream);
    let mut down = Down { from: from_upstream, to: to_client, frames: Frames::default() };
    let finished = tokio::select! {
        why = up(&mut from_client, &mut to_upstream, watch) => Some(why),
        why = down.pass(watch) => Some(why),
        _ = watch.must_end() => None,
    };
    if let Some(why) = finished {
        // One side closed: what the other had still to say has a moment to pass.
        let _ = tokio::time::timeout(REST_OF_FRAME, down.pass(watch)).await;
        let _ = tokio::time::timeout(CLOSE, down.to.shutdown()).await;
        return why;
    }
    // INVARIANT: nothing more goes up; the upstream's half is dropped with this function.
    let why = watch.cut_as().unwrap_or(ConnectionEnd::Closed);
    let _ = tokio::time::timeout(REST_OF_FRAME + CLOSE, down.close(why)).await;
    why
}

async fn up<R, W>(from: &mut R, to: &mut W, watch: &Watch) -> ConnectionEnd
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return ConnectionEnd::ClientGone,
            Ok(read) => {
                watch.went_up(read);
                let bytes = buffer.get(..read).unwrap_or_default();
                if to.write_all(bytes).await.is_err() {
                    return ConnectionEnd::UpstreamGone;
                }
            }
        }
    }
}

/// The direction towards the client, which can be ended at a frame boundary.
struct Down {
    from: ReadHalf<TokioIo<Upgraded>>,
    to: WriteHalf<TokioIo<Upgraded>>,
    frames: Frames,
}

impl Down {
    /// Passes bytes until the upstream closes.
    async fn pass(&mut self, watch: &Watch) -> ConnectionEnd {
        let mut buffer = vec![0; BUFFER];
        loop {
            match self.from.read(&mut buffer).await {
                Ok(0) => return ConnectionEnd::Finished,
                Err(_) => return ConnectionEnd::UpstreamGone,
                Ok(read) => {
                    watch.went_down(read);
                    let bytes = buffer.get(..read).unwrap_or_default();
                    if self.write(bytes).await.is_err() {
                        return ConnectionEnd::ClientGone;
                    }
                }
            }
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
        let mut buffer = vec![0; BUFFER];
        while !self.frames.at_boundary() {
            let Ok(read @ 1..) = self.from.read(&mut buffer).await else { return };
            let bytes = buffer.get(..read).unwrap_or_default();
            let until = self.frames.boundary_in(bytes).unwrap_or(read);
            if self.write(bytes.get(..until).unwrap_or_default()).await.is_err() {
                return;
            }
        }
    }
}
