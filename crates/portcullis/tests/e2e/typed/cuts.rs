//! What becomes of a stream whose two directions do not end together, frame by frame at both ends.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use tempfile::TempDir;

use super::{
    grpc::{HOST, descriptors, plan},
    messages::{POLICIES, UNREAD, ended_in},
};
use crate::{
    house::House,
    masking::matrix::{
        calls::{field as part, framed},
        lanes::{field, frame},
    },
    mesh::eventually,
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame that came: its type, its flags, its stream and its payload.
type Frame = (u8, u8, u32, Vec<u8>);

/// One end of a connection over HTTP/2.
#[derive(Clone, Default)]
struct End {
    came: Arc<Mutex<Vec<Frame>>>,
    out: Arc<Mutex<Option<TcpStream>>>,
}

impl End {
    fn send(&self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let bytes = frame(kind, flags, stream, payload);
        self.out.lock().unwrap().as_ref().expect("a connection").write_all(&bytes).unwrap();
    }

    /// Keeps what comes, until the peer is gone.
    fn listen(&self, mut stream: TcpStream) -> Option<()> {
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut payload).ok()?;
            let (kind, flags) = (head[3], head[4]);
            let of = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            if [SETTINGS, PING].contains(&kind) && flags & 1 == 0 {
                let answer = if kind == PING { payload.clone() } else { Vec::new() };
                self.send(kind, 1, 0, &answer);
            }
            self.came.lock().unwrap().push((kind, flags, of, payload));
        }
    }

    fn until(&self, what: &str, is_it: impl Fn(&Frame) -> bool) {
        eventually(what, || self.came.lock().unwrap().iter().any(&is_it));
    }

    /// What came of the body of `stream`.
    fn body(&self, stream: u32) -> Vec<u8> {
        let came = self.came.lock().unwrap();
        let data = came.iter().filter(|(kind, _, of, _)| (*kind, *of) == (DATA, stream));
        data.flat_map(|(.., payload)| payload.clone()).collect()
    }

    fn until_reset(&self, stream: u32) {
        self.until("a reset", |(kind, _, of, _)| (*kind, *of) == (RESET, stream));
    }

    fn until_ended(&self, stream: u32) {
        self.until("an end", |(kind, flags, of, _)| {
            *of == stream && [DATA, HEADERS].contains(kind) && flags & END_STREAM == END_STREAM
        });
    }
}

/// An upstream that answers each stream with a head, as soon as it begins, and then says what it is told.
fn far(window: u32) -> (SocketAddr, End) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, end) = (listener.local_addr().unwrap(), End::default());
    let ends = end.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            stream.set_nodelay(true).unwrap();
            stream.read_exact(&mut [0; 24]).unwrap();
            *ends.out.lock().unwrap() = Some(stream.try_clone().unwrap());
            let initial = [&[0, 4][..], &window.to_be_bytes()].concat();
            ends.send(SETTINGS, 0, 0, &initial);
            let ends = ends.clone();
            thread::spawn(move || ends.listen(stream));
        }
    });
    (address, end)
}

impl End {
    /// The upstream's head of an answer.
    fn answer(&self, stream: u32) {
        self.until("a call", |(kind, _, of, _)| (*kind, *of) == (HEADERS, stream));
        let head = [field(":status", "200"), field("content-type", "application/grpc")].concat();
        self.send(HEADERS, END_HEADERS, stream, &head);
    }

    /// The upstream's end of an answer.
    fn finish(&self, stream: u32) {
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, &field("grpc-status", "0"));
    }

    /// A client of the gate.
    fn near(gate: SocketAddr) -> Self {
        let (mut stream, end) = (TcpStream::connect(gate).unwrap(), Self::default());
        stream.set_nodelay(true).unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        *end.out.lock().unwrap() = Some(stream.try_clone().unwrap());
        end.send(SETTINGS, 0, 0, b"");
        let ends = end.clone();
        thread::spawn(move || ends.listen(stream));
        end
    }

    /// Begins a call, and ends what is sent in it with its head if `is_all`.
    fn call(&self, stream: u32, token: &str, is_all: bool) {
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/shop.v1.Refunds/Trade"),
            (":authority", HOST),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("authorization", &format!("Bearer {token}")),
        ];
        let head: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
        let end = if is_all { END_STREAM } else { 0 };
        self.send(HEADERS, END_HEADERS | end, stream, &head);
    }
}

/// A message with this id and this amount.
fn refund(id: &str, amount: u8) -> Vec<u8> {
    framed(0, &[part(1, id.as_bytes()), vec![0x10, amount]].concat())
}

struct Stage {
    house: House,
    far: End,
    near: End,
    token: String,
    _folder: TempDir,
}

impl Stage {
    fn open(policies: &str, window: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (address, far) = far(window);
        let house = plan(&descriptors(folder.path()), &format!("h2c://{address}"), policies);
        let house = house.start();
        let (near, token) = (End::near(house.gate), house.workload_token("caller", &["traders"]));
        Self { house, far, near, token, _folder: folder }
    }

    fn put_in_force(&self, policies: &str) {
        self.house.write_policy("refunds.cedar", policies);
        self.house.signal("HUP");
    }
}

/// What everybody may who may see the record.
fn only_auditors() -> &'static str {
    let at = POLICIES.find("@id(\"auditors\")").unwrap();
    &POLICIES[at..]
}

#[test]
fn a_message_that_is_denied_after_the_answer_ended_is_on_record_and_does_not_go_up() {
    let stage = Stage::open(POLICIES, 65_535);
    let (near, far) = (&stage.near, &stage.far);
    // The small may be sent by callers, and nothing else.
    let token = stage.house.workload_token("caller", &["callers"]);
    let (fine, large) = (refund("a1", 1), refund("a2", 51));
    near.call(1, &token, false);
    near.send(DATA, 0, 1, &fine);
    far.answer(1);
    eventually("the first message", || far.body(1) == fine);
    far.finish(1);
    near.until_ended(1);
    near.send(DATA, 0, 1, &refund("a3", 2));
    eventually("what is permitted goes up still", || far.body(1).len() == 2 * fine.len());
    near.send(DATA, 0, 1, &large);
    far.until_reset(1);
    assert_eq!(far.body(1), [fine, refund("a3", 2)].concat());
    let events = ended_in(&stage.house, "message_denied");
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["operation"], "refunds.Trade");
}

#[test]
fn what_goes_up_after_the_answer_ended_ends_with_what_permitted_it() {
    let stage = Stage::open(&[UNREAD, only_auditors()].concat(), 65_535);
    let (near, far) = (&stage.near, &stage.far);
    near.call(1, &stage.token, false);
    near.send(DATA, 0, 1, &refund("a1", 1));
    far.answer(1);
    far.finish(1);
    near.until_ended(1);
    stage.put_in_force(only_auditors());
    far.until_reset(1);
    assert_eq!(ended_in(&stage.house, "policy_changed").len(), 1);
}

#[test]
fn a_stream_whose_client_is_done_goes_on_when_a_policy_begins_to_read_messages() {
    let stage = Stage::open(&[UNREAD, only_auditors()].concat(), 65_535);
    let (near, far) = (&stage.near, &stage.far);
    near.call(1, &stage.token, true);
    far.answer(1);
    near.call(3, &stage.token, false);
    near.send(DATA, 0, 3, &refund("a1", 1));
    far.answer(3);
    let begun = |(kind, _, of, _): &Frame| (*kind, *of) == (HEADERS, 3);
    near.until("both have begun", begun);
    stage.put_in_force(POLICIES);
    // On the same connection: what ends this one has looked at the other.
    near.until_ended(3);
    far.send(DATA, 0, 1, &refund("b1", 1));
    eventually("it goes on", || near.body(1) == refund("b1", 1));
    far.finish(1);
    near.until_ended(1);
    assert_eq!(ended_in(&stage.house, "policy_changed").len(), 1);
}

#[test]
fn nothing_of_a_stream_goes_up_when_its_window_opens_after_it_was_cut() {
    // Of the first message there is room for a part, and the second waits behind it.
    let stage = Stage::open(POLICIES, 6);
    let (near, far) = (&stage.near, &stage.far);
    // Another call before it, by whose end the gate knows how little room there is.
    near.call(1, &stage.token, true);
    far.answer(1);
    far.finish(1);
    near.until_ended(1);
    far.until("what room there is, is known", |(kind, flags, ..)| (*kind, *flags) == (SETTINGS, 1));
    near.call(3, &stage.token, false);
    let (one, two) = (refund("a1", 1), refund("a2", 2));
    near.send(DATA, 0, 3, &[one.clone(), two].concat());
    far.answer(3);
    eventually("as much as there is room for", || far.body(3).len() == 6);
    near.until("a head", |(kind, _, of, _)| (*kind, *of) == (HEADERS, 3));
    stage.put_in_force(only_auditors());
    near.until_ended(3);
    far.send(WINDOW, 0, 3, &1000_u32.to_be_bytes());
    far.until_reset(3);
    assert_eq!(far.body(3), one[..6], "and no more");
    assert_eq!(ended_in(&stage.house, "policy_changed").len(), 1);
}
