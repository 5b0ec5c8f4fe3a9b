//! The network between a job and control, with what may go wrong there.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

/// What gets lost without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Swallowed {
    Nothing,
    /// What asks for a sign-in that lasts.
    LastingSignIns,
    /// All that comes from the job: its connections stay open, and new ones are taken.
    Everything,
}

/// A way to control.
pub(super) struct Way {
    address: SocketAddr,
    lost: Arc<Lost>,
}

struct Lost {
    what: Mutex<Swallowed>,
    any: AtomicBool,
}

impl Way {
    pub(super) fn to(control: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let lost = Lost { what: Mutex::new(Swallowed::Nothing), any: AtomicBool::new(false) };
        let lost = Arc::new(lost);
        let told = Arc::clone(&lost);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let far = TcpStream::connect(control).unwrap();
                let (mut from, mut to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
                let told = Arc::clone(&told);
                std::thread::spawn(move || carry(near, far, &told));
            }
        });
        Self { address, lost }
    }

    /// Where a job finds it.
    pub(super) fn variable(&self) -> (String, String) {
        ("PORTCULLIS_URL".to_owned(), format!("http://{}", self.address))
    }

    /// From now on.
    pub(super) fn swallow(&self, what: Swallowed) {
        self.lost.any.store(false, Ordering::SeqCst);
        *self.lost.what.lock().unwrap() = what;
    }

    /// Whether anything was, since it was said.
    pub(super) fn has_swallowed(&self) -> bool {
        self.lost.any.load(Ordering::SeqCst)
    }
}

fn carry(mut near: TcpStream, mut far: TcpStream, lost: &Lost) {
    let (mut buffer, word) = (vec![0; 64 * 1024], b"\"lasting\"");
    while let Ok(length @ 1..) = near.read(&mut buffer) {
        let part = &buffer[..length];
        let is_lost = match *lost.what.lock().unwrap() {
            Swallowed::Nothing => false,
            Swallowed::LastingSignIns => part.windows(word.len()).any(|window| window == word),
            Swallowed::Everything => true,
        };
        if is_lost {
            lost.any.store(true, Ordering::SeqCst);
        } else if far.write_all(part).is_err() {
            break;
        }
    }
    let _ = far.shutdown(Shutdown::Both);
}
