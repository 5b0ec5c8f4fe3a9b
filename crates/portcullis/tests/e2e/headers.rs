//! Group C: headers that clients forge, and headers that leave the gate.

use crate::{
    house::{House, Plan},
    masking::matrix::lanes::{Got, ask2},
    upstream::{Received, Upstream},
    wire::{Response, exchange},
};

const POLICIES: &str = r#"
@id("readers")
permit (principal is Workload in Group::"readers", action in Action::"shop.read", resource == Service::"shop");
"#;

struct Shop {
    house: House,
    upstream: Upstream,
    token: String,
}

impl Shop {
    fn open() -> Self {
        Self::with(Upstream::start())
    }

    fn with(upstream: Upstream) -> Self {
        Self::ruled(upstream, "")
    }

    /// The shop before `upstream`, with `more` in what describes it.
    fn ruled(upstream: Upstream, more: &str) -> Self {
        let service = format!(
            "name: shop\nhosts: [shop.example.com]\nupstream: {{instances: {{s-1: \"{}\"}}}}\n{more}",
            upstream.url()
        );
        let house = Plan::empty().service(&service).policy("shop.cedar", POLICIES).start();
        let token = house.workload_token("reader", &["readers"]);
        Self { house, upstream, token }
    }

    fn raw(&self, headers: &str) -> Response {
        self.raw_with(headers, &format!("Authorization: Bearer {}\r\n", self.token))
    }

    fn raw_with(&self, headers: &str, credentials: &str) -> Response {
        let head =
            format!("GET /page HTTP/1.1\r\nHost: shop.example.com\r\n{headers}{credentials}\r\n");
        exchange(self.house.gate, head)
    }

    /// Asks over HTTP/2, where nothing has to announce trailers.
    fn raw2(&self) -> Got {
        let request = hyper::Request::get("http://shop.example.com/page")
            .header("authorization", format!("Bearer {}", self.token))
            .header("te", "trailers");
        ask2(self.house.gate, request.body(String::new()).unwrap())
    }

    /// Sends `headers` and returns what the upstream got.
    #[track_caller]
    fn forwarded(&self, headers: &str) -> Received {
        let response = self.raw(headers);
        assert_eq!(response.status, 200, "{headers:?}: {}", response.text());
        let mut received = self.upstream.take();
        assert_eq!(received.len(), 1);
        received.remove(0)
    }
}

#[test]
fn c01_c02_c13_identity_headers_of_clients_are_removed_in_all_spellings() {
    let shop = Shop::open();
    let forged = [
        "Portcullis-Principal",
        "portcullis-principal",
        "Portcullis_Principal",
        "PORTCULLIS.PRINCIPAL",
        "Portcullis-Assertion",
        "Portcullis-Grant",
        "Portcullis_Assertion",
        "X-Forwarded-User",
        "X_Forwarded_User",
        "X.Forwarded.User",
        "X-Forwarded-Email",
        "X-Forwarded-Groups",
        "X-Authenticated-User",
        "X.Authenticated.User",
        "X-Auth-Request-User",
        "X-Remote-User",
        "Remote-User",
        "Remote_User",
        "Client-Cert",
        "Client_Cert-Chain",
        "X-SSL-Client-S-DN",
        "X-Client-Cert",
        // CVE-2016-5385; and names of this hop as others fold them.
        "Proxy",
        "Proxy_Authorization",
        "Proxy.Connection",
        "Keep_Alive",
    ];
    for name in forged {
        let received = shop.forwarded(&format!("{name}: evil\r\n"));
        assert!(!received.head.contains("evil"), "{name} came through:\n{}", received.head);
    }
    let received = shop.forwarded("");
    assert_eq!(received.headers("portcullis-principal"), ["builds:reader"]);
    assert_eq!(received.headers("portcullis-assertion").len(), 1);
}

#[test]
fn c03_c11_what_is_single_valued_may_come_once() {
    let shop = Shop::open();
    let bearer = format!("Authorization: Bearer {}\r\n", shop.token);
    assert_eq!(shop.raw(&bearer).status, 400, "two Authorization headers");
    assert_eq!(
        shop.raw(&format!("Portcullis-Authorization: Bearer {}\r\n", "x")).status,
        401,
        "the first match decides"
    );
    let twice = format!(
        "Portcullis-Authorization: Bearer {0}\r\nPortcullis-Authorization: Bearer {0}\r\n",
        shop.token
    );
    assert_eq!(shop.raw_with(&twice, "").status, 400);
    assert_eq!(shop.raw("Portcullis-Instance: s-1\r\nPortcullis-Instance: s-2\r\n").status, 400);
    let list = format!("Authorization: Bearer {0}, Bearer {0}\r\n", shop.token);
    assert!([400, 401].contains(&shop.raw_with("", &list).status));
    assert!(shop.upstream.take().is_empty());
}

#[test]
fn c04_connection_cannot_strip_what_the_gate_sets() {
    let shop = Shop::open();
    let received = shop.forwarded(
        "Connection: Portcullis-Principal, X-Forwarded-For, Portcullis-Assertion, X-Custom, close\r\nX-Custom: 1\r\n",
    );
    assert_eq!(received.headers("portcullis-principal").len(), 1);
    assert_eq!(received.headers("portcullis-assertion").len(), 1);
    assert_eq!(received.headers("x-forwarded-for"), ["127.0.0.1"]);
    assert!(received.headers("x-custom").is_empty(), "nominated headers are hop by hop");
    let nominated = shop.raw("Connection: Authorization\r\n");
    assert_eq!(nominated.status, 200, "it was read before it left: {}", nominated.text());
    let received = shop.upstream.take();
    assert_eq!(received.len(), 1);
    assert!(received[0].headers("authorization").is_empty(), "{}", received[0].head);
    assert_eq!(received[0].headers("portcullis-principal"), ["builds:reader"]);
    assert_eq!(received[0].headers("portcullis-assertion").len(), 1);
}

#[test]
fn c05_connection_cannot_strip_what_the_gate_sets_on_a_websocket_upgrade() {
    let shop = Shop::with(Upstream::answering(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade, Portcullis-Request-Id, X-Hop\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Hop: 1\r\nX-Kept: yes\r\n\r\n",
    ));
    let handshake = |connection: &str| {
        format!(
            "Connection: {connection}\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Custom: 1\r\nPortcullis-Principal: evil\r\nX_Forwarded.User: evil\r\n"
        )
    };
    let nominated =
        "Upgrade, Portcullis-Principal, X-Forwarded-For, Portcullis-Assertion, X-Custom";
    let response = shop.raw(&handshake(nominated));
    assert_eq!(response.status, 101, "{}", response.text());
    let received = shop.upstream.take().remove(0);
    assert_eq!(received.headers("portcullis-principal"), ["builds:reader"]);
    assert_eq!(received.headers("portcullis-assertion").len(), 1);
    assert_eq!(received.headers("x-forwarded-for"), ["127.0.0.1"]);
    assert!(received.headers("x-custom").is_empty(), "nominated headers are hop by hop");
    assert!(!received.head.contains("evil"), "{}", received.head);
    assert!(!received.head.contains(&shop.token), "the credential that was used stays here");
    // What the upstream nominates in its 101 goes no further either.
    assert!(response.header("x-hop").is_none());
    assert_eq!(response.header("x-kept"), Some("yes"));
    assert!(response.header("portcullis-request-id").is_some());
    for (nominated, status) in [
        ("Upgrade, Authorization", 101),
        ("Upgrade, Sec-WebSocket-Key", 101),
        ("Upgrade, Host", 400),
    ] {
        assert_eq!(shop.raw(&handshake(nominated)).status, status, "{nominated}");
        let received = shop.upstream.take();
        assert_eq!(received.len(), usize::from(status == 101), "{nominated}");
        for received in received {
            assert!(received.headers("authorization").is_empty(), "{nominated}");
            assert_eq!(received.headers("host").len(), 1, "{nominated}");
            assert_eq!(received.headers("portcullis-principal"), ["builds:reader"]);
        }
    }
}

#[test]
fn c06_c07_c08_c16_forwarding_headers_are_replaced_not_believed() {
    let shop = Shop::open();
    let received = shop.forwarded(
        "X-Forwarded-For: a\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Uri: /admin\r\nX-Forwarded-Prefix: /admin\r\nX-Original-URL: /admin\r\nX-Rewrite-Url: /admin\r\n\
         X-Envoy-Original-Path: /admin\r\nX-Real-IP: 10.0.0.1\r\nForwarded: for=\"_evil\";host=\"evil.example\", for=x\r\n",
    );
    assert_eq!(received.headers("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(received.headers("x-forwarded-host"), ["shop.example.com"]);
    assert_eq!(received.headers("x-forwarded-proto"), ["http"]);
    assert_eq!(received.headers("forwarded").len(), 1);
    assert!(
        !received.head.contains("evil")
            && !received.head.contains("/admin")
            && !received.head.contains("10.0.0.1")
    );
}

#[test]
fn c09_c10_no_header_is_a_key() {
    let shop = Shop::open();
    for header in [
        "User-Agent: kube-probe/1.30",
        "x-middleware-subrequest: middleware",
        "X-Portcullis-Internal: 1",
    ] {
        let response = shop.raw_with(&format!("{header}\r\n"), "");
        assert_eq!(response.status, 401, "{header}");
    }
    let received =
        shop.forwarded("x-middleware-subrequest: middleware\r\nPortcullis-Internal: 1\r\n");
    assert!(received.headers("x-middleware-subrequest").is_empty());
    assert!(received.headers("portcullis-internal").is_empty());
}

#[test]
fn c12_bytes_that_are_no_utf8_decide_nothing() {
    let shop = Shop::open();
    let mut head =
        b"GET /page HTTP/1.1\r\nHost: shop.example.com\r\nAuthorization: Bearer \xff\xfe\r\n\r\n"
            .to_vec();
    assert!([400, 401].contains(&exchange(shop.house.gate, &head).status));
    head = b"GET /page HTTP/1.1\r\nHost: shop\xff.example.com\r\n".to_vec();
    head.extend_from_slice(format!("Authorization: Bearer {}\r\n\r\n", shop.token).as_bytes());
    assert_eq!(exchange(shop.house.gate, &head).status, 400);
    assert!(shop.upstream.take().is_empty());
}

#[test]
fn c14_reserved_response_headers_of_upstreams_are_stripped() {
    let shop = Shop::with(Upstream::answering(
        "HTTP/1.1 200 OK\r\nPortcullis-Grant: forged\r\nPortcullis_Masked: forged\r\nX-Kept: yes\r\nContent-Length: 0\r\n\r\n",
    ));
    let response = shop.raw("");
    assert_eq!(response.status, 200);
    assert!(response.headers.iter().all(|(_, value)| value != "forged"));
    assert_eq!(response.header("x-kept"), Some("yes"));
    assert!(response.header("portcullis-request-id").is_some());
}

#[test]
fn c14_trailers_of_upstreams_say_no_more_than_their_heads_and_break_nothing_off() {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n123\r\n0\r\n\
        Portcullis-Grant: forged\r\nPortcullis_Refusal: forged\r\nSet-Cookie: __Host-portcullis=forged\r\n\
        Set-Cookie: theirs=1\r\nServer: old/1.0\r\nCache-Control: public\r\nX-Hop: 1\r\nConnection: X-Other\r\n\
        X-Other: 1\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nUpgrade: h2c\r\nX-Checksum: 9\r\n\r\n";
    let rules = "headers: {response: {set: {Cache-Control: no-store}, remove: [Server]}}";
    let pins = "sensitive: {pii: [\"$..pin\"]}";
    for (more, expected) in [
        (rules.to_owned(), &["x-checksum"][..]),
        (String::new(), &["cache-control", "server", "x-checksum"]),
        // What is masked has no trailers at all, but for gRPC's own.
        (format!("{rules}\n{pins}"), &[]),
    ] {
        let shop = Shop::ruled(Upstream::answering(ANSWER), &more);
        let got = shop.raw2();
        let mut names: Vec<_> = got.trailers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!((got.status, got.whole), (200, true), "{more}: {names:?}");
        assert_eq!(names, expected, "{more}");
    }
}

#[test]
fn n01_the_credential_that_was_used_never_reaches_the_upstream() {
    let shop = Shop::open();
    let received = shop.forwarded("");
    assert!(!received.head.contains(&shop.token));
    // A service's own Authorization passes when the gate's credential is elsewhere.
    let own = format!(
        "Portcullis-Authorization: Bearer {}\r\nAuthorization: Basic c2VydmljZQ==\r\n",
        shop.token
    );
    assert_eq!(shop.raw_with(&own, "").status, 200);
    let received = shop.upstream.take().remove(0);
    assert_eq!(received.headers("authorization"), ["Basic c2VydmljZQ=="]);
    assert!(received.headers("portcullis-authorization").is_empty());
}
