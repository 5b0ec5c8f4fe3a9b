//! A client that sends exactly the bytes it is told to: what a hostile peer would do.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::secrecy;

/// A response as it came over the wire.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the peer closed the connection behind it.
    pub(crate) closed: bool,
}

impl Response {
    /// The first header of that name, any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON; panics with the body if it is none.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection that can be written to and read from response by response.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Credentials that went out and may come back in no refusal.
    presented: Vec<String>,
}

impl Wire {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the peer listens");
        // Long enough for a disk that is busy with something else.
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new(), presented: Vec::new() }
    }

    /// The same connection once more, to write to while this one waits.
    pub(crate) fn another(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    /// How long to wait for bytes, if not 10 s.
    pub(crate) fn patience(&mut self, patience: Duration) -> &mut Self {
        self.stream.set_read_timeout(Some(patience)).unwrap();
        self
    }

    /// Sends bytes; a peer that closed already is no error, its answer is what counts.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.presented.extend(secrecy::of_request(bytes.as_ref()));
        let _ = self.stream.write_all(bytes.as_ref());
        self
    }

    /// The head that comes next, which [`Self::response`] still reads.
    pub(crate) fn read_head(&mut self) -> Vec<u8> {
        while find(&self.buffer, b"\r\n\r\n").is_none() && self.fill() {}
        let end = find(&self.buffer, b"\r\n\r\n").map_or(self.buffer.len(), |at| at + 4);
        self.buffer[..end].to_vec()
    }

    /// Reads one response; `None` if the peer closed before its head was whole.
    pub(crate) fn response(&mut self) -> Option<Response> {
        let response = self.next_response()?;
        secrecy::of_response(&response);
        secrecy::check_refusal(&self.presented, &response);
        Some(response)
    }

    fn next_response(&mut self) -> Option<Response> {
        let head_end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            if !self.fill() {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&self.buffer[..head_end]).into_owned();
        self.buffer.drain(..head_end);
        let (status, headers) = parse_head(&head);
        if (100..200).contains(&status) && status != 101 {
            return self.next_response();
        }
        let mut response = Response { status, headers, body: Vec::new(), closed: false };
        if status == 101 || status == 204 || status == 304 {
            return Some(response);
        }
        if response.header("transfer-encoding").is_some() {
            response.body = self.chunked();
        } else if let Some(length) = response.header("content-length") {
            let length = length.parse().expect("a number");
            while self.buffer.len() < length && self.fill() {}
            let available = self.buffer.len().min(length);
            response.body = self.buffer.drain(..available).collect();
        } else {
            while self.fill() {}
            response.body = std::mem::take(&mut self.buffer);
        }
        response.closed = response.header("connection").is_some_and(|v| v.contains("close"));
        Some(response)
    }

    /// Reads what comes until `end` was seen, the peer closed, or the patience is over.
    pub(crate) fn read_until(&mut self, end: &[u8]) -> Vec<u8> {
        while find(&self.buffer, end).is_none() && self.fill() {}
        let length = find(&self.buffer, end).map_or(self.buffer.len(), |at| at + end.len());
        self.buffer.drain(..length).collect()
    }

    /// Waits for the peer to close; the bytes that came before it did. `None` after 30 s of silence.
    pub(crate) fn until_closed(&mut self) -> Option<Vec<u8>> {
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Some(std::mem::take(&mut self.buffer)),
                Ok(read) => self.buffer.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                    return Some(std::mem::take(&mut self.buffer));
                }
                Err(_) => return None,
            }
        }
    }

    /// The connection itself, behind a 101, and what came with its head.
    pub(crate) fn into_stream(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.buffer)
    }

    fn chunked(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            while find(&self.buffer, b"\r\n").is_none() {
                if !self.fill() {
                    return body;
                }
            }
            let line_end = find(&self.buffer, b"\r\n").unwrap();
            let line = String::from_utf8_lossy(&self.buffer[..line_end]).into_owned();
            let size = usize::from_str_radix(line.split(';').next().unwrap().trim(), 16).unwrap();
            while self.buffer.len() < line_end + 2 + size + 2 {
                if !self.fill() {
                    return body;
                }
            }
            body.extend_from_slice(&self.buffer[line_end + 2..line_end + 2 + size]);
            self.buffer.drain(..line_end + 2 + size + 2);
            if size == 0 {
                return body;
            }
        }
    }

    fn fill(&mut self) -> bool {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) | Err(_) => false,
            Ok(read) => {
                self.buffer.extend_from_slice(&chunk[..read]);
                true
            }
        }
    }
}

/// Sends `bytes` on a connection of their own and reads one response.
pub(crate) fn exchange(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Response {
    let mut wire = Wire::connect(address);
    wire.send(bytes);
    let Some(mut response) = wire.response() else {
        panic!("closed, or silent for 30 s, without an answer")
    };
    response.closed |= wire.buffer.is_empty() && {
        wire.stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        matches!(wire.stream.read(&mut [0; 1]), Ok(0))
    };
    response
}

fn parse_head(head: &str) -> (u16, Vec<(String, String)>) {
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(key, value)| (key.to_owned(), value.trim().to_owned()));
    (status.parse().expect("a status"), headers.collect())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Asks with JSON, and a bearer token if there is one.
pub(crate) fn request(
    address: SocketAddr,
    host: &str,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: Option<&serde_json::Value>,
) -> Response {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    if let Some(token) = token {
        head += &format!("Authorization: Bearer {token}\r\n");
    }
    let body = body.map(serde_json::Value::to_string).unwrap_or_default();
    if !body.is_empty() || method == "POST" {
        head += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    exchange(address, format!("{head}\r\n{body}"))
}
