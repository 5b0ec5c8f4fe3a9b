//! Handshakes: with an instance that speaks TLS and HTTP/1.1, many at a time.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use crate::{mesh::eventually, pki::Pki, shop::Shop, upstream_tls::Outside, wire::Wire};

/// Stands before an upstream. When it holds, nothing that upstream says gets through.
#[derive(Debug, Clone)]
struct Door {
    address: SocketAddr,
    holds: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
}

impl Door {
    fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let door = Self { address, holds: Arc::default(), connections: Arc::default() };
        let own = door.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                own.connections.fetch_add(1, SeqCst);
                let upstream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let (up, down) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
                thread::spawn(move || pass(up, upstream, None));
                let holds = Arc::clone(&own.holds);
                thread::spawn(move || pass(down, client, Some(&holds)));
            }
        });
        door
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, holds: Option<&AtomicBool>) {
    let mut some = [0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut some) {
        while holds.is_some_and(|holds| holds.load(SeqCst)) {
            thread::sleep(Duration::from_millis(5));
        }
        if to.write_all(&some[..read]).is_err() {
            return;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}

#[test]
fn nobody_waits_for_the_handshake_of_somebody_else() {
    let pki = Pki::new();
    let authority = pki.authority("mesh");
    let outside = Outside::start(&pki.server("named", &authority), None);
    let door = Door::before(outside.port);
    let upstream = format!(
        "{{url: \"https://{}\", timeouts: {{connect: 1m}}, tls: {{ca: mesh.crt, server_name: shop.example.com}}}}",
        door.address
    );
    let shop = Shop::unready_with(&upstream, |plan| plan.file("mesh.crt", &authority.pem()));
    shop.house.wait_ready();
    let mut wires: Vec<_> = (0..9).map(|_| Wire::connect(shop.house.gate)).collect();
    let request = format!("{}\r\n", shop.head("GET", "/page"));
    // Each core has heard then that there is nothing to share, and has a connection.
    for wire in &mut wires {
        assert_eq!(wire.send(&request).response().unwrap().status, 200);
    }
    let before = door.connections.load(SeqCst);
    door.holds.store(true, SeqCst);
    for wire in &mut wires {
        wire.send(&request);
    }
    // All but those that go over the connections there are.
    eventually("all connect", || door.connections.load(SeqCst) >= 9);
    assert!(before <= 2, "{before}");
    door.holds.store(false, SeqCst);
    for wire in &mut wires {
        assert_eq!(wire.response().unwrap().status, 200);
    }
}
