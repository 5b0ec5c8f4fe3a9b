//! Answers of HTTP: forms of text, content types, codings, statuses, pieces, methods, heads and trailers.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    super::{CANARY, canary::packed},
    Dice, KEPT, Said, Street, cells, cut, spelled,
};

/// What the bytes of a body are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Lines,
    Sequence,
    Events,
    Prose,
    Utf16,
    Marked,
    Pairs,
    Parts,
}

const FORMS: [Form; 9] = [
    Form::Json,
    Form::Lines,
    Form::Sequence,
    Form::Events,
    Form::Prose,
    Form::Utf16,
    Form::Marked,
    Form::Pairs,
    Form::Parts,
];

/// Each with the forms that are read as it.
const TYPES: [(&str, &[Form]); 18] = [
    ("application/json", &[Form::Json]),
    ("application/json; charset=utf-8", &[Form::Json]),
    ("Application/JSON;charset=\"UTF-8\"", &[Form::Json]),
    ("application/problem+json", &[Form::Json]),
    ("application/x-ndjson", &[Form::Json, Form::Lines]),
    ("application/json-seq", &[Form::Sequence]),
    ("text/event-stream", &[Form::Events]),
    ("text/event-stream; charset=utf-8", &[Form::Events]),
    ("application/json; charset=utf-16", &[]),
    ("application/json; charset=latin1", &[]),
    ("text/plain", &[]),
    ("text/html", &[]),
    ("application/xml", &[]),
    ("application/octet-stream", &[]),
    ("application/x-www-form-urlencoded", &[]),
    ("multipart/byteranges; boundary=b", &[]),
    ("application/grpc", &[]),
    ("", &[]),
];

/// The last three are refused.
const CODINGS: [&str; 8] =
    ["", "identity", "gzip", "deflate", "br", "zstd", "x-unknown", "gzip, gzip"];
const STATUSES: [u16; 11] = [200, 200, 201, 400, 404, 500, 503, 302, 204, 206, 304];

/// Documents that hold a value where it is sensitive, and what is kept.
fn documents(value: &str) -> Vec<String> {
    let inner = format!("{{\"pin\":{value}}}");
    let quoted = serde_json::to_string(&inner).unwrap();
    let packed = STANDARD.encode(&inner);
    vec![
        format!("{{\"kept\":\"{KEPT}\",\"card\":{{\"number\":{value}}}}}"),
        format!("{{\"pin\":{value},\"kept\":\"{KEPT}\"}}"),
        format!("{{\"a\":[{{\"PIN\":[{value},{{\"x\":{value}}}]}}],\"kept\":\"{KEPT}\"}}"),
        format!(
            "{{\"p\\u0069n\":{value},\"c\\u0061rd\":{{\"NUMBER\":{value}}},\"kept\":\"{KEPT}\"}}"
        ),
        format!("{{\"kept\":\"{KEPT}\",\"pin\":1,\"pin\":{value}}}"),
        format!("{{\"kept\":\"{KEPT}\",\"x\":{quoted}}}"),
        format!("{{\"kept\":\"{KEPT}\",\"x\":\"{packed}\"}}"),
        format!("{{\"kept\":\"{KEPT}\",\"x\":\"e30.{packed}.c2ln\"}}"),
    ]
}

fn body(form: Form, document: &str) -> Vec<u8> {
    let text = match form {
        Form::Json => document.to_owned(),
        Form::Lines => format!("{document}\n{document}\n"),
        Form::Sequence => format!("\u{1e}{document}\n\u{1e}{document}\n"),
        Form::Events => format!(": {CANARY}\nid: {CANARY}\nevent: {KEPT}\ndata: {document}\n\n"),
        Form::Prose => format!("card {CANARY}: {document}"),
        Form::Utf16 => return document.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        Form::Marked => format!("\u{feff}{document}"),
        Form::Pairs => format!("pin={CANARY}&card={document}"),
        Form::Parts => format!("--b\r\nContent-Range: bytes 0-1/2\r\n\r\n{document}\r\n--b--\r\n"),
    };
    text.into_bytes()
}

/// Heads and trailers: what tells, and what may pass.
fn around(dice: &mut Dice) -> Vec<(String, String)> {
    let packed = STANDARD.encode(CANARY);
    let spelled = [
        CANARY.to_owned(),
        "4111 1111 1111 1111".to_owned(),
        "%34111111111111111".to_owned(),
        "%2534111111111111111".to_owned(),
        packed.clone(),
        packed.trim_end_matches('=').to_owned(),
        STANDARD.encode(format!("{{\"pin\":\"{CANARY}\"}}")),
    ];
    let mut of = |wrap: &dyn Fn(&str) -> String| wrap(dice.of::<String>(&spelled));
    [
        ("etag", of(&|value| format!("\"{value}\""))),
        ("x-card", of(&str::to_owned)),
        ("location", of(&|value| format!("/orders/{value}?card={value}#{value}"))),
        ("content-location", of(&|value| format!("/orders/{value}"))),
        ("link", of(&|value| format!("</orders/{value}>; rel=next"))),
        ("set-cookie", of(&|value| format!("card={value}; Path=/"))),
        ("content-disposition", of(&|value| format!("attachment; filename={value}"))),
        ("server", of(&|value| format!("shop {value}"))),
        ("www-authenticate", of(&|value| format!("Basic realm=\"{value}\""))),
        ("repr-digest", of(&|value| format!("sha-256=:{value}:"))),
        ("last-modified", "Sun, 22 Nov 2026 00:00:00 GMT".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// One answer to one question.
struct Cell {
    kind: &'static str,
    form: Form,
    coding: &'static str,
    status: u16,
    method: &'static str,
    /// Whether the client speaks HTTP/2, and the upstream.
    speak_2: [bool; 2],
    said: Said,
    /// Whether its text is read as what it is.
    is_readable: bool,
    /// Whether nothing is.
    is_foreign: bool,
    told: String,
}

impl Cell {
    fn draw(dice: &mut Dice, values: &[String]) -> Self {
        let (kind, readable) = *dice.of(&TYPES);
        // Half of what can be read is.
        let form = if readable.is_empty() || dice.below(2) == 0 {
            *dice.of(&FORMS)
        } else {
            *dice.of(readable)
        };
        let documents = documents(dice.of::<String>(values));
        let document = dice.of::<String>(&documents);
        let coding = if dice.below(2) == 0 { "" } else { *dice.of(&CODINGS) };
        let status = *dice.of(&STATUSES);
        let method = if dice.below(8) == 0 { "HEAD" } else { "GET" };
        let speak_2 = [(); 2].map(|()| dice.below(2) == 0);
        let once = packed(coding.split(", ").next().unwrap(), &body(form, document));
        let bytes = if coding.contains(',') { packed("gzip", &once) } else { once };
        let how = dice.below(4);
        let mut headers = around(dice);
        for (name, value) in [("content-type", kind), ("content-encoding", coding)] {
            if !value.is_empty() {
                headers.push((name.to_owned(), value.to_owned()));
            }
        }
        let hints = if dice.below(3) == 0 { around(dice) } else { Vec::new() };
        let trailers = if dice.below(2) == 0 { around(dice) } else { Vec::new() };
        let pieces = cut(&bytes, how);
        let said = Said { hints, status, headers, pieces, trailers, goes_on: false };
        let (is_readable, is_foreign) = (readable.contains(&form), readable.is_empty());
        let told =
            format!("{method} {speak_2:?} {kind} {form:?} {document} {coding} {status} {how}");
        Self { kind, form, coding, status, method, speak_2, said, is_readable, is_foreign, told }
    }

    /// Whether the client gets it, masked.
    fn passes(&self) -> bool {
        let trickles = matches!(self.form, Form::Lines | Form::Sequence | Form::Events)
            || self.kind.contains("ndjson");
        let is_packed = CODINGS[..5].contains(&self.coding) || self.coding == "zstd" && !trickles;
        self.is_readable
            && is_packed
            && self.method == "GET"
            && !matches!(self.status, 204 | 206 | 304)
    }

    /// Whether it is refused. What claims to be a call ends as one.
    fn is_refused(&self) -> bool {
        self.is_foreign
            && self.method == "GET"
            && self.status != 204
            && self.kind != "application/grpc"
    }
}

#[test]
fn no_sensitive_byte_leaves_over_any_protocol() {
    let street = Street::open();
    let values = spelled::values();
    let mut dice = Dice(7);
    let (mut passed, mut refused) = (0, 0);
    let cells = cells(500);
    for number in 0..cells {
        let cell = Cell::draw(&mut dice, &values);
        let got = street.get(cell.method, cell.speak_2, &cell.said);
        let all = String::from_utf8_lossy(&got.all).into_owned();
        let case = format!("{number}: {}: {} {all}", cell.told, got.status);
        assert!(!spelled::is_in(&got.all), "{case}");
        if cell.passes() {
            passed += 1;
            assert!(got.status == cell.status && got.whole, "{case}");
            let text = String::from_utf8_lossy(&got.body).into_owned();
            // A number stays one.
            let is_masked = text.contains("***") || text.contains(":0");
            assert!(text.contains(KEPT) && is_masked, "{case}");
        }
        if cell.is_refused() {
            refused += 1;
            assert!(got.status == 502 || !got.whole, "{case}");
        }
    }
    assert!(passed > cells / 10 && refused > cells / 10, "{passed} passed, {refused} refused");
    let log = street.house.log();
    assert!(!spelled::is_in(log.as_bytes()), "{log}");
}
