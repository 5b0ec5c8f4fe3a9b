//! Sealed segments: 65,536 finished entries in one compressed file, in place of their 256 bundles.
//!
//! `log/segment/000` holds the entries from 0 on, `log/segment/001` those from 65,536 on. A file is a
//! sequence of Zstandard frames, one for each bundle, and behind them the table of the seekable format
//! in a skippable frame: any `zstd -d` gives all bundles one after the other, and one of them is read
//! without the others. The hash tiles stay as they are.
//!
//! Whoever reads looks for the bundle first and for the segment then: each is removed only when the
//! other is durable.

mod seal;

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
    path::Path,
};

pub(crate) use self::seal::{Sealer, all, newest};
use crate::tiles::{WIDTH, number_path};

/// Bundles in a segment.
pub(crate) const BUNDLES: u64 = ROWS as u64;
/// Entries in a segment.
pub(crate) const ENTRIES: u64 = BUNDLES * WIDTH;

/// Starts the skippable frame that holds the table.
const SKIPPABLE: u32 = 0x184D_2A5E;
/// Ends it.
const SEEKABLE: u32 = 0x8F92_EAB1;
/// For each frame the lengths of what is compressed and of what was.
const ROW: usize = 8;
/// The number of frames, a byte of flags, and [`SEEKABLE`].
const FOOTER: usize = 9;
/// Of the skippable frame: its magic number and its length.
const HEADER: usize = 8;
const ROWS: usize = 256;
/// The whole table.
const TABLE: usize = HEADER + ROWS * ROW + FOOTER;

/// The name of a segment in the log.
pub(crate) fn name(segment: u64) -> String {
    format!("segment/{}", number_path(segment))
}

/// The bundle with number `bundle` out of its sealed segment, if that is there, and no longer than
/// `most` bytes.
pub(crate) fn read_bundle(log: &Path, bundle: u64, most: usize) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = open(log, bundle / BUNDLES)? else { return Ok(None) };
    let table = Table::read(&file)?;
    let (at, length) =
        table.frame(bundle % BUNDLES).ok_or_else(|| wrong("its table ends early"))?;
    // What cannot be compressed grows by less than this.
    if length > most + most / 8 + 1024 {
        return Err(wrong("a bundle in it is longer than any can be"));
    }
    let mut frame = vec![0; length];
    file.read_exact_at(&mut frame, at)?;
    decompress(&frame, most).map(Some)
}

fn open(log: &Path, segment: u64) -> io::Result<Option<File>> {
    match File::open(log.join(name(segment))) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Packs bundles, one after the other: each in a frame with its checksum.
struct Packer(zstd::bulk::Compressor<'static>);

impl Packer {
    const LEVEL: i32 = 1;

    fn new() -> io::Result<Self> {
        let mut compressor = zstd::bulk::Compressor::new(Self::LEVEL)?;
        compressor.include_checksum(true)?;
        Ok(Self(compressor))
    }

    fn pack(&mut self, bundle: &[u8]) -> io::Result<Vec<u8>> {
        self.0.compress(bundle)
    }
}

fn decompress(frame: &[u8], most: usize) -> io::Result<Vec<u8>> {
    let source = ruzstd::decoding::StreamingDecoder::new(frame)
        .map_err(|error| wrong(&format!("it does not unpack: {error}")))?;
    let mut bundle = Vec::new();
    source.take(most as u64 + 1).read_to_end(&mut bundle)?;
    if bundle.len() > most { Err(wrong("a bundle in it is too long")) } else { Ok(bundle) }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not a sealed segment: {what}"))
}

/// Where the frames of a segment lie: their compressed and their own lengths.
#[derive(Debug, Default, Clone)]
struct Table(Vec<(u32, u32)>);

impl Table {
    fn add(&mut self, compressed: &[u8], bundle: &[u8]) -> io::Result<()> {
        let length =
            |bytes: &[u8]| u32::try_from(bytes.len()).map_err(|_| wrong("a bundle is too long"));
        self.0.push((length(compressed)?, length(bundle)?));
        Ok(())
    }

    fn frame(&self, index: u64) -> Option<(u64, usize)> {
        let index = usize::try_from(index).ok()?;
        let at = self.0.get(..index)?.iter().map(|(length, _)| u64::from(*length)).sum();
        self.0.get(index).map(|(length, _)| (at, *length as usize))
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(TABLE);
        let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
        bytes.extend_from_slice(&SKIPPABLE.to_le_bytes());
        bytes.extend_from_slice(&number(self.0.len() * ROW + FOOTER));
        for (compressed, whole) in &self.0 {
            bytes.extend_from_slice(&compressed.to_le_bytes());
            bytes.extend_from_slice(&whole.to_le_bytes());
        }
        bytes.extend_from_slice(&number(self.0.len()));
        bytes.push(0);
        bytes.extend_from_slice(&SEEKABLE.to_le_bytes());
        bytes
    }

    /// Reads the table at the end of `file`, which must be a segment as a whole.
    fn read(file: &File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        let start = size.checked_sub(TABLE as u64).ok_or_else(|| wrong("it is too short"))?;
        let mut bytes = [0; TABLE];
        file.read_exact_at(&mut bytes, start)?;
        let (words, _) = bytes.get(HEADER..TABLE - FOOTER).unwrap_or_default().as_chunks::<4>();
        let rows = words.as_chunks::<2>().0.iter().map(|[compressed, whole]| {
            (u32::from_le_bytes(*compressed), u32::from_le_bytes(*whole))
        });
        let table = Self(rows.collect());
        let frames: u64 = table.0.iter().map(|(length, _)| u64::from(*length)).sum();
        // Everything else in the table is fixed: it must be what writing it again gives.
        if table.encode() != bytes || frames != start {
            return Err(wrong("its table is not one, or does not fit the file"));
        }
        Ok(table)
    }
}
