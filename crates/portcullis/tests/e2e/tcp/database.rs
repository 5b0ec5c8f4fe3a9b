//! A house with a database behind it, and a client of the gate's frames.

use std::{
    io::{self, Cursor, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use portcullis_testkit::upstream::TcpUpstream;
use serde_json::{Value, json};

use crate::{
    house::{House, Plan},
    people::Person,
    secrecy,
    wire::{Response, Wire},
};

pub(crate) const HOST: &str = "ledger-db.example.com";
pub(crate) const CONNECT: &str = "ledger-db.connect";

const POLICIES: &str = r#"
@id("db.oncall")
permit (principal is User in Group::"oncall", action == Action::"ledger-db.connect", resource in Service::"ledger-db");

@id("db.builds")
permit (principal is Workload in Group::"callers", action == Action::"ledger-db.connect", resource in Service::"ledger-db");

@id("db.engineers")
@reviews("0") @max_duration("10m")
permit (principal is User in Group::"engineering", action == Action::"ledger-db.connect", resource in Service::"ledger-db")
when { context has grant };

@id("db.once")
@reviews("0") @max_duration("10m") @max_uses("1")
permit (principal is User in Group::"guests", action == Action::"ledger-db.connect", resource in Service::"ledger-db")
when { context has grant };

@id("web.all")
permit (principal is User in Group::"oncall", action in Action::"web.read", resource in Service::"web");

@id("auditors")
permit (principal is User in Group::"auditors", action == Action::"viewAudit", resource);

@id("leads")
permit (principal is User in Group::"leads", action in [Action::"revoke", Action::"viewConnections"], resource);
"#;

/// A running house, its database, and somebody who reads the record.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) house: House,
    pub(crate) upstream: TcpUpstream,
    auditor: String,
}

pub(crate) fn ana() -> Person {
    Person::new("ana", &["oncall"])
}

pub(crate) fn ben() -> Person {
    Person::new("ben", &["engineering"])
}

pub(crate) fn gil() -> Person {
    Person::new("gil", &["guests"])
}

pub(crate) fn lea() -> Person {
    Person::new("lea", &["leads"])
}

impl Database {
    pub(crate) fn open() -> Self {
        Self::furnished(b"", "", |plan| plan)
    }

    /// With a database that greets, more lines about its service, and whatever `furnish` adds.
    pub(crate) fn furnished(
        greeting: &'static [u8],
        more: &str,
        furnish: impl FnOnce(Plan) -> Plan,
    ) -> Self {
        let upstream = TcpUpstream::start(greeting);
        let instances = format!("instances: {{db-1: \"tcp://{}\"}}", upstream.address());
        Self::before(upstream, &instances, more, furnish)
    }

    /// With an upstream as this YAML says.
    pub(crate) fn before(
        upstream: TcpUpstream,
        yaml: &str,
        more: &str,
        furnish: impl FnOnce(Plan) -> Plan,
    ) -> Self {
        let service = format!("name: ledger-db\nhosts: [{HOST}]\nupstream: {{{yaml}}}\n{more}");
        let plan = Plan::empty()
            .service(&service)
            .service("name: web\nhosts: [web.example.com]\nupstream: {url: \"http://127.0.0.1:9\"}")
            .policy("db.cedar", POLICIES);
        let house = furnish(plan).start();
        let auditor = house.sign_in(&Person::new("sam", &["auditors"]));
        Self { house, upstream, auditor }
    }

    /// A control token and a gate token of `person`.
    pub(crate) fn enter(&self, person: &Person) -> (String, String) {
        let control = self.house.sign_in(person);
        let gate = self.house.gate_token(&control);
        (control, gate)
    }

    /// A connection, or the answer to the Upgrade that did not become one.
    pub(crate) fn dial(&self, token: &str) -> Result<Tunnel, Response> {
        Tunnel::dial(self.house.gate, HOST, token, "")
    }

    /// Asks for what a refusal offers; it is granted at once. The grant's id.
    pub(crate) fn ask(&self, control: &str, refused: &Response) -> String {
        let body = json!({"refusal": refused.json()["refusal"], "reason": "the ledger is stuck"});
        let answer = self.house.api("POST", "/v1/access-requests", Some(control), Some(body));
        let request = answer.json();
        assert_eq!(request["state"], "approved", "{request:#}");
        request["grants"][0].as_str().unwrap().to_owned()
    }

    /// What is connected, as a lead sees it.
    pub(crate) fn connections(&self, lead: &str) -> Vec<Value> {
        let answer = self.house.api("GET", "/v1/connections", Some(lead), None);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["connections"].as_array().unwrap().clone()
    }

    /// How the newest connection ended, as the record has it: why, and what it carried.
    pub(crate) fn ended(&self, why: &str) -> Value {
        let event = self.event("connection_ended", |event| event["decision"] == why);
        assert_eq!(
            (&event["service"], &event["operation"]),
            (&"ledger-db".into(), &CONNECT.into())
        );
        event
    }

    /// Waits until the record has an event of `kind` for which `which` holds, and returns it.
    pub(crate) fn event(&self, kind: &str, which: impl Fn(&Value) -> bool) -> Value {
        let matching = |event: &&Value| event["type"] == kind && which(event);
        let events =
            self.house.record(&self.auditor, |events| events.iter().any(|event| matching(&event)));
        events.iter().rfind(matching).unwrap().clone()
    }
}

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Data(Vec<u8>),
    End,
    Closed(String),
}

/// A connection through the gate, in frames written by hand.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) stream: TcpStream,
    /// What came with the head.
    early: Cursor<Vec<u8>>,
    /// What came in one frame with what was read last.
    rest: Vec<u8>,
    pub(crate) answer: Response,
}

impl Tunnel {
    pub(crate) fn dial(
        gate: SocketAddr,
        host: &str,
        token: &str,
        more: &str,
    ) -> Result<Self, Response> {
        secrecy::handed_out(token);
        let mut wire = Wire::connect(gate);
        let head = format!(
            "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: upgrade\r\nUpgrade: portcullis-tcp\r\n\
             Authorization: Bearer {token}\r\n{more}\r\n"
        );
        let answer = wire.send(head).response().expect("an answer");
        if answer.status != 101 {
            return Err(answer);
        }
        let (stream, early) = wire.into_stream();
        Ok(Self { stream, early: Cursor::new(early), rest: Vec::new(), answer })
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(&data(bytes)).unwrap();
    }

    /// Says something, and gets it back.
    pub(crate) fn echo(&mut self, bytes: &[u8]) {
        self.send(bytes);
        assert_eq!(self.read(bytes.len()), bytes);
    }

    /// The next frame; an error if the stream ends without one.
    pub(crate) fn next(&mut self) -> io::Result<Said> {
        let mut head = [0; 5];
        (&mut self.early).chain(&mut self.stream).read_exact(&mut head)?;
        let [kind, length @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes(length) as usize];
        (&mut self.early).chain(&mut self.stream).read_exact(&mut payload)?;
        Ok(match kind {
            0 => Said::Data(payload),
            1 => Said::End,
            2 => Said::Closed(String::from_utf8(payload).unwrap()),
            other => panic!("a frame of kind {other}"),
        })
    }

    /// So many bytes of data.
    pub(crate) fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.rest);
        while bytes.len() < count {
            match self.next().unwrap() {
                Said::Data(more) => bytes.extend(more),
                other => panic!("{other:?} after {} bytes", bytes.len()),
            }
        }
        self.rest = bytes.split_off(count);
        bytes
    }

    /// The reason of a close, once it comes.
    pub(crate) fn until_closed(&mut self, patience: Duration) -> String {
        self.stream.set_read_timeout(Some(patience)).unwrap();
        loop {
            match self.next().expect("the reason of its end") {
                Said::Closed(why) => return why,
                Said::Data(_) | Said::End => {}
            }
        }
    }
}

/// Bytes in frames.
pub(crate) fn data(bytes: &[u8]) -> Vec<u8> {
    bytes.chunks(50_000).flat_map(|piece| frame(0, piece)).collect()
}

pub(crate) fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[kind], &length[..], payload].concat()
}
