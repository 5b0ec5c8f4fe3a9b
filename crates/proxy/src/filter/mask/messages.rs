//! Messages of gRPC, masked one by one by what their method says that it answers.
//!
//! A message that is packed is not looked into: upstreams are asked to pack none.

use portcullis_policy::{
    ClassSet,
    sensitive::{
        automaton::{At, Automaton},
        message::{Masking, Shape},
    },
};

use super::{Rules, Trouble, mask_of, nested, recognise::recognised, scan::unescape};

/// What implementations take unless they are told otherwise.
const MOST: usize = 4 * 1024 * 1024;
const HEAD: usize = 5;

/// See the module.
#[derive(Debug)]
pub(super) struct Messages {
    rules: Rules,
    shape: Shape,
    held: Vec<u8>,
}

impl Messages {
    pub(super) fn new(rules: Rules, shape: Shape) -> Self {
        Self { rules, shape, held: Vec::new() }
    }

    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Trouble> {
        self.held.extend_from_slice(bytes);
        let mut at = 0;
        while let Some((message, length)) = message(self.held.get(at..).unwrap_or_default())? {
            let mut walk = Walk { rules: &self.rules };
            let masked = self.shape.masked(message, &mut walk);
            let masked = masked.map_err(|_| Trouble::Undecodable)?;
            let size = u32::try_from(masked.len()).map_err(|_| Trouble::TooLarge)?;
            out.push(0);
            out.extend_from_slice(&size.to_be_bytes());
            out.extend_from_slice(&masked);
            at += length;
        }
        self.held.drain(..at);
        Ok(())
    }

    pub(super) fn finish(&self) -> Result<(), Trouble> {
        if self.held.is_empty() { Ok(()) } else { Err(Trouble::Undecodable) }
    }
}

/// The first message of `bytes`, if it is all there, and its length with its head.
fn message(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, Trouble> {
    let Some(([flag, size @ ..], rest)) = bytes.split_first_chunk::<HEAD>() else {
        return Ok(None);
    };
    if *flag != 0 {
        return Err(Trouble::Coding);
    }
    let size = usize::try_from(u32::from_be_bytes(*size)).unwrap_or(usize::MAX);
    if size > MOST {
        return Err(Trouble::TooLarge);
    }
    Ok(rest.get(..size).map(|message| (message, HEAD + size)))
}

struct Walk<'r> {
    rules: &'r Rules,
}

impl Walk<'_> {
    fn classes(&self, at: At) -> ClassSet {
        ClassSet(self.rules.automaton().classes(at).0 & self.rules.classes.0)
    }
}

impl Masking for Walk<'_> {
    fn automaton(&self) -> &Automaton {
        self.rules.automaton()
    }

    fn is_masked(&mut self, at: At) -> bool {
        !self.classes(at).is_empty()
    }

    fn text(&mut self, text: &str, at: At) -> Option<String> {
        let mut classes = self.classes(at);
        if classes.is_empty() && self.rules.recognises {
            classes = recognised(text, &self.rules.sensitive, self.rules.classes);
        }
        if !classes.is_empty() {
            return Some(mask_of(text, self.rules.shows_end(classes)));
        }
        let within = self.rules.automaton().within(at);
        let (_, replaced) = nested::masked(text, self.rules, within, 0);
        replaced.map(|raw| unescape(&raw).unwrap_or_else(|| "***".to_owned()))
    }
}
