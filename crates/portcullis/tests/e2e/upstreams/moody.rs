//! An upstream that changes its mind.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// What it does with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// Answers with this status at once.
    Says(u16),
    /// Answers 200 when its mood has changed.
    Waits,
    /// Closes the connection instead of answering.
    HangsUp,
    /// The same once, and answers 200 from then on.
    HangsUpOnce,
    /// The same once, and waits from then on.
    HangsUpThenWaits,
    /// Answers 302 with this location.
    Redirects(&'static str),
}

/// A running one, and what it has seen.
#[derive(Debug, Clone)]
pub(super) struct Moody {
    pub(super) address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    requests: Arc<AtomicUsize>,
    checks: Arc<AtomicUsize>,
}

impl Moody {
    pub(super) fn start(mood: Mood) -> Self {
        Self::at("127.0.0.1:0", mood)
    }

    pub(super) fn at(address: &str, mood: Mood) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let moody = Self {
            address,
            mood: Arc::new(Mutex::new(mood)),
            requests: Arc::default(),
            checks: Arc::default(),
        };
        let own = moody.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let own = own.clone();
                thread::spawn(move || own.talk(stream));
            }
        });
        moody
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn becomes(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// Requests so far, health checks aside.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Health checks so far.
    pub(super) fn checks(&self) -> usize {
        self.checks.load(Ordering::SeqCst)
    }

    fn mood(&self) -> Mood {
        *self.mood.lock().unwrap()
    }

    fn talk(&self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        let mut some = [0; 4096];
        loop {
            let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
                match stream.read(&mut some) {
                    Ok(read @ 1..) => buffer.extend_from_slice(&some[..read]),
                    _ => return,
                }
                continue;
            };
            let head: Vec<u8> = buffer.drain(..end + 4).collect();
            let is_check = head.starts_with(b"GET /healthz");
            let counter = if is_check { &self.checks } else { &self.requests };
            counter.fetch_add(1, Ordering::SeqCst);
            while !is_check && self.mood() == Mood::Waits {
                thread::sleep(Duration::from_millis(5));
            }
            let mood = {
                let mut mood = self.mood.lock().unwrap();
                let now = *mood;
                *mood = match now {
                    Mood::HangsUpOnce => Mood::Says(200),
                    Mood::HangsUpThenWaits => Mood::Waits,
                    other => other,
                };
                now
            };
            let (status, more) = match mood {
                Mood::Says(status) => (status, String::new()),
                Mood::Waits => (200, String::new()),
                Mood::Redirects(to) => (302, format!("Location: {to}\r\n")),
                Mood::HangsUp | Mood::HangsUpOnce | Mood::HangsUpThenWaits => return,
            };
            let answer = format!(
                "HTTP/1.1 {status} X\r\n{more}Content-Length: 2\r\nInstance: {}\r\n\r\nok",
                self.address.port()
            );
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}
