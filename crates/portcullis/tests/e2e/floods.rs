//! Group I: clients that are there to keep the gate busy, or to keep what it has. What becomes of them, and of
//! everybody else meanwhile.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use crate::{
    shop::{HOST, Shop},
    streams::{Peer, script},
    upstream::Upstream,
};

fn open() -> Shop {
    let upstream = Upstream::start();
    let mut shop = Shop::before(&upstream.url());
    shop.token = shop.writer();
    shop
}

/// What becomes of one connection that floods, and how many frames it took.
fn once(shop: &Shop, kind: &str) -> (String, u64) {
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
    assert_eq!(shop.read_as(&shop.token).status, 200, "everybody else is served");
    (outcome, sent)
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
    for kind in ["ping", "settings", "priority", "empty-data", "unknown"] {
        let (outcome, sent) = once(&shop, kind);
        assert!(is_ended(&outcome) && sent < 200_000, "{kind}: {outcome} after {sent}");
    }
}
