//! Whoever reaches a local endpoint is its owner: pages of others are kept out.

use super::{Tools, curl, raw};
use crate::connect::Connect;

#[test]
fn n13_a_page_of_another_origin_and_a_rebound_name_reach_nothing() {
    let tools = Tools::open();
    let connect = Connect::start(&tools.house, "ana", &["shop"], &[]);
    let at = connect.at("shop");
    let port = at.port();
    let own = format!("Host: {at}\r\n");
    for (status, headers) in [
        (421, format!("Host: evil.example.com:{port}\r\n")),
        (421, "Host: shop.example.com\r\n".to_owned()),
        (421, format!("Host: 127.0.0.1.evil.example.com:{port}\r\n")),
        (403, format!("{own}Origin: https://evil.example.com\r\n")),
        (403, format!("{own}Origin: http://localhost:3000\r\nSec-Fetch-Site: same-site\r\n")),
        (403, format!("{own}Origin: null\r\n")),
        (403, format!("{own}Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n")),
        (403, format!("{own}Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: no-cors\r\n")),
    ] {
        for method in ["GET", "POST", "OPTIONS"] {
            let answer = raw(at, method, &headers);
            assert_eq!(answer.status, status, "{headers}: {}", answer.text());
            assert!(answer.header("access-control-allow-origin").is_none());
        }
    }
    let evil = curl(&[
        "--http2-prior-knowledge",
        "-w",
        "%{http_code}",
        "-o",
        "/dev/null",
        "--resolve",
        &format!("evil.example.com:{port}:127.0.0.1"),
        &format!("http://evil.example.com:{port}/"),
    ]);
    assert_eq!(evil, "421");
    assert!(tools.upstream.take().is_empty(), "nothing reached the service");
    assert_eq!(tools.sign_ins(), 0, "nor was a sign-in made for it");
    // A page of the service itself, and somebody who typed the address.
    for headers in [
        format!("{own}Origin: http://{at}\r\nSec-Fetch-Site: same-origin\r\n"),
        format!("{own}Sec-Fetch-Site: none\r\n"),
        format!("Host: shop.localhost:{port}\r\n"),
    ] {
        assert_eq!(raw(at, "GET", &headers).status, 200, "{headers}");
    }
    let origins: Vec<_> = tools.upstream.take();
    let origin = origins[0].headers("origin");
    assert_eq!(origin, [format!("http://shop.example.com:{}", tools.house.gate.port())]);
}

#[test]
fn it_is_no_proxy_and_an_exposed_one_answers_to_addresses_and_given_names() {
    let tools = Tools::open();
    let connect = Connect::start(
        &tools.house,
        "ana",
        &["shop=0.0.0.0:0", "--expose", "--host", "tools.test"],
        &[],
    );
    connect.until_said("connects as you");
    let at = connect.at("shop");
    let at = std::net::SocketAddr::from(([127, 0, 0, 1], at.port()));
    for (host, status) in [("tools.test", 200), ("10.0.0.7:9000", 200), ("evil.example.com", 421)] {
        assert_eq!(raw(at, "GET", &format!("Host: {host}\r\n")).status, status, "{host}");
    }
    for (origin, status) in [("http://10.0.0.7:9000", 200), ("http://10.0.0.8:9000", 403)] {
        let headers = format!("Host: 10.0.0.7:9000\r\nOrigin: {origin}\r\n");
        assert_eq!(raw(at, "GET", &headers).status, status, "{origin}");
    }
    let proxied = curl(&[
        "-w",
        "%{http_code}",
        "-o",
        "/dev/null",
        "-x",
        &format!("http://{at}"),
        "http://shop.example.com/",
    ]);
    assert_eq!(proxied, "421");
    let tunnelled =
        crate::wire::exchange(at, format!("CONNECT {at} HTTP/1.1\r\nHost: {at}\r\n\r\n"));
    assert_eq!(tunnelled.status, 405);
}
