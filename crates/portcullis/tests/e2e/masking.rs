//! Group G: what is sensitive does not leave, whatever an upstream answers, and however.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc},
    thread,
};

use flate2::{Compression, write::GzEncoder};
use portcullis_testkit::net::free_port;

use crate::{
    shop::Shop,
    wire::{Response, Wire},
};

mod calls;
mod canary;
mod doors;
mod heads;
pub(crate) mod matrix;
mod sockets;
mod steady;

/// What must never be seen.
const CANARY: &str = "4111111111111111";
const DOCUMENT: &str =
    r#"{"id":7,"card":{"number":"4111111111111111","name":"Ana"},"total":12.50}"#;
const MASKED: &str = r#"{"id":7,"card":{"number":"***","name":"Ana"},"total":12.50}"#;

/// An upstream that says what it is told, piece by piece, and then closes.
struct Mouth {
    address: SocketAddr,
    /// What it says next.
    words: Arc<Mutex<Vec<Vec<u8>>>>,
    heard: mpsc::Receiver<String>,
}

impl Mouth {
    fn open() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let listener = TcpListener::bind(address).unwrap();
        let words = Arc::new(Mutex::new(Vec::new()));
        let (tells, heard) = mpsc::channel();
        let said = Arc::clone(&words);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (said, tells) = (Arc::clone(&said), tells.clone());
                thread::spawn(move || speak(stream.unwrap(), &said, &tells));
            }
        });
        Self { address, words, heard }
    }
}

fn speak(mut stream: TcpStream, words: &Mutex<Vec<Vec<u8>>>, hears: &mpsc::Sender<String>) {
    stream.set_nodelay(true).unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return;
        }
        head.push(byte[0]);
    }
    let _ = hears.send(String::from_utf8(head).unwrap());
    let words = words.lock().unwrap().clone();
    for piece in words {
        if stream.write_all(&piece).is_err() {
            return;
        }
        // So that pieces arrive as pieces.
        thread::yield_now();
    }
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
}

/// The shop, whose cards and codes are sensitive.
struct House {
    shop: Shop,
    mouth: Mouth,
}

impl House {
    fn open() -> Self {
        Self::with(r#"{pci: ["$.card.number", "$..pin"]}"#)
    }

    fn with(sensitive: &str) -> Self {
        let mouth = Mouth::open();
        let upstream = format!("{{instances: {{s-1: \"http://{}\"}}}}", mouth.address);
        let shop = Shop::with(&format!("{upstream}\nsensitive: {sensitive}"));
        Self { shop, mouth }
    }

    /// Everything that a client gets of this answer, as it is on the wire.
    fn wire(&self, method: &str, headers: &str, answer: &[Vec<u8>]) -> Vec<u8> {
        *self.mouth.words.lock().unwrap() = answer.to_vec();
        let mut wire = Wire::connect(self.shop.house.gate);
        let head = self.shop.head(method, "/order");
        wire.send(format!("{head}Connection: close\r\n{headers}\r\n"));
        wire.until_closed().expect("the gate closes")
    }

    /// The same as a response; `None` if it broke off.
    fn answer(&self, method: &str, headers: &str, answer: &[Vec<u8>]) -> Option<Response> {
        let wire = self.wire(method, headers, answer);
        let text = String::from_utf8_lossy(&wire).into_owned();
        assert!(!text.contains(CANARY), "{text}");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let is_chunked = headers.iter().any(|(name, _)| name == "transfer-encoding");
        let body = if is_chunked { unchunked(body)? } else { body.to_owned() };
        Some(Response { status, headers, body: body.into_bytes(), closed: true })
    }

    /// The body of an answer that is 200.
    fn body(&self, answer: &[Vec<u8>]) -> String {
        let response = self.answer("GET", "", answer).expect("a whole answer");
        assert_eq!(response.status, 200, "{}", response.text());
        response.text()
    }

    fn heard(&self) -> String {
        self.mouth.heard.recv().unwrap().to_lowercase()
    }
}

/// What chunks carry, if the last of them came.
fn unchunked(body: &str) -> Option<String> {
    let (mut rest, mut whole) = (body, String::new());
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).ok()?;
        whole += after.get(..size)?;
        rest = after.get(size..)?.strip_prefix("\r\n")?;
        if size == 0 {
            return Some(whole);
        }
    }
}

fn head(content_type: &str, more: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {content_type}\r\n{more}")
}

/// With a length.
fn sized(content_type: &str, more: &str, body: &[u8]) -> Vec<Vec<u8>> {
    let length = body.len();
    let head = format!("{}Content-Length: {length}\r\n\r\n", head(content_type, more));
    vec![[head.as_bytes(), body].concat()]
}

/// In chunks of this size, each sent by itself.
fn chunked(content_type: &str, more: &str, body: &[u8], size: usize) -> Vec<Vec<u8>> {
    let head = format!("{}Transfer-Encoding: chunked\r\n\r\n", head(content_type, more));
    let mut pieces = vec![head.into_bytes()];
    for chunk in body.chunks(size) {
        pieces.push([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    }
    pieces.push(b"0\r\n\r\n".to_vec());
    pieces
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = GzEncoder::new(Vec::new(), Compression::default());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

#[test]
fn g03_a_field_is_masked_in_whatever_pieces_it_comes() {
    let house = House::open();
    for size in [1, 3, 17, 1000] {
        let body = house.body(&chunked("application/json", "", DOCUMENT.as_bytes(), size));
        assert_eq!(body, MASKED);
    }
    let response = house.answer("GET", "", &sized("application/json", "", DOCUMENT.as_bytes()));
    let response = response.unwrap();
    assert_eq!(response.text(), MASKED);
    assert_eq!(response.header("content-length"), Some(MASKED.len().to_string().as_str()));
    // Another service, another story: nothing is touched.
    let plain = Shop::before(&format!("http://{}", house.mouth.address));
    let answer = plain.answers(format!("{}Connection: close\r\n\r\n", plain.head("GET", "/")));
    assert_eq!(answer[0].text(), DOCUMENT);
}

#[test]
fn g01_codings_are_limited_and_undone() {
    let house = House::open();
    let packed = gzip(DOCUMENT.as_bytes());
    let answer = sized("application/json", "Content-Encoding: gzip\r\n", &packed);
    let response = house.answer("GET", "Accept-Encoding: br, x, gzip;q=0.5\r\n", &answer).unwrap();
    assert_eq!((response.status, response.text().as_str()), (200, MASKED));
    assert_eq!(response.header("content-encoding"), None);
    assert!(house.heard().contains("\r\naccept-encoding: br, gzip;q=0.5\r\n"));
    house.answer("GET", "", &answer).unwrap();
    assert!(house.heard().contains("\r\naccept-encoding: identity\r\n"));
}

#[test]
fn g02_g13_i20_codings_that_lie_and_bombs_are_refused() {
    let house = House::open();
    let twice = gzip(&gzip(DOCUMENT.as_bytes()));
    let bomb = gzip(&vec![b' '; 64 * 1024 * 1024]);
    for (coding, body) in [
        ("gzip", DOCUMENT.as_bytes()),
        ("identity, gzip", &gzip(DOCUMENT.as_bytes())),
        ("gzip", &twice),
        ("compress", DOCUMENT.as_bytes()),
        ("br", DOCUMENT.as_bytes()),
        ("zstd", DOCUMENT.as_bytes()),
        ("deflate", DOCUMENT.as_bytes()),
    ] {
        let more = format!("Content-Encoding: {coding}\r\n");
        let response = house.answer("GET", "", &sized("application/json", &more, body)).unwrap();
        assert_eq!(response.status, 502, "{coding}: {}", response.text());
        assert!(response.text().contains("cannot be inspected"), "{}", response.text());
    }
    let answer = sized("application/json", "Content-Encoding: gzip\r\n", &bomb);
    let broken = house.answer("GET", "", &answer);
    assert!(broken.is_none_or(|response| response.status == 502));
}

#[test]
fn g06_what_holds_json_by_another_name_is_refused() {
    let house = House::open();
    for content_type in [
        "text/plain",
        "text/html",
        "application/octet-stream",
        "application/xml",
        "application/json; charset=utf-16",
        "application/json-patch",
        "application/x-protobuf",
        "multipart/byteranges; boundary=a",
    ] {
        let response =
            house.answer("GET", "", &sized(content_type, "", DOCUMENT.as_bytes())).unwrap();
        assert_eq!(response.status, 502, "{content_type}");
    }
    let nameless = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{DOCUMENT}",
        DOCUMENT.len()
    );
    assert_eq!(house.answer("GET", "", &[nameless.into_bytes()]).unwrap().status, 502);
    let utf16: Vec<u8> = DOCUMENT.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let bom = format!("\u{feff}{DOCUMENT}");
    for body in [&utf16[..], bom.as_bytes()] {
        let response = house.answer("GET", "", &sized("application/json", "", body)).unwrap();
        assert_eq!(response.status, 502);
    }
    let empty = sized("text/plain", "", b"");
    assert_eq!(house.answer("GET", "", &empty).unwrap().status, 200);
    for json in [
        "application/problem+json",
        "APPLICATION/JSON",
        "application/vnd.shop.v1+json; charset=utf-8",
    ] {
        assert_eq!(house.body(&sized(json, "", DOCUMENT.as_bytes())), MASKED);
    }
}

#[test]
fn g07_what_cannot_be_inspected_any_further_breaks_off() {
    let house = House::open();
    let long = format!("{{\"a\":[{}\"x\"", "\"yyyyyyyy\",".repeat(20_000));
    for end in ["}", "", "]} {}", &format!("],\"card\":{{\"number\":\"{CANARY}")] {
        let body = format!("{long}{end}");
        let answer = chunked("application/json", "", body.as_bytes(), 8192);
        assert!(house.answer("GET", "", &answer).is_none(), "{end}: it came to an end");
    }
    // A value of any size is masked in no space at all.
    let large = format!("{{\"pin\":\"{}\"}}", CANARY.repeat(300_000));
    assert_eq!(
        house.body(&chunked("application/json", "", large.as_bytes(), 65_536)),
        r#"{"pin":"***"}"#
    );
}

#[test]
fn g08_no_spelling_of_a_document_hides_a_field() {
    let house = House::open();
    let nested = serde_json::json!({ "payload": DOCUMENT }).to_string();
    for document in [
        r#"{"card":{"number":"x","numb\u0065r":"4111111111111111","NUMBER":4111111111111111}}"#,
        r#"{"c\u0061rd":{"number":["4111111111111111",{"deep":"4111111111111111"}]}}"#,
        &nested,
    ] {
        let body = house.body(&sized("application/json", "", document.as_bytes()));
        assert!(body.contains("***"), "{body}");
    }
}

#[test]
fn g09_lines_and_events_are_masked_one_by_one() {
    let house = House::open();
    for size in [1, 10, 1000] {
        let lines = format!("{DOCUMENT}\n{DOCUMENT}\n");
        let body = house.body(&chunked("application/x-ndjson", "", lines.as_bytes(), size));
        assert_eq!(body, format!("{MASKED}\n{MASKED}\n"));
        let events =
            format!("event: order\nid: 7\ndata: {DOCUMENT}\n\n: {CANARY}\ndata: card {CANARY}\n\n");
        let body = house.body(&chunked("text/event-stream", "", events.as_bytes(), size));
        assert_eq!(body, format!("event: order\nid: 7\ndata: {MASKED}\n\n:\ndata: ***\n\n"));
    }
}

#[test]
fn recognisers_find_what_nobody_declared() {
    let house = House::with(
        r#"{pii: {paths: ["$.card.number"], mask: last-four, recognise: [email, card]}}"#,
    );
    let document = r#"{"note":"to ana@example.com","other":"4111 1111 1111 1111","card":{"number":"4111111111111111"},"n":1}"#;
    let body = house.body(&sized("application/json", "", document.as_bytes()));
    assert_eq!(body, r#"{"note":"***","other":"***1111","card":{"number":"***1111"},"n":1}"#);
}
