//! G15: by whatever door a request comes in, its answer is masked.

use std::{net::SocketAddr, process::Command};

use portcullis_testkit::net::free_port;

use super::{
    DOCUMENT, MASKED, Mouth,
    matrix::lanes::{ask1, ask2},
    sized,
};
use crate::{house::Plan, outsiders::self_signed, shop::HOST};

const POLICIES: &str = r#"
@id("shop")
permit (principal is Workload in Group::"readers", action in [Action::"shop.read", Action::"shop.write"], resource in Service::"shop");
"#;

#[track_caller]
fn is_masked(what: &str, body: &[u8]) {
    assert_eq!(String::from_utf8_lossy(body), MASKED, "{what}");
}

/// Asks over every version of HTTP, in clear text.
fn ask_all(address: SocketAddr, host: &str, token: &str, more: &str) {
    let case = format!("{host} {more:?} {address}");
    for version in ["1.1", "1.0"] {
        let head = format!(
            "GET /order HTTP/{version}\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n{more}"
        );
        is_masked(&case, &ask1(address, &head).body);
    }
    let request = hyper::Request::builder()
        .uri(format!("http://{host}/order"))
        .header("authorization", format!("Bearer {token}"));
    let request = match more.trim().split_once(": ") {
        Some((name, value)) => request.header(name, value),
        None => request,
    };
    is_masked(&case, &ask2(address, request.body(String::new()).unwrap()).body);
}

#[test]
fn g15_by_whatever_listener_protocol_host_or_instance_the_answer_is_masked() {
    let mouth = Mouth::open();
    *mouth.words.lock().unwrap() = sized("application/json", "", DOCUMENT.as_bytes());
    let (plain, tls) = (free_port(), free_port());
    let (certificate, key) = self_signed();
    let house = Plan::empty()
        .service(&format!(
            "name: shop\nhosts: [{HOST}, other.example.com]\nupstream: {{instances: {{s-1: \"http://{0}\", s-2: \"http://{0}\"}}, addressed_only: [s-2]}}\n\
             sensitive: {{pci: [\"$.card.number\"]}}",
            mouth.address
        ))
        .policy("shop.cedar", POLICIES)
        .file("cert.pem", &certificate)
        .file("key.pem", &key)
        .listener(&format!("{{name: second, address: \"127.0.0.1:{plain}\"}}"))
        .listener(&format!(
            "{{name: tls, address: \"127.0.0.1:{tls}\", tls: {{certificate: cert.pem, key: key.pem}}}}"
        ))
        .start();
    let token = house.workload_token("reader", &["readers"]);
    let second = SocketAddr::from(([127, 0, 0, 1], plain));
    for host in [HOST, "other.example.com"] {
        for more in ["", "Portcullis-Instance: s-1\r\n", "Portcullis-Instance: s-2\r\n"] {
            for address in [house.gate, second] {
                ask_all(address, host, &token, more);
            }
        }
        for version in ["--http1.1", "--http2"] {
            let curl = Command::new("curl")
                .args(["-sSk", "--max-time", "30", version, "--resolve"])
                .arg(format!("{host}:{tls}:127.0.0.1"))
                .args(["-H", &format!("Authorization: Bearer {token}")])
                .arg(format!("https://{host}:{tls}/order"))
                .output()
                .unwrap();
            is_masked(&format!("{host} {version}: {curl:?}"), &curl.stdout);
        }
    }
}
