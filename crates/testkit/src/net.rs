//! Ports, and waiting for them.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// A port of 127.0.0.1 that was free a moment ago, and that nobody is given by chance.
///
/// It is from below the range that the kernel serves from, and each of this process is another one:
/// otherwise a test beside this one, or any outgoing connection, could be given it in between.
pub fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const PORTS: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = process::id().wrapping_mul(101);
    (0..PORTS)
        .map(|_| start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS + FIRST)
        .filter_map(|port| u16::try_from(port).ok())
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .expect("loopback has a free port")
}

/// Waits until something accepts connections at `address`; `false` if nothing does in time.
pub fn wait_for_port(address: SocketAddr, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok() {
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
    false
}

pub(crate) fn bind_loopback() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port")
}
