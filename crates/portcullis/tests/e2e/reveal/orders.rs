//! An upstream of orders: one by one as JSON, in two parts, without an end as events or messages, or only when it may.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use serde_json::json;

use super::{CARD, EMAIL};

/// Holds answers about `/orders/slow` back.
#[derive(Debug, Default)]
pub(super) struct Slow {
    /// So many wait; so many may go.
    state: Mutex<(usize, usize)>,
    moved: Condvar,
}

impl Slow {
    /// Waits until `count` have come so far.
    pub(super) fn until_waiting(&self, count: usize) {
        let state = self.state.lock().unwrap();
        let long = Duration::from_mins(1);
        let (state, _) =
            self.moved.wait_timeout_while(state, long, |(came, _)| *came < count).unwrap();
        assert!(state.0 >= count, "it never came");
    }

    /// Lets one more go.
    pub(super) fn release(&self) {
        self.state.lock().unwrap().1 += 1;
        self.moved.notify_all();
    }

    fn wait(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        self.moved.notify_all();
        let mut state = self.moved.wait_while(state, |(_, may)| *may == 0).unwrap();
        state.1 -= 1;
    }
}

pub(super) fn start(slow: &Arc<Slow>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, slow) = (listener.local_addr().unwrap(), Arc::clone(slow));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let slow = Arc::clone(&slow);
            std::thread::spawn(move || serve(stream, &slow));
        }
    });
    address
}

fn order() -> String {
    json!({"id": "o-1", "card": {"number": CARD}, "customer": {"email": EMAIL}}).to_string()
}

/// The second part only when it may.
fn in_parts(writer: &mut TcpStream, slow: &Slow) {
    let order = order();
    let (begin, rest) = order.split_at(order.find("\"customer\"").unwrap());
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked";
    let _ = write!(writer, "{head}\r\n\r\n{:x}\r\n{begin}\r\n", begin.len());
    slow.wait();
    let _ = write!(writer, "{:x}\r\n{rest}\r\n0\r\n\r\n", rest.len());
}

/// Reads a body in chunks, the last of which is empty; whether it came whole.
fn read_chunks(reader: &mut BufReader<TcpStream>, slow: &Slow) -> bool {
    slow.state.lock().unwrap().0 += 1;
    slow.moved.notify_all();
    let mut line = String::new();
    while line != "0\r\n" {
        line.clear();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return false;
        }
    }
    let _ = reader.read_line(&mut line);
    true
}

fn serve(stream: TcpStream, slow: &Slow) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        if head.starts_with("PUT ") && !read_chunks(&mut reader, slow) {
            return;
        }
        if head.starts_with("GET /orders/slow") {
            slow.wait();
        }
        if head.contains(" /orders/parts") {
            in_parts(&mut writer, slow);
            continue;
        }
        let is_empty = head.starts_with("GET /orders/o-1/empty");
        let order = if is_empty { json!({"id": "o-1"}).to_string() } else { order() };
        if !head.starts_with("GET /events") {
            let length = order.len();
            let _ = write!(
                writer,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{order}"
            );
            continue;
        }
        let is_socket = head.to_lowercase().contains("\r\nupgrade: websocket\r\n");
        if is_socket {
            let _ = write!(
                writer,
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            );
        } else {
            let _ = write!(
                writer,
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            );
        }
        let event = format!("data: {order}\n\n");
        let event = match u8::try_from(order.len()) {
            Ok(length) if is_socket => [&[0x81, length], order.as_bytes()].concat(),
            _ => format!("{:x}\r\n{event}\r\n", event.len()).into_bytes(),
        };
        while writer.write_all(&event).is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
        return;
    }
}
