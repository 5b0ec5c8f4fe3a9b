//! Follows what a client sends over HTTP/2, frame by frame, below the library.
//!
//! It looks at settings, for how little a client wants to receive, and at header blocks, for what the library
//! would repair without a word: a fragment in a path, pseudo-headers in trailers. A stream with such a block
//! must end and its connection must not, and the block must still be decoded, as the next one builds on it. So
//! a field that no request may have is put at its end, for which the library resets the stream. All other
//! bytes are handed on as they came.
//!
//! Two things are bounded here. The library decodes whatever is there before anything of it is served, and a
//! head that cost its client a byte for each field costs a hundred there: so a few are handed on at a time, and
//! the others stay compressed until those are served. And frames that ask for nothing are counted: of whoever
//! sends too many, nothing more is read, and what is put in its place is a head that never ends, for which the
//! library says `ENHANCE_YOUR_CALM`.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    heads::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, FrameHead, HEAD, HEADERS, Heads, PADDED,
        PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    },
    hpack::{Blocks, Broken},
    http2::Window,
    kept::Kept,
};

const PREFACE: u64 = 24;
/// The largest frame that the library takes; a larger one ends the connection there.
const MAX_FRAME: usize = 16 * 1024;
/// The library has given up long before.
const MAX_BLOCK: usize = 256 * 1024;
const INITIAL_WINDOW_SIZE: u16 = 4;
/// `connection: x`, which RFC 9113 section 8.2.2 makes malformed; not to be remembered.
const POISON: &[u8] = b"\0\x0aconnection\x01x";
/// Header blocks that are handed on before the connection is polled again, and so what they ask for served.
const AT_ONCE: u32 = 32;
/// The same for a client that lets hardly anything be sent.
const AT_ONCE_WHILE_TIGHT: u32 = 2;
/// A stream that is given up costs more than a ping.
const RESET_WEIGHT: u32 = 4;
/// Whoever is sent something says so for its stream and for the connection; and whoever asks may first widen both.
const UPDATES: u32 = 2;
/// What may be said late, of what was sent long ago.
const MOST_UPDATES: u32 = 20_000;
/// Bytes that are more than one or two frames without content.
const ANSWER: usize = 65;
/// Frames of a head that the library does not wait for the end of.
const ENDLESS: usize = 64;

impl FrameHead {
    /// What it weighs if it asks for nothing.
    fn chatter(self) -> u32 {
        match self.kind {
            // The length of the padding is not looked at: at most, it is all there is.
            DATA if self.length > if self.has(PADDED) { 256 } else { 0 } => 0,
            HEADERS | CONTINUATION => 0,
            RST_STREAM => RESET_WEIGHT,
            _ => 1,
        }
    }
}

/// What comes behind the frames that are sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The beginning of a frame, or nothing.
    More,
    /// A frame of so many bytes that ends a block which is not sound.
    Poison(usize),
    /// There may be more; what was looked at is enough for now.
    Enough,
    /// Too much that asks for nothing.
    Flood,
}

/// What has been seen of a client's frames.
#[derive(Debug)]
struct Frames {
    /// Bytes that are not looked at.
    skip: u64,
    blocks: Blocks,
    /// The beginning of a block that takes more than one frame.
    begun: Option<(Vec<u8>, bool)>,
    /// The newest stream.
    stream: u32,
    /// Requests that went on behind their head, and whose end was not seen.
    unended: u32,
    /// Header blocks in this poll of the connection.
    heads: u32,
    /// So often the client may still say what it has taken.
    updates: u32,
    /// The preface is whole.
    greeted: bool,
}

impl Frames {
    fn new() -> Self {
        Self {
            skip: PREFACE,
            blocks: Blocks::default(),
            begun: None,
            stream: 0,
            unended: 0,
            heads: 0,
            updates: UPDATES,
            greeted: false,
        }
    }

    fn has_enough(&self, window: &Window) -> bool {
        self.heads >= if window.is_tight() { AT_ONCE_WHILE_TIGHT } else { AT_ONCE }
    }

    /// Looks at bytes that begin where the sound ones of the last time ended: how many are sound.
    fn read(&mut self, bytes: &[u8], window: &Window) -> Result<(usize, Then), Broken> {
        let mut sound = 0;
        loop {
            let rest = bytes.get(sound..).unwrap_or_default();
            if self.skip > 0 {
                let here = usize::try_from(self.skip).unwrap_or(usize::MAX).min(rest.len());
                self.skip -= here as u64;
                sound += here;
                if self.skip > 0 {
                    return Ok((sound, Then::More));
                }
                self.greeted = true;
                continue;
            }
            let Some(head) = FrameHead::read(rest) else { return Ok((sound, Then::More)) };
            if self.has_enough(window) {
                return Ok((sound, Then::Enough));
            }
            if !matches!(head.kind, HEADERS | SETTINGS | CONTINUATION) {
                if self.is_flood(head, window) {
                    return Ok((sound, Then::Flood));
                }
                sound += HEAD;
                self.skip = head.length as u64;
                continue;
            }
            if head.length > MAX_FRAME {
                return Err(Broken);
            }
            let whole = HEAD + head.length;
            let Some(payload) = rest.get(HEAD..whole) else { return Ok((sound, Then::More)) };
            if self.is_flood(head, window) {
                return Ok((sound, Then::Flood));
            }
            if !self.frame(head, payload, window)? {
                return Ok((sound, Then::Poison(whole)));
            }
            sound += whole;
        }
    }

    /// Counts a frame that asks for nothing. What comes within a head is the library's to refuse.
    fn is_flood(&mut self, head: FrameHead, window: &Window) -> bool {
        let mut weight = head.chatter();
        if head.kind == DATA && head.has(END_STREAM) && self.unended > 0 {
            // Each request may say once, in a frame of its own, that it is over.
            self.unended -= 1;
            weight = 0;
        }
        if head.kind == WINDOW_UPDATE && self.updates > 0 {
            self.updates -= 1;
            weight = 0;
        }
        weight > 0 && self.begun.is_none() && window.chatters(weight)
    }

    /// So many parts of answers, or new requests, explain what a client says it has taken.
    fn explain(&mut self, parts: u32) {
        let more = parts.saturating_mul(UPDATES);
        self.updates = self.updates.saturating_add(more).min(MOST_UPDATES);
    }

    /// Whether a whole frame is sound.
    fn frame(&mut self, head: FrameHead, payload: &[u8], window: &Window) -> Result<bool, Broken> {
        if head.kind == SETTINGS {
            for setting in payload.as_chunks::<6>().0 {
                let [id_high, id_low, value @ ..] = *setting;
                if u16::from_be_bytes([id_high, id_low]) == INITIAL_WINDOW_SIZE {
                    window.set(u32::from_be_bytes(value));
                }
            }
            return Ok(true);
        }
        self.heads += u32::from(head.has(END_HEADERS));
        let fragment = fragment(head, payload).ok_or(Broken)?;
        if head.kind == CONTINUATION {
            let (mut block, trailers) = self.begun.take().ok_or(Broken)?;
            if block.len() + fragment.len() > MAX_BLOCK {
                return Err(Broken);
            }
            block.extend_from_slice(fragment);
            return self.block(head, block, trailers);
        }
        // Whoever speaks of a stream that is not new speaks of its end.
        let trailers = head.stream <= self.stream;
        self.stream = self.stream.max(head.stream);
        if trailers {
            self.unended = self.unended.saturating_sub(1);
        } else {
            self.unended += u32::from(!head.has(END_STREAM));
            self.explain(1);
        }
        if head.has(END_HEADERS) {
            return self.blocks.inspect(fragment, trailers);
        }
        self.block(head, fragment.to_vec(), trailers)
    }

    fn block(&mut self, head: FrameHead, block: Vec<u8>, trailers: bool) -> Result<bool, Broken> {
        if head.has(END_HEADERS) {
            return self.blocks.inspect(&block, trailers);
        }
        self.begun = Some((block, trailers));
        Ok(true)
    }
}

/// The part of a block that is in a frame.
fn fragment(head: FrameHead, payload: &[u8]) -> Option<&[u8]> {
    if head.kind == CONTINUATION {
        return Some(payload);
    }
    let (padding, rest) = if head.has(PADDED) { payload.split_first()? } else { (&0, payload) };
    let rest = if head.has(PRIORITY) { rest.get(5..)? } else { rest };
    rest.get(..rest.len().checked_sub(usize::from(*padding))?)
}

/// A stream whose frames are looked at.
#[derive(Debug)]
pub(crate) struct Framed<S> {
    stream: S,
    frames: Frames,
    /// What the client is sent.
    written: Heads,
    window: Arc<Window>,
    kept: Kept,
    /// Behind the sound ones, there are kept bytes that were not looked at.
    unseen: bool,
    /// Nothing more is read.
    over: bool,
    polls: u32,
}

impl<S> Framed<S> {
    pub(crate) fn new(stream: S, window: Arc<Window>) -> Self {
        window.set_mid_head(true);
        let (frames, kept, polls) = (Frames::new(), Kept::default(), window.polls());
        let written = Heads::default();
        Self { stream, frames, written, window, kept, unseen: false, over: false, polls }
    }

    /// A client may measure its way with a ping for what it is sent, and some do so for each part of an answer.
    /// It says of each part that it has taken it.
    fn wrote(&mut self, wrote: &Poll<io::Result<usize>>, parts: &[io::IoSlice<'_>]) {
        let Poll::Ready(Ok(mut left)) = *wrote else { return };
        if left >= ANSWER {
            self.window.forgive();
        }
        let mut data = 0;
        for part in parts {
            let mut here = part.get(..left.min(part.len())).unwrap_or_default();
            left -= here.len();
            while let Some(head) = self.written.next(&mut here) {
                data += u32::from(head.kind == DATA && head.length > 0);
            }
        }
        if data > 0 {
            self.frames.explain(data);
        }
    }

    /// Reads on in what is kept.
    fn read_kept(&mut self) -> Result<(), Broken> {
        loop {
            let rest = self.kept.bytes.get(self.kept.sound..).unwrap_or_default();
            let (sound, then) = self.frames.read(rest, &self.window)?;
            self.kept.sound += sound;
            if self.settle(then)? {
                return Ok(());
            }
        }
    }

    /// Does what has to be done with the kept bytes behind the sound ones; whether that is all.
    fn settle(&mut self, then: Then) -> Result<bool, Broken> {
        self.unseen = then == Then::Enough;
        match then {
            Then::More | Then::Enough => {}
            Then::Poison(length) => {
                self.poison(length)?;
                return Ok(false);
            }
            Then::Flood => self.calm(),
        }
        Ok(true)
    }

    /// Puts a head that never ends in the place of all that is not sound.
    fn calm(&mut self) {
        tracing::debug!("a client sends frames that ask for nothing");
        self.over = true;
        self.kept.bytes.truncate(self.kept.sound);
        let stream = ((self.frames.stream + 1) | 1).to_be_bytes();
        for kind in std::iter::once(HEADERS).chain(std::iter::repeat_n(CONTINUATION, ENDLESS)) {
            self.kept.bytes.extend_from_slice(&[0, 0, 0, kind, 0]);
            self.kept.bytes.extend_from_slice(&stream);
        }
        self.kept.sound = self.kept.bytes.len();
    }

    /// Makes the next kept frame, of so many bytes, one for which its stream is reset.
    fn poison(&mut self, length: usize) -> Result<(), Broken> {
        let frame =
            self.kept.bytes.get_mut(self.kept.sound..self.kept.sound + length).ok_or(Broken)?;
        let head = FrameHead::read(frame).ok_or(Broken)?;
        let padded = head.kind == HEADERS && head.has(PADDED);
        let padding = if padded { frame.get(HEAD).map_or(0, |byte| usize::from(*byte)) } else { 0 };
        let longer = u32::try_from(head.length + POISON.len()).map_err(|_| Broken)?;
        let ([_, bytes @ ..], Some(field)) = (longer.to_be_bytes(), frame.get_mut(..3)) else {
            return Err(Broken);
        };
        if head.length + POISON.len() > MAX_FRAME {
            return Err(Broken);
        }
        field.copy_from_slice(&bytes);
        let at = self.kept.sound + length - padding;
        self.kept.bytes.splice(at..at, POISON.iter().copied());
        self.kept.sound += length + POISON.len();
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> Framed<S> {
    /// Reads something new; whether anything of it, or the end, is in `buffer`.
    fn poll_new(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let broken = |Broken| broken();
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let new = buffer.filled().get(before..).unwrap_or_default();
        if new.is_empty() {
            return Poll::Ready(Ok(true));
        }
        if !self.kept.bytes.is_empty() {
            self.kept.bytes.extend_from_slice(new);
            buffer.set_filled(before);
            self.read_kept().map_err(broken)?;
            return Poll::Ready(Ok(false));
        }
        let (sound, then) = self.frames.read(new, &self.window).map_err(broken)?;
        if sound == new.len() {
            return Poll::Ready(Ok(true));
        }
        self.kept.bytes.extend_from_slice(new.get(sound..).unwrap_or_default());
        buffer.set_filled(before + sound);
        if !self.settle(then).map_err(broken)? {
            self.read_kept().map_err(broken)?;
        }
        Poll::Ready(Ok(sound > 0))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Framed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polls = this.window.polls();
        if this.polls != polls {
            this.polls = polls;
            this.frames.heads = 0;
        }
        let read = this.poll_sound(cx, buffer);
        let is_mid_head = this.frames.begun.is_some()
            || !this.frames.greeted
            || !(this.unseen || this.over || this.kept.bytes.is_empty());
        this.window.set_mid_head(is_mid_head);
        read
    }
}

impl<S: AsyncRead + Unpin> Framed<S> {
    fn poll_sound(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.kept.sound > 0 {
                self.kept.hand_on(buffer);
                return Poll::Ready(Ok(()));
            }
            // INVARIANT: no end is told of, which would break off what is being answered.
            if self.over {
                return Poll::Pending;
            }
            if self.frames.has_enough(&self.window) {
                // Behind the tasks that were begun for what was handed on.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.unseen {
                self.read_kept().map_err(|Broken| broken())?;
                if self.kept.sound > 0 || self.unseen {
                    continue;
                }
            }
            if std::task::ready!(self.poll_new(cx, buffer))? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "frames that cannot be read")
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Framed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(&wrote, &[io::IoSlice::new(bytes)]);
        wrote
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.wrote(&wrote, parts);
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
