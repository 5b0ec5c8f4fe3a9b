//! Masking takes the same memory, however much comes.
//!
//! `PORTCULLIS_SOAK` says how many times 32 MiB are streamed.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use flate2::{Compression, write::GzEncoder};

use super::CANARY;
use crate::shop::Shop;

const ONCE: usize = 32 * 1024 * 1024;
/// What the process may grow by at most while it streams, at any time.
const ROOM: usize = 16 * 1024 * 1024;

/// What an upstream streams: so many bytes of a document, in one of these shapes.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// Many records, each with something to mask.
    Records,
    /// The same, packed.
    Packed,
    /// One value that is masked.
    Value,
    /// One value that stays.
    Text,
    /// One event after the other.
    Events,
}

impl Shape {
    fn target(self) -> &'static str {
        match self {
            Self::Records => "/records",
            Self::Packed => "/packed",
            Self::Value => "/value",
            Self::Text => "/text",
            Self::Events => "/events",
        }
    }

    fn parts(self) -> (&'static str, String, &'static str) {
        let record = format!("{{\"id\":7,\"pin\":\"{CANARY}\",\"note\":\"{}\"}}", "n".repeat(400));
        match self {
            Self::Records | Self::Packed => ("[", format!("{record},"), "{}]"),
            Self::Value => ("{\"pin\":\"", CANARY.repeat(30), "\"}"),
            Self::Text => ("{\"a\":\"", "some text. ".repeat(50), "\"}"),
            Self::Events => ("", format!("data: {record}\n\n"), ""),
        }
    }
}

const SHAPES: [Shape; 5] =
    [Shape::Records, Shape::Packed, Shape::Value, Shape::Text, Shape::Events];

/// Streams until so many bytes were said, or nobody reads on.
fn stream(mut out: impl std::io::Write, shape: Shape, size: usize) -> std::io::Result<()> {
    let (first, again, last) = shape.parts();
    let many = again.repeat(64 * 1024 / again.len());
    out.write_all(first.as_bytes())?;
    for _ in 0..size / many.len() {
        out.write_all(many.as_bytes())?;
    }
    out.write_all(last.as_bytes())
}

fn upstream(size: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            thread::spawn(move || -> std::io::Result<()> {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    connection.read_exact(&mut byte)?;
                    head.push(byte[0]);
                }
                let head = String::from_utf8(head).unwrap();
                let wanted = |shape: &Shape| head.starts_with(&format!("GET {} ", shape.target()));
                let shape = SHAPES.into_iter().find(wanted).unwrap();
                let kind = match shape {
                    Shape::Events => "text/event-stream",
                    _ => "application/json",
                };
                let coding = match shape {
                    Shape::Packed => "Content-Encoding: gzip\r\n",
                    _ => "",
                };
                write!(
                    connection,
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {kind}\r\n{coding}\r\n"
                )?;
                match shape {
                    Shape::Packed => {
                        // Little of it packs: what unpacks to too much is refused.
                        let mut packed = GzEncoder::new(&mut connection, Compression::none());
                        stream(&mut packed, shape, size)?;
                        packed.finish()?;
                    }
                    _ => stream(&mut connection, shape, size)?,
                }
                Ok(())
            });
        }
    });
    address
}

/// What a process has in memory, now and at most so far, in bytes.
fn memory(pid: u32) -> (usize, usize) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let of = |name: &str| -> usize {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    };
    (of("VmRSS:"), of("VmHWM:"))
}

#[test]
fn masking_takes_the_same_memory_however_much_comes() {
    let soak: Option<usize> = std::env::var("PORTCULLIS_SOAK").ok().and_then(|n| n.parse().ok());
    let size = soak.unwrap_or(1) * ONCE;
    let address = upstream(size);
    let shop = Shop::with(&format!(
        "{{instances: {{s-1: \"http://{address}\"}}}}\nsensitive: {{pci: [\"$..pin\"]}}"
    ));
    let pid = shop.house.pid();
    for shape in SHAPES {
        // From here on the most that it had counts anew.
        fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
        let (before, _) = memory(pid);
        let mut client = TcpStream::connect(shop.house.gate).unwrap();
        let head = shop.head("GET", shape.target());
        write!(client, "{head}Connection: close\r\n\r\n").unwrap();
        let (mut some, mut came, mut masks) = (vec![0; 64 * 1024], 0, 0);
        let mut end = Vec::new();
        loop {
            let read = client.read(&mut some).unwrap();
            if read == 0 {
                break;
            }
            came += read;
            let text = &some[..read];
            assert!(!text.windows(CANARY.len()).any(|part| part == CANARY.as_bytes()));
            masks += text.windows(5).filter(|part| part == b"\"***\"").count();
            end = [&end[end.len().saturating_sub(8)..], text].concat();
        }
        let (after, most) = memory(pid);
        eprintln!("{shape:?}: {size} bytes, {before} before, {after} after, {most} at most");
        assert!(end.ends_with(b"0\r\n\r\n"), "{shape:?}: it broke off after {came}");
        match shape {
            Shape::Value => assert!(came < 10_000, "{came} {masks}"),
            Shape::Text => assert!(came > size / 2 && masks == 0, "{came} {masks}"),
            // One may be cut in two where it is read.
            _ => assert!(came > size / 2 && masks > size / 600, "{shape:?}: {came} {masks}"),
        }
        assert!(most < before + ROOM, "{shape:?}: from {before} to {most} over {size}");
    }
}
