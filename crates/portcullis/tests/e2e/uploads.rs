//! Uploads over HTTP/2: one that its service does not take holds up no other on its connection.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    thread,
};

use crate::{
    shop::{HOST, Shop},
    streams::script,
};

/// A service that reads whole bodies and answers, but for `/stalled`, of which it reads the head. Its URL.
fn choosy() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || while serve(&stream).is_some() {});
        }
    });
    url
}

fn serve(mut stream: &TcpStream) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    if head.starts_with("post /stalled") {
        // Until the gate has lost its patience, and hardly sooner.
        thread::park();
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = stream.take(length.parse().unwrap());
    std::io::copy(&mut body, &mut std::io::sink()).ok()?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").ok()
}

#[test]
fn an_upload_that_its_service_does_not_take_holds_up_no_other() {
    let mut shop = Shop::before(&choosy());
    shop.token = shop.writer();
    let (python, path) = script("upload_peer.py");
    let gate = shop.house.gate.to_string();
    let output =
        Command::new(python).arg(path).args(["beside", &gate, HOST, &shop.token]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let find = |key: &str| said.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    let stalled: u64 = find("stalled after: ").parse().unwrap_or_else(|_| panic!("{said}"));
    assert!(stalled > 0, "{said}");
    assert_eq!(find("beside it: "), "status 200", "{said}");
}
