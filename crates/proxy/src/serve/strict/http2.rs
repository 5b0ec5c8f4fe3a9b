//! What the HTTP/2 library lets pass and nobody should: fields that other readers would trim, schemes that
//! are none, and how little a client wants to receive.
//!
//! The library itself refuses what RFC 9113 calls malformed: pseudo-headers that are missing, twice or behind
//! other fields, connection-specific fields, upper case, control characters, bodies that are not as long as
//! they say.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
};

use http::request::Parts;
use portcullis_model::Refusal;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::reader::MAX_FIELDS;

/// Refuses a head that reads two ways, or has too many fields: each costs a client a byte and the gate a
/// hundred.
pub(crate) fn check(parts: &Parts) -> Result<(), Refusal> {
    if parts.headers.len() > usize::from(MAX_FIELDS) {
        return Err(Refusal::HeadTooLarge(super::Defect::TooManyFields.words()));
    }
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    for value in parts.headers.values() {
        let bytes = value.as_bytes();
        // RFC 9113 section 8.2.1.
        if is_space(bytes.first()) || is_space(bytes.last()) {
            return Err(Refusal::Malformed("a header begins or ends with white space"));
        }
    }
    let is_http = |scheme: &http::uri::Scheme| {
        ["http", "https"].iter().any(|known| scheme.as_str().eq_ignore_ascii_case(known))
    };
    if parts.uri.scheme().is_some_and(|scheme| !is_http(scheme)) {
        return Err(Refusal::Malformed("the scheme is neither http nor https"));
    }
    Ok(())
}

/// How much a client lets the gate send on a new stream.
#[derive(Debug)]
pub(crate) struct Window(AtomicU32);

impl Default for Window {
    fn default() -> Self {
        Self(AtomicU32::new(65_535))
    }
}

impl Window {
    /// Who lets answers begin only drop by drop makes the gate keep them.
    const TIGHT: u32 = 1024;

    /// Whether hardly anything may be sent on a new stream.
    pub(crate) fn is_tight(&self) -> bool {
        self.0.load(Ordering::Relaxed) < Self::TIGHT
    }
}

const PREFACE: u64 = 24;
const FRAME_HEAD: usize = 9;
const SETTING: usize = 6;
const SETTINGS_FRAME: u8 = 4;
const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];

/// Which bytes of a client come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// So many that say nothing about windows.
    Skipped(u64),
    FrameHead,
    /// Settings, so many bytes of them.
    Settings(u32),
}

/// Follows the frames of a client from settings to settings.
#[derive(Debug)]
struct Frames {
    place: Place,
    /// What has come of a frame's head, or of one setting.
    part: [u8; FRAME_HEAD],
    length: usize,
}

impl Frames {
    const NEW: Self = Self { place: Place::Skipped(PREFACE), part: [0; FRAME_HEAD], length: 0 };

    fn pass(&mut self, mut bytes: &[u8], window: &Window) {
        while !bytes.is_empty() {
            bytes = match self.place {
                Place::Skipped(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let left = left - here as u64;
                    self.place = if left == 0 { Place::FrameHead } else { Place::Skipped(left) };
                    bytes.get(here..).unwrap_or_default()
                }
                Place::FrameHead => {
                    let rest = self.take(bytes, FRAME_HEAD);
                    if self.length == FRAME_HEAD {
                        self.place = self.frame();
                    }
                    rest
                }
                Place::Settings(left) => {
                    let rest = self.take(bytes, SETTING);
                    if self.length == SETTING {
                        self.setting(window);
                        self.place = after_settings(left - 6);
                    }
                    rest
                }
            };
        }
    }

    /// Takes bytes until `whole` are there.
    fn take<'a>(&mut self, bytes: &'a [u8], whole: usize) -> &'a [u8] {
        if self.length >= whole {
            self.length = 0;
        }
        let here = (whole - self.length).min(bytes.len());
        let (taken, rest) = bytes.split_at_checked(here).unwrap_or((bytes, &[]));
        if let Some(part) = self.part.get_mut(self.length..self.length + here) {
            part.copy_from_slice(taken);
        }
        self.length += here;
        rest
    }

    /// What comes behind a frame's head.
    fn frame(&mut self) -> Place {
        let [high, middle, low, kind, ..] = self.part;
        self.length = 0;
        let length = u32::from_be_bytes([0, high, middle, low]);
        // Settings of another length are an error, and the connection's end.
        if kind == SETTINGS_FRAME && length.is_multiple_of(6) {
            return after_settings(length);
        }
        if length == 0 { Place::FrameHead } else { Place::Skipped(u64::from(length)) }
    }

    /// One setting is whole.
    fn setting(&mut self, window: &Window) {
        let [id_high, id_low, a, b, c, d, ..] = self.part;
        self.length = 0;
        if [id_high, id_low] == INITIAL_WINDOW_SIZE {
            window.0.store(u32::from_be_bytes([a, b, c, d]), Ordering::Relaxed);
        }
    }
}

fn after_settings(left: u32) -> Place {
    if left == 0 { Place::FrameHead } else { Place::Settings(left) }
}

/// A stream whose client says what it wants to receive.
#[derive(Debug)]
pub(crate) struct Windowed<S> {
    stream: S,
    frames: Frames,
    window: Arc<Window>,
}

impl<S> Windowed<S> {
    pub(crate) fn new(stream: S, window: Arc<Window>) -> Self {
        Self { stream, frames: Frames::NEW, window }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Windowed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        this.frames.pass(buffer.filled().get(before..).unwrap_or_default(), &this.window);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Windowed<S> {
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
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 1], payload].concat()
    }

    proptest! {
        #[test]
        fn the_last_window_counts_however_the_frames_are_cut(
            windows in prop::collection::vec(any::<u32>(), 1..5),
            size in 1_usize..40,
        ) {
            let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
            for window in &windows {
                bytes.extend(frame(1, b"some headers"));
                bytes.extend(frame(SETTINGS_FRAME, b""));
                let own = [&[0, 4][..], &window.to_be_bytes()].concat();
                bytes.extend(frame(SETTINGS_FRAME, &[&[0, 3, 0, 0, 0, 9][..], &own, &[0, 1, 0, 0, 0, 0]].concat()));
                // Data that looks like settings.
                bytes.extend(frame(0, &frame(SETTINGS_FRAME, &[0, 4, 0, 0, 0, 0])));
            }
            let (mut frames, window) = (Frames::NEW, Window::default());
            for piece in bytes.chunks(size) {
                frames.pass(piece, &window);
            }
            prop_assert_eq!(window.0.load(Ordering::Relaxed), *windows.last().unwrap());
        }
    }
}
