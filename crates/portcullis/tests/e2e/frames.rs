//! Groups A, B and I over HTTP/2: frames that no library would send, built by hand in Python.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
};

use crate::{
    shop::{HOST, Shop},
    streams::script,
    upstream::Upstream,
};

struct Stage {
    shop: Shop,
    upstream: Upstream,
}

impl Stage {
    fn open() -> Self {
        let upstream = Upstream::start();
        let mut shop = Shop::before(&upstream.url());
        shop.token = shop.writer();
        Self { shop, upstream }
    }

    fn peer(&self, action: &str, token: &str, more: &[&str]) -> Child {
        let (python, path) = script("frames_peer.py");
        let gate = self.shop.house.gate.to_string();
        Command::new(&python)
            .arg(path)
            .args([action, &gate, HOST, token])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{}: {error}; ./scripts/test installs it", python.display())
            })
    }

    /// All that the peer says, by what it speaks of.
    fn said(&self, action: &str) -> BTreeMap<String, String> {
        let mut peer = self.peer(action, &self.shop.token, &[]);
        let mut said = String::new();
        peer.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(peer.wait().unwrap().success(), "{said}\n{}", self.shop.house.log());
        let lines = said.lines().filter_map(|line| line.rsplit_once(": "));
        lines.map(|(case, outcome)| (case.to_owned(), outcome.to_owned())).collect()
    }

    /// What the gate has in memory, in bytes.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.shop.house.pid()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
    }
}

/// Whether a request was refused, and how: by a status, by a reset of its stream, or by the end of its
/// connection.
fn is_refused(outcome: &str) -> bool {
    ["status 400", "status 405", "status 431", "reset PROTOCOL_ERROR", "goaway PROTOCOL_ERROR"]
        .contains(&outcome)
        || outcome == "goaway COMPRESSION_ERROR"
}

#[test]
fn a18_a19_a20_a21_b11_b16_i07_i09_heads_of_http2_read_one_way_or_not_at_all() {
    let stage = Stage::open();
    let said = stage.said("heads");
    assert!(said.len() > 70, "{said:#?}");
    let mut served = 0;
    for (case, outcome) in &said {
        match case.as_str() {
            sound
                if sound.starts_with("sound")
                    || sound == "a21 same"
                    || sound == "i07 few crumbs" =>
            {
                served += 1;
                assert_eq!(outcome, "status 200", "{case}");
            }
            "i09 large" => assert_eq!(outcome, "goaway ENHANCE_YOUR_CALM"),
            _ => assert!(is_refused(outcome), "{case}: {outcome}"),
        }
    }
    assert_eq!(said["a18 short"], "reset PROTOCOL_ERROR");
    assert_eq!(said["a18 long"], "reset PROTOCOL_ERROR");
    assert_eq!(said["a19 'transfer-encoding' 'chunked'"], "reset PROTOCOL_ERROR");
    assert_eq!(said["a21 other"], "status 400");
    for path in ["?", "?x=1"] {
        assert_eq!(said[&format!("b11 path '{path}'")], "status 400", "{path}");
    }
    // The library would drop these without a word.
    for reset in ["a19 path '/page#x'", "a20 trailers :path", "a20 trailers :authority"] {
        assert_eq!(said[reset], "reset PROTOCOL_ERROR", "{reset}");
    }
    for too_large in ["i07 empty values", "i07 crumbs", "i09 fields"] {
        assert_eq!(said[too_large], "status 431", "{too_large}");
    }
    let received = stage.upstream.take();
    assert!(received.len() <= served, "{received:#?}");
    for received in received {
        assert!(["GET /page", "POST /page"].contains(&received.target()), "{}", received.head);
        assert_eq!(received.headers("host"), [HOST]);
        assert_eq!(received.headers("x-forwarded-proto"), ["http"]);
        assert!(received.headers("cookie").len() < 2, "crumbs are one field again");
        let body = String::from_utf8_lossy(&received.body);
        assert!(
            !received.head.contains("smuggled") && !body.contains("smuggled"),
            "{}",
            received.head
        );
    }
}

#[test]
fn i05_a_head_that_never_ends_ends_the_connection() {
    let stage = Stage::open();
    let said = stage.said("flood");
    let outcome = &said["i05"];
    assert!(outcome.starts_with("goaway") || outcome == "closed", "{outcome}");
    assert!(said["bytes"].parse::<u64>().unwrap() < 8 * 1024 * 1024, "{said:?}");
    assert_eq!(stage.shop.read_as(&stage.shop.token).status, 200);
}

#[test]
fn i06_who_lets_nothing_be_sent_may_ask_for_little_and_not_for_long() {
    let stage = Stage::open();
    let said = stage.said("tight");
    let count = |outcome: &str| said.get(outcome).map_or(0, |count| count.parse().unwrap());
    assert_eq!((count("200 open"), count("429 ended")), (2, 18), "{said:?}");
    assert!(!said.contains_key("data"));
    assert!(said["closed"].parse::<u64>().unwrap() >= 10, "{said:?}");
    assert_eq!(stage.shop.read_as(&stage.shop.token).status, 200);
}

#[test]
fn i06_an_http2_bomb_is_amplified_less_than_tenfold() {
    let stage = Stage::open();
    let connections = 50;
    let token = stage.shop.token.as_str();
    for (token, fields) in [
        ("none", "1800"),
        (token, "1800"),
        ("none", "0"),
        ("none", "90"),
        (token, "0"),
        (token, "80"),
    ] {
        // What the first requests make it keep is not theirs.
        assert_eq!(stage.shop.read_as(&stage.shop.token).status, 200);
        let before = stage.memory();
        let mut peer = stage.peer("bomb", token, &[&connections.to_string(), fields]);
        let mut line = String::new();
        BufReader::new(peer.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let bytes: u64 = line.trim().strip_prefix("bytes: ").expect("bytes").parse().unwrap();
        let grown = stage.memory().saturating_sub(before);
        drop(peer.stdin.take());
        assert!(peer.wait().unwrap().success());
        // What a connection costs that asks a hundred times at once is measured first, and is not the bomb's.
        let most = if fields == "0" { connections * 128 * 1024 } else { 8 * bytes };
        let times = grown / bytes;
        println!("{fields} fields: {bytes} bytes sent, {grown} bytes grown, {times} times");
        assert!(grown < most, "{fields} fields: {grown} bytes for {bytes}");
        assert_eq!(stage.shop.read_as(&stage.shop.token).status, 200);
    }
}
