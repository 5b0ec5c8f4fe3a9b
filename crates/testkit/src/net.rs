//! Ports, and waiting for them.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// A port of 127.0.0.1 that was free a moment ago.
pub fn free_port() -> u16 {
    bind_loopback().local_addr().expect("a bound listener has an address").port()
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
