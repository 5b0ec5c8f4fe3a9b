//! Calls of gRPC: unary and streaming, packed and not, in any pieces, with whatever a server says around them.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    super::{CANARY, canary::packed},
    Dice, Got, KEPT, Said, Street, ask2, cells, cut, spelled,
};

/// The last is refused.
const TYPES: [&str; 4] = [
    "application/grpc",
    "application/grpc+proto",
    "application/grpc; charset=utf-8",
    "application/grpc+json",
];
/// What a call says that its messages are packed by, and what they are packed by.
const PACKED: [(&str, &str); 8] = [
    ("", ""),
    ("identity", ""),
    ("gzip", "gzip"),
    ("deflate", "deflate"),
    ("gzip", ""),
    // These are refused.
    ("", "gzip"),
    ("gzip", "deflate"),
    ("snappy", "gzip"),
];

/// A field that has a length.
pub(crate) fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap();
    assert!(number < 16 && length < 128);
    [&[number << 3 | 2, length], bytes].concat()
}

/// What holds the canary where it is sensitive, and something to keep.
fn message(dice: &mut Dice) -> Vec<u8> {
    let text = CANARY.as_bytes();
    let kept = field(1, KEPT.as_bytes());
    let note = STANDARD.encode(format!("{{\"email\":\"{CANARY}\"}}"));
    let all = [
        // As a number, in a message in a message, in a map, in a document, and where no field is declared.
        b"\x10\xc7\xe3\xa3\xab\x8a\xe1\xa6\x07".to_vec(),
        field(5, &field(1, text)),
        field(5, &field(2, &field(1, text))),
        field(9, &[field(1, b"pin"), field(2, text)].concat()),
        field(7, format!("{{\"email\":\"{CANARY}\"}}").as_bytes()),
        field(7, note.as_bytes()),
        [&[0xa2, 0x06, 16], text].concat(),
    ];
    [kept, dice.of(&all).clone(), dice.of(&all[..5]).clone()].concat()
}

pub(crate) fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag], &length[..], message].concat()
}

impl Street {
    fn call(&self, method: &str, said: &Said) -> Got {
        *self.far.says.lock().unwrap() = said.clone();
        let request = hyper::Request::builder()
            .method("POST")
            .uri(format!("http://calls.example.com/shop.v1.Refunds/{method}"))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/grpc")
            .header("grpc-accept-encoding", "gzip, deflate")
            .header("te", "trailers");
        ask2(self.house.gate, request.body("\0\0\0\0\0".to_owned()).unwrap())
    }
}

/// A call, and what its server says.
struct Cell {
    method: &'static str,
    count: usize,
    status: &'static str,
    said: Said,
    /// Whether its messages pass, masked.
    passes: bool,
    is_packed: bool,
    told: String,
}

impl Cell {
    fn draw(dice: &mut Dice) -> Self {
        let method = *dice.of(&["Find", "Create", "Watch"]);
        let count = if method == "Watch" { dice.below(4) } else { 1 };
        let (says, coding) = *dice.of(&PACKED);
        let kind = TYPES[dice.below(7).saturating_sub(3)];
        let mut bytes = Vec::new();
        for _ in 0..count {
            let message = message(dice);
            bytes.extend(match coding {
                "" => framed(0, &message),
                coding => framed(1, &packed(coding, &message)),
            });
        }
        let status = *dice.of(&["0", "0", "0", "5"]);
        let spelled = [CANARY.to_owned(), STANDARD.encode(CANARY), format!("%34{}", &CANARY[1..])];
        let around = |dice: &mut Dice| -> Vec<(String, String)> {
            let names = ["grpc-message", "grpc-status-details-bin", "x-card", "x-card-bin"];
            names.map(|name| (name.to_owned(), dice.of(&spelled).clone())).to_vec()
        };
        let mut headers = around(dice);
        headers.push(("content-type".to_owned(), kind.to_owned()));
        if !says.is_empty() {
            headers.push(("grpc-encoding".to_owned(), says.to_owned()));
        }
        let mut trailers = around(dice);
        trailers.push(("grpc-status".to_owned(), status.to_owned()));
        let how = dice.below(4);
        let said =
            Said { status: 200, headers, pieces: cut(&bytes, how), trailers, ..Said::default() };
        let is_read =
            count == 0 || matches!((says, coding), (_, "") | ("gzip", "gzip") | ("deflate", _));
        let passes = kind != TYPES[3] && is_read;
        let told = format!("{method} {count} {says:?} {coding:?} {kind} {status} {how}");
        Self { method, count, status, said, passes, is_packed: !coding.is_empty(), told }
    }
}

#[test]
fn no_sensitive_byte_leaves_in_calls() {
    let street = Street::open();
    let mut dice = Dice(13);
    let cells = cells(300);
    let mut passed = [0; 2];
    for number in 0..cells {
        let cell = Cell::draw(&mut dice);
        let got = street.call(cell.method, &cell.said);
        let all = String::from_utf8_lossy(&got.all).into_owned();
        let case = format!("{number}: {}: {} {all}", cell.told, got.status);
        assert!(!spelled::is_in(&got.all), "{case}");
        let ended = got.trailers.iter().find(|(name, _)| name == "grpc-status");
        let ended = ended.map(|(_, status)| status.as_str());
        if cell.passes {
            assert!(got.whole && ended == Some(cell.status), "{case}");
            // What came of a call that failed may be dropped.
            let text = String::from_utf8_lossy(&got.body).into_owned();
            let messages = text.matches(KEPT).count();
            assert!(cell.status != "0" || messages == cell.count, "{case}");
            passed[usize::from(cell.is_packed)] += 1;
        } else {
            assert_ne!(ended, Some("0"), "{case}");
        }
    }
    assert!(passed.iter().all(|passed| *passed > cells / 10), "{passed:?}");
}
