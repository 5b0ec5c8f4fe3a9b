//! Group B: paths, routes and authorities that two components could read in two ways.

use serde_json::json;

use crate::{
    house::{House, Plan},
    upstream::Upstream,
    wire::{Response, exchange},
};

const OPERATIONS: &str = "\
operations:
  inline:
    public: GET /public/{page}
    office: GET /admin
    officePage: GET /admin/{page}
    search: GET /search
    list: GET /a/{b}";

/// Everybody in `readers` may read `public` and `search`; nobody may use `office`.
const POLICIES: &str = r#"
@id("readers")
permit (
    principal is Workload in Group::"readers",
    action in [Action::"shop.public", Action::"shop.search", Action::"shop.list"],
    resource == Service::"shop"
);
"#;

struct Shop {
    house: House,
    upstream: Upstream,
    token: String,
}

impl Shop {
    fn open() -> Self {
        let upstream = Upstream::start();
        let service = format!(
            "name: shop\nhosts: [shop.example.com]\nupstream: {{instances: {{s-1: \"{}\"}}}}\n{OPERATIONS}",
            upstream.url()
        );
        let strict = format!(
            "name: vault\nhosts: [vault.example.com]\nupstream: {{instances: {{v-1: \"{}\"}}}}",
            upstream.url()
        );
        let plan = Plan::empty().service(&service).service(&strict).policy("shop.cedar", POLICIES);
        let house = plan.start();
        let token = house.workload_token("reader", &["readers"]);
        Self { house, upstream, token }
    }

    /// One raw request; `{}` in `head` is where the credentials go.
    fn raw(&self, request_line_and_headers: &str) -> Response {
        let head = format!(
            "{request_line_and_headers}Authorization: Bearer {}\r\nConnection: close\r\n\r\n",
            self.token
        );
        exchange(self.house.gate, head)
    }

    fn target(&self, target: &str) -> Response {
        self.raw(&format!("GET {target} HTTP/1.1\r\nHost: shop.example.com\r\n"))
    }

    /// Refused with one of `statuses`, and nothing arrived.
    #[track_caller]
    fn refused(&self, target: &str, statuses: &[u16]) {
        let response = self.target(target);
        assert!(
            statuses.contains(&response.status),
            "{target}: {} {}",
            response.status,
            response.text()
        );
        assert!(self.upstream.take().is_empty(), "{target} reached the upstream");
    }

    /// Forwarded exactly as it was written.
    #[track_caller]
    fn forwarded(&self, target: &str) {
        let response = self.target(target);
        assert_eq!(response.status, 200, "{target}: {}", response.text());
        let received = self.upstream.take();
        assert_eq!(received.len(), 1);
        assert_eq!(received[0].target(), format!("GET {target}"));
    }
}

#[test]
fn b01_to_b07_b13_b14_targets_are_read_in_one_way() {
    let shop = Shop::open();
    shop.forwarded("/public/a");
    // B01: dot segments.
    for target in [
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public/.%2E/admin",
        "/public/./a",
        "/public/..",
    ] {
        shop.refused(target, &[400]);
    }
    // B02: encoded and raw slashes of both kinds.
    for target in ["/public/a%2fb", "/public%2F..%2Fadmin", "/public/a%5cb", "/public/..\\admin"] {
        shop.refused(target, &[400]);
    }
    // B03: empty segments; never an authority.
    for target in ["//admin", "/public//a", "//vault.example.com/public/a"] {
        shop.refused(target, &[400]);
    }
    // B04: path parameters.
    for target in ["/admin;x=1", "/;/admin", "/public/a;jsessionid=1"] {
        shop.refused(target, &[400]);
    }
    // B05: decoded at most once, forwarded verbatim.
    shop.forwarded("/public/%252e%252e");
    shop.forwarded("/public/%2525");
    // B07: a query never satisfies a path rule.
    shop.refused("/admin?/public/a", &[403]);
    shop.refused("/admin%3f/public/a", &[400, 403]);
    shop.forwarded("/search?q=/admin");
    // B13: invalid UTF-8 and overlong forms.
    for target in
        ["/public/%c0%af", "/public/%ff", "/public/%e0%80%af", "/public/%zz", "/public/%2"]
    {
        shop.refused(target, &[400]);
    }
    shop.forwarded("/public/%EF%BC%8F");
    shop.forwarded("/public/%Ef%bC%8f");
    // B14's encoded half.
    shop.refused("/public/%00", &[400]);
}

#[test]
fn b08_an_absolute_target_for_another_host_is_refused() {
    let shop = Shop::open();
    let other = "GET http://vault.example.com/public/a HTTP/1.1\r\nHost: shop.example.com\r\n";
    assert_eq!(shop.raw(other).status, 400);
    let same = "GET http://shop.example.com/public/a HTTP/1.1\r\nHost: shop.example.com\r\n";
    assert_eq!(shop.raw(same).status, 200);
    let received = shop.upstream.take();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].target(), "GET /public/a");
    assert_eq!(received[0].headers("host"), ["shop.example.com"]);
}

#[test]
fn b11_a_target_without_a_path_is_refused() {
    let shop = Shop::open();
    for target in ["http://shop.example.com?", "http://shop.example.com?x=1", "?x=1", "?"] {
        shop.refused(target, &[400]);
    }
}

#[test]
fn b10_hosts_have_one_canonical_form() {
    let shop = Shop::open();
    let request = |hosts: &str| shop.raw(&format!("GET /public/a HTTP/1.1\r\n{hosts}"));
    for hosts in [
        "",
        "Host: shop.example.com\r\nHost: shop.example.com\r\n",
        "Host: shop.example.com\r\nHost: vault.example.com\r\n",
        "Host: shop.example.com, vault.example.com\r\n",
        "Host: user@shop.example.com\r\n",
        "Host: shop.example.com evil\r\n",
        "Host: shop.example.com/admin\r\n",
        "Host: \r\n",
        "Host: shop.example.com:port\r\n",
        "Host: shop.example.com..\r\n",
    ] {
        assert_eq!(request(hosts).status, 400, "{hosts:?}");
    }
    assert!(shop.upstream.take().is_empty());
    for host in
        ["shop.example.com", "SHOP.Example.COM", "shop.example.com.", "shop.example.com:8080"]
    {
        assert_eq!(request(&format!("Host: {host}\r\n")).status, 200, "{host}");
    }
    for received in shop.upstream.take() {
        let host = received.headers("x-forwarded-host")[0];
        assert!(["shop.example.com", "shop.example.com:8080"].contains(&host), "{host}");
    }
}

#[test]
fn b12_methods_are_an_exact_list_and_overrides_are_ignored() {
    let shop = Shop::open();
    for method in ["get", "TRACE", "CONNECT", "BREW", "PROPFIND", "Get"] {
        let line = format!("{method} /public/a HTTP/1.1\r\nHost: shop.example.com\r\n");
        let status = shop.raw(&line).status;
        assert!([400, 405, 501].contains(&status), "{method}: {status}");
    }
    let overridden = "POST /public/a HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: 0\r\n\
                      X-HTTP-Method-Override: GET\r\nX-HTTP-Method: GET\r\nX-Method-Override: GET\r\n";
    assert_eq!(shop.raw(overridden).status, 403);
    assert!(shop.upstream.take().is_empty());
}

#[test]
fn b15_segments_are_matched_whole_and_identities_are_data() {
    let shop = Shop::open();
    shop.refused("/administrator", &[403]);
    shop.refused("/publicity/a", &[403]);
    shop.refused("/public", &[403]);
    let tricky = shop.house.workload_token("reader", &["read.rs", "readers.*", ".*"]);
    let response = shop.house.gate("shop.example.com", "GET", "/public/a", Some(&tricky), None);
    assert_eq!(response.status, 404, "no permit's head matches these groups");
    assert!(shop.upstream.take().is_empty());
}

#[test]
fn b17_one_snapshot_decides_a_request_while_bundles_change() {
    let shop = Shop::open();
    for round in 0..20 {
        let comment = format!("{POLICIES}\n// round {round}\n");
        shop.house.write_policy("shop.cedar", &comment);
        shop.house.signal("HUP");
        for _ in 0..20 {
            assert_eq!(shop.target("/public/a").status, 200);
            assert_eq!(shop.target("/admin").status, 403);
        }
    }
    assert!(shop.upstream.take().iter().all(|received| received.target() == "GET /public/a"));
}

#[test]
fn b18_whitespace_around_a_routing_header_is_trimmed_once_or_refused() {
    let shop = Shop::open();
    for value in
        [" shop.example.com", "\tshop.example.com", "shop.example.com ", "shop.example.com\t"]
    {
        let response = shop.raw(&format!("GET /public/a HTTP/1.1\r\nHost:{value}\r\n"));
        assert!([200, 400].contains(&response.status), "{value:?}: {}", response.status);
    }
    assert!(
        shop.upstream.take().iter().all(|r| r.headers("x-forwarded-host") == ["shop.example.com"])
    );
    let response = shop
        .raw("GET /public/a HTTP/1.1\r\nHost: shop.example.com\r\nPortcullis-Instance: s-1 x\r\n");
    assert!([400, 404].contains(&response.status));
}

#[test]
fn default_deny_whatever_the_door() {
    let shop = Shop::open();
    let anonymous = shop.house.gate("shop.example.com", "GET", "/public/a", None, None);
    assert_eq!(anonymous.status, 401);
    let elsewhere = shop.house.gate("nowhere.example.com", "GET", "/", None, None);
    assert_eq!(elsewhere.status, 401, "an unknown host tells anonymous callers nothing");
    let unknown = shop.house.gate("nowhere.example.com", "GET", "/", Some(&shop.token), None);
    let invisible = shop.house.gate("vault.example.com", "GET", "/", Some(&shop.token), None);
    assert_eq!((unknown.status, invisible.status), (404, 404));
    let without_request = |response: &Response| {
        let mut problem = response.json();
        problem["request"] = json!(null);
        problem
    };
    assert_eq!(without_request(&unknown), without_request(&invisible), "identical answers");
    let operation =
        shop.house.gate("shop.example.com", "GET", "/no/such/operation", Some(&shop.token), None);
    assert_eq!(operation.status, 403);
    assert!(shop.upstream.take().is_empty());
}
