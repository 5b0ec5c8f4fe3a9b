//! A canary in every field, header and trailer, over kinds, codings, pieces and statuses: none comes out.

use super::{CANARY, House, gzip};

const KINDS: [&str; 9] = [
    "application/json",
    "application/problem+json",
    "application/x-ndjson",
    "application/json-seq",
    "text/event-stream",
    "text/plain",
    "application/grpc",
    "application/json; charset=utf-32",
    "",
];

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
    let statuses = ["200 OK", "201 Made", "206 Part", "304 Same", "404 None", "500 Oh"];
    let mut count = 0;
    for kind in KINDS {
        for document in &documents {
            for coding in ["", "gzip", "br"] {
                let body = match coding {
                    "gzip" => gzip(document.as_bytes()),
                    _ => document.clone().into_bytes(),
                };
                // Every status and size of piece with every kind and document, not with every other.
                count += 1;
                let (status, size) = (statuses[count % 6], [1, 7, 4096][count % 3]);
                let mut answer = vec![format!(
                    "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: {kind}\r\nETag: \"{CANARY}\"\r\nX-A: {CANARY}\r\nLocation: /{CANARY}\r\n\
                     Content-Encoding: {coding}\r\nTransfer-Encoding: chunked\r\n\r\n"
                ).into_bytes()];
                for chunk in body.chunks(size) {
                    answer.push(
                        [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat(),
                    );
                }
                answer.push(format!("0\r\nX-T: {CANARY}\r\n\r\n").into_bytes());
                let accept = "Accept: application/json\r\nTE: trailers\r\n";
                let wire =
                    house.wire(if count % 11 == 0 { "HEAD" } else { "GET" }, accept, &answer);
                let text = String::from_utf8_lossy(&wire);
                assert!(
                    !text.contains(CANARY),
                    "{kind} {document} {coding} {status} {size}: {text}"
                );
                // What trickles may break off before its head has left.
                assert!(
                    text.is_empty() || text.starts_with("HTTP/1.1 "),
                    "{kind} {document} {coding} {status} {size}: {text:?}"
                );
            }
        }
    }
    let log = house.shop.house.log();
    assert!(!log.contains(CANARY), "{log}");
}
