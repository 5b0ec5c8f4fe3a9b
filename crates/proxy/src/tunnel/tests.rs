use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use proptest::prelude::*;
use tokio::io::ReadBuf;

use super::*;

/// Bytes that come in pieces of these sizes, over and over.
struct Torn {
    bytes: Vec<u8>,
    at: usize,
    sizes: Vec<usize>,
    turn: usize,
}

impl AsyncRead for Torn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let size = self.sizes[self.turn % self.sizes.len()];
        self.turn += 1;
        let until = (self.at + size.min(buffer.remaining())).min(self.bytes.len());
        buffer.put_slice(&self.bytes[self.at..until]);
        self.at = until;
        Poll::Ready(Ok(()))
    }
}

/// Takes so many bytes at once.
#[derive(Clone)]
struct Narrow(Arc<Mutex<(Vec<u8>, bool)>>, usize);

impl AsyncWrite for Narrow {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = bytes.len().min(self.1);
        self.0.lock().unwrap().0.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().unwrap().1 = true;
        Poll::Ready(Ok(()))
    }
}

fn narrow(size: usize) -> Narrow {
    Narrow(Arc::default(), size)
}

fn torn(bytes: &[u8], sizes: &[usize]) -> Torn {
    Torn { bytes: bytes.to_vec(), at: 0, sizes: sizes.to_vec(), turn: 0 }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// What comes of frames: how it ended, the bytes, and whether the plain stream ended too.
fn inward(bytes: &[u8], sizes: &[usize]) -> (Result<(), Broken>, Vec<u8>, bool) {
    let to = narrow(7);
    let mut inward = Inward::new(torn(bytes, sizes), to.clone(), Wire::Framed);
    let ended = now(inward.pass(|_| true));
    let (bytes, is_over) = to.0.lock().unwrap().clone();
    (ended, bytes, is_over)
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[kind], &length[..], payload].concat()
}

proptest! {
    /// However it is torn on the way, what goes in comes out, and its end with it.
    #[test]
    fn what_goes_in_comes_out(
        bytes in prop::collection::vec(any::<u8>(), 0..60_000),
        reads in prop::collection::vec(1usize..20_000, 1..6),
        writes in 1usize..9_000,
        tears in prop::collection::vec(1usize..20_000, 1..6),
    ) {
        let wire = narrow(writes);
        let mut outward = Outward::new(torn(&bytes, &reads), wire.clone(), Wire::Framed);
        prop_assert_eq!(now(outward.pass(|_| true)), Ok(()));
        let framed = wire.0.lock().unwrap().0.clone();
        prop_assert_eq!(inward(&framed, &tears), (Ok(()), bytes, true));
    }

    /// No bytes make it panic, and without an end nothing is complete.
    #[test]
    fn foreign_bytes_are_an_end_or_a_mistake(
        bytes in prop::collection::vec(0u8..4, 0..200),
        tears in prop::collection::vec(1usize..50, 1..4),
    ) {
        let (ended, _, is_over) = inward(&bytes, &tears);
        prop_assert_eq!(ended.is_ok(), is_over);
    }
}

#[test]
fn what_is_cut_short_is_no_end() {
    let whole = [frame(DATA, b"abc"), frame(END, b"")].concat();
    for cut in 0..whole.len() {
        let (ended, _, is_over) = inward(&whole[..cut], &[1]);
        assert_eq!((ended, is_over), (Err(Broken::Source), false), "{cut}");
    }
    assert_eq!(inward(&whole, &[1]), (Ok(()), b"abc".to_vec(), true));
}

#[test]
fn a_close_says_why_and_other_kinds_are_passed_over() {
    let wire =
        [frame(DATA, b"abc"), frame(9, b"later"), frame(CLOSED, b"the grant ended")].concat();
    let (ended, bytes, is_over) = inward(&wire, &[3]);
    assert_eq!(ended, Err(Broken::Closed("the grant ended".to_owned())));
    assert_eq!((bytes.as_slice(), is_over), (&b"abc"[..], false));
    let long = [&[DATA][..], &u32::try_from(MOST + 1).unwrap().to_be_bytes()].concat();
    assert_eq!(inward(&long, &[9]).0, Err(Broken::Malformed));
}

#[test]
fn a_close_comes_behind_the_frame_that_is_under_way() {
    let to = narrow(100);
    let mut outward = Outward::new(torn(b"", &[1]), to.clone(), Wire::Framed);
    outward.frame(DATA, b"abc");
    // Two bytes of the head were written when it was cut.
    to.0.lock().unwrap().0.extend_from_slice(&outward.buffer[..2]);
    outward.at = 2;
    now(outward.close("over")).unwrap();
    let wire = to.0.lock().unwrap().0.clone();
    assert_eq!(wire, [frame(DATA, b"abc"), frame(CLOSED, b"over")].concat());
}

#[test]
fn what_is_over_the_bound_does_not_pass() {
    let to = narrow(100);
    let mut plain = Inward::new(torn(b"abcdef", &[3]), to.clone(), Wire::Plain);
    let seen = std::cell::Cell::new(0);
    let admits = |more| {
        seen.set(seen.get() + more);
        seen.get() <= 5
    };
    assert_eq!(now(plain.pass(admits)), Err(Broken::Bound));
    assert_eq!(to.0.lock().unwrap().0, b"abc");
}

#[test]
fn a_close_behind_the_end_is_heard_wherever_it_is_torn() {
    let wire =
        [frame(DATA, b"abc"), frame(END, b""), frame(9, b"x"), frame(CLOSED, b"over")].concat();
    for size in 1..wire.len() {
        for (wire, broken) in [
            (&wire[..], Broken::Closed("over".to_owned())),
            (&wire[..wire.len() - 1], Broken::Source),
            (&[frame(END, b""), frame(DATA, b"x")].concat(), Broken::Malformed),
        ] {
            let to = narrow(9);
            let mut inward = Inward::new(torn(wire, &[size]), to.clone(), Wire::Framed);
            assert_eq!(now(inward.pass(|_| true)), Ok(()));
            assert!(to.0.lock().unwrap().1);
            assert_eq!(now(inward.until_closed()), broken, "{size}");
        }
    }
}

#[test]
fn the_rest_comes_behind_what_is_half_written_and_is_no_end() {
    let to = narrow(100);
    let mut outward = Outward::new(torn(b"def", &[2]), to.clone(), Wire::Framed);
    outward.frame(DATA, b"abc");
    to.0.lock().unwrap().0.extend_from_slice(&outward.buffer[..2]);
    outward.at = 2;
    assert_eq!(now(outward.rest(|_| true)), Ok(()));
    let all = [frame(DATA, b"abc"), frame(DATA, b"de"), frame(DATA, b"f")].concat();
    assert_eq!(to.0.lock().unwrap().0, all);
    now(outward.close("over")).unwrap();
    assert_eq!(to.0.lock().unwrap().0, [all, frame(CLOSED, b"over")].concat());
}
