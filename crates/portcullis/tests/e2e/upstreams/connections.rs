//! Connections to instances: how many requests one over HTTP/2 carries, what becomes of it when it rests, and of those
//! that one core keeps and another one misses.

use std::{
    io::Read,
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use crate::{mesh::eventually, shop::Shop, wire::Wire};

use super::{
    Moody, OK, metric,
    refused::{ACK, HEADERS, PING, SETTINGS, ask, receive, send},
    shop,
};

/// `SETTINGS_MAX_CONCURRENT_STREAMS`: 2.
const TWO: [u8; 6] = [0, 3, 0, 0, 0, 2];

/// An upstream over HTTP/2 that takes two streams at a time on each connection.
#[derive(Debug, Clone, Default)]
struct Narrow {
    port: u16,
    streams: Arc<AtomicUsize>,
    /// Connections with more streams at a time than it takes.
    overrun: Arc<AtomicBool>,
    /// It answers later.
    waits: Arc<AtomicBool>,
    /// It closes a connection for each of so many streams that it gets on it.
    hangs_up: Arc<AtomicUsize>,
}

impl Narrow {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let narrow = Self { port, ..Self::default() };
        let own = narrow.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let own = own.clone();
                thread::spawn(move || own.talk(stream));
            }
        });
        narrow
    }

    fn talk(&self, mut stream: TcpStream) -> Option<()> {
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).ok()?;
        send(&mut stream, SETTINGS, 0, 0, &TWO)?;
        let (out, open) = (Mutex::new(stream.try_clone().unwrap()), AtomicUsize::new(0));
        thread::scope(|scope| {
            loop {
                let (kind, flags, id, payload) = receive(&mut stream)?;
                let mut answers = out.lock().unwrap();
                match kind {
                    SETTINGS if flags & ACK == 0 => send(&mut answers, SETTINGS, ACK, 0, &[])?,
                    PING if flags & ACK == 0 => send(&mut answers, PING, ACK, 0, &payload)?,
                    HEADERS => {
                        let left = |left: usize| left.checked_sub(1);
                        let hangs_up = self.hangs_up.fetch_update(SeqCst, SeqCst, left).is_ok();
                        self.streams.fetch_add(1, SeqCst);
                        if hangs_up {
                            return None;
                        }
                        if open.fetch_add(1, SeqCst) >= 2 {
                            self.overrun.store(true, SeqCst);
                        }
                        let (own, out, open) = (self, &out, &open);
                        scope.spawn(move || {
                            while own.waits.load(SeqCst) {
                                thread::sleep(Duration::from_millis(5));
                            }
                            open.fetch_sub(1, SeqCst);
                            // `:status: 200`, the end of the headers and of the stream.
                            let _ = send(&mut out.lock().unwrap(), HEADERS, 5, id, &[0x88]);
                        });
                    }
                    _ => {}
                }
            }
        })
    }

    fn shop(&self) -> Shop {
        let port = self.port;
        Shop::with(&format!(
            "{{instances: {{s-0: \"h2c://127.0.0.1:{port}\"}}, ejection: {{failures: 0}}}}"
        ))
    }
}

#[test]
fn a_connection_that_is_full_holds_nobody_up() {
    let narrow = Narrow::start();
    let shop = narrow.shop();
    let mut wires: Vec<_> = (0..9).map(|_| Wire::connect(shop.house.gate)).collect();
    // Each core has a connection then, and has heard how much it carries.
    for wire in &mut wires {
        assert_eq!(ask(&shop, wire, "GET").status, 200);
    }
    narrow.waits.store(true, SeqCst);
    // One after another, as a connection that is new has not said yet how much it carries.
    for (at, wire) in wires.iter_mut().enumerate() {
        wire.send(format!("{}\r\n", shop.head("GET", "/page")));
        eventually("it is under way", || narrow.streams.load(SeqCst) == 10 + at);
    }
    // Two on each.
    assert!(metric(&shop, "upstream_connections{service=\"shop\",instance=\"s-0\"}") >= 5);
    assert!(!narrow.overrun.load(SeqCst));
    narrow.waits.store(false, SeqCst);
    for wire in &mut wires {
        assert_eq!(wire.response().unwrap().status, 200);
    }
}

#[test]
fn a_request_that_a_rested_shared_connection_swallowed_is_sent_again_if_it_may_be_done_twice() {
    let narrow = Narrow::start();
    let shop = narrow.shop();
    let mut wire = Wire::connect(shop.house.gate);
    assert_eq!(ask(&shop, &mut wire, "GET").status, 200);
    let rest = || {
        // Long enough for the gate to see that the connection rests.
        thread::sleep(Duration::from_millis(2100));
    };
    rest();
    narrow.hangs_up.store(1, SeqCst);
    assert_eq!((ask(&shop, &mut wire, "GET").status, narrow.streams.load(SeqCst)), (200, 3));
    let made = "upstream_retries_total{service=\"shop\",what=\"made\"}";
    assert_eq!(metric(&shop, made), 1);
    rest();
    narrow.hangs_up.store(1, SeqCst);
    assert_eq!((ask(&shop, &mut wire, "POST").status, narrow.streams.load(SeqCst)), (502, 4));
    assert_eq!(metric(&shop, made), 1);
}

#[test]
fn a_connection_that_one_core_keeps_is_there_for_another() {
    let moody = Moody::start(OK);
    let shop = shop(&[&moody], "limits: {instance: {connections: 1}}, timeouts: {idle: 1h}");
    // On both cores, which have one connection between them.
    let mut wires: Vec<_> = (0..6).map(|_| Wire::connect(shop.house.gate)).collect();
    for wire in &mut wires {
        eventually("there is a connection for it", || {
            wire.send(format!("{}\r\n", shop.head("GET", "/page")));
            wire.response().unwrap().status == 200
        });
    }
}
