//! Group N: pages of other origins that a service is shared with.

use std::process::Command;

use portcullis_testkit::net::free_port;
use serde_json::Value;

use crate::{
    chromium::{installed, self_signed},
    shop::{HOST, Shop},
    upstream::Upstream,
    wire::{Response, exchange},
};

const APP: &str = "https://app.example.com";
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: \"1\"\r\nX-Hidden: 1\r\nVary: Accept\r\n\
    Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: X-Hidden\r\nContent-Length: 8\r\n\r\nupstream";

/// Services with and without `cors`, one after the other before the same upstream.
fn shop(upstream: &Upstream, origins: &str, more: &str) -> Shop {
    let url = upstream.url();
    let service = |name: &str, cors: &str| {
        format!("name: {name}\nhosts: [{name}.example.com]\nupstream: {{url: \"{url}\"}}\n{cors}")
    };
    let cors = format!("cors: {{origins: {origins}, expose: [ETag]{more}}}");
    Shop::furnished(&url, |plan| {
        plan.service(&service("shared", &cors))
            .service(&service("open", "cors: {origins: [\"*\"]}"))
            .policy(
                "shared.cedar",
                r#"@id("shared") @all_services("true") permit (principal is Workload in Group::"readers", action in Action::"read", resource);"#,
            )
    })
}

fn ask(shop: &Shop, host: &str, method: &str, headers: &str) -> Response {
    let request =
        format!("{method} /page HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n");
    exchange(shop.house.gate, request)
}

fn allows(response: &Response) -> [Option<&str>; 3] {
    let names = ["origin", "credentials", "methods"];
    names.map(|name| response.header(&format!("access-control-allow-{name}")))
}

const ASKS: &str =
    "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: authorization\r\n";

#[test]
fn n14_a_preflight_is_answered_by_the_gate_and_goes_nowhere() {
    let upstream = Upstream::answering(ANSWER);
    let shop = shop(&upstream, &format!("[\"{APP}\"]"), ", credentials: true, max_age: 1h");
    let asks = |origin: &str, host: &str| {
        ask(&shop, host, "OPTIONS", &format!("Origin: {origin}\r\n{ASKS}"))
    };
    let answer = asks(APP, "shared.example.com");
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    let methods = Some("GET, HEAD, POST, PUT, PATCH, DELETE");
    assert_eq!(allows(&answer), [Some(APP), Some("true"), methods]);
    assert_eq!(answer.header("access-control-max-age"), Some("3600"));
    let headers = answer.header("access-control-allow-headers").unwrap();
    assert!(headers.contains("Authorization") && headers.contains("Content-Type"), "{headers}");
    assert!(answer.header("vary").unwrap().starts_with("Origin"));
    let open = asks("https://anybody.example", "open.example.com");
    assert_eq!((open.status, allows(&open)[0], allows(&open)[1]), (204, Some("*"), None));
    // Others are told what everybody is told who does not say who they are.
    for origin in [
        "https://evil.example",
        "null",
        "http://app.example.com",
        "https://app.example.com.evil.example",
        "https://APP.example.com",
    ] {
        let answer = asks(origin, "shared.example.com");
        assert_eq!((answer.status, allows(&answer)), (401, [None; 3]), "{origin}");
        assert_eq!(answer.header("vary"), Some("Origin"), "{origin}");
    }
    for host in [HOST, "nowhere.example.com"] {
        let answer = asks(APP, host);
        assert_eq!((answer.status, allows(&answer)), (401, [None; 3]), "{host}");
    }
    let own = format!(
        "OPTIONS /.portcullis/sign-out HTTP/1.1\r\nHost: shared.example.com\r\nOrigin: {APP}\r\n{ASKS}Connection: close\r\n\r\n"
    );
    assert_eq!(allows(&exchange(shop.house.gate, own))[0], None, "the gate's own pages");
    // What only looks like one is a request like any other.
    let token = format!("Authorization: Bearer {}\r\n", shop.token);
    for headers in [
        format!("Origin: {APP}\r\n"),
        ASKS.to_owned(),
        format!("Origin: {APP}\r\nOrigin: {APP}\r\n{ASKS}"),
        format!("Origin: {APP}\r\n{ASKS}Content-Length: 1\r\n"),
    ] {
        assert_eq!(ask(&shop, "shared.example.com", "OPTIONS", &headers).status, 401, "{headers}");
    }
    assert!(upstream.take().is_empty(), "nothing was forwarded");
    let plain = ask(&shop, "shared.example.com", "OPTIONS", &format!("Origin: {APP}\r\n{token}"));
    assert_eq!(plain.status, 403, "OPTIONS itself writes, and is decided: {}", plain.text());
    let metrics = shop.house.api("GET", "/metrics", None, None).text();
    let counted = "portcullis_gate_requests_total{service=\"shared\",decision=\"preflight\",status=\"2xx\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
}

#[test]
fn n14_answers_and_refusals_say_who_may_read_them() {
    let upstream = Upstream::answering(ANSWER);
    let shop = shop(&upstream, &format!("[\"https://b.example\", \"{APP}\"]"), "");
    let token = format!("Authorization: Bearer {}\r\n", shop.token);
    let from = |origin: &str, method: &str, headers: &str| {
        ask(&shop, "shared.example.com", method, &format!("Origin: {origin}\r\n{headers}"))
    };
    for (method, headers, status) in [
        ("GET", token.as_str(), 200),
        ("POST", &token, 403),
        ("GET", "", 401),
        ("GET", "Authorization: Bearer forged\r\n", 401),
    ] {
        let answer = from(APP, method, headers);
        assert_eq!((answer.status, allows(&answer)), (status, [Some(APP), None, None]));
        let exposed = answer.header("access-control-expose-headers").unwrap();
        assert!(
            exposed.contains("Portcullis-Request-Id") && exposed.ends_with("ETag"),
            "{exposed}"
        );
        assert!(!exposed.contains("X-Hidden"), "the upstream's own words are replaced");
        let vary: Vec<_> = answer.headers.iter().filter(|(name, _)| name == "vary").collect();
        assert!(vary.iter().any(|(_, value)| value == "Origin"), "{vary:?}");
    }
    let problem = from(APP, "POST", &token);
    assert_eq!(problem.header("content-type"), Some("application/problem+json"));
    // Nobody else's pages read anything, and caches can tell.
    for origin in ["https://evil.example", "null"] {
        for (headers, status) in [(token.as_str(), 200), ("", 401)] {
            let answer = from(origin, "GET", headers);
            assert_eq!((answer.status, allows(&answer)), (status, [None; 3]), "{origin}");
            assert_eq!(answer.header("access-control-expose-headers"), None);
        }
    }
    let without = ask(&shop, "shared.example.com", "GET", &token);
    assert_eq!((without.status, allows(&without)[0]), (200, None));
    let varies = without.headers.iter().any(|(name, value)| name == "vary" && value == "Origin");
    assert!(varies, "{:?}", without.headers);
    // Where nothing is said about it, what the upstream says passes.
    let usual = ask(&shop, HOST, "GET", &format!("Origin: {APP}\r\n{token}"));
    assert_eq!((usual.status, allows(&usual)[0]), (200, Some("*")));
    let curl = Command::new("curl")
        .args(["-sS", "-i", "-H", &format!("Origin: {APP}"), "-H", "Host: shared.example.com"])
        .arg(format!("http://{}/page", shop.house.gate))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&curl.stdout).into_owned();
    assert!(text.contains(&format!("access-control-allow-origin: {APP}")), "{text}");
}

#[test]
fn n14_an_application_in_chromium_uses_a_service_of_another_origin() {
    let Some(folder) = installed() else { return };
    let upstream = Upstream::answering(ANSWER);
    let page = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 16\r\n\r\n<title>a</title>",
    );
    let (port, url) = (free_port(), upstream.url());
    let origin = format!("http://app.example.com:{}", page.address.port());
    let (certificate, key) = self_signed();
    let shop = Shop::furnished(&url, |plan| {
        plan.service(&format!(
            "name: desk\nhosts: [desk.example.com]\nupstream: {{url: \"{url}\"}}\ncors: {{origins: [\"{origin}\"], expose: [ETag]}}"
        ))
        .policy("desk.cedar", r#"@id("desk") permit (principal is Workload in Group::"readers", action in Action::"read", resource == Service::"desk");"#)
        .listener(&format!(
            "{{name: tls, address: \"127.0.0.1:{port}\", tls: {{certificate: gate.crt, key: gate.key}}}}"
        ))
        .file("gate.crt", &certificate)
        .file("gate.key", &key)
    });
    let visit = |origin: &str| -> Value {
        let mut node = Command::new("node");
        node.args([
            "shared.mjs",
            origin,
            &format!("https://desk.example.com:{port}/data"),
            &shop.token,
        ]);
        let output = node.current_dir(&folder).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
        })
    };
    let report = visit(&origin);
    assert_eq!(
        (&report["read"]["status"], &report["read"]["text"]),
        (&200.into(), &"upstream".into()),
        "{report:#}"
    );
    assert_eq!(
        (&report["read"]["etag"], &report["read"]["hidden"]),
        (&"\"1\"".into(), &Value::Null)
    );
    assert!(report["read"]["id"].is_string(), "{report:#}");
    assert_eq!(
        (&report["written"]["status"], &report["stranger"]["status"]),
        (&403.into(), &401.into()),
        "{report:#}"
    );
    assert!(
        report["written"]["text"].as_str().unwrap().contains("desk"),
        "it can say why: {report:#}"
    );
    assert!(report["unknown_header"]["error"].is_string(), "not asked for in vain: {report:#}");
    let (before, elsewhere) = (upstream.take(), origin.replace("app.", "evil."));
    assert_eq!(before.len(), 1, "what was permitted, and no preflight");
    let report = visit(&elsewhere);
    for what in ["read", "written", "stranger"] {
        assert!(report[what]["error"].is_string(), "{what}: {report:#}");
    }
    assert!(upstream.take().is_empty(), "their preflights failed");
}
