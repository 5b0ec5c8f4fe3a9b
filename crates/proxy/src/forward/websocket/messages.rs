//! The messages of an upstream, masked one by one (RFC 6455 section 5).
//!
//! A text message has to be a JSON document: its parts are joined, within bounds, and it leaves as one
//! frame. What is binary, masked the wrong way or uses an extension ends the connection. Pings and pongs
//! carry what small ones need, unless that looks like something sensitive; of a close frame the code is left, and its words are not.

use std::rc::Rc;

use crate::{
    filter::mask::{MOST_MESSAGE, Rules, Trouble, mask_message, tells},
    reveal::Met,
};

/// The most bytes of a ping or pong: enough for a number that tells them apart.
const MOST_OF_PING: usize = 16;

const FINAL: u8 = 0x80;
const CONTINUED: u8 = 0;
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Messages {
    rules: Rules,
    /// What came of the frame that is under way.
    held: Vec<u8>,
    /// What came of the message that is under way.
    message: Option<Vec<u8>>,
    met: Rc<Met>,
}

/// A frame that is all there.
struct Frame<'b> {
    is_final: bool,
    opcode: u8,
    payload: &'b [u8],
    length: usize,
}

impl Messages {
    /// Tells `met` what was masked.
    pub(super) fn new(rules: Rules, met: Rc<Met>) -> Self {
        Self { rules, held: Vec::new(), message: None, met }
    }

    /// What passes of `bytes` and what was held before: whole frames.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Trouble> {
        let mut out = Vec::new();
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(frame) = frame(held.get(at..).unwrap_or_default())? {
            at += frame.length;
            self.frame(&frame, &mut out)?;
        }
        held.drain(..at);
        self.held = held;
        if self.held.is_empty() {
            // An idle connection holds no buffer.
            self.held = Vec::new();
        }
        Ok(out)
    }

    fn frame(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<(), Trouble> {
        match frame.opcode {
            PING | PONG
                if frame.is_final
                    && frame.payload.len() <= MOST_OF_PING
                    && !tells(frame.payload, &self.rules) =>
            {
                write(frame.opcode, frame.payload, out);
                Ok(())
            }
            CLOSE if frame.is_final => {
                write(CLOSE, frame.payload.get(..2).unwrap_or_default(), out);
                Ok(())
            }
            TEXT if self.message.is_none() => self.part(Vec::new(), frame, out),
            CONTINUED => {
                let message = self.message.take().ok_or(Trouble::Type)?;
                self.part(message, frame, out)
            }
            _ => Err(Trouble::Type),
        }
    }

    fn part(
        &mut self,
        mut message: Vec<u8>,
        frame: &Frame<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Trouble> {
        if message.len() + frame.payload.len() > MOST_MESSAGE {
            return Err(Trouble::TooLarge);
        }
        message.extend_from_slice(frame.payload);
        if frame.is_final {
            let (masked, met) = mask_message(&message, &self.rules)?;
            self.met.add(met);
            write(TEXT, &masked, out);
        } else {
            self.message = Some(message);
        }
        Ok(())
    }
}

/// The first frame of `bytes`, if it is all there.
fn frame(bytes: &[u8]) -> Result<Option<Frame<'_>>, Trouble> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    // RFC 6455 section 5.1: a server masks nothing; section 5.2: bits of extensions that were not agreed on.
    if first & 0x70 != 0 || second & 0x80 != 0 {
        return Err(Trouble::Type);
    }
    let (length, head) = match second {
        126 => match rest.first_chunk::<2>() {
            Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 4),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(bytes) => (u64::from_be_bytes(*bytes), 10),
            None => return Ok(None),
        },
        short => (u64::from(*short), 2),
    };
    let length = usize::try_from(length).ok().filter(|length| *length <= MOST_MESSAGE);
    let length = head + length.ok_or(Trouble::TooLarge)?;
    Ok(bytes.get(head..length).map(|payload| Frame {
        is_final: first & FINAL != 0,
        opcode: first & 0x0f,
        payload,
        length,
    }))
}

fn write(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(FINAL | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..126), _) => out.push(short),
        (_, Ok(length)) => {
            out.push(126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        (_, Err(_)) => {
            out.push(127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use portcullis_policy::{
        Sensitive,
        sensitive::{ClassSource, Mask, SensitiveSource},
    };

    use super::*;

    fn pushed(frames: &[(u8, &[u8])], size: usize) -> Result<Vec<(u8, Vec<u8>)>, Trouble> {
        let (name, paths) = ("pci".parse().unwrap(), vec!["$..pin".to_owned()]);
        let class = ClassSource { name, paths, mask: Mask::Full, recognise: Vec::new() };
        let sensitive = Sensitive::new(&SensitiveSource { classes: vec![class] }).unwrap();
        let all = sensitive.all();
        let mut messages = Messages::new(Rules::new(Arc::new(sensitive), all), Rc::default());
        let mut wire = Vec::new();
        for (first, payload) in frames {
            let mut one = Vec::new();
            write(0, payload, &mut one);
            one[0] = *first;
            wire.extend(one);
        }
        let mut out = Vec::new();
        for piece in wire.chunks(size) {
            out.extend(messages.push(piece)?);
        }
        assert!(messages.held.is_empty());
        let (mut read, mut at) = (Vec::new(), 0);
        while let Some(frame) = frame(&out[at..]).unwrap() {
            read.push((out[at], frame.payload.to_vec()));
            at += frame.length;
        }
        assert_eq!(at, out.len(), "whole frames");
        Ok(read)
    }

    #[test]
    fn g11_messages_are_masked_in_whatever_frames_and_pieces_they_come() {
        let long = format!("{{\"a\":\"{}\",\"pin\":1}}", "x".repeat(70_000));
        for size in [1, 3, 1000, 100_000] {
            let read = pushed(
                &[
                    (0x81, b"{\"pin\":\"4111\"}"),
                    (0x01, b"{\"p"),
                    (0x89, b"ping"),
                    (0x00, b"in\":"),
                    (0x80, b"4111}"),
                    (0x81, long.as_bytes()),
                    (0x88, b"\x03\xe8card 4111"),
                ],
                size,
            );
            assert_eq!(
                read.unwrap(),
                [
                    (0x81, b"{\"pin\":\"***\"}".to_vec()),
                    (0x89, b"ping".to_vec()),
                    (0x81, b"{\"pin\":0}".to_vec()),
                    (0x81, long.replace(":1}", ":0}").into_bytes()),
                    (0x88, b"\x03\xe8".to_vec()),
                ]
            );
            for (first, payload) in [
                (0x82, &b"{\"pin\":1}"[..]),
                (0x81, b"card 4111"),
                (0xc1, b"{}"),
                (0x80, b"{}"),
                (0x83, b"{}"),
                (0x8a, b"4111111111111111 and more"),
                (0x89, b"4111111111111111"),
                (0x8a, b"ana@example.com"),
                (0x09, b""),
            ] {
                assert!(pushed(&[(first, payload)], size).is_err(), "{first:x}");
            }
            assert!(pushed(&[(0x01, b"{"), (0x81, b"{}")], size).is_err());
        }
        let piece = vec![b'['; 60_000];
        let endless = vec![(0x00, &piece[..]); 20];
        let parts = [&[(0x01, &b"["[..])][..], &endless].concat();
        assert_eq!(pushed(&parts, 9999), Err(Trouble::TooLarge));
    }
}
