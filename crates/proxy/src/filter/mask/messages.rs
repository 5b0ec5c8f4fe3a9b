//! Messages of gRPC, masked one by one by what their method says that it answers.
//!
//! Upstreams are asked to pack none. Some answer as they were asked all the same: a message that is packed is
//! unpacked, and passes as it is then.

use std::fmt::Display;

use portcullis_policy::{
    ClassSet,
    sensitive::{
        automaton::{At, Automaton},
        message::{Masking, Shape},
    },
};

use super::{
    Rules, Trouble, coding::Decoder, mask_of, nested, recognise::recognised, scan::unescape,
};

/// What implementations take unless they are told otherwise.
const MOST: usize = 4 * 1024 * 1024;
const HEAD: usize = 5;

/// See the module.
#[derive(Debug)]
pub(super) struct Messages {
    rules: Rules,
    shape: Shape,
    /// What undoes the packing of those that say that they are packed.
    packed: Option<Decoder>,
    held: Vec<u8>,
    met: ClassSet,
}

impl Messages {
    pub(super) fn new(rules: Rules, shape: Shape, packed: Option<Decoder>) -> Self {
        Self { rules, shape, packed, held: Vec::new(), met: ClassSet::default() }
    }

    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Trouble> {
        self.held.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(Framed { message, is_packed, length }) =
            framed(self.held.get(at..).unwrap_or_default())?
        {
            let unpacked = match (is_packed, &mut self.packed) {
                (false, _) => None,
                (true, Some(decoder)) => Some(decoder.message(message, MOST)?),
                (true, None) => return Err(Trouble::Coding),
            };
            let mut walk = Walk { rules: &self.rules, met: ClassSet::default() };
            let masked = self.shape.masked(unpacked.as_deref().unwrap_or(message), &mut walk);
            let masked = masked.map_err(|_| Trouble::Undecodable)?;
            self.met.0 |= walk.met.0;
            let size = u32::try_from(masked.len()).map_err(|_| Trouble::TooLarge)?;
            out.push(0);
            out.extend_from_slice(&size.to_be_bytes());
            out.extend_from_slice(&masked);
            at += length;
        }
        self.held.drain(..at);
        Ok(())
    }

    /// What was masked so far.
    pub(super) fn met(&self) -> ClassSet {
        self.met
    }

    pub(super) fn finish(&self) -> Result<(), Trouble> {
        if self.held.is_empty() { Ok(()) } else { Err(Trouble::Undecodable) }
    }
}

/// A message as it came.
struct Framed<'b> {
    message: &'b [u8],
    is_packed: bool,
    /// With its head.
    length: usize,
}

/// The first message of `bytes`, if it is all there.
fn framed(bytes: &[u8]) -> Result<Option<Framed<'_>>, Trouble> {
    let Some(([flag, size @ ..], rest)) = bytes.split_first_chunk::<HEAD>() else {
        return Ok(None);
    };
    let is_packed = match *flag {
        0 => false,
        1 => true,
        _ => return Err(Trouble::Coding),
    };
    let size = usize::try_from(u32::from_be_bytes(*size)).unwrap_or(usize::MAX);
    if size > MOST {
        return Err(Trouble::TooLarge);
    }
    Ok(rest.get(..size).map(|message| Framed { message, is_packed, length: HEAD + size }))
}

struct Walk<'r> {
    rules: &'r Rules,
    met: ClassSet,
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
        let classes = self.classes(at);
        self.met.0 |= classes.0;
        !classes.is_empty()
    }

    fn is_masked_number(&mut self, number: &dyn Display, at: &[At]) -> bool {
        if self.is_masked(at) {
            return true;
        }
        if !self.rules.recognises() {
            return false;
        }
        let found = self.recognised(&number.to_string());
        self.met.0 |= found.0;
        !found.is_empty()
    }

    fn text(&mut self, text: &str, at: &[At]) -> Option<String> {
        let mut classes = self.classes(at);
        if classes.is_empty() && self.rules.recognises() {
            classes = self.recognised(text);
        }
        if !classes.is_empty() {
            self.met.0 |= classes.0;
            return Some(mask_of(text, self.rules.shows_end(classes)));
        }
        // What a document in it holds is hidden if any of its places says so.
        let mut replaced = None;
        for at in at {
            let text = replaced.as_deref().unwrap_or(text);
            let within = self.rules.automaton().within(*at);
            if let (met, Some(raw)) = nested::masked(text, self.rules, within, 0) {
                self.met.0 |= met.0;
                replaced = Some(unescape(&raw).unwrap_or_else(|| "***".to_owned()));
            }
        }
        replaced
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, sync::Arc};

    use flate2::{Compression, write::GzEncoder};
    use http::{HeaderMap, HeaderName, HeaderValue};
    use portcullis_policy::{
        Sensitive,
        sensitive::{ClassSource, Mask, Recogniser, SensitiveSource},
    };
    use prost_reflect::DescriptorPool;

    use super::*;

    const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

    /// What becomes of messages of a type that everybody knows.
    fn masked(kind: &str, bytes: &[u8], size: usize) -> Result<Vec<u8>, Trouble> {
        masked_by(None, kind, bytes, size)
    }

    /// The same where messages may be packed.
    fn masked_by(
        coding: Option<&'static str>,
        kind: &str,
        bytes: &[u8],
        size: usize,
    ) -> Result<Vec<u8>, Trouble> {
        let (name, paths) = ("pci".parse().unwrap(), vec!["$.pin".to_owned()]);
        let class =
            ClassSource { name, paths, mask: Mask::Full, recognise: vec![Recogniser::Card] };
        let sensitive = Sensitive::new(&SensitiveSource { classes: vec![class] }).unwrap();
        let all = sensitive.all();
        let kind = DescriptorPool::global().get_message_by_name(kind).unwrap();
        let mut headers = HeaderMap::new();
        headers.extend(coding.map(|coding| (GRPC_ENCODING, HeaderValue::from_static(coding))));
        let packed = Decoder::of_messages(&headers);
        let rules = Rules::new(Arc::new(sensitive), all);
        let mut messages = Messages::new(rules, Shape::new(&kind), packed);
        let mut out = Vec::new();
        for piece in bytes.chunks(size) {
            messages.push(piece, &mut out)?;
        }
        messages.finish().map(|()| out)
    }

    fn one(flag: u8, message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap();
        [&[flag], &length.to_be_bytes()[..], message].concat()
    }

    #[test]
    fn g10_messages_are_masked_in_any_pieces_and_packed_or_broken_ones_refused() {
        let text = [&[0x0a, 16][..], b"4111111111111111"].concat();
        let whole = [one(0, &text), one(0, b""), one(0, b"\x0a\x01x")].concat();
        let expected = [one(0, b"\x0a\x03***"), one(0, b""), one(0, b"\x0a\x01x")].concat();
        for size in [1, 3, 1000] {
            let masked_one = |bytes: &[u8]| masked("google.protobuf.StringValue", bytes, size);
            assert_eq!(masked_one(&whole), Ok(expected.clone()));
            assert_eq!(masked_one(&one(1, &text)), Err(Trouble::Coding));
            assert_eq!(masked_one(&one(0x80, &text)), Err(Trouble::Coding));
            assert_eq!(masked_one(&whole[..20]), Err(Trouble::Undecodable));
            assert_eq!(masked_one(&one(0, b"\x0a\x10x")), Err(Trouble::Undecodable));
            assert_eq!(masked_one(b"\0\xff\xff\xff\xff"), Err(Trouble::TooLarge));
        }
        // As numbers, and in bytes that are no text.
        let number = b"\x08\xc7\xe3\xa3\xab\x8a\xe1\xa6\x07";
        assert_eq!(masked("google.protobuf.Int64Value", &one(0, number), 9), Ok(one(0, b"")));
        let raw = [&[0x0a, 17, 0xff][..], b"4111111111111111"].concat();
        assert_eq!(
            masked("google.protobuf.BytesValue", &one(0, &raw), 9),
            Ok(one(0, b"\x0a\x03***"))
        );
    }
    fn zipped(text: &[u8]) -> Vec<u8> {
        let mut writer = GzEncoder::new(Vec::new(), Compression::best());
        writer.write_all(text).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn g10_packed_messages_are_unpacked_and_pass_as_they_are_then() {
        let text = [&[0x0a, 16][..], b"4111111111111111"].concat();
        let (zip, kind) = (zipped(&text), "google.protobuf.StringValue");
        let whole = [one(1, &zip), one(0, b"\x0a\x01x"), one(1, &zip)].concat();
        let expected =
            [one(0, b"\x0a\x03***"), one(0, b"\x0a\x01x"), one(0, b"\x0a\x03***")].concat();
        for size in [1, 7, 1000] {
            assert_eq!(masked_by(Some("gzip"), kind, &whole, size), Ok(expected.clone()));
            for coding in [None, Some("identity"), Some("snappy")] {
                assert_eq!(masked_by(coding, kind, &whole, size), Err(Trouble::Coding));
            }
            for (coding, bytes) in [
                ("deflate", one(1, &zip)),
                ("gzip", one(1, &text)),
                ("gzip", one(1, &zip[..zip.len() - 1])),
                ("gzip", one(1, &[&zip[..], b"x"].concat())),
                ("gzip", one(1, b"")),
            ] {
                let masked = masked_by(Some(coding), kind, &bytes, size);
                assert_eq!(masked, Err(Trouble::Undecodable), "{coding} {bytes:?}");
            }
        }
    }

    #[test]
    fn g13_packed_messages_unpack_to_no_more_than_is_taken_of_others() {
        let kind = "google.protobuf.StringValue";
        let large = one(1, &zipped(&vec![b' '; MOST + 1]));
        // A text of a million blanks.
        let text = [&b"\x0a\xc0\x84\x3d"[..], &b" ".repeat(1_000_000)].concat();
        let bombs = one(1, &zipped(&text)).repeat(40);
        for (bytes, trouble) in [(large, Trouble::Bomb), (bombs, Trouble::Bomb)] {
            assert_eq!(masked_by(Some("gzip"), kind, &bytes, 4096), Err(trouble));
        }
        // Noise does not pack, and is merely too large.
        let mut seed = 1_u64;
        let noise = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            u8::try_from(seed >> 60).unwrap()
        });
        let noise = zipped(&noise.take(MOST + 1).collect::<Vec<u8>>());
        let masked = masked_by(Some("gzip"), kind, &one(1, &noise), 65_536);
        assert_eq!(masked, Err(Trouble::TooLarge));
    }
}
