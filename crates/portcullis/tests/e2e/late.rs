//! A core that does not keep up takes nothing new, and what has begun goes on.

use std::{
    net::SocketAddr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use portcullis_testkit::net::free_port;

use crate::{
    limits::metric, mesh::eventually, outsiders::self_signed, shop::Shop, upstream::Upstream,
    wire::Wire,
};

/// Keeps a process from doing anything most of the time, until it is dropped.
struct Starved {
    over: Arc<AtomicBool>,
    keeper: Option<thread::JoinHandle<()>>,
}

impl Starved {
    fn begin(process: u32) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let keeper = thread::spawn(move || {
            let signal = |name: &str| {
                let sent = Command::new("kill").args([name, &process.to_string()]).status();
                assert!(sent.unwrap().success());
            };
            while !is_over.load(Ordering::SeqCst) {
                signal("-STOP");
                thread::sleep(Duration::from_millis(900));
                signal("-CONT");
                thread::sleep(Duration::from_millis(80));
            }
        });
        Self { over, keeper: Some(keeper) }
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = self.keeper.take().map(thread::JoinHandle::join);
    }
}

#[test]
fn a_core_that_is_late_refuses_what_is_new_and_goes_on_with_the_rest() {
    let upstream = Upstream::start();
    let secret = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let (certificate, key) = self_signed();
    let tls = format!(
        "{{name: secret, address: \"{secret}\", tls: {{certificate: cert.pem, key: key.pem}}}}"
    );
    let mut shop = Shop::furnished(&upstream.url(), |plan| {
        let plan = plan.file("cert.pem", &certificate).file("key.pem", &key).listener(&tls);
        plan.setting("limits: {late: 200ms}")
    });
    shop.token = shop.writer();
    // One request has begun, and the rest of its body is to come.
    let mut begun = Wire::connect(shop.house.gate);
    begun.send([&shop.head("POST", "/page"), "Content-Length: 4\r\n\r\nab"].concat());
    let under_way = "portcullis_gate_upstream_requests{service=\"shop\",instance=\"s-1\"}";
    eventually("it has begun", || metric(&shop.house, under_way) == 1);
    let starved = Starved::begin(shop.house.pid());
    let mut refused = None;
    eventually("new ones are refused", || {
        let answer = shop.read_as(&shop.token);
        refused = (answer.status == 503).then_some(answer);
        refused.is_some()
    });
    assert_eq!(refused.unwrap().header("retry-after"), Some("1"));
    eventually("handshakes are not begun", || {
        let _ = Wire::connect(secret).until_closed();
        metric(&shop.house, "portcullis_gate_connections_turned_away_total{reason=\"late\"}") > 0
    });
    begun.send("cd");
    assert_eq!(begun.response().expect("an answer").status, 200, "it had begun before");
    drop(starved);
    eventually("all is well again", || (0..20).all(|_| shop.read_as(&shop.token).status == 200));
    let log = shop.house.log();
    assert!(log.contains("core.late") && log.contains("core.on_time"), "{log}");
}
