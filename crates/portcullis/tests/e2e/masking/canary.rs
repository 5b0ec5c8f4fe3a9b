//! A canary in every field, header and trailer, over kinds, codings, pieces and statuses: none comes out.

use std::io::Write as _;

use flate2::{Compression, write::ZlibEncoder};

use super::{CANARY, House, gzip, unchunked};

/// Each with the documents that can be read as it.
const KINDS: [(&str, &[usize]); 9] = [
    ("application/json", &[0, 4]),
    ("application/problem+json", &[0, 4]),
    ("application/x-ndjson", &[0, 3, 4]),
    ("application/json-seq", &[1]),
    ("text/event-stream", &[2]),
    ("text/plain", &[]),
    ("application/grpc", &[]),
    ("application/json; charset=utf-32", &[]),
    ("", &[]),
];
const CODINGS: [&str; 5] = ["", "gzip", "deflate", "br", "zstd"];
const STATUSES: [&str; 4] = ["200 OK", "206 Part", "304 Same", "500 Oh"];

pub(super) fn packed(coding: &str, text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap();
    match coding {
        "gzip" => gzip(text),
        "deflate" => {
            let mut writer = ZlibEncoder::new(Vec::new(), Compression::default());
            writer.write_all(text).unwrap();
            writer.finish().unwrap()
        }
        // RFC 7932 section 9.2: one block that is not compressed, and an empty last one.
        "br" => {
            let head = 0x0b | (length - 1) << 7 | 1 << 23;
            [&head.to_le_bytes()[..3], text, &[0x03]].concat()
        }
        // RFC 8878 section 3.1.1: one raw block, in a frame with a window of 128 KiB.
        "zstd" => {
            let block = length << 3 | 1;
            let head = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
            [&head[..], &block.to_le_bytes()[..3], text].concat()
        }
        _ => text.to_vec(),
    }
}

#[test]
fn no_sensitive_byte_leaves() {
    let house = House::open();
    let documents = [
        format!(r#"{{"card":{{"number":"{CANARY}"}},"pin":{CANARY}}}"#),
        format!("\u{1e}{{\"a\":[{{\"PIN\":[\"{CANARY}\",{{\"x\":\"{CANARY}\"}}]}}]}}\n"),
        format!("data: {{\"pin\":\"{CANARY}\"}}\n\ndata: card {CANARY}\n\n"),
        format!("{{\"pin\":\"{CANARY}\"}}\n{{\"pin\":\"{CANARY}\",\"pin\":\"{CANARY}\"}}\n"),
        format!("{{\"x\":\"{{\\\"pin\\\":\\\"{CANARY}\\\"}}\"}}"),
        format!("{{\"pin\":\"{CANARY}"),
    ];
    let mut read = 0;
    for (k, (kind, readable)) in KINDS.iter().enumerate() {
        for (d, document) in documents.iter().enumerate() {
            for (c, coding) in CODINGS.iter().enumerate() {
                let body = packed(coding, document.as_bytes());
                for (s, status) in STATUSES.iter().enumerate() {
                    // Each with each of the others, and not all with all.
                    let size = [1, 7, 4096][(k + d + c + s) % 3];
                    let method = if (k + 2 * d + 3 * c + s) % 11 == 0 { "HEAD" } else { "GET" };
                    let case = format!("{method} {kind} {document} {coding} {status} {size}");
                    let wire = house.wire(
                        method,
                        "Accept: application/json\r\nTE: trailers\r\n",
                        &answer(status, kind, coding, &body, size),
                    );
                    let text = String::from_utf8_lossy(&wire);
                    assert!(!text.contains(CANARY), "{case}: {text}");
                    // What trickles may break off before its head has left.
                    assert!(text.is_empty() || text.starts_with("HTTP/1.1 "), "{case}: {text:?}");
                    let trickles = (2..=4).contains(&k);
                    if readable.contains(&d)
                        && !(trickles && *coding == "zstd")
                        && method == "GET"
                        && matches!(*status, "200 OK" | "500 Oh")
                    {
                        read += 1;
                        assert!(text.get(9..12) == status.get(..3), "{case}: {text}");
                        let (head, body) = text.split_once("\r\n\r\n").unwrap();
                        let is_chunked = head.to_lowercase().contains("\r\ntransfer-encoding:");
                        let whole =
                            if is_chunked { unchunked(body) } else { Some(body.to_owned()) };
                        assert!(whole.is_some_and(|body| body.contains("***")), "{case}: {text}");
                    }
                }
            }
        }
    }
    assert!(read >= 60, "{read}");
    let log = house.shop.house.log();
    assert!(!log.contains(CANARY), "{log}");
}

fn answer(status: &str, kind: &str, coding: &str, body: &[u8], size: usize) -> Vec<Vec<u8>> {
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: {kind}\r\nETag: \"{CANARY}\"\r\nX-A: {CANARY}\r\nLocation: /{CANARY}\r\n\
         Content-Encoding: {coding}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let mut answer = vec![head.into_bytes()];
    for chunk in body.chunks(size) {
        answer.push([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    }
    answer.push(format!("0\r\nX-T: {CANARY}\r\n\r\n").into_bytes());
    answer
}
