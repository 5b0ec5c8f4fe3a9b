//! Group I: what clients may take of the gate (`limits`), and that others get theirs.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use portcullis_testkit::net::free_port;

use crate::{
    house::{House, Plan},
    mesh::eventually,
    outsiders::self_signed,
    payments::Payments,
    shop::{HOST, Shop},
    upstream::Upstream,
    wire::{Response, Wire},
};

/// The shop of somebody who may write, with these limits.
fn shop(url: &str, limits: &str, furnish: impl FnOnce(Plan) -> Plan) -> Shop {
    let limits = format!("limits: {limits}");
    let mut shop = Shop::furnished(url, |plan| furnish(plan.setting(&limits)));
    shop.token = shop.writer();
    shop
}

/// The metric that begins so; zero if there is none.
pub(crate) fn metric(house: &House, name: &str) -> u64 {
    let metrics = house.api("GET", "/metrics", None, None).text();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |count| count.parse().unwrap())
}

fn turned_away(house: &House, reason: &str) -> u64 {
    let label = format!("portcullis_gate_connections_turned_away_total{{reason=\"{reason}\"}}");
    metric(house, &label)
}

fn open_connections(house: &House) -> u64 {
    metric(house, "portcullis_gate_client_connections")
}

/// An upstream that reads what it gets, says `answer` and then nothing, until it is dropped.
struct Mute {
    url: String,
    held: Arc<Mutex<Vec<TcpStream>>>,
}

impl Mute {
    fn saying(answer: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let held = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&held);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                all.lock().unwrap().push(stream.try_clone().unwrap());
                thread::spawn(move || {
                    let mut bytes = [0; 16 * 1024];
                    let _ = stream.read(&mut bytes);
                    let _ = stream.write_all(answer);
                    while let Ok(1..) = stream.read(&mut bytes) {}
                });
            }
        });
        Self { url, held }
    }

    fn connections(&self) -> usize {
        self.held.lock().unwrap().len()
    }
}

#[test]
fn i01_a_head_that_does_not_come_ends_its_connection() {
    let upstream = Upstream::start();
    let shop = shop(&upstream.url(), "{head: 2s, idle: 4s}", |plan| plan);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let beginnings = [
        b"GET /page HTTP/1.1\r\nHost: a\r\n".to_vec(),
        // Half a head of HTTP/2: in one frame, in one that others should follow, and half a preface.
        [&preface[..], b"\0\0\x09\x01\x04\0\0\0\x01\x82"].concat(),
        [&preface[..], b"\0\0\x01\x01\0\0\0\0\x01\x82"].concat(),
        preface[..20].to_vec(),
        // Nothing, or nothing but a greeting.
        Vec::new(),
        preface.to_vec(),
    ];
    let mut wires: Vec<_> = (0..20)
        .map(|number| {
            let mut wire = Wire::connect(shop.house.gate);
            wire.send(&beginnings[number % beginnings.len()]);
            wire
        })
        .collect();
    assert_eq!(shop.read_as(&shop.token).status, 200);
    for wire in &mut wires {
        assert!(wire.until_closed().is_some(), "it is still open");
    }
    eventually("all are gone", || open_connections(&shop.house) == 0);
    assert!(upstream.received().len() == 1);
}

#[test]
fn i01_a_source_has_so_many_connections_and_a_balancer_stands_for_nobody() {
    let upstream = Upstream::start();
    let balanced = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let listener = format!(
        "{{name: balanced, address: \"{balanced}\", proxy_protocol: {{from: [127.0.0.1/32]}}}}"
    );
    let limits = "{connections_per_source: 3, many_clients: []}";
    let shop = shop(&upstream.url(), limits, |plan| plan.listener(&listener));
    let open = |address: SocketAddr, start: &str| {
        let mut wire = Wire::connect(address);
        wire.send([start, &shop.head("GET", "/page"), "\r\n"].concat());
        let answer = wire.response();
        (wire, answer.map(|answer| answer.status))
    };
    let mut held: Vec<_> = (0..3).map(|_| open(shop.house.gate, "")).collect();
    assert!(held.iter().all(|(_, status)| *status == Some(200)));
    assert_eq!(open(shop.house.gate, "").1, None, "one too many");
    assert_eq!(turned_away(&shop.house, "source"), 1);
    // Behind a balancer it is the clients who are counted, each for itself.
    for client in ["203.0.113.7", "203.0.113.8"] {
        let start = format!("PROXY TCP4 {client} 192.0.2.1 4711 80\r\n");
        held.extend((0..3).map(|_| open(balanced, &start)));
        assert_eq!(open(balanced, &start).1, None, "{client}");
    }
    assert!(held.iter().all(|(_, status)| *status == Some(200)));
    assert_eq!(turned_away(&shop.house, "source"), 3);
    drop(held);
    eventually("who left makes room", || open(shop.house.gate, "").1 == Some(200));
}

#[test]
fn i02_a_body_that_does_not_come_is_given_up() {
    let upstream = Upstream::start();
    let shop = shop(&upstream.url(), "{body: 2s}", |plan| plan);
    let head = shop.head("POST", "/page");
    for framing in ["Content-Length: 100000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"] {
        let mut slow = Wire::connect(shop.house.gate);
        slow.send(format!("{head}{framing}"));
        let mut drip = slow.another();
        let dripping = thread::spawn(move || {
            while drip.write_all(b"1\r\nx\r\n").is_ok() {
                thread::sleep(Duration::from_millis(200));
            }
        });
        let answer = slow.response().expect("an answer");
        assert_eq!(answer.status, 408, "{}", answer.text());
        assert!(answer.closed);
        assert_eq!(answer.json()["type"].as_str().unwrap().rsplit('/').next(), Some("too-slow"));
        drop(slow);
        dripping.join().unwrap();
    }
    // Slow, and not too slow: two seconds' worth comes within each.
    let mut steady = Wire::connect(shop.house.gate);
    steady.send(format!("{head}Content-Length: 20480\r\n\r\n"));
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(250));
        steady.send([b'x'; 1024]);
    }
    assert_eq!(steady.response().expect("an answer").status, 200);
    assert_eq!(upstream.received().len(), 1, "only what was whole");
}

#[test]
fn i02_an_answer_that_nobody_takes_is_given_up() {
    let large = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 64 << 20);
    let large = [large.as_bytes(), &vec![b'x'; 64 << 20]].concat().leak();
    let upstream = Mute::saying(large);
    let shop = shop(&upstream.url, "{answer: 4s}", |plan| plan);
    let request = [shop.head("GET", "/page").as_bytes(), b"\r\n"].concat();
    let mut wire = Wire::connect(shop.house.gate);
    wire.send(&request);
    eventually("it is being answered", || upstream.connections() == 1);
    eventually("it is given up", || open_connections(&shop.house) == 0);
    // Over HTTP/2, where the first bytes were taken and then no more.
    let (outcome, _) = crate::floods::once_at(&shop, "h2-pause");
    assert_eq!(outcome, "closed");
    // Where the first bytes were not taken, either.
    let (outcome, seconds) = crate::floods::once_at(&shop, "h2-nothing");
    assert_eq!(outcome, "closed");
    assert!((10..45).contains(&seconds), "{seconds}");
    // Who takes another one meanwhile is told to leave, and goes on with that.
    let (outcome, _) = crate::floods::once_at(&shop, "h2-film");
    assert_eq!(outcome, "told");
    drop(wire);
}

#[test]
fn i10_handshakes_are_bounded_in_time_and_for_each_source() {
    let upstream = Upstream::start();
    let secret = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let (certificate, key) = self_signed();
    let tls = format!(
        "{{name: secret, address: \"{secret}\", tls: {{certificate: cert.pem, key: key.pem}}}}"
    );
    let limits = "{handshakes_per_source: 5, handshake: 5s, many_clients: []}";
    let shop = shop(&upstream.url(), limits, |plan| {
        plan.file("cert.pem", &certificate).file("key.pem", &key).listener(&tls)
    });
    let mut half_open: Vec<_> = (0..5)
        .map(|number| {
            let mut wire = Wire::connect(secret);
            // Nothing, or the beginning of a hello.
            wire.send(&b"\x16\x03\x01\x02\x00\x01\x00"[..number]);
            wire
        })
        .collect();
    eventually("one more is turned away", || {
        let _ = Wire::connect(secret).until_closed();
        turned_away(&shop.house, "handshakes") > 0
    });
    // Who speaks without TLS is not concerned, and the others end.
    assert_eq!(shop.read_as(&shop.token).status, 200);
    assert!(half_open.iter_mut().all(|wire| wire.until_closed().is_some()));
    // A hello that comes byte by byte is a hello.
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "30", "-o", "/dev/null", "-w", "%{http_code}", "--cacert"])
        .arg(shop.house.dir().join("cert.pem"))
        .args(["--connect-to", &format!("::127.0.0.1:{}", in_drops(secret))])
        .args(["-H", &format!("Authorization: Bearer {}", shop.token)])
        .arg(format!("https://{HOST}/page"))
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"200", "{}", String::from_utf8_lossy(&output.stderr));
}

/// A way to `gate` on which what is sent arrives byte by byte; its port.
fn in_drops(gate: SocketAddr) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut gate = TcpStream::connect(gate).unwrap();
            gate.set_nodelay(true).unwrap();
            let (mut back, mut to) = (gate.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut back, &mut to));
            thread::spawn(move || {
                let mut byte = [0];
                while let Ok(1) = client.read(&mut byte) {
                    if gate.write_all(&byte).is_err() {
                        break;
                    }
                }
            });
        }
    });
    port
}

/// A shop whose upstream never answers, and beside it a service that does.
fn beside_a_slow_one(limits: &str) -> (Shop, Mute) {
    let mute = Mute::saying(b"");
    let quick = Upstream::start();
    let service = format!(
        "name: quick\nhosts: [quick.example.com]\nupstream: {{instances: {{q-1: \"{}\"}}}}",
        quick.url()
    );
    let policy = r#"@id("quick") permit (principal is Workload, action in Action::"quick.read", resource == Service::"quick");"#;
    let shop = shop(&mute.url, limits, |plan| plan.service(&service).policy("quick.cedar", policy));
    (shop, mute)
}

/// A request that waits for an answer.
fn waiting(shop: &Shop) -> Wire {
    let mut wire = Wire::connect(shop.house.gate);
    wire.send([shop.head("GET", "/page").as_bytes(), b"\r\n"].concat());
    wire
}

fn quick(shop: &Shop, token: &str) -> Response {
    shop.house.gate("quick.example.com", "GET", "/page", Some(token), None)
}

#[test]
fn i16_one_identity_has_so_much_under_way_and_others_have_theirs() {
    // Each core counts for itself: far more than any has.
    let (shop, mute) = beside_a_slow_one("{requests_per_principal: 3}");
    let mut held = Vec::new();
    let refused = loop {
        assert!(held.len() < 200, "it goes on and on");
        held.push(waiting(&shop));
        let answer = quick(&shop, &shop.token);
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert!(held.len() >= 3);
    let other = shop.house.workload_token("other", &["readers"]);
    for _ in 0..20 {
        assert_eq!(quick(&shop, &other).status, 200, "others are not concerned");
    }
    assert!(mute.connections() >= 3);
    drop(held);
    eventually("what is over counts no more", || {
        (0..10).all(|_| quick(&shop, &shop.token).status == 200)
    });
}

#[test]
fn one_slow_service_takes_its_share_of_the_gate_and_no_more() {
    let (shop, _mute) = beside_a_slow_one("{services: {shop: 3}}");
    let mut held = Vec::new();
    let refused = loop {
        assert!(held.len() < 200, "it goes on and on");
        let mut wire = waiting(&shop);
        // What is not answered at once waits.
        if let Some(answer) = wire.patience(Duration::from_secs(3)).response() {
            break answer;
        }
        held.push(wire);
    };
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(refused.header("retry-after"), Some("1"));
    for _ in 0..20 {
        assert_eq!(quick(&shop, &shop.token).status, 200, "other services go on");
    }
    shop.house.api("GET", "/metrics", None, None);
    assert!(metric(&shop.house, "portcullis_gate_refusals_total{code=\"unavailable\"}") > 0);
}

#[test]
fn what_is_under_way_goes_on_and_what_is_new_is_refused() {
    let (shop, mute) = beside_a_slow_one("{requests: 3}");
    let mut held = Vec::new();
    let mut refused = 0;
    while refused < 3 {
        assert!(held.len() < 200, "it goes on and on");
        let mut wire = waiting(&shop);
        match wire.patience(Duration::from_secs(3)).response() {
            Some(answer) => {
                assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
                refused += 1;
            }
            None => held.push(wire),
        }
    }
    let begun = mute.connections();
    assert_eq!(begun, held.len(), "nothing of the others was begun");
    for stream in &*mute.held.lock().unwrap() {
        let mut stream = stream;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    }
    for wire in &mut held {
        let answer = wire.patience(Duration::from_secs(30)).response();
        assert_eq!(answer.expect("an answer").status, 200);
    }
}

const TUNNEL: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn handshake(shop: &Shop, more: &str) -> Vec<u8> {
    let head = shop.head("GET", "/ws");
    let upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    [head.as_bytes(), upgrade.as_bytes(), more.as_bytes(), b"\r\n"].concat()
}

#[test]
fn i11_web_sockets_that_carry_nothing_are_closed() {
    let upstream = Mute::saying(TUNNEL);
    let shop = shop(&upstream.url, "{requests_per_principal: 100}", |plan| plan);
    // A handshake of 20 MB is a head like any other.
    let mut large = Wire::connect(shop.house.gate);
    large.send(handshake(&shop, &format!("X-Large: {}\r\n", "x".repeat(20 << 20))));
    assert_eq!(large.response().expect("an answer").status, 431);
    let pings = b"\x89\x84abcd\0\0\0\0".repeat(1000);
    let parts = [&b"\x01\x81abcd\0"[..], &b"\x00\x81abcd\0".repeat(1000)].concat();
    let empty = b"\x82\x80abcd".repeat(1000);
    for flood in [pings, parts, empty] {
        let mut wire = Wire::connect(shop.house.gate);
        wire.send(handshake(&shop, ""));
        assert_eq!(wire.response().expect("an answer").status, 101);
        let mut sending = wire.another();
        let sent = thread::spawn(move || (0..2000).all(|_| sending.write_all(&flood).is_ok()));
        let closed = wire.until_closed().expect("it is closed");
        assert!(!sent.join().unwrap(), "it was let send all of it");
        // Whoever goes on sending may not see why.
        if !closed.is_empty() {
            assert_eq!(closed[..4], [0x88, closed[1], 0x03, 0xf0], "{closed:?}");
        }
    }
    // One that says something now and then stays.
    let mut calm = Wire::connect(shop.house.gate);
    calm.send(handshake(&shop, ""));
    assert_eq!(calm.response().expect("an answer").status, 101);
    calm.send(b"\x89\x84abcd\0\0\0\0".repeat(1000));
    assert_eq!(metric(&shop.house, "portcullis_gate_connections"), 1);
    assert!(calm.patience(Duration::from_secs(2)).until_closed().is_none());
}

#[test]
fn i01_tunnels_count_among_the_connections() {
    let upstream = Mute::saying(TUNNEL);
    let shop = shop(&upstream.url, "{connections: 3}", |plan| plan);
    let mut held = Vec::new();
    // Each core counts for itself.
    loop {
        assert!(held.len() < 200, "it goes on and on");
        let mut wire = Wire::connect(shop.house.gate);
        wire.send(handshake(&shop, ""));
        match wire.response() {
            Some(answer) => assert_eq!(answer.status, 101),
            None => break,
        }
        held.push(wire);
    }
    assert!(held.len() >= 3);
    assert!(turned_away(&shop.house, "limit") > 0);
    assert_eq!(open_connections(&shop.house), held.len() as u64);
    drop(held);
    eventually("nothing is open", || open_connections(&shop.house) == 0);
    let mut again = Wire::connect(shop.house.gate);
    again.send(handshake(&shop, ""));
    assert_eq!(again.response().expect("an answer").status, 101);
    // Whoever has a tunnel does not keep the gate from ending.
    shop.house.signal("TERM");
    assert!(again.patience(Duration::from_mins(1)).until_closed().is_some());
}

#[test]
fn i15_a_deadline_of_grpc_reads_one_way_and_none_is_endless() {
    let upstream = Upstream::start();
    let shop = shop(&upstream.url(), "{}", |plan| plan);
    let status = |timeout: &str| {
        let url = format!("http://{HOST}:{}/page", shop.house.gate.port());
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "30", "--http2-prior-knowledge", "-X", "POST", "-i"])
            .args(["--connect-to", &format!("::{}", shop.house.gate)])
            .args(["-H", &format!("Authorization: Bearer {}", shop.token), "-H", "te: trailers"])
            .args(["-H", "content-type: application/grpc", "-H"])
            .args([&format!("grpc-timeout: {timeout}"), &url])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).to_lowercase();
        let line = said.lines().find_map(|line| line.strip_prefix("grpc-status: "));
        line.map_or_else(|| said.lines().next().unwrap_or_default().to_owned(), str::to_owned)
    };
    for sound in ["30S", "99999999H", "99999999n"] {
        let status = status(sound);
        // A few nanoseconds are over before anything is answered.
        assert!(
            status.starts_with("http/2 200") || (sound.ends_with('n') && status == "4"),
            "{status}"
        );
    }
    upstream.take();
    let huge = ["9223372036854775808S", "18446744073709551616n", "100000000H"];
    for wrong in huge.into_iter().chain(["-1S", "1", "S", "1.5S", "1s", "1 S"]) {
        assert_eq!(status(wrong), "3", "{wrong}");
    }
    assert!(upstream.take().is_empty());
}

#[test]
fn i18_a_flood_of_strangers_is_counted_and_most_of_it_not_listed() {
    let payments = Payments::open();
    let all: usize = 4000;
    let begun = Instant::now();
    let request = "GET /v1/refunds HTTP/1.1\r\nHost: payments.example.com\r\n\r\n".repeat(100);
    for _ in 0..all / 100 {
        let mut wire = Wire::connect(payments.house.gate);
        wire.send(&request);
        for _ in 0..100 {
            assert_eq!(wire.response().expect("an answer").status, 401);
        }
    }
    let seconds = begun.elapsed().as_secs() + 2;
    let listed = |events: &[serde_json::Value]| {
        events.iter().filter(|event| event["refusal"] == "unauthenticated").count()
    };
    let counted = |events: &[serde_json::Value]| {
        let counts = events.iter().filter(|event| event["type"] == "refusals_counted");
        counts
            .map(|event| usize::try_from(event["count"].as_u64().unwrap()).unwrap())
            .sum::<usize>()
    };
    let events = payments.record(|events| listed(events) + counted(events) >= all);
    assert_eq!(listed(&events) + counted(&events), all, "none is forgotten and none is told twice");
    let cores = thread::available_parallelism().map_or(1, usize::from) as u64;
    let most = usize::try_from(100 * cores * seconds).unwrap();
    assert!(listed(&events) <= most, "{} listed", listed(&events));
    assert_eq!(payments.house.gate("payments.example.com", "GET", "/", None, None).status, 401);
}
