//! Group I: clients that are there to keep the gate busy, or to keep what it has. What becomes of them, and of
//! everybody else meanwhile.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
};

use crate::{
    shop::{HOST, Shop},
    streams::script,
    upstream::Upstream,
};

fn open() -> Shop {
    let upstream = Upstream::start();
    let mut shop = Shop::before(&upstream.url());
    shop.token = shop.writer();
    shop
}

/// What becomes of one connection that floods, and how many frames it took.
pub(crate) fn once_at(shop: &Shop, kind: &str) -> (String, u64) {
    let (python, path) = script("flood_peer.py");
    let output = Command::new(python)
        .arg(path)
        .args(["once", kind, &shop.house.gate.to_string(), HOST, &shop.token])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}\n{}", shop.house.log());
    let find = |key: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(key));
        line.unwrap_or_else(|| panic!("{kind}: {said}")).to_owned()
    };
    let (outcome, sent) = (find("outcome: "), find("sent: ").parse().unwrap());
    println!("{kind}: {outcome} after {sent}");
    (outcome, sent)
}

/// The same, and that everybody else is served.
fn once(shop: &Shop, kind: &str) -> (String, u64) {
    let ended = once_at(shop, kind);
    assert_eq!(shop.read_as(&shop.token).status, 200, "everybody else is served");
    ended
}

/// Whether the gate has ended a connection. What it says last gets lost if the client goes on sending.
fn is_ended(outcome: &str) -> bool {
    outcome.starts_with("goaway") || outcome == "closed"
}

#[test]
fn i03_rapid_reset_ends_the_connection() {
    let shop = open();
    let (outcome, sent) = once(&shop, "rapid-reset");
    assert!(is_ended(&outcome) && sent < 10_000, "{outcome} after {sent}");
}

#[test]
fn i04_made_you_reset_ends_the_connection() {
    let shop = open();
    let (outcome, sent) = once(&shop, "made-you-reset");
    assert!(is_ended(&outcome) && sent < 10_000, "{outcome} after {sent}");
}

#[test]
fn i08_frames_that_ask_for_nothing_end_the_connection() {
    let shop = open();
    for kind in ["ping", "settings", "priority", "empty-data", "unknown", "window-update"] {
        let (outcome, sent) = once(&shop, kind);
        assert!(is_ended(&outcome) && sent < 200_000, "{kind}: {outcome} after {sent}");
    }
}

/// Those who flood, until they are dropped.
struct Flood(Child, Option<ChildStdin>);

impl Flood {
    fn begin(shop: &Shop, kind: &str, connections: usize) -> Self {
        let (python, path) = script("flood_peer.py");
        let mut child = Command::new(python)
            .arg(path)
            .args(["on", kind, &shop.house.gate.to_string(), HOST, &shop.token])
            .arg(connections.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "ready", "{kind}");
        let stdin = child.stdin.take();
        Self(child, stdin)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        drop(self.1.take());
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Every flood that there is, and how many connections are at it.
const FLOODS: [(&str, usize); 14] = [
    ("slow-heads", 300),
    ("slow-body", 100),
    ("slow-read", 100),
    ("half-open", 300),
    ("idle", 300),
    ("rapid-reset", 2),
    ("made-you-reset", 2),
    ("ping", 2),
    ("settings", 2),
    ("priority", 2),
    ("empty-data", 2),
    ("unknown", 2),
    ("window-update", 2),
    ("strangers", 2),
];

#[test]
fn i_good_clients_are_served_under_each_flood() {
    let shop = open();
    let size = std::env::var("PORTCULLIS_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let good = shop.house.workload_token("good", &["readers"]);
    for (kind, connections) in FLOODS {
        let flood = Flood::begin(&shop, kind, connections * usize::min(size, 10));
        let served = thread::scope(|scope| {
            let clients: Vec<_> = (0..2)
                .map(|_| {
                    let ask = || (0..100 * size).filter(|_| shop.read_as(&good).status == 200);
                    scope.spawn(move || ask().count())
                })
                .collect();
            clients.into_iter().map(|client| client.join().unwrap()).sum::<usize>()
        });
        drop(flood);
        println!("{kind}: {served} of {}", 200 * size);
        assert!(served * 100 >= 200 * size * 99, "{kind}: {served} of {}", 200 * size);
    }
}
