//! Web sockets: what an upstream says is masked, message by message.

use super::{CANARY, DOCUMENT, House, MASKED};
use crate::wire::Wire;

const ACCEPTED: &str = "HTTP/1.1 101 4111111111111111\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Card: 4111111111111111\r\n";

pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126);
    [&[first, u8::try_from(payload.len()).unwrap()], payload].concat()
}

/// The same, of any length that two bytes can say.
pub(super) fn long_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    if payload.len() < 126 {
        return frame(first, payload);
    }
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[first, 126], &length[..], payload].concat()
}

/// What a client gets behind the 101, if there is one, of these frames in pieces of this size.
fn socket(house: &House, more: &str, frames: &[Vec<u8>], size: usize) -> (u16, Vec<u8>) {
    let cut: Vec<_> = frames.concat().chunks(size).map(<[u8]>::to_vec).collect();
    pieces(house, more, &cut)
}

/// The same of what comes in these pieces.
pub(super) fn pieces(house: &House, more: &str, pieces: &[Vec<u8>]) -> (u16, Vec<u8>) {
    let mut words = vec![format!("{ACCEPTED}{more}\r\n").into_bytes()];
    words.extend_from_slice(pieces);
    *house.mouth.words.lock().unwrap() = words;
    let mut wire = Wire::connect(house.shop.house.gate);
    wire.send(format!(
        "{}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
        house.shop.head("GET", "/socket")
    ));
    let head = String::from_utf8(wire.read_head()).unwrap();
    assert!(!head.contains(CANARY), "{head}");
    let response = wire.response().unwrap();
    assert!(response.headers.iter().all(|(_, value)| !value.contains(CANARY)));
    let rest = if response.status == 101 { wire.until_closed().unwrap() } else { response.body };
    assert!(!String::from_utf8_lossy(&rest).contains(CANARY));
    (response.status, rest)
}

#[test]
fn g11_messages_are_masked_in_any_frames_and_no_extension_is_offered() {
    let house = House::open();
    let (first, second) = DOCUMENT.as_bytes().split_at(40);
    let frames = [
        frame(0x81, DOCUMENT.as_bytes()),
        frame(0x01, first),
        frame(0x89, b"ping"),
        frame(0x80, second),
    ];
    for size in [1, 7, 1000] {
        let (status, got) = socket(&house, "", &frames, size);
        assert_eq!(status, 101);
        let whole = frame(0x81, MASKED.as_bytes());
        let expected = [&whole[..], &frame(0x89, b"ping"), &whole].concat();
        assert!(got.starts_with(&expected), "{:?}", String::from_utf8_lossy(&got));
        assert!(!house.heard().contains("sec-websocket-extensions"));
    }
}

#[test]
fn g11_what_is_binary_packed_or_no_document_ends_it_with_1008() {
    let house = House::open();
    for bad in [
        frame(0x82, DOCUMENT.as_bytes()),
        frame(0xc1, DOCUMENT.as_bytes()),
        frame(0x81, b"card 4111111111111111"),
        frame(0x8a, b"card 4111111111111111"),
    ] {
        let (status, got) = socket(&house, "", &[frame(0x81, b"{}"), bad], 1000);
        assert_eq!(status, 101);
        // What came before it may be there.
        let rest = got.strip_prefix(&frame(0x81, b"{}")[..]).unwrap_or(&got);
        assert_eq!(&rest[2..4], &1008_u16.to_be_bytes(), "{rest:?}");
    }
    let packed = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    assert_eq!(socket(&house, packed, &[frame(0x81, b"{}")], 1000).0, 502);
}
