//! What comes out of codings, and what does not.

use std::io::Write as _;

use super::*;

fn headers(coding: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_ENCODING, coding.parse().unwrap());
    headers
}

fn unpack(coding: &str, bytes: &[u8], size: usize) -> Result<Vec<u8>, Trouble> {
    let mut decoder = Decoder::of(&headers(coding))?;
    let mut out = Vec::new();
    for piece in bytes.chunks(size) {
        decoder.push(piece, |bytes| {
            out.extend_from_slice(bytes);
            Ok(())
        })?;
    }
    decoder.finish(|bytes| {
        out.extend_from_slice(bytes);
        Ok(())
    })?;
    Ok(out)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// A stream of brotli that says `{"a":1}` without packing it (RFC 7932 section 9.2).
const BROTLI: &[u8] = b"\x0b\x03\x80{\"a\":1}\x03";

#[test]
fn g01_what_is_coded_is_decoded_however_it_is_cut() {
    let text: Vec<u8> =
        (0..40_000_u32).flat_map(|n| format!("{{\"n\":{n}}},").into_bytes()).collect();
    for size in [1, 7, 1000, usize::MAX] {
        assert!(unpack("gzip", &gzip(&text), size).unwrap() == text);
        assert!(unpack("X-GZip", &gzip(&text), size).unwrap() == text);
        assert!(unpack("deflate", &zlib(&text), size).unwrap() == text);
        assert!(unpack("zstd", &zstd(&text), size).unwrap() == text);
        assert_eq!(unpack("br", BROTLI, size).unwrap(), b"{\"a\":1}");
        assert!(unpack("identity", &text, size).unwrap() == text);
    }
}

#[test]
fn g02_a_coding_that_lies_is_doubled_unknown_or_cut_short_is_refused() {
    for coding in ["gzip", "deflate", "br", "zstd"] {
        assert!(
            unpack(coding, b"{\"card\":{\"number\":\"4111111111111111\"}}", 10).is_err(),
            "{coding}"
        );
    }
    for coding in ["gzip, gzip", "compress", "x", "gzip,", "aws-chunked"] {
        assert_eq!(unpack(coding, b"", 1).unwrap_err(), Trouble::Coding, "{coding}");
    }
    let mut twice = headers("gzip");
    twice.append(header::CONTENT_ENCODING, "gzip".parse().unwrap());
    assert_eq!(Decoder::of(&twice).unwrap_err(), Trouble::Coding);
    for (coding, packed) in [
        ("gzip", gzip(b"something")),
        ("deflate", zlib(b"something")),
        ("zstd", zstd(b"something")),
        ("br", BROTLI.to_vec()),
    ] {
        for length in 1..packed.len() {
            assert!(unpack(coding, &packed[..length], 3).is_err(), "{coding} {length}");
        }
        let more = [&packed[..], b"{}"].concat();
        assert!(unpack(coding, &more, 3).is_err(), "{coding}: more behind its end");
    }
}

#[test]
fn g13_i20_what_unpacks_to_far_more_than_it_is_is_refused_early() {
    let zeros = vec![b' '; 64 * 1024 * 1024];
    for (coding, packed) in
        [("gzip", gzip(&zeros)), ("deflate", zlib(&zeros)), ("zstd", zstd(&zeros))]
    {
        let (mut decoder, mut went) = (Decoder::of(&headers(coding)).unwrap(), 0);
        let pushed = decoder.push(&packed, |bytes| {
            went += bytes.len();
            Ok(())
        });
        assert_eq!(pushed, Err(Trouble::Bomb), "{coding}");
        assert!(went < 20 * 1024 * 1024, "{coding}: {went}");
    }
    // A window of 4 GiB.
    let header = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xb0];
    assert_eq!(unpack("zstd", &header, 1), Err(Trouble::Bomb));
}

#[test]
fn g13_a_large_window_is_refused_before_there_is_room_for_it() {
    // Of 24 and of 30 bits; RFC 7932 has none that begins so.
    for first in [0x11, 0x91] {
        assert_eq!(unpack("br", &[first, 30, 0x03], 1), Err(Trouble::Bomb));
    }
}

#[test]
fn a_long_stream_ends_for_no_length() {
    // As it is after an hour: 2 GiB came of 50 MiB.
    let line = "{\"n\":1,\"text\":\"a b c d e f\"}\n".repeat(2000);
    let lines: Vec<String> = (0..20).map(|n| line.replace('a', &format!("{n}"))).collect();
    let packed = gzip(lines.concat().as_bytes());
    let mut decoder = Decoder::of(&headers("gzip")).unwrap();
    (decoder.came, decoder.went) = (50 * 1024 * 1024, 2 * 1024 * 1024 * 1024);
    assert_eq!(decoder.push(&packed, |_| Ok(())), Ok(()));
}
