//! Instances that a name server knows, and names that lead where they have no business to.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{mesh::eventually, shop::Shop};

use super::{
    OK, metric,
    moody::{Mood, Moody},
    read,
};

/// One record.
#[derive(Debug, Clone)]
pub(crate) enum Record {
    A(Ipv4Addr),
    Srv(u16, &'static str),
    /// With a priority and a weight.
    Ranked(u16, u16, u16, &'static str),
    Aaaa(std::net::Ipv6Addr),
    /// Addresses of this machine that end in one of these, another one each time.
    Turns(Arc<AtomicUsize>, [u8; 2]),
}

/// What is known, or that nothing works.
type Zone = Arc<Mutex<Option<HashMap<&'static str, Vec<Record>>>>>;

/// A name server over UDP whose answers live for a second.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) address: SocketAddr,
    zone: Zone,
    /// It keeps what it is asked for to itself for now.
    silent: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl Names {
    pub(crate) fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (address, zone) = (socket.local_addr().unwrap(), Zone::default());
        let (silent, asked): (Arc<AtomicBool>, Arc<AtomicUsize>) = Default::default();
        let names = Self { address, zone, silent, asked };
        let (known, silent) = (Arc::clone(&names.zone), Arc::clone(&names.silent));
        let asked = Arc::clone(&names.asked);
        thread::spawn(move || {
            let mut query = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                asked.fetch_add(1, Ordering::SeqCst);
                while silent.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(5));
                }
                let answer = answer(&query[..length], &known);
                socket.send_to(&answer, from).unwrap();
            }
        });
        names
    }

    /// From now on, this is all that it knows.
    pub(crate) fn knows(&self, records: &[(&'static str, Record)]) {
        let mut known: HashMap<&'static str, Vec<Record>> = HashMap::new();
        for (name, record) in records {
            known.entry(name).or_default().push(record.clone());
        }
        *self.zone.lock().unwrap() = Some(known);
    }

    /// From now on, it fails (SERVFAIL).
    fn fails(&self) {
        *self.zone.lock().unwrap() = None;
    }
}

fn answer(query: &[u8], zone: &Zone) -> Vec<u8> {
    let (mut at, mut labels) = (12, Vec::new());
    while query[at] != 0 {
        let length = usize::from(query[at]);
        labels.push(String::from_utf8(query[at + 1..=at + length].to_vec()).unwrap());
        at += length + 1;
    }
    let (name, question) = (labels.join(".").to_ascii_lowercase(), &query[12..at + 5]);
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let zone = zone.lock().unwrap();
    let Some(known) = &*zone else {
        return [&query[..2], &[0x81, 0x82, 0, 1, 0, 0, 0, 0, 0, 0], question].concat();
    };
    let mut records = Vec::new();
    for record in known.get(name.as_str()).into_iter().flatten() {
        let (own, data) = match record {
            Record::A(address) => (1_u16, address.octets().to_vec()),
            Record::Aaaa(address) => (28, address.octets().to_vec()),
            Record::Turns(turn, lasts) => {
                let turn = if kind == 1 { turn.fetch_add(1, Ordering::SeqCst) } else { 0 };
                (1, vec![127, 0, 0, lasts[turn % 2]])
            }
            Record::Srv(port, target) => (33, srv(0, 1, *port, target)),
            Record::Ranked(priority, weight, port, target) => {
                (33, srv(*priority, *weight, *port, target))
            }
        };
        if own == kind {
            let length = u16::try_from(data.len()).unwrap().to_be_bytes();
            records.push(
                [&[0xc0, 12], &own.to_be_bytes()[..], &[0, 1, 0, 0, 0, 1], &length, &data].concat(),
            );
        }
    }
    let count = u8::try_from(records.len()).unwrap();
    let head = [0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0];
    [&query[..2], &head, question, &records.concat()].concat()
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Vec<u8> {
    let mut data = [priority, weight, port].map(u16::to_be_bytes).concat();
    for label in target.split('.') {
        data.push(u8::try_from(label.len()).unwrap());
        data.extend_from_slice(label.as_bytes());
    }
    data.push(0);
    data
}

const NAME: &str = "pool.test";
/// Loopback addresses are special, and here they are meant.
const ALLOW: &str = "allow: [127.0.0.0/8], ejection: {failures: 0}";

fn dns(names: &Names, what: &str, settings: &str) -> Shop {
    Shop::with(&format!(
        "{{dns: {{{what}, servers: [\"{}\"], min_ttl: 1s, max_ttl: 1s}}, {settings}}}",
        names.address
    ))
}

/// Two upstreams on one port, at two addresses of this machine.
fn pair() -> (Moody, Moody, u16) {
    loop {
        let first = Moody::at("127.0.0.1:0", OK);
        let port = first.address.port();
        if std::net::TcpListener::bind(("127.0.0.2", port)).is_ok() {
            return (first, Moody::at(&format!("127.0.0.2:{port}"), OK), port);
        }
    }
}

fn has_left(shop: &Shop, instance: &str) -> bool {
    let metrics = shop.house.api("GET", "/metrics", None, None).text();
    !metrics.contains(&format!("instance=\"{instance}\""))
}

fn local(last: u8) -> Record {
    Record::A(Ipv4Addr::new(127, 0, 0, last))
}

#[test]
fn instances_are_the_addresses_that_a_name_has_now() {
    let (first, second, port) = pair();
    let names = Names::start();
    names.knows(&[(NAME, local(1))]);
    let shop = dns(&names, &format!("url: \"http://{NAME}:{port}\""), ALLOW);
    eventually("the first is found", || read(&shop).status == 200);
    assert_eq!(second.requests(), 0);
    names.knows(&[(NAME, local(1)), (NAME, local(2))]);
    eventually("the second joins", || {
        assert_eq!(read(&shop).status, 200);
        second.requests() > 0
    });
    assert_eq!(metric(&shop, "upstream_up{service=\"shop\",instance=\"127-0-0-2\"}"), 1);
    // One that leaves gets nothing new.
    names.knows(&[(NAME, local(2))]);
    eventually("the first has left", || has_left(&shop, "127-0-0-1"));
    let before = first.requests();
    for _ in 0..20 {
        assert_eq!(read(&shop).status, 200);
    }
    assert_eq!(first.requests(), before);
    // Who knows nothing takes nothing away.
    names.fails();
    let failures = "upstream_discovery_failures_total{service=\"shop\"}";
    let before = metric(&shop, failures);
    eventually("the name server fails", || metric(&shop, failures) > before + 1);
    assert_eq!(read(&shop).status, 200);
    names.knows(&[]);
    let before = metric(&shop, failures);
    eventually("the name is gone", || metric(&shop, failures) > before + 1);
    assert_eq!(read(&shop).status, 200);
    assert!(shop.house.log().contains("those found last stay"));
}

#[test]
fn requests_wait_for_the_first_answer_to_where_instances_are() {
    let upstream = Moody::start(OK);
    let names = Names::start();
    names.knows(&[(NAME, local(1))]);
    names.silent.store(true, Ordering::SeqCst);
    let url = format!("url: \"http://{NAME}:{}\"", upstream.address.port());
    let shop = dns(&names, &url, &format!("{ALLOW}, timeouts: {{connect: 40s}}"));
    let mut wires: Vec<_> = (0..4)
        .map(|_| {
            let mut wire = crate::wire::Wire::connect(shop.house.gate);
            wire.send(format!("{}\r\n", shop.head("GET", "/page")));
            wire
        })
        .collect();
    eventually("the name server is asked", || names.asked.load(Ordering::SeqCst) > 0);
    // Nothing shows that they wait. Whoever does not has its answer by then.
    thread::sleep(Duration::from_millis(500));
    names.silent.store(false, Ordering::SeqCst);
    for wire in &mut wires {
        assert_eq!(wire.response().unwrap().status, 200);
    }
    assert_eq!(upstream.requests(), 4);
}

#[test]
fn requests_wait_for_the_first_answer_about_another_name_as_well() {
    let upstream = Moody::start(OK);
    let names = Names::start();
    names.knows(&[(NAME, local(1)), ("other.test", local(1))]);
    let url = format!("url: \"http://{NAME}:{}\"", upstream.address.port());
    let shop = dns(&names, &url, &format!("{ALLOW}, timeouts: {{connect: 40s}}"));
    assert_eq!(read(&shop).status, 200);
    names.silent.store(true, Ordering::SeqCst);
    let (config, new) = (shop.house.dir().join("portcullis.yaml"), shop.house.dir().join("new"));
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&new, text.replace(NAME, "other.test")).unwrap();
    std::fs::rename(&new, &config).unwrap();
    let silent = Arc::clone(&names.silent);
    let speaks = thread::spawn(move || {
        // Long enough for the new configuration to be in force.
        thread::sleep(Duration::from_secs(2));
        silent.store(false, Ordering::SeqCst);
    });
    eventually("the other name is known", || {
        assert_eq!(read(&shop).status, 200);
        shop.house.log().matches("instances found").count() >= 2
    });
    speaks.join().unwrap();
}

#[test]
fn an_answer_that_there_is_nothing_ends_the_waiting_for_the_first() {
    let names = Names::start();
    names.knows(&[]);
    let shop = dns(&names, &format!("url: \"http://{NAME}:1\""), "timeouts: {connect: 1h}");
    assert_eq!(read(&shop).status, 502);
    assert!(shop.house.log().contains("no instances found"));
}

#[test]
fn an_instance_that_stays_is_checked_on_however_often_others_come_and_go() {
    let (_good, ill, port) = pair();
    ill.becomes(Mood::Says(500));
    let names = Names::start();
    names.knows(&[(NAME, local(2)), (NAME, Record::Turns(Arc::default(), [1, 3]))]);
    let settings = "allow: [127.0.0.0/8], panic_below: 0%, ejection: {failures: 0}, \
                    health: {path: /healthz, interval: 1s, timeout: 5s, unhealthy_after: 4, healthy_after: 4}";
    let shop = dns(&names, &format!("url: \"http://{NAME}:{port}\""), settings);
    let up = "upstream_up{service=\"shop\",instance=\"127-0-0-2\"}";
    eventually("it is found", || !has_left(&shop, "127-0-0-2"));
    eventually("it is seen to be ill", || metric(&shop, up) == 0);
    ill.becomes(OK);
    eventually("it is seen to be well", || metric(&shop, up) == 1);
}

#[test]
fn what_is_under_way_to_an_instance_that_leaves_goes_on() {
    let (first, second, port) = pair();
    let names = Names::start();
    names.knows(&[(NAME, local(1))]);
    let shop = dns(&names, &format!("url: \"http://{NAME}:{port}\""), ALLOW);
    eventually("the first is found", || read(&shop).status == 200);
    first.becomes(Mood::Waits);
    let before = first.requests();
    let mut wire = crate::wire::Wire::connect(shop.house.gate);
    wire.send(format!("{}\r\n", shop.head("GET", "/page")));
    eventually("it is under way", || first.requests() > before);
    names.knows(&[(NAME, local(2))]);
    eventually("the first has left", || has_left(&shop, "127-0-0-1"));
    assert_eq!((read(&shop).status, second.requests()), (200, 1));
    first.becomes(OK);
    let answer = wire.response().unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
}

#[test]
fn instances_are_the_targets_of_srv_records() {
    let (first, second) = (Moody::start(OK), Moody::start(OK));
    let names = Names::start();
    let name = "_http._tcp.pool.test";
    names.knows(&[
        (name, Record::Srv(first.address.port(), "p-1.pool.test")),
        (name, Record::Srv(second.address.port(), "p-2.pool.test")),
        ("p-1.pool.test", local(1)),
        ("p-2.pool.test", local(1)),
    ]);
    let shop = dns(&names, &format!("srv: {name}"), ALLOW);
    eventually("both are found", || {
        read(&shop);
        first.requests() > 0 && second.requests() > 0
    });
    let instance = format!("p-1-pool-test-{}", first.address.port());
    let up = format!("upstream_up{{service=\"shop\",instance=\"{instance}\"}}");
    assert_eq!(metric(&shop, &up), 1);
}

#[test]
fn srv_targets_get_as_much_as_they_weigh_and_the_second_best_nothing() {
    let (heavy, light, spare) = (Moody::start(OK), Moody::start(OK), Moody::start(OK));
    let names = Names::start();
    let name = "_http._tcp.pool.test";
    let all = |heavy: &Moody, light: &Moody| {
        [
            (name, Record::Ranked(20, 50, spare.address.port(), "spare.pool.test")),
            (name, Record::Ranked(10, 90, heavy.address.port(), "heavy.pool.test")),
            (name, Record::Ranked(10, 9, light.address.port(), "light.pool.test")),
            ("spare.pool.test", local(1)),
            ("heavy.pool.test", local(1)),
            ("light.pool.test", local(1)),
        ]
    };
    names.knows(&all(&heavy, &light));
    let shop = dns(&names, &format!("srv: {name}"), ALLOW);
    eventually("they are found", || read(&shop).status == 200);
    for _ in 0..300 {
        assert_eq!(read(&shop).status, 200);
    }
    let (many, few) = (heavy.requests(), light.requests());
    assert!(few > 0 && many > 4 * few, "{many} and {few}");
    assert_eq!(spare.requests(), 0);
    // What they weigh may change while they stay.
    names.knows(&all(&light, &heavy));
    eventually("it is the other way round", || {
        let before = (heavy.requests(), light.requests());
        for _ in 0..100 {
            assert_eq!(read(&shop).status, 200);
        }
        light.requests() - before.1 > 2 * (heavy.requests() - before.0)
    });
}

#[test]
fn the_second_best_targets_serve_while_the_best_lead_nowhere() {
    let (best, spare) = (Moody::start(OK), Moody::start(OK));
    let names = Names::start();
    let name = "_http._tcp.pool.test";
    let records = [
        (name, Record::Ranked(20, 1, spare.address.port(), "spare.pool.test")),
        (name, Record::Ranked(10, 1, best.address.port(), "best.pool.test")),
        ("spare.pool.test", local(1)),
        ("best.pool.test", local(1)),
    ];
    names.knows(&records[..3]);
    let shop = dns(&names, &format!("srv: {name}"), ALLOW);
    assert_eq!((read(&shop).status, spare.requests(), best.requests()), (200, 1, 0));
    names.knows(&records);
    eventually("the best are back", || {
        assert_eq!(read(&shop).status, 200);
        best.requests() > 0
    });
}

#[test]
fn j01_a_name_that_leads_to_this_machine_is_not_dialled_unless_that_is_listed() {
    let upstream = Moody::start(OK);
    let names = Names::start();
    let port = upstream.address.port();
    names.knows(&[(NAME, local(1))]);
    let url = format!("url: \"http://{NAME}:{port}\"");
    let found = |shop: &Shop| shop.house.log().contains("instances found");
    let shop = dns(&names, &url, "ejection: {failures: 0}");
    eventually("the name is resolved", || found(&shop));
    eventually("and is not dialled", || {
        assert_eq!(read(&shop).status, 502);
        shop.house.log().contains("upstream.allow")
    });
    // Written in another way, it is the same address.
    names.knows(&[(NAME, Record::Aaaa(Ipv4Addr::LOCALHOST.to_ipv6_mapped()))]);
    let mapped = dns(&names, &url, "allow: [10.0.0.0/8], ejection: {failures: 0}");
    eventually("the name is resolved", || found(&mapped));
    eventually("and is not dialled", || {
        assert_eq!(read(&mapped).status, 502);
        mapped.house.log().contains("upstream.allow")
    });
    assert_eq!(upstream.requests(), 0);
    // Listed as what it is, it is dialled.
    let listed = dns(&names, &url, ALLOW);
    eventually("what is listed is dialled", || read(&listed).status == 200);
    let before = upstream.requests();
    names.knows(&[(NAME, local(1))]);
    let listed = dns(&names, &url, ALLOW);
    eventually("what is listed is dialled", || read(&listed).status == 200);
    assert!(upstream.requests() > before);
}

#[test]
fn j02_a_name_that_moves_to_a_special_address_is_not_followed_there() {
    let (first, second, port) = pair();
    let names = Names::start();
    names.knows(&[(NAME, local(1))]);
    let settings = "allow: [127.0.0.1/32], ejection: {failures: 0}, timeouts: {idle: 1s}";
    let shop = dns(&names, &format!("url: \"http://{NAME}:{port}\""), settings);
    eventually("the first is found", || read(&shop).status == 200);
    names.knows(&[(NAME, local(2))]);
    eventually("the name leads elsewhere", || read(&shop).status == 502);
    assert!(first.requests() > 0);
    assert_eq!(second.requests(), 0, "what is judged is what would be dialled");
}

#[test]
fn j01_localhost_is_this_machine_and_needs_no_listing() {
    let upstream = Moody::start(OK);
    let port = upstream.address.port();
    let shop = Shop::with(&format!("{{url: \"http://localhost:{port}\"}}"));
    assert_eq!(read(&shop).status, 200);
}
