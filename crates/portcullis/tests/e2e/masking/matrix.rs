//! A canary in every spelling, over both protocols on both sides of the gate: none comes out, and what is not
//! sensitive does, wherever an answer passes.
//!
//! Cells are drawn from a fixed seed; `PORTCULLIS_SOAK` says how many hundreds of them there are.

use std::{
    fs,
    path::{Path, PathBuf},
};

use portcullis_testkit::net::wait_for_port;

use self::lanes::{Got, Mouth2, Said, ask1, ask2};
use super::Mouth;
use crate::house::{House, Plan};

mod answers;
pub(crate) mod calls;
pub(crate) mod lanes;
mod messages;
mod spelled;

/// What is not sensitive, and has to arrive.
const KEPT: &str = "kept-7c41-whole";

const POLICIES: &str = r#"
@id("far")
permit (principal is Workload in Group::"readers", action in Action::"far.read", resource == Service::"far");

@id("near")
permit (principal is Workload in Group::"readers", action in Action::"near.read", resource == Service::"near");

@id("calls")
permit (principal is Workload in Group::"readers", action in [Action::"calls.read", Action::"calls.write"], resource == Service::"calls");
"#;

/// One upstream over HTTP/1.1, one over HTTP/2, and calls that a descriptor describes on the second.
struct Street {
    house: House,
    token: String,
    near: Mouth,
    far: Mouth2,
}

impl Street {
    fn open() -> Self {
        let (near, far) = (Mouth::open(), Mouth2::open());
        assert!(wait_for_port(far.address, std::time::Duration::from_mins(1)));
        let folder = tempfile::tempdir().unwrap();
        let path = described(folder.path());
        let service = |name: &str, url: String, more: &str| {
            format!(
                "name: {name}\nhosts: [{name}.example.com]\nupstream: {{instances: {{i-1: \"{url}\"}}}}\n{more}"
            )
        };
        let pins = r#"sensitive: {pci: ["$.card.number", "$..pin"]}"#;
        let calls = format!(
            "operations: {{protobuf: \"{}\", services: [shop.v1.Refunds]}}\nsensitive: {{pci: [\"$..email\", \"$.labels.pin\", \"$.amount\"]}}",
            path.display()
        );
        let house = Plan::empty()
            .service(&service("near", format!("http://{}", near.address), pins))
            .service(&service("far", format!("h2c://{}", far.address), pins))
            .service(&service("calls", format!("h2c://{}", far.address), &calls))
            .policy("street.cedar", POLICIES)
            .start();
        let token = house.workload_token("reader", &["readers"]);
        Self { house, token, near, far }
    }

    /// What a client of HTTP/1 or of HTTP/2 gets of this, said by an upstream of the one or the other.
    fn get(&self, method: &str, [asks_2, answers_2]: [bool; 2], said: &Said) -> Got {
        let name = if answers_2 { "far" } else { "near" };
        *self.far.says.lock().unwrap() = said.clone();
        *self.near.words.lock().unwrap() = said.over_http1();
        let (host, token) = (format!("{name}.example.com"), &self.token);
        if asks_2 {
            let request = hyper::Request::builder()
                .method(method)
                .uri(format!("http://{host}/order"))
                .header("authorization", format!("Bearer {token}"))
                .header("te", "trailers");
            return ask2(self.house.gate, request.body(String::new()).unwrap());
        }
        ask1(
            self.house.gate,
            &format!(
                "{method} /order HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nTE: trailers\r\n"
            ),
        )
    }
}

/// Writes down what describes calls about refunds.
pub(crate) fn described(folder: &Path) -> PathBuf {
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/outsiders");
    let set = protox::compile(["refunds.proto"], [protos]).unwrap();
    let path = folder.join("refunds.binpb");
    fs::write(&path, prost::Message::encode_to_vec(&set)).unwrap();
    path
}

/// How many cells are tried.
fn cells(few: usize) -> usize {
    let soak: Option<usize> = std::env::var("PORTCULLIS_SOAK").ok().and_then(|n| n.parse().ok());
    soak.map_or(few, |soak| soak * 100)
}

/// Choices that are the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        // Knuth's linear congruential generator; the upper bits are the better ones.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// `bytes` in pieces: of one byte, at what may be the end of a token, as a whole, or of some bytes.
fn cut(bytes: &[u8], how: usize) -> Vec<Vec<u8>> {
    match how {
        0 => bytes.chunks(1).map(<[u8]>::to_vec).collect(),
        1 => {
            let mut pieces = Vec::new();
            for byte in bytes {
                let ends = !byte.is_ascii_alphanumeric();
                if ends || pieces.is_empty() {
                    pieces.push(Vec::new());
                }
                pieces.last_mut().unwrap().push(*byte);
                if ends {
                    pieces.push(Vec::new());
                }
            }
            pieces.retain(|piece| !piece.is_empty());
            pieces
        }
        2 => vec![bytes.to_vec()],
        some => bytes.chunks(3 + some).map(<[u8]>::to_vec).collect(),
    }
}
