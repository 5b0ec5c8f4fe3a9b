//! Messages of a call whose client sends any number of them: each is read and decided before it goes up.
//!
//! The frames of gRPC are followed and a message is held until all of it is there, up to its operation's `max_body`;
//! no more is read meanwhile. What passes is what was read, byte by byte. The first that is not permitted, or
//! cannot be read in one way, ends the stream in both directions; nothing of it or behind it goes up. What does not
//! happen here: counting. A rate or a use is counted for a call, when it begins.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use portcullis_policy::catalog::{Coding, InspectError};

use super::Cut;
use crate::{
    connection::{Watch, cut_on_record},
    core::Core,
    ports::ConnectionEnd,
};

/// What stands before each message: a flag, and its length.
const HEAD: usize = 5;
/// Messages that are decided in one turn of the core.
const TURNS: u8 = 32;

/// A stream of messages, the first of which was read.
#[derive(Debug)]
pub(crate) struct Begun {
    /// None: there was none, and there will be none.
    pub(crate) first: Option<Bytes>,
    pub(crate) framed: Framed,
    pub(crate) coding: Coding,
}

/// Bytes, cut into messages with what stands before each. What it holds is one message at most, and what came
/// together with its end.
#[derive(Debug)]
pub(crate) struct Framed {
    held: BytesMut,
    /// The most bytes of a message.
    most: u64,
}

impl Framed {
    /// Of messages of at most so many bytes.
    pub(crate) fn new(most: u64) -> Self {
        Self { held: BytesMut::new(), most }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The next message, if it is all there. One that is too large is refused by what it says of itself.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, InspectError> {
        let Some([_, length @ ..]) = self.held.first_chunk::<HEAD>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length);
        if u64::from(length) > self.most {
            return Err(InspectError::TooLarge);
        }
        let whole = usize::try_from(length).map_err(|_| InspectError::TooLarge)? + HEAD;
        if self.held.len() < whole {
            return Ok(None);
        }
        let message = self.held.split_to(whole).freeze();
        if self.held.is_empty() {
            // Who is silent holds no buffer.
            self.held = BytesMut::new();
        }
        Ok(Some(message))
    }
}

/// Decides each message of a stream.
#[derive(Debug)]
pub(crate) struct Messages {
    core: Rc<Core>,
    watch: Rc<Watch>,
    /// Was decided when the call was.
    first: Option<Bytes>,
    framed: Framed,
    coding: Coding,
    /// Counts turns, so that others have theirs.
    turns: u8,
}

impl Messages {
    /// Those of the stream that is carried by what `watch` watches.
    pub(crate) fn new(core: &Rc<Core>, watch: &Rc<Watch>, begun: Begun) -> Self {
        let (core, watch) = (Rc::clone(core), Rc::clone(watch));
        let Begun { first, framed, coding } = begun;
        Self { core, watch, first, framed, coding, turns: 0 }
    }

    /// Whether it is somebody else's turn: each message takes a decision, and there may be thousands of them.
    pub(super) fn rests(&mut self) -> bool {
        self.turns = (self.turns + 1) % TURNS;
        self.turns == 0
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.framed.push(bytes);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.framed.is_empty()
    }

    /// The next message that may go up, if it is there.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Cut> {
        if let Some(first) = self.first.take() {
            self.watch.went_up(first.len());
            return Ok(Some(first));
        }
        let message = match self.framed.next() {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(None),
            Err(error) => return Err(self.cut(unread(&error))),
        };
        // In the task of the upstream's connection, which carries others too.
        let decided = catch_unwind(AssertUnwindSafe(|| self.decide(&message)));
        let decided = decided.unwrap_or_else(|_| {
            tracing::error!("the gate panicked over a message of a stream, which ends");
            self.core.forget_decisions();
            Err(ConnectionEnd::PolicyChanged)
        });
        match decided {
            Ok(()) => {
                self.watch.went_up(message.len());
                Ok(Some(message))
            }
            Err(end) => Err(self.cut(end)),
        }
    }

    /// There is no more. A part of a message would be missing where nobody notices.
    pub(super) fn finish(&self) -> Result<(), Cut> {
        if self.framed.is_empty() {
            return Ok(());
        }
        Err(self.cut(ConnectionEnd::MessageUnreadable))
    }

    /// By what is in force now, whatever was when the call began.
    fn decide(&self, message: &[u8]) -> Result<(), ConnectionEnd> {
        let core = &self.core;
        let (started, snapshot, now) = (Instant::now(), core.snapshot(), core.now());
        if let Some(end) = self.watch.ended_in(core, &snapshot, now) {
            return Err(end);
        }
        let mut standing = self.watch.standing.borrow_mut();
        let declared = snapshot.bundle().catalog().operation(&standing.question().operation);
        let declared = declared.ok_or(ConnectionEnd::PolicyChanged)?;
        let most = usize::try_from(declared.max_body()).unwrap_or(usize::MAX);
        if message.len().saturating_sub(HEAD) > most {
            return Err(ConnectionEnd::TooMuch);
        }
        let body = declared.message(&self.coding, message).map_err(|error| unread(&error))?;
        let carried = standing.carry(core, &snapshot, now, body);
        core.metrics.decided(started.elapsed(), None);
        carried.map_err(|not| {
            self.watch.denied_by(not.by);
            not.why
        })
    }

    /// Ends both directions, on record: most calls are too short for that to be there otherwise.
    fn cut(&self, end: ConnectionEnd) -> Cut {
        cut_on_record(&self.core, &self.watch, end);
        Cut(end)
    }
}

/// What ends a stream with a message that cannot be read.
fn unread(error: &InspectError) -> ConnectionEnd {
    match error {
        InspectError::TooLarge => ConnectionEnd::TooMuch,
        InspectError::Malformed(_) | InspectError::NotRepresentable(_) => {
            ConnectionEnd::MessageUnreadable
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[flag][..], &length, message].concat()
    }

    #[test]
    fn messages_are_cut_apart_in_whatever_pieces_they_come() {
        let sent = [frame(0, b"one"), frame(1, b""), frame(0, &[7; 100])];
        let wire = sent.concat();
        for size in 1..=wire.len() {
            let (mut framed, mut cut) = (Framed::new(100), Vec::new());
            for piece in wire.chunks(size) {
                framed.push(piece);
                while let Some(message) = framed.next().unwrap() {
                    cut.push(message.to_vec());
                }
            }
            assert!(framed.is_empty() && cut == sent, "in pieces of {size}");
        }
    }

    #[test]
    fn a_message_that_says_that_it_is_too_large_is_not_waited_for() {
        let mut framed = Framed::new(100);
        framed.push(&frame(0, &[7; 100]));
        assert!(framed.next().unwrap().is_some());
        let [head @ .., _] = [0, 0, 0, 0, 101, 7];
        framed.push(&head);
        assert_eq!(framed.next(), Err(InspectError::TooLarge));
        let mut framed = Framed::new(u64::MAX);
        framed.push(&[0, 0xff, 0xff, 0xff, 0xff, 1]);
        assert_eq!(framed.next(), Ok(None), "nothing is held for what did not come");
        assert!(framed.held.capacity() < 1024);
    }
}
