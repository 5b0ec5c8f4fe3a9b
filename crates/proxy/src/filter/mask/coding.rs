//! Undoes the coding of an answer, piece by piece, and never much more of it at once than came.
//!
//! What unpacks to far more than it is, is refused: nothing that is meant for people does.

use std::io::{self, Write};

use brotli_decompressor::DecompressorWriter;
use flate2::write::{GzDecoder, ZlibDecoder};
use http::{HeaderMap, HeaderValue, header};
use ruzstd::decoding::FrameDecoder;

use super::Trouble;

/// What upstreams are asked for. zstd is undone too, but what decodes it keeps a window of it back.
pub(crate) const ASKED: [&str; 4] = ["gzip", "x-gzip", "br", "deflate"];

/// So much is never too much.
const FREE: u64 = 1024 * 1024;
/// Beyond that, so many bytes may come of one.
const RATIO: u64 = 200;
/// What is unpacked at once.
const PIECE: usize = 512;
/// What may come of one piece.
const MOST_OF_PIECE: usize = 2 * 1024 * 1024;
/// RFC 9659: windows of zstd on the web.
const WINDOW: u64 = 8 * 1024 * 1024;

/// How an answer is coded, and how far it is undone.
pub(crate) struct Decoder {
    coding: Coding,
    came: u64,
    went: u64,
}

enum Coding {
    Identity,
    Gzip(Box<GzDecoder<Room>>),
    Deflate(Box<ZlibDecoder<Room>>),
    Brotli(Box<DecompressorWriter<Room>>),
    Zstd(Box<Zstd>),
}

/// What was unpacked of one piece, up to a bound.
#[derive(Default)]
struct Room(Vec<u8>);

impl Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MOST_OF_PIECE {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("came", &self.came).finish_non_exhaustive()
    }
}

impl Decoder {
    /// Of an answer with these headers. What is coded twice, or in a way that is not known, is refused.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Trouble> {
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let coding = match (values.next(), values.next()) {
            (None, _) => Coding::Identity,
            (Some(value), None) => Coding::of(value)?,
            (Some(_), Some(_)) => return Err(Trouble::Coding),
        };
        Ok(Self { coding, came: 0, went: 0 })
    }

    /// Of messages of a call that say that they are packed. Without one, none may say so.
    pub(crate) fn of_messages(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all("grpc-encoding").iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        let coding = Coding::of(value).ok()?;
        coding.anew().is_some().then_some(Self { coding, came: 0, went: 0 })
    }

    /// Unpacks one whole message of at most so many bytes. What all of them unpack to is bounded, too.
    pub(crate) fn message(&mut self, bytes: &[u8], most: usize) -> Result<Vec<u8>, Trouble> {
        // What is packed is never nothing.
        let anew = self.coding.anew().filter(|_| !bytes.is_empty());
        self.coding = anew.ok_or(Trouble::Undecodable)?;
        let mut whole = Vec::new();
        let mut take = |piece: &[u8]| {
            whole.extend_from_slice(piece);
            if whole.len() > most { Err(Trouble::TooLarge) } else { Ok(()) }
        };
        self.push(bytes, &mut take)?;
        self.finish(&mut take)?;
        Ok(whole)
    }

    /// Whether bytes are as they are.
    pub(crate) fn is_identity(&self) -> bool {
        matches!(self.coding, Coding::Identity)
    }

    /// Whether what came may stay back until much more of it came.
    pub(crate) fn holds_back(&self) -> bool {
        matches!(self.coding, Coding::Zstd(_))
    }

    /// How much is best pushed at once.
    pub(crate) fn piece(&self) -> usize {
        if self.is_identity() { usize::MAX } else { PIECE }
    }

    /// Gives what `bytes` unpack to, in pieces.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        mut to: impl FnMut(&[u8]) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        if self.is_identity() {
            return to(bytes);
        }
        if self.came == 0 && bytes.first().is_some_and(|first| self.coding.is_large(*first)) {
            return Err(Trouble::Bomb);
        }
        for piece in bytes.chunks(PIECE) {
            self.came += piece.len() as u64;
            let (coding, went, most) = (&mut self.coding, &mut self.went, self.came * RATIO + FREE);
            coding.write(piece, |unpacked| {
                *went += unpacked.len() as u64;
                if *went > most { Err(Trouble::Bomb) } else { to(unpacked) }
            })?;
        }
        Ok(())
    }

    /// There is no more. What is cut short may hide what is missing.
    pub(crate) fn finish(
        &mut self,
        mut to: impl FnMut(&[u8]) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        if self.came == 0 {
            // Nothing at all, as in answers that have no body.
            return Ok(());
        }
        let broken = |_| Trouble::Undecodable;
        match &mut self.coding {
            Coding::Identity => Ok(()),
            Coding::Gzip(gzip) => {
                gzip.try_finish().map_err(broken)?;
                to(&std::mem::take(&mut gzip.get_mut().0))
            }
            Coding::Deflate(deflate) => {
                deflate.try_finish().map_err(broken)?;
                to(&std::mem::take(&mut deflate.get_mut().0))
            }
            Coding::Brotli(brotli) => {
                brotli.close().map_err(broken)?;
                to(&std::mem::take(&mut brotli.get_mut().0))
            }
            Coding::Zstd(zstd) if zstd.expect == Part::Header && zstd.held.is_empty() => Ok(()),
            Coding::Zstd(_) => Err(Trouble::Undecodable),
        }
    }
}

impl Coding {
    fn of(value: &HeaderValue) -> Result<Self, Trouble> {
        let is = |name: &str| value.as_bytes().trim_ascii().eq_ignore_ascii_case(name.as_bytes());
        Ok(if is("identity") || is("") {
            Self::Identity
        } else if is("gzip") || is("x-gzip") {
            Self::Gzip(Box::new(GzDecoder::new(Room::default())))
        } else if is("deflate") {
            Self::Deflate(Box::new(ZlibDecoder::new(Room::default())))
        } else if is("br") {
            Self::Brotli(Box::new(DecompressorWriter::new(Room::default(), 4096)))
        } else if is("zstd") {
            Self::Zstd(Box::default())
        } else {
            return Err(Trouble::Coding);
        })
    }

    /// The same from the beginning, if it is one of those that gRPC has.
    fn anew(&self) -> Option<Self> {
        match self {
            Self::Gzip(_) => Some(Self::Gzip(Box::new(GzDecoder::new(Room::default())))),
            Self::Deflate(_) => Some(Self::Deflate(Box::new(ZlibDecoder::new(Room::default())))),
            Self::Identity | Self::Brotli(_) | Self::Zstd(_) => None,
        }
    }

    /// Whether a stream that begins with this byte has a window of up to a GiB, which is no part of RFC 7932:
    /// its section 9.1 leaves this one out.
    fn is_large(&self, first: u8) -> bool {
        matches!(self, Self::Brotli(_)) && first & 0x7f == 0x11
    }

    fn write(
        &mut self,
        piece: &[u8],
        mut to: impl FnMut(&[u8]) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let room = match self {
            Self::Identity => return to(piece),
            Self::Zstd(zstd) => return zstd.push(piece, to),
            Self::Gzip(gzip) => {
                gzip.write_all(piece).and_then(|()| gzip.flush()).map_err(trouble)?;
                gzip.get_mut()
            }
            Self::Deflate(deflate) => {
                deflate.write_all(piece).and_then(|()| deflate.flush()).map_err(trouble)?;
                deflate.get_mut()
            }
            Self::Brotli(brotli) => {
                brotli.write_all(piece).map_err(trouble)?;
                brotli.get_mut()
            }
        };
        to(&room.0)?;
        room.0.clear();
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` calls")]
fn trouble(error: io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::QuotaExceeded => Trouble::Bomb,
        _ => Trouble::Undecodable,
    }
}

/// RFC 8878, cut into its parts: the library unpacks whatever it gets at once, so it gets one block.
#[derive(Default)]
struct Zstd {
    decoder: FrameDecoder,
    held: Vec<u8>,
    expect: Part,
    has_checksum: bool,
    /// Room for what comes of a block.
    out: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Part {
    #[default]
    Header,
    /// With the checksum, if it is the last and there is one: without it, the library keeps the end back.
    Block,
}

/// RFC 8878 section 3.1.1.2.4: blocks.
const LARGEST: usize = 128 * 1024;

impl Zstd {
    fn push(
        &mut self,
        piece: &[u8],
        mut to: impl FnMut(&[u8]) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        self.held.extend_from_slice(piece);
        while let Some(length) = self.length()?.filter(|length| *length <= self.held.len()) {
            let rest = self.held.split_off(length);
            let part = std::mem::replace(&mut self.held, rest);
            self.part(&part, &mut to)?;
        }
        Ok(())
    }

    /// How long the part is that comes next, once that can be told.
    fn length(&self) -> Result<Option<usize>, Trouble> {
        const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
        match (self.expect, self.held.as_slice()) {
            (Part::Header, [m1, m2, m3, m4, rest @ ..]) => {
                if [*m1, *m2, *m3, *m4] != MAGIC {
                    return Err(Trouble::Undecodable);
                }
                Ok(rest.first().map(|descriptor| 5 + header_rest(*descriptor)))
            }
            (Part::Block, [b1, b2, b3, ..]) => {
                let header = u32::from_le_bytes([*b1, *b2, *b3, 0]);
                let size = usize::try_from(header >> 3).unwrap_or(usize::MAX);
                let checksum = if header & 1 != 0 && self.has_checksum { 4 } else { 0 };
                match (header >> 1) & 3 {
                    _ if size > LARGEST => Err(Trouble::Undecodable),
                    1 => Ok(Some(4 + checksum)),
                    0 | 2 => Ok(Some(3 + size + checksum)),
                    _ => Err(Trouble::Undecodable),
                }
            }
            (Part::Header | Part::Block, _) => Ok(None),
        }
    }

    fn part(
        &mut self,
        part: &[u8],
        mut to: impl FnMut(&[u8]) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        match self.expect {
            Part::Header => {
                if window(part) > WINDOW {
                    return Err(Trouble::Bomb);
                }
                self.decoder = FrameDecoder::new();
                self.decoder.init(part).map_err(|_| Trouble::Undecodable)?;
                self.has_checksum = part.get(4).is_some_and(|descriptor| descriptor & 4 != 0);
                self.expect = Part::Block;
            }
            Part::Block => {
                let is_last = part.first().is_some_and(|byte| byte & 1 != 0);
                self.out.resize(LARGEST, 0);
                let mut rest = part;
                loop {
                    let unpacked = self.decoder.decode_from_to(rest, &mut self.out);
                    let (_, count) = unpacked.map_err(|_| Trouble::Undecodable)?;
                    rest = &[];
                    if count == 0 {
                        break;
                    }
                    to(self.out.get(..count).unwrap_or_default())?;
                }
                if is_last {
                    let decoder = &self.decoder;
                    let is_other = |said| decoder.get_calculated_checksum() != Some(said);
                    if decoder.get_checksum_from_data().is_some_and(is_other) {
                        return Err(Trouble::Undecodable);
                    }
                    self.expect = Part::Header;
                }
            }
        }
        Ok(())
    }
}

/// How long a frame's header is behind its descriptor (RFC 8878 section 3.1.1.1).
fn header_rest(descriptor: u8) -> usize {
    let is_single = descriptor & 0x20 != 0;
    let dictionary = match descriptor & 3 {
        3 => 4,
        count => usize::from(count),
    };
    let size = match descriptor >> 6 {
        0 => usize::from(is_single),
        power => 1 << power,
    };
    usize::from(!is_single) + dictionary + size
}

/// How much of what was unpacked has to be kept for what comes.
fn window(header: &[u8]) -> u64 {
    let Some((descriptor, rest)) = header.get(4..).and_then(<[u8]>::split_first) else {
        return u64::MAX;
    };
    if descriptor & 0x20 == 0 {
        let byte = rest.first().copied().unwrap_or(u8::MAX);
        let base = 1_u64 << (10 + (byte >> 3));
        return base + base / 8 * u64::from(byte & 7);
    }
    let dictionary = header_rest((*descriptor & 3) | 0x20) - 1;
    let size = rest.get(dictionary..).unwrap_or_default();
    size.iter().rev().fold(0, |size, byte| (size << 8) | u64::from(*byte))
}

#[cfg(test)]
#[path = "coding_tests.rs"]
mod tests;
