//! Bytes between two ends, one of which may speak frames: what a TCP service's connections are made of, at
//! the gate and in `portcullis connect`.
//!
//! Behind a 101 for [`PROTOCOL`], both directions are frames: one byte of kind, four of length (big endian),
//! and so many bytes of payload, [`MOST`] at most. Bytes of the connection are of kind 0, DATA. A direction ends with
//! END, kind 1; without it, it was cut short and nobody may take what came for all of it. CLOSED, kind 2, comes from the
//! gate alone, says why in words, and is the last frame of all. Other kinds are passed over. A plain TCP stream
//! could say none of this, and whatever stands between client and gate may not carry one half without the
//! other.
//!
//! Nothing is buffered beyond one read: who does not take bytes gets none, and their sender waits. A direction
//! in which nothing comes holds no buffer.

use std::{fmt, future::poll_fn, io, pin::Pin, task::Poll};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::forward::pipe::{self, with_buffer};

/// What a client asks for with `Upgrade`.
pub const PROTOCOL: &str = "portcullis-tcp";
/// The most bytes of payload that a frame has.
pub const MOST: usize = pipe::SCRATCH;

const DATA: u8 = 0;
const END: u8 = 1;
const CLOSED: u8 = 2;
const HEAD: usize = 5;

/// How bytes are written on one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// As they are; the end of the stream is the end.
    Plain,
    /// In frames.
    Framed,
}

/// Why a direction did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// Whoever sends is gone, or left in the middle.
    Source,
    /// Whoever receives is gone.
    Sink,
    /// What was sent is no frame.
    Malformed,
    /// The gate closed the connection, and says why.
    Closed(String),
    /// It carried more than it may.
    Bound,
}

/// From a plain stream to the wire.
pub struct Outward<R, W> {
    from: R,
    to: W,
    wire: Wire,
    /// Room for a head, then what was read; from `at` on it is still to be written.
    buffer: Vec<u8>,
    at: usize,
}

impl<R, W> fmt::Debug for Outward<R, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outward").field("wire", &self.wire).finish_non_exhaustive()
    }
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Outward<R, W> {
    /// Nothing has passed yet.
    pub fn new(from: R, to: W, wire: Wire) -> Self {
        Self { from, to, wire, buffer: Vec::new(), at: 0 }
    }

    /// Passes bytes until the source ends, and says so. `admits` is told of each piece before it passes.
    pub async fn pass(&mut self, admits: impl Fn(usize) -> bool) -> Result<(), Broken> {
        self.pieces(admits).await?;
        self.finish().await.map_err(|_| Broken::Sink)
    }

    /// Passes what the source says until it ends, behind what a dropped [`Self::pass`] left half-written, and
    /// does not say that this is all: the connection ends otherwise.
    pub async fn rest(&mut self, admits: impl Fn(usize) -> bool) -> Result<(), Broken> {
        self.write().await.map_err(|_| Broken::Sink)?;
        self.pieces(admits).await
    }

    async fn pieces(&mut self, admits: impl Fn(usize) -> bool) -> Result<(), Broken> {
        loop {
            // All of it is written.
            self.buffer.clear();
            self.at = 0;
            let read = read(&mut self.from, &mut self.buffer, HEAD).await;
            let read = read.map_err(|_| Broken::Source)?;
            if read == 0 {
                // The room for a head is no part of what is on the wire.
                self.buffer.clear();
                return Ok(());
            }
            if !admits(read) {
                // It is no part of what is on the wire.
                self.buffer.clear();
                return Err(Broken::Bound);
            }
            match self.wire {
                Wire::Plain => self.at = HEAD,
                Wire::Framed => self.head(DATA, read),
            }
            self.write().await.map_err(|_| Broken::Sink)?;
        }
    }

    /// Ends a framed direction at once, and says why; behind the rest of a frame that is under way. A plain one
    /// has no word for it but its end, which this is not.
    pub async fn close(&mut self, why: &str) -> io::Result<()> {
        if self.wire == Wire::Plain {
            return Ok(());
        }
        self.write().await?;
        let why = why.get(..why.len().min(MOST)).unwrap_or_default();
        self.frame(CLOSED, why.as_bytes());
        self.write().await?;
        self.to.shutdown().await
    }

    /// Its ends.
    pub fn into_ends(self) -> (R, W) {
        (self.from, self.to)
    }

    async fn finish(&mut self) -> io::Result<()> {
        match self.wire {
            Wire::Plain => self.to.shutdown().await,
            Wire::Framed => {
                self.frame(END, &[]);
                self.write().await
            }
        }
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) {
        self.at = 0;
        self.buffer.clear();
        self.buffer.resize(HEAD, 0);
        self.buffer.extend_from_slice(payload);
        self.head(kind, payload.len());
    }

    /// Fills the room that is kept for it.
    fn head(&mut self, kind: u8, length: usize) {
        let length = u32::try_from(length).unwrap_or_default().to_be_bytes();
        for (to, from) in self.buffer.iter_mut().zip(std::iter::once(kind).chain(length)) {
            *to = from;
        }
    }

    /// Writes piece by piece, so that it is known what is left also when this is dropped half-way.
    async fn write(&mut self) -> io::Result<()> {
        while let Some(rest) = self.buffer.get(self.at..).filter(|rest| !rest.is_empty()) {
            match self.to.write(rest).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => self.at += written,
            }
        }
        self.to.flush().await
    }
}

/// From the wire to a plain stream.
pub struct Inward<R, W> {
    from: R,
    to: W,
    frames: Option<Frames>,
    buffer: Vec<u8>,
}

impl<R, W> fmt::Debug for Inward<R, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inward").field("frames", &self.frames).finish_non_exhaustive()
    }
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Inward<R, W> {
    /// Nothing has passed yet.
    pub fn new(from: R, to: W, wire: Wire) -> Self {
        let frames = (wire == Wire::Framed).then(Frames::default);
        Self { from, to, frames, buffer: Vec::new() }
    }

    /// Passes bytes until the wire says that it is all, and ends the plain stream too.
    pub async fn pass(&mut self, admits: impl Fn(usize) -> bool) -> Result<(), Broken> {
        loop {
            let read = read(&mut self.from, &mut self.buffer, 0).await;
            let read = read.map_err(|_| Broken::Source)?;
            let mut rest = self.buffer.as_slice();
            let Some(frames) = &mut self.frames else {
                if read == 0 {
                    return self.to.shutdown().await.map_err(|_| Broken::Sink);
                }
                if !admits(read) {
                    return Err(Broken::Bound);
                }
                self.to.write_all(rest).await.map_err(|_| Broken::Sink)?;
                self.to.flush().await.map_err(|_| Broken::Sink)?;
                continue;
            };
            if read == 0 {
                return Err(Broken::Source);
            }
            while !rest.is_empty() {
                match frames.next(&mut rest)? {
                    Part::Nothing => {}
                    Part::Data(bytes) if !admits(bytes.len()) => return Err(Broken::Bound),
                    Part::Data(bytes) => {
                        self.to.write_all(bytes).await.map_err(|_| Broken::Sink)?;
                    }
                    Part::End => {
                        // What came with it is looked at in `until_closed`.
                        let behind = self.buffer.len() - rest.len();
                        self.buffer.drain(..behind);
                        return self.to.shutdown().await.map_err(|_| Broken::Sink);
                    }
                    Part::Closed(why) => return Err(Broken::Closed(why)),
                }
            }
            self.to.flush().await.map_err(|_| Broken::Sink)?;
        }
    }

    /// What becomes of the connection once this direction has come to its end: a gate that cuts it afterwards
    /// says why, or just goes.
    pub async fn until_closed(&mut self) -> Broken {
        let Some(frames) = &mut self.frames else { return Broken::Source };
        loop {
            let mut rest = self.buffer.as_slice();
            while !rest.is_empty() {
                match frames.next(&mut rest) {
                    Ok(Part::Nothing) => {}
                    Ok(Part::Data(_) | Part::End) => return Broken::Malformed,
                    Ok(Part::Closed(why)) => return Broken::Closed(why),
                    Err(broken) => return broken,
                }
            }
            match read(&mut self.from, &mut self.buffer, 0).await {
                Ok(0) | Err(_) => return Broken::Source,
                Ok(_) => {}
            }
        }
    }

    /// Its ends.
    pub fn into_ends(self) -> (R, W) {
        (self.from, self.to)
    }
}

/// Reads what comes next into `buffer`, behind `room` bytes. While nothing comes, the buffer is given back.
async fn read(
    from: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    room: usize,
) -> io::Result<usize> {
    poll_fn(|cx| {
        with_buffer(|scratch| {
            let mut scratch = ReadBuf::new(scratch);
            let Poll::Ready(read) = Pin::new(&mut *from).poll_read(cx, &mut scratch) else {
                *buffer = Vec::new();
                return Poll::Pending;
            };
            buffer.clear();
            if let Err(error) = read {
                return Poll::Ready(Err(error));
            }
            buffer.resize(room, 0);
            buffer.extend_from_slice(scratch.filled());
            Poll::Ready(Ok(scratch.filled().len()))
        })
    })
    .await
}

/// Where frames begin and end in a stream that comes in pieces.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Frames {
    head: [u8; HEAD],
    /// How much of the head is there.
    have: usize,
    /// How much of the payload is to come.
    left: usize,
    /// The words of a close.
    why: Vec<u8>,
}

/// What the next bytes are.
#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    Nothing,
    Data(&'a [u8]),
    End,
    Closed(String),
}

impl Frames {
    /// Takes the next part off the front of `bytes`, which are not empty.
    fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Part<'a>, Broken> {
        if self.have < HEAD {
            let taken = take(bytes, HEAD - self.have);
            let room = self.head.get_mut(self.have..self.have + taken.len());
            room.ok_or(Broken::Malformed)?.copy_from_slice(taken);
            self.have += taken.len();
            if self.have < HEAD {
                return Ok(Part::Nothing);
            }
            let [_, length @ ..] = self.head;
            self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            if self.left > MOST {
                return Err(Broken::Malformed);
            }
            return Ok(self.ended(&[]));
        }
        let taken = take(bytes, self.left);
        self.left -= taken.len();
        Ok(self.ended(taken))
    }

    /// What `taken` of the payload is, and whether the frame is over with it.
    fn ended<'a>(&mut self, taken: &'a [u8]) -> Part<'a> {
        let [kind, ..] = self.head;
        if kind == CLOSED {
            self.why.extend_from_slice(taken);
        }
        if self.left == 0 {
            self.have = 0;
        }
        match kind {
            DATA if taken.is_empty() => Part::Nothing,
            DATA => Part::Data(taken),
            END if self.left == 0 => Part::End,
            CLOSED if self.left == 0 => Part::Closed(String::from_utf8_lossy(&self.why).into()),
            _ => Part::Nothing,
        }
    }
}

fn take<'a>(bytes: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at_checked(most).unwrap_or((bytes, &[]));
    *bytes = rest;
    taken
}

#[cfg(test)]
mod tests;
