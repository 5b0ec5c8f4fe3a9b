//! An upstream that writes down every byte it receives.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// A recording HTTP/1.1 server that answers 200 and the word `upstream`.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
}

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Received {
    /// Method and target.
    pub(crate) fn target(&self) -> &str {
        let line = self.head.lines().next().unwrap_or_default();
        line.rsplit_once(' ').map_or(line, |(target, _)| target)
    }

    /// All values of a header, any case.
    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let named = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.trim()).collect()
    }
}

impl Upstream {
    pub(crate) fn start() -> Self {
        Self::answering(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n\r\nupstream",
        )
    }

    /// Answers every request with these bytes.
    pub(crate) fn answering(response: &'static str) -> Self {
        Self::replying(move |_| response.to_owned())
    }

    /// Answers each request with what `reply` makes of it.
    pub(crate) fn replying(reply: impl Fn(&Received) -> String + Send + Sync + 'static) -> Self {
        let reply = Arc::new(reply);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&received);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let log = Arc::clone(&log);
                let reply = Arc::clone(&reply);
                std::thread::spawn(move || talk(stream, &log, &*reply));
            }
        });
        Self { address, received }
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What arrived so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// What arrived since the last call.
    pub(crate) fn take(&self) -> Vec<Received> {
        std::mem::take(&mut *self.received.lock().unwrap())
    }
}

fn talk(mut stream: TcpStream, log: &Mutex<Vec<Received>>, reply: &dyn Fn(&Received) -> String) {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer) {
        let response = reply(&request);
        log.lock().unwrap().push(request);
        if stream.write_all(response.as_bytes()).is_err() {
            return;
        }
    }
}

fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Received> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        fill(stream, buffer)?;
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    buffer.drain(..head_end);
    let mut request = Received { head, body: Vec::new() };
    if let Some(length) = request.headers("content-length").first() {
        let length: usize = length.parse().ok()?;
        while buffer.len() < length {
            fill(stream, buffer)?;
        }
        request.body = buffer.drain(..length).collect();
    } else if !request.headers("transfer-encoding").is_empty() {
        let end = loop {
            match end_of_chunks(buffer) {
                Some(end) => break end,
                None => fill(stream, buffer)?,
            }
        };
        request.body = buffer.drain(..end).collect();
    }
    Some(request)
}

/// Where the chunks at the start of `bytes` end, their trailers included.
fn end_of_chunks(bytes: &[u8]) -> Option<usize> {
    let line = |from: usize| {
        let rest = bytes.get(from..)?;
        rest.windows(2).position(|two| two == b"\r\n").map(|length| from + length)
    };
    let mut at = 0;
    loop {
        let end = line(at)?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[at..end]).ok()?, 16).ok()?;
        at = end + 2;
        if size == 0 {
            break;
        }
        at += size + 2;
    }
    loop {
        let end = line(at)?;
        if end == at {
            return Some(end + 2);
        }
        at = end + 2;
    }
}

fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut chunk = [0; 16 * 1024];
    let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
    buffer.extend_from_slice(&chunk[..read]);
    Some(())
}
