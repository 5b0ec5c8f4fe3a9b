//! What shows data ends when it may not be shown any more, and nothing else does.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{CARD, Orders, Visitor, masked, shows, until};
use crate::{mesh::eventually, payments::grant, wire::Wire};

const LONG: Duration = Duration::from_mins(1);

/// Reads what comes until it is over.
#[track_caller]
fn ends(stream: &mut impl Read) -> Vec<u8> {
    let (begun, mut all, mut some) = (Instant::now(), Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut some) {
            Ok(0) => return all,
            Ok(read) => all.extend_from_slice(&some[..read]),
            Err(error) => {
                let is_slow = matches!(error.kind(), std::io::ErrorKind::WouldBlock);
                assert!(!is_slow, "nothing comes, and it is open");
                return all;
            }
        }
        assert!(begun.elapsed() < LONG, "it goes on");
    }
}

impl Orders {
    /// Says that the cards are at this path, and waits until that is in force.
    fn cards_at(&self, path: &str, ana: &Visitor<'_>) {
        let file = self.house.dir().join("portcullis.yaml");
        let text = fs::read_to_string(&file).unwrap();
        let start = text.find("{pci: [\"").unwrap() + "{pci: [\"".len();
        let old = text[start..].split('"').next().unwrap().to_owned();
        fs::write(file.with_extension("new"), text.replace(&old, path)).unwrap();
        fs::rename(file.with_extension("new"), &file).unwrap();
        let is_masked = path == "$.card.number";
        eventually("the reload is in force", || {
            ana.order("payments").text().contains(CARD) != is_masked
        });
    }

    /// What the record says of the end of a connection, once it is there.
    pub(super) fn ended(&self, why: &str) -> Value {
        let is_it =
            |event: &&Value| event["type"] == "connection_ended" && event["decision"] == why;
        let events = self.house.record(&self.auditor, |events| events.iter().any(|e| is_it(&e)));
        events.iter().find(is_it).unwrap().clone()
    }
}

impl Visitor<'_> {
    fn head(&self, line: &str, more: &str) -> String {
        format!(
            "{line} HTTP/1.1\r\nHost: payments.example.com\r\nAuthorization: Bearer {}\r\n{more}\r\n",
            self.gate
        )
    }

    /// A grant for what is asked for here.
    fn granted(&self, operation: &str, reviewer: &Visitor<'_>) -> String {
        let asked = self.ask(&json!([{"operation": operation, "reveal": "pci"}])).json();
        grant(&reviewer.approve(&asked).json())
    }

    /// A request that its upstream holds back.
    fn slowly(&self, more: &str) -> Wire {
        let mut wire = Wire::connect(self.house.gate);
        wire.send(self.head("GET /orders/slow", more));
        wire
    }

    fn socket(&self) -> BufReader<TcpStream> {
        let mut wire = Wire::connect(self.house.gate);
        wire.send(self.head("GET /events", UPGRADE));
        assert_eq!(wire.response().unwrap().status, 101);
        let (stream, _) = wire.into_stream();
        stream.set_read_timeout(Some(LONG)).unwrap();
        BufReader::new(stream)
    }
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

#[test]
fn e21_a_reload_that_makes_data_sensitive_ends_streams_that_show_it() {
    let orders = Orders::open();
    let ana = orders.enter("ana", &["oncall"]);
    orders.cards_at("$.nowhere", &ana);
    shows(&ana.order("payments"), true, false);
    let mut lines = ana.watch();
    until(&mut lines, CARD);
    let mut socket = ana.socket();
    read_until(&mut socket, CARD);
    orders.cards_at("$.card.number", &ana);
    ends(&mut lines);
    ends(&mut socket);
    orders.ended("policy_changed");
    let mut lines = ana.watch();
    until(&mut lines, "portcullis-masked: pci, pii");
    until(&mut lines, "o-1");
    // What was asked for before and is answered now is masked by the rules of now.
    orders.cards_at("$.nowhere", &ana);
    let mut wire = ana.slowly("");
    orders.slow.until_waiting(1);
    orders.cards_at("$.card.number", &ana);
    orders.slow.release();
    shows(&wire.response().unwrap(), false, false);
}

#[track_caller]
fn read_until(stream: &mut impl BufRead, text: &str) {
    let (begun, mut all) = (Instant::now(), Vec::new());
    while !String::from_utf8_lossy(&all).contains(text) {
        let some = stream.fill_buf().unwrap().to_vec();
        assert!(!some.is_empty(), "it ended before {text:?}");
        stream.consume(some.len());
        all.extend(some);
        assert!(begun.elapsed() < LONG, "{text:?} never came");
    }
}

#[test]
fn e21_what_is_not_shown_yet_is_not_cut_with_its_grant() {
    let orders = Orders::open();
    let (ana, lea) = (orders.enter("ana", &["oncall"]), orders.enter("lea", &["leads"]));
    let granted = ana.granted("payments.putNote", &lea);
    let mut wire = Wire::connect(orders.house.gate);
    wire.send(ana.head("PUT /orders/o-1/note", "Transfer-Encoding: chunked\r\n"));
    wire.send("3\r\nabc\r\n");
    orders.slow.until_waiting(1);
    assert_eq!(lea.post(&format!("/v1/grants/{granted}/revoke?wait=30s")).status, 200);
    wire.send("3\r\ndef\r\n0\r\n\r\n");
    let response = wire.response().unwrap();
    shows(&response, false, false);
    assert_eq!(masked(&response), "pci, pii");
}

#[test]
fn e21_an_answer_that_comes_after_the_grant_is_masked() {
    let orders = Orders::open();
    let (ana, lea) = (orders.enter("ana", &["oncall"]), orders.enter("lea", &["leads"]));
    // A handshake that is answered like any request is no other case.
    for (count, more) in ["", UPGRADE].into_iter().enumerate() {
        let granted = ana.granted("payments.getOrder", &lea);
        let mut wire = ana.slowly(more);
        orders.slow.until_waiting(count + 1);
        assert_eq!(lea.post(&format!("/v1/grants/{granted}/revoke")).status, 200);
        orders.slow.release();
        let response = wire.response().unwrap();
        shows(&response, false, false);
        assert_eq!(masked(&response), "pci, pii");
    }
}

#[test]
fn e21_a_web_socket_ends_with_the_grant_that_shows_data_in_it_and_the_record_names_it() {
    let orders = Orders::open();
    let (ana, lea) = (orders.enter("ana", &["oncall"]), orders.enter("lea", &["leads"]));
    let granted = ana.granted("payments.events", &lea);
    let mut socket = ana.socket();
    read_until(&mut socket, CARD);
    let live = orders.house.api("GET", "/v1/connections", Some(&ana.control), None).json();
    assert_eq!(live["connections"][0]["reveals"], json!([granted]), "{live:#}");
    let cuts = lea.post(&format!("/v1/grants/{granted}/revoke?wait=30s")).json();
    assert_eq!(cuts["connections"].as_array().map(Vec::len), Some(1), "{cuts:#}");
    ends(&mut socket);
    let ended = orders.ended("grant_ended");
    assert_eq!(ended["reveals"], json!([granted]), "{ended:#}");
    let detail = ended["detail"].as_str().unwrap();
    assert!(detail.contains(&format!("grant {granted} ended")), "{detail}");
    let path = format!("/v1/audit/events?grant={granted}&type=connection_ended");
    let found = orders.house.api("GET", &path, Some(&orders.auditor), None).json();
    assert_eq!(found["events"].as_array().map(Vec::len), Some(1), "{found:#}");
    let mut socket = ana.socket();
    let mut some = vec![0; 1024];
    socket.read_exact(&mut some).unwrap();
    let some = String::from_utf8_lossy(&some);
    assert!(some.contains("o-1") && !some.contains(CARD), "{some}");
}
