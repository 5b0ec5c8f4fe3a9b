//! Programs that know nothing of this one: curl and nghttp2.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use portcullis_testkit::net::free_port;

use crate::{
    shop::{HOST, Shop},
    upstream::Upstream,
};

/// Whether `tool` is installed; where everything must be, it is.
pub(crate) fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--help").output().is_ok();
    assert!(found || std::env::var_os("CI").is_none(), "{tool} is not installed");
    if !found {
        eprintln!("skipped: {tool} is not installed");
    }
    found
}

/// The shop with a listener for TLS, certified for two hosts by its own word.
struct Certified {
    shop: Shop,
    upstream: Upstream,
    tls: u16,
    certificate: PathBuf,
}

impl Certified {
    fn open() -> Self {
        let (upstream, tls) = (Upstream::start(), free_port());
        let (certificate, key) = self_signed();
        let shop = Shop::furnished(&upstream.url(), |plan| {
            plan.file("cert.pem", &certificate).file("key.pem", &key).listener(&format!(
                "{{name: tls, address: \"127.0.0.1:{tls}\", tls: {{certificate: cert.pem, key: key.pem}}}}"
            ))
        });
        let certificate = shop.house.dir().join("cert.pem");
        Self { shop, upstream, tls, certificate }
    }

    /// Status and protocol of what curl gets, and its exit code.
    fn curl(&self, url: &str, more: &[&str]) -> (String, Option<i32>) {
        let hosts = [HOST, "vault.example.com", "nowhere.example.com"].into_iter();
        let ports = [self.shop.house.gate.port(), self.tls];
        let resolve = hosts.flat_map(|host| {
            ports.map(|port| ["--resolve".to_owned(), format!("{host}:{port}:127.0.0.1")])
        });
        let output = Command::new("curl")
            .args([
                "-sS",
                "--max-time",
                "10",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code} %{http_version}",
            ])
            .args(resolve.flatten())
            .arg("--cacert")
            .arg(&self.certificate)
            .args(more)
            .arg(url)
            .output()
            .unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    }

    fn bearer(&self) -> String {
        format!("Authorization: Bearer {}", self.shop.token)
    }
}

/// A certificate and its key, as PEM.
pub(crate) fn self_signed() -> (String, String) {
    let folder = portcullis_testkit::TempDir::new().unwrap();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=shop", "-keyout", "key.pem", "-out", "cert.pem"])
        .args(["-addext", "subjectAltName=DNS:shop.example.com,DNS:vault.example.com"])
        .current_dir(folder.path())
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    let read = |name| std::fs::read_to_string(folder.path().join(name)).unwrap();
    (read("cert.pem"), read("key.pem"))
}

#[test]
fn curl_gets_the_same_answers_in_every_protocol() {
    if !has("curl") || !has("openssl") {
        return;
    }
    let open = Certified::open();
    let (clear, tls) = (
        format!("http://{HOST}:{}", open.shop.house.gate.port()),
        format!("https://{HOST}:{}", open.tls),
    );
    let bearer = open.bearer();
    for (base, option, version) in [
        (&clear, "--http1.1", "1.1"),
        (&clear, "--http2-prior-knowledge", "2"),
        (&tls, "--http1.1", "1.1"),
        (&tls, "--http2", "2"),
    ] {
        let get = |url: String, more: &[&str]| {
            let (said, _) = open.curl(&url, &[&[option], more].concat());
            said
        };
        let nowhere = base.replace(HOST, "nowhere.example.com");
        let page = format!("{base}/page");
        assert_eq!(get(page.clone(), &["-H", &bearer]), format!("200 {version}"));
        assert_eq!(open.upstream.take().len(), 1);
        // Default deny.
        assert_eq!(get(page.clone(), &[]), format!("401 {version}"));
        assert_eq!(get(page.clone(), &["-H", &bearer, "-d", "x"]), format!("403 {version}"));
        assert_eq!(get(page.clone(), &["-H", &bearer, "-X", "TRACE"]), format!("405 {version}"));
        assert_eq!(get(format!("{base}/a%2fb"), &["-H", &bearer]), format!("400 {version}"));
        if base == &clear {
            assert_eq!(get(nowhere.clone(), &[]), format!("401 {version}"));
            assert_eq!(get(nowhere, &["-H", &bearer]), format!("404 {version}"));
        }
        assert!(open.upstream.take().is_empty());
    }
}

#[test]
fn a16_a_refusal_arrives_although_the_client_is_still_sending() {
    if !has("curl") || !has("openssl") {
        return;
    }
    let open = Certified::open();
    let (bearer, body) = (open.bearer(), open.shop.house.dir().join("body"));
    let url = format!("http://{HOST}:{}/page", open.shop.house.gate.port());
    for (size, times) in [(1, 100), (60_000, 20), (1_000_000, 20)] {
        std::fs::write(&body, vec![b'x'; size]).unwrap();
        let body = format!("@{}", body.display());
        for option in ["--http1.1", "--http2-prior-knowledge"] {
            for _ in 0..times {
                let more = [option, "-H", &bearer, "-H", "Expect:", "--data-binary", &body];
                let (said, code) = open.curl(&url, &more);
                assert!(
                    said.starts_with("403 "),
                    "{size} bytes, {option}: {said}, exit code {code:?}"
                );
            }
        }
    }
    assert!(open.upstream.take().is_empty());
}

#[test]
fn b09_a_host_that_the_connection_was_not_made_for_is_misdirected() {
    if !has("curl") || !has("openssl") {
        return;
    }
    let open = Certified::open();
    let (bearer, url) = (open.bearer(), format!("https://{HOST}:{}/page", open.tls));
    for (option, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        for host in ["Host: vault.example.com", "Host: nowhere.example.com"] {
            let (said, _) = open.curl(&url, &[option, "-H", &bearer, "-H", host]);
            assert_eq!(said, format!("421 {version}"), "{host}");
        }
        let vault = format!("https://vault.example.com:{}/page", open.tls);
        let (said, _) = open.curl(&vault, &[option, "-H", &bearer, "-H", &format!("Host: {HOST}")]);
        assert_eq!(said, format!("421 {version}"));
        assert!(open.upstream.take().is_empty());
        let (said, _) = open.curl(&url, &[option, "-H", &bearer, "-H", "Host: SHOP.example.com."]);
        assert_eq!(said, format!("200 {version}"), "the same host in other letters");
        open.upstream.take();
    }
}

#[test]
fn b11_b16_a19_a21_http2_heads_that_read_two_ways_are_refused() {
    if !has("nghttp") {
        return;
    }
    let upstream = Upstream::start();
    let shop = Shop::before(&upstream.url());
    let url = format!("http://{}/page", shop.house.gate);
    let ask = |headers: &[&str]| {
        let mut command = Command::new("nghttp");
        command.args(["-v", "-t", "5", "-H", &format!("authorization: Bearer {}", shop.token)]);
        for header in headers {
            command.args(["-H", header]);
        }
        let output = command.arg(&url).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let status = |said: &str| {
        let line = said.lines().find_map(|line| line.split_once(":status: "));
        line.map(|(_, status)| status.trim().chars().take(3).collect::<String>())
    };
    let sound = ask(&[&format!(":authority: {HOST}")]);
    assert_eq!(status(&sound).as_deref(), Some("200"), "{sound}");
    assert_eq!(upstream.take().len(), 1);
    let authority = format!(":authority: {HOST}");
    let cases: [&[&str]; 11] = [
        &[":path: page"],
        &[":path: page", "content-type: application/grpc"],
        &[":path: *"],
        &[":path: //page"],
        &[":method: get"],
        &[":method: CONNECT"],
        &["host: vault.example.com"],
        &["transfer-encoding: chunked"],
        &["connection: close"],
        &["upgrade: websocket"],
        &["te: gzip"],
    ];
    for case in cases {
        let said = ask(&[&[authority.as_str()], case].concat());
        let refused = match status(&said) {
            Some(status) => ["400", "405"].contains(&status.as_str()),
            None => said.contains("RST_STREAM") || said.contains("GOAWAY"),
        };
        assert!(refused, "{case:?}: {said}");
        assert!(upstream.take().is_empty(), "{case:?} reached the upstream");
    }
    // B16: whatever the client calls the scheme, upstreams are told what the connection is.
    for scheme in [":scheme: HTTP", ":scheme: https", ":scheme: ws"] {
        ask(&[&authority, scheme]);
        for received in upstream.take() {
            assert_eq!(received.headers("x-forwarded-proto"), ["http"], "{scheme}");
        }
    }
}

#[test]
fn h2load_gets_every_answer_over_both_protocols() {
    if !has("h2load") {
        return;
    }
    let upstream = Upstream::start();
    let shop = Shop::before(&upstream.url());
    for protocol in [["--no-tls-proto=h2c", "-m10"], ["--h1", "-m1"]] {
        let output = Command::new("h2load")
            .args(["-n2000", "-c10"])
            .args(protocol)
            .arg(format!("--header=authorization: Bearer {}", shop.token))
            .arg(format!("--connect-to={}", shop.house.gate))
            .arg(format!("http://{HOST}/page"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            said.contains("status codes: 2000 2xx, 0 3xx, 0 4xx, 0 5xx"),
            "{protocol:?}: {said}"
        );
        assert!(said.contains("0 failed, 0 errored, 0 timeout"), "{protocol:?}: {said}");
        assert_eq!(upstream.take().len(), 2000, "each exactly once");
    }
}
