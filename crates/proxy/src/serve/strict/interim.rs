//! Follows the heads that an upstream answers with over HTTP/2, below the library, which takes interim answers
//! (1xx) to one request without end, and reads on behind each.
//!
//! Which head is interim is not read: that would take decoding them all. A head that does not end its stream is
//! interim, or the one of a body that follows; so there are no more of them to one request than interim answers may
//! be, and one. Whoever sends another has its connection ended.
//!
//! What is followed is bounded: of more than [`MOST`] answers that have begun and have no body yet, the oldest are
//! forgotten. Most of those were given up by the gate, which nobody tells this about; one that goes on is counted
//! anew, and not forgotten again.

use std::{
    collections::BTreeMap,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    Defect,
    heads::{DATA, END_STREAM, FrameHead, HEADERS, Heads, RST_STREAM},
    reader::MAX_INTERIM,
};

/// Answers that have begun and have no body yet.
const MOST: usize = 4096;

/// How many heads each answer has so far.
#[derive(Debug, Default)]
struct Begun {
    heads: BTreeMap<u32, u16>,
    /// Up to here, answers have been forgotten once.
    forgotten: u32,
}

impl Begun {
    /// Whether this may come.
    fn admits(&mut self, head: FrameHead) -> bool {
        match head.kind {
            HEADERS if !head.has(END_STREAM) => {
                let heads = self.heads.entry(head.stream).or_insert(0);
                *heads += 1;
                // The one that is not interim.
                if *heads > MAX_INTERIM + 1 {
                    return false;
                }
                self.heads.len() <= MOST || self.forget()
            }
            // The library ends a connection itself on which a head comes behind a body and does not end its stream.
            HEADERS | DATA | RST_STREAM => {
                self.heads.remove(&head.stream);
                true
            }
            _ => true,
        }
    }

    /// Forgets the oldest answer that has not been forgotten before, if there is one.
    fn forget(&mut self) -> bool {
        let Some((&oldest, _)) = self.heads.range(self.forgotten + 1..).next() else {
            return false;
        };
        self.forgotten = oldest;
        self.heads.remove(&oldest);
        true
    }
}

/// A connection to an upstream whose answers are followed.
#[derive(Debug)]
pub(crate) struct Interim<S> {
    stream: S,
    heads: Heads,
    begun: Begun,
}

impl<S> Interim<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, heads: Heads::default(), begun: Begun::default() }
    }

    /// Whether all of these bytes may come.
    fn admits(&mut self, mut bytes: &[u8]) -> bool {
        while let Some(head) = self.heads.next(&mut bytes) {
            if !self.begun.admits(head) {
                return false;
            }
        }
        true
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Interim<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        if this.admits(buffer.filled().get(before..).unwrap_or_default()) {
            return Poll::Ready(Ok(()));
        }
        let words = Defect::Interim.words();
        tracing::debug!(why = words, "an answer is not read");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, words)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Interim<S> {
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
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32) -> Vec<u8> {
        [&[0, 0, 1, kind, flags][..], &stream.to_be_bytes(), b"x"].concat()
    }

    fn head(stream: u32) -> Vec<u8> {
        frame(HEADERS, 4, stream)
    }

    fn admits(interim: &mut Interim<()>, bytes: &[u8]) -> bool {
        bytes.chunks(7).all(|piece| interim.admits(piece))
    }

    #[test]
    fn a23_each_answer_may_have_so_many_interim_ones_before_it_whatever_comes_between() {
        let mut interim = Interim::new(());
        let all = usize::from(MAX_INTERIM) + 1;
        let between =
            [frame(6, 0, 0), frame(8, 0, 1), head(3), frame(DATA, END_STREAM, 3)].concat();
        assert!(admits(&mut interim, &[head(1), between].concat().repeat(all)));
        assert!(!admits(&mut interim, &head(1)));
        for end in [frame(DATA, 0, 5), frame(HEADERS, END_STREAM, 5), frame(RST_STREAM, 0, 5)] {
            let mut interim = Interim::new(());
            assert!(admits(&mut interim, &[head(5).repeat(all), end].concat()));
            assert!(interim.begun.heads.is_empty(), "what has ended is forgotten");
        }
    }

    #[test]
    fn a23_answers_that_were_given_up_are_forgotten_in_the_end_and_others_are_not() {
        let mut interim = Interim::new(());
        for number in 0..100_000 {
            assert!(interim.admits(&head(2 * number + 1)));
        }
        assert_eq!(interim.begun.heads.len(), MOST);
        let newest = head(2 * 99_999 + 1).repeat(usize::from(MAX_INTERIM));
        assert!(interim.admits(&newest) && !interim.admits(&head(2 * 99_999 + 1)));
    }

    #[test]
    fn a23_more_answers_than_are_followed_take_turns_for_a_while_and_not_for_ever() {
        let mut interim = Interim::new(());
        let turns = (0..10_u32).find(|_| !(0..5000).all(|n| interim.admits(&head(2 * n + 1))));
        assert!(turns.is_some() && interim.begun.heads.len() <= MOST + 1);
    }
}
