//! Group C: what a service wants changed in headers.

use crate::{
    house::{House, Plan},
    people::Person,
    upstream::Upstream,
    wire::{Response, exchange},
};

const ANSWER: &str = "HTTP/1.1 200 OK\r\nServer: old/1.0\r\nCache-Control: public\r\nX-Seen: 1\r\nContent-Length: 8\r\n\r\nupstream";
const RULES: &str = "headers:
  request: {set: {X-Team: shop}, add: {X-Route: gate}, remove: [Accept-Encoding, X-Debug]}
  response: {set: {Cache-Control: no-store}, add: {X-Seen: \"2\"}, remove: [Server]}";
const POLICY: &str = r#"
@id("readers") @all_services("true") permit (principal is Workload in Group::"readers", action in Action::"read", resource);
@id("once") @all_services("true") @reviews("1") @max_uses("1") @max_duration("10m")
permit (principal is User in Group::"engineers", action in Action::"write", resource) when { context has grant };
@id("review") permit (principal is User in Group::"leads", action == Action::"review", resource is AccessRequest);
"#;

fn house(upstream: &Upstream) -> House {
    let url = upstream.url();
    let service = |name: &str, more: &str| {
        format!("name: {name}\nhosts: [{name}.test]\nupstream: {{url: \"{url}\"}}\n{more}")
    };
    Plan::empty()
        .service(&service("ruled", RULES))
        .service(&service("plain", ""))
        .policy("rules.cedar", POLICY)
        .start()
}

fn send(house: &House, host: &str, method: &str, token: &str, headers: &str) -> Response {
    let request = format!(
        "{method} /page HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n{headers}Connection: close\r\n\r\n"
    );
    exchange(house.gate, request)
}

#[test]
fn c02_headers_of_requests_and_answers_are_changed_as_their_service_wants_it() {
    let upstream = Upstream::answering(ANSWER);
    let house = house(&upstream);
    let token = house.workload_token("reader", &["readers"]);
    let sent = "X-Team: evil\r\nX_Team: evil\r\nX-Route: client\r\nAccept-Encoding: br\r\nX-Debug: 1\r\nX_DEBUG: 1\r\nX-Stays: 1\r\n";
    let answer = send(&house, "ruled.test", "GET", &token, sent);
    assert_eq!((answer.status, answer.header("server")), (200, None));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let seen: Vec<_> = answer.headers.iter().filter(|(name, _)| name == "x-seen").collect();
    assert_eq!(seen.len(), 2, "{seen:?}");
    let received = upstream.take().remove(0);
    assert_eq!(received.headers("x-team"), ["shop"], "{}", received.head);
    assert_eq!(received.headers("x-route"), ["client", "gate"]);
    assert_eq!(received.headers("x-stays"), ["1"]);
    for gone in ["x_team", "accept-encoding", "x-debug", "x_debug"] {
        assert!(received.headers(gone).is_empty(), "{gone}: {}", received.head);
    }
    assert_eq!(received.headers("portcullis-principal"), ["builds:reader"]);
    let answer = send(&house, "plain.test", "GET", &token, sent);
    assert_eq!(answer.header("server"), Some("old/1.0"));
    let received = upstream.take().remove(0);
    assert_eq!(received.headers("x-team"), ["evil"], "others are left as they are");
    assert_eq!(received.headers("accept-encoding"), ["br"]);
}

#[test]
fn what_is_approved_is_what_is_sent_with_its_rules() {
    let upstream = Upstream::answering(ANSWER);
    let house = house(&upstream);
    let token = house.gate_token(&house.sign_in(&Person::new("ben", &["engineers"])));
    let digest = |headers: &str| {
        let answer = send(&house, "ruled.test", "POST", &token, headers);
        assert_eq!(answer.status, 403, "{}", answer.text());
        answer.json()["digest"].as_str().expect("a digest").to_owned()
    };
    let own = digest("");
    assert_eq!(digest("X-Team: evil\r\nX-Debug: 1\r\n"), own, "they do not reach the service");
    assert_ne!(digest("X-Stays: 1\r\n"), own, "this one does");
    assert_ne!(digest("X-Route: client\r\n"), own);
    assert!(upstream.take().is_empty());
}
