//! An upstream that echoes the head of a request as the body of its answer, and streams.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    pub(crate) requests: Arc<AtomicUsize>,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let count = Arc::clone(&count);
                thread::spawn(move || serve(stream.unwrap(), &count));
            }
        });
        Self { address, requests }
    }
}

/// 1 KiB of JSON in which two fields of each order are sensitive, with the headers that a web server gives it.
static ORDERS: LazyLock<String> = LazyLock::new(|| {
    let order = |number: u32| {
        format!(
            r#"{{"id": "ord-{number:08}", "total": {}.25, "currency": "EUR", "paid": false, "note": null, "customer": {{"name": "Ana Example", "email": "ana.{number}@example.com", "tags": ["new", "web", "eu-west"]}}, "card": {{"brand": "visa", "number": "4111 1111 {number:04} 1111", "expires": "2029-12"}}, "address": {{"street": "Rua do Ouro 12, 3º", "city": "Lisboa", "zip": "1100-061"}}}}"#,
            number * 7
        )
    };
    let orders: Vec<String> = (0..2).map(order).collect();
    let text = format!(r#"{{"orders": [{}]}}"#, orders.join(", "));
    let text = format!("{text}{}", " ".repeat(1024 - text.len()));
    format!(
        "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 00:00:00 GMT\r\n\
         Content-Type: application/json\r\nContent-Length: 1024\r\nLast-Modified: Sun, 22 Nov 2026 19:04:00 GMT\r\n\
         Connection: keep-alive\r\nETag: \"65f0-400\"\r\nAccept-Ranges: bytes\r\n\r\n{text}"
    )
});

fn serve(mut stream: TcpStream, count: &AtomicUsize) {
    while let Some(head) = head(&mut stream) {
        count.fetch_add(1, Ordering::SeqCst);
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body).unwrap();
        if head.contains("/v1/events") {
            let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                          transfer-encoding: chunked\r\n\r\nd\r\ndata: hello\n\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
        } else if head.contains("/v1/socket") {
            let answer = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                          upgrade: websocket\r\nsec-websocket-accept: x\r\n\r\n\u{1}\u{5}hello";
            let mut answer = answer.as_bytes().to_vec();
            let frame = answer.len() - 7;
            answer[frame] = 0x81;
            stream.write_all(&answer).unwrap();
        } else if head.contains("/v1/orders") {
            stream.write_all(ORDERS.as_bytes()).unwrap();
        } else {
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
            stream.write_all(answer.as_bytes()).unwrap();
        }
    }
}

fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    Some(String::from_utf8(head).unwrap())
}
