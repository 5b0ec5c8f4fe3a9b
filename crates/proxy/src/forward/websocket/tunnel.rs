//! Bytes between two WebSocket ends until one closes or the connection is cut.

use std::{borrow::Cow, future::poll_fn, rc::Rc, task::Poll, time::Duration};

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    frames::{Frames, close_1008},
    messages::Messages,
};
use crate::{
    body::in_words,
    connection::Watch,
    forward::pipe::{Ended, MustNotPass, Passing, Pipe},
    ports::ConnectionEnd,
    share::One,
    upstream::Tunnelled,
};

/// How long the rest of a frame that is under way may take before the tunnel just ends.
const REST_OF_FRAME: Duration = Duration::from_millis(200);
const CLOSE: Duration = Duration::from_millis(200);
/// What is read at once of a frame whose rest is awaited.
const PIECE: usize = 4 * 1024;

/// Carries a WebSocket to its end and says why it ended.
pub(super) async fn run(
    client: OnUpgrade,
    upstream: OnUpgrade,
    watch: Rc<Watch>,
    masking: Option<Box<Messages>>,
    _counted: (Tunnelled, Option<One>),
) {
    let ends = async { tokio::try_join!(client, upstream) };
    let upgraded = tokio::select! {
        ends = ends => ends.ok(),
        _ = watch.must_end() => None,
    };
    let why = match upgraded {
        Some((client, upstream)) => Tunnel::new(client, upstream, masking).carry(&watch).await,
        None => ConnectionEnd::ClientGone,
    };
    watch.over(why);
}

/// Both ends, and what is on its way between them.
struct Tunnel {
    client: TokioIo<Upgraded>,
    upstream: TokioIo<Upgraded>,
    up: Pipe,
    down: Pipe,
    /// Of the direction towards the upstream, where those are counted that carry nothing.
    asked: Frames,
    /// Of the direction towards the client, which can be ended between two of them.
    frames: Frames,
    /// Masks what comes from the upstream.
    masking: Option<Box<Messages>>,
}

impl Tunnel {
    fn new(client: Upgraded, upstream: Upgraded, masking: Option<Box<Messages>>) -> Self {
        let (up, down) = (Pipe::default(), Pipe::default());
        let (client, upstream) = (TokioIo::new(client), TokioIo::new(upstream));
        let (asked, frames) = (Frames::default(), Frames::default());
        Self { client, upstream, up, down, asked, frames, masking }
    }

    async fn carry(mut self, watch: &Watch) -> ConnectionEnd {
        let finished = tokio::select! {
            biased;
            _ = watch.must_end() => None,
            why = self.pass(watch) => Some(why),
        };
        if finished == Some(ConnectionEnd::Opaque) {
            watch.cut(ConnectionEnd::Opaque);
        } else if let Some(why) = finished {
            // One side closed: what the other had still to say has a moment to pass.
            let _ = tokio::time::timeout(REST_OF_FRAME, self.pass_down(watch)).await;
            let _ = tokio::time::timeout(CLOSE, self.client.shutdown()).await;
            return why;
        }
        // INVARIANT: nothing more goes up; the upstream's half is dropped with this function.
        let why = watch.cut_as().unwrap_or(ConnectionEnd::Closed);
        let _ = tokio::time::timeout(REST_OF_FRAME + CLOSE, self.close(why)).await;
        why
    }

    /// Passes bytes both ways until one side closes.
    async fn pass(&mut self, watch: &Watch) -> ConnectionEnd {
        let Self { client, upstream, up, down, asked, frames, masking } = self;
        let masking = masking.as_deref_mut();
        let mut passing = Down { watch, frames, masking };
        let mut is_up = false;
        poll_fn(|cx| {
            // In turn, as the one that is polled first may use up what a task may do at once.
            is_up = !is_up;
            for is_up in [is_up, !is_up] {
                let ended = if is_up {
                    let ended =
                        up.poll_pass(client, upstream, &mut Up { watch, frames: asked }, cx);
                    ended.map(upwards)
                } else {
                    down.poll_pass(upstream, client, &mut passing, cx).map(downwards)
                };
                if ended.is_ready() {
                    return ended;
                }
            }
            Poll::Pending
        })
        .await
    }

    async fn pass_down(&mut self, watch: &Watch) -> Ended {
        let Self { client, upstream, down, frames, masking, .. } = self;
        let mut passing = Down { watch, frames, masking: masking.as_deref_mut() };
        poll_fn(|cx| down.poll_pass(upstream, client, &mut passing, cx)).await
    }

    /// Ends with a close frame: at once between two frames, else after the rest of the one that is
    /// under way, if that comes soon. A frame cut in half would make the reason unreadable.
    async fn close(&mut self, why: ConnectionEnd) {
        let _ = tokio::time::timeout(REST_OF_FRAME, self.finish_frame()).await;
        if self.frames.at_boundary() {
            let _ = self.client.write_all(&close_1008(in_words(why))).await;
        }
        let _ = self.client.shutdown().await;
    }

    async fn finish_frame(&mut self) -> std::io::Result<()> {
        let Self { client, upstream, down, frames, .. } = self;
        if !frames.at_boundary() {
            let until = frames.boundary_in(down.rest()).unwrap_or(down.rest().len());
            poll_fn(|cx| down.poll_rest(until, client, &mut OfFrame(frames), cx)).await?;
        }
        if self.masking.is_some() {
            // INVARIANT: what is masked is written in whole frames; nothing passes here that was not.
            return client.flush().await;
        }
        let mut buffer = vec![0; PIECE];
        while !frames.at_boundary() {
            let Ok(read @ 1..) = upstream.read(&mut buffer).await else { return Ok(()) };
            let bytes = buffer.get(..read).unwrap_or_default();
            let until = frames.boundary_in(bytes).unwrap_or(read);
            let bytes = bytes.get(..until).unwrap_or_default();
            client.write_all(bytes).await?;
            frames.pass(bytes);
        }
        client.flush().await
    }
}

/// How the direction towards the upstream ended. A client that says no more has left.
fn upwards(ended: Ended) -> ConnectionEnd {
    match ended {
        Ended::Finished | Ended::SourceGone => ConnectionEnd::ClientGone,
        Ended::DestinationGone | Ended::Refused => ConnectionEnd::UpstreamGone,
    }
}

/// How the direction towards the client ended.
fn downwards(ended: Ended) -> ConnectionEnd {
    match ended {
        Ended::Finished => ConnectionEnd::Finished,
        Ended::SourceGone => ConnectionEnd::UpstreamGone,
        Ended::DestinationGone => ConnectionEnd::ClientGone,
        Ended::Refused => ConnectionEnd::Opaque,
    }
}

/// Bytes towards the upstream.
struct Up<'w> {
    watch: &'w Watch,
    frames: &'w mut Frames,
}

impl Passing for Up<'_> {
    fn came(&mut self, count: usize) {
        self.watch.went_up(count);
    }

    fn went(&mut self, bytes: &[u8]) {
        self.frames.pass(bytes);
        self.watch.chatters(self.frames.take_chatter());
    }
}

/// Bytes towards the client.
struct Down<'w> {
    watch: &'w Watch,
    frames: &'w mut Frames,
    masking: Option<&'w mut Messages>,
}

impl Passing for Down<'_> {
    fn came(&mut self, count: usize) {
        self.watch.went_down(count);
    }

    fn instead<'b>(&mut self, bytes: &'b [u8]) -> Result<Cow<'b, [u8]>, MustNotPass> {
        let Some(messages) = &mut self.masking else { return Ok(Cow::Borrowed(bytes)) };
        match messages.push(bytes) {
            Ok(masked) => Ok(Cow::Owned(masked)),
            Err(trouble) => {
                tracing::warn!(%trouble, "a web socket with sensitive data cannot be inspected, and ends");
                Err(MustNotPass)
            }
        }
    }

    fn went(&mut self, bytes: &[u8]) {
        self.frames.pass(bytes);
    }
}

/// The rest of a frame, counted when it came.
struct OfFrame<'w>(&'w mut Frames);

impl Passing for OfFrame<'_> {
    fn came(&mut self, _: usize) {}

    fn went(&mut self, bytes: &[u8]) {
        self.0.pass(bytes);
    }
}
