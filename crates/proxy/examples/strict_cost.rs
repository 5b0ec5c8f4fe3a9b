//! What strict reading costs for one request's head, as a browser or a tool sends it.
//!
//! Worth something in release only: `rustc --edition 2024 -O crates/proxy/examples/strict_cost.rs` builds it
//! in a second, as the reader depends on nothing.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::pedantic,
    clippy::expect_used,
    reason = "parts of it, measured alone"
)]

#[path = "../src/serve/strict/defect.rs"]
mod defect;
#[path = "../src/serve/strict/line.rs"]
mod line;
#[path = "../src/serve/strict/reader.rs"]
mod reader;

use std::{hint::black_box, time::Instant};

const HEAD: &str = concat!(
    "GET /api/v1/projects/42/items?page=3&sort=name HTTP/1.1\r\n",
    "Host: shop.example.com\r\n",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0\r\n",
    "Accept: text/html,application/json;q=0.9,*/*;q=0.8\r\n",
    "Accept-Language: en-GB,en;q=0.5\r\n",
    "Accept-Encoding: gzip, deflate, br\r\n",
    "Authorization: Bearer 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789\r\n",
    "Referer: https://shop.example.com/index.html\r\n",
    "Connection: keep-alive\r\n\r\n",
);
const TIMES: u32 = 20_000;

fn main() {
    let mut reader = reader::Reader::of_requests();
    let mut rounds: Vec<u128> = (0..200)
        .map(|_| {
            let started = Instant::now();
            for _ in 0..TIMES {
                let step = black_box(reader.read(black_box(HEAD.as_bytes())));
                assert_eq!(step.sound, HEAD.len(), "{:?}", step.then);
            }
            started.elapsed().as_nanos() / u128::from(TIMES)
        })
        .collect();
    rounds.sort_unstable();
    let at = |place: usize| rounds.get(place).copied().unwrap_or_default();
    println!("{} bytes: best {} ns, median {} ns", HEAD.len(), at(0), at(rounds.len() / 2));
}
