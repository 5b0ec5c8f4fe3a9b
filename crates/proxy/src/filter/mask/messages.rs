//! Messages of gRPC, masked one by one by what their method says that it answers.
//!
//! A message that is packed is not looked into: upstreams are asked to pack none.

use std::fmt::Display;

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
    fn classes(&self, at: &[At]) -> ClassSet {
        let automaton = self.rules.automaton();
        let there = at.iter().fold(0, |classes, at| classes | automaton.classes(*at).0);
        ClassSet(there & self.rules.classes.0)
    }

    /// What of its looks, where nothing is declared.
    fn recognised(&self, text: &str) -> ClassSet {
        recognised(text, &self.rules.sensitive, self.rules.classes)
    }
}

impl Masking for Walk<'_> {
    fn automaton(&self) -> &Automaton {
        self.rules.automaton()
    }

    fn is_masked(&mut self, at: &[At]) -> bool {
        !self.classes(at).is_empty()
    }

    fn is_masked_number(&mut self, number: &dyn Display, at: &[At]) -> bool {
        self.is_masked(at)
            || self.rules.recognises() && !self.recognised(&number.to_string()).is_empty()
    }

    fn text(&mut self, text: &str, at: &[At]) -> Option<String> {
        let mut classes = self.classes(at);
        if classes.is_empty() && self.rules.recognises() {
            classes = self.recognised(text);
        }
        if !classes.is_empty() {
            return Some(mask_of(text, self.rules.shows_end(classes)));
        }
        // What a document in it holds is hidden if any of its places says so.
        let mut replaced = None;
        for at in at {
            let text = replaced.as_deref().unwrap_or(text);
            let within = self.rules.automaton().within(*at);
            if let (_, Some(raw)) = nested::masked(text, self.rules, within, 0) {
                replaced = Some(unescape(&raw).unwrap_or_else(|| "***".to_owned()));
            }
        }
        replaced
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use portcullis_policy::{
        Sensitive,
        sensitive::{ClassSource, Mask, Recogniser, SensitiveSource},
    };
    use prost_reflect::DescriptorPool;

    use super::*;

    /// What becomes of messages of a type that everybody knows.
    fn masked(kind: &str, bytes: &[u8], size: usize) -> Result<Vec<u8>, Trouble> {
        let (name, paths) = ("pci".parse().unwrap(), vec!["$.pin".to_owned()]);
        let class =
            ClassSource { name, paths, mask: Mask::Full, recognise: vec![Recogniser::Card] };
        let sensitive = Sensitive::new(&SensitiveSource { classes: vec![class] }).unwrap();
        let all = sensitive.all();
        let kind = DescriptorPool::global().get_message_by_name(kind).unwrap();
        let mut messages = Messages::new(Rules::new(Arc::new(sensitive), all), Shape::new(&kind));
        let mut out = Vec::new();
        for piece in bytes.chunks(size) {
            messages.push(piece, &mut out)?;
        }
        messages.finish().map(|()| out)
    }

    fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap();
        [&[flag], &length.to_be_bytes()[..], message].concat()
    }

    #[test]
    fn g10_messages_are_masked_in_any_pieces_and_packed_or_broken_ones_refused() {
        let text = [&[0x0a, 16][..], b"4111111111111111"].concat();
        let whole = [framed(0, &text), framed(0, b""), framed(0, b"\x0a\x01x")].concat();
        let expected =
            [framed(0, b"\x0a\x03***"), framed(0, b""), framed(0, b"\x0a\x01x")].concat();
        for size in [1, 3, 1000] {
            let masked_one = |bytes: &[u8]| masked("google.protobuf.StringValue", bytes, size);
            assert_eq!(masked_one(&whole), Ok(expected.clone()));
            assert_eq!(masked_one(&framed(1, &text)), Err(Trouble::Coding));
            assert_eq!(masked_one(&framed(0x80, &text)), Err(Trouble::Coding));
            assert_eq!(masked_one(&whole[..20]), Err(Trouble::Undecodable));
            assert_eq!(masked_one(&framed(0, b"\x0a\x10x")), Err(Trouble::Undecodable));
            assert_eq!(masked_one(b"\0\xff\xff\xff\xff"), Err(Trouble::TooLarge));
        }
        // As numbers, and in bytes that are no text.
        let number = b"\x08\xc7\xe3\xa3\xab\x8a\xe1\xa6\x07";
        assert_eq!(masked("google.protobuf.Int64Value", &framed(0, number), 9), Ok(framed(0, b"")));
        let raw = [&[0x0a, 17, 0xff][..], b"4111111111111111"].concat();
        assert_eq!(
            masked("google.protobuf.BytesValue", &framed(0, &raw), 9),
            Ok(framed(0, b"\x0a\x03***"))
        );
    }
}
