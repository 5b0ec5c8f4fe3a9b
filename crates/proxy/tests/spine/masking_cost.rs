//! What masking costs for an answer of 1 KiB, of all that a request costs the gate's thread.
//!
//! Worth something in release only:
//! `cargo test --release -p portcullis-proxy --test spine -- --ignored --nocapture masking_cost`. With `SERVICE` and
//! `REQUESTS` it asks one service so often, for `valgrind --tool=callgrind --separate-threads=yes`.

use std::{env, fs, io::Read};

use crate::house::{House, Stream, TOKEN};

/// Many short ones, of which the best count: another program may have the core in any of them.
const ROUNDS: usize = 100;

#[test]
#[ignore = "it measures; see the module"]
fn masking_cost() {
    let house = House::open();
    let requests = env::var("REQUESTS").map_or(200, |count| count.parse().unwrap());
    if let Ok(service) = env::var("SERVICE") {
        return ask(&house, &service, requests);
    }
    let mut rounds = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (service, rounds) in ["plain", "orders"].iter().zip(&mut rounds) {
            let before = of_gate();
            ask(&house, service, requests);
            rounds.push((of_gate() - before) / requests as u64);
        }
    }
    rounds.iter_mut().for_each(|rounds| rounds.sort_unstable());
    let [plain, masked] = &rounds;
    for (word, at) in [("best", 0), ("tenth best", ROUNDS / 10), ("median", ROUNDS / 2)] {
        let (plain, masked) = (plain[at], masked[at]);
        let added = i128::from(masked) - i128::from(plain);
        println!("{word}: {plain} ns as it is, {masked} ns masked: {added} ns added");
    }
}

fn ask(house: &House, service: &str, requests: usize) {
    let request = format!(
        "GET /v1/orders HTTP/1.1\r\nHost: {service}.test\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    );
    let mut stream = house.stream("GET", &format!("{service}.test"), "/v1/orders", "");
    let answer = answer(&mut stream);
    assert_eq!(answer.contains("***"), service == "orders", "{answer}");
    for _ in 1..requests {
        stream.send(&request);
        self::answer(&mut stream);
    }
}

/// One answer, whole.
fn answer(stream: &mut Stream) -> String {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.stream.read(&mut buffer).unwrap();
        assert_ne!(read, 0);
        answer.extend_from_slice(&buffer[..read]);
        let text = std::str::from_utf8(&answer).unwrap_or_default();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() == length.parse::<usize>().unwrap() {
            return text.to_owned();
        }
    }
}

/// What the thread of the gate has run for, in nanoseconds.
fn of_gate() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let gates =
        tasks.filter(|task| fs::read_to_string(task.join("comm")).unwrap().starts_with("gate-"));
    let ran = |task: std::path::PathBuf| {
        let stat = fs::read_to_string(task.join("schedstat")).unwrap();
        stat.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    gates.map(ran).sum()
}
