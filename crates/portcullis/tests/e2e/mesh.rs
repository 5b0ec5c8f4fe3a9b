//! Group D: services that prove who they are by a certificate of their trust domain.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use portcullis_testkit::net::free_port;
use serde_json::json;

use crate::{
    people::Person,
    pki::{Got, Open, Pair, Pki, curl},
    shop::{HOST, Shop},
    streams::ticking_upstream,
    upstream::Upstream,
};

const API: &str = "spiffe://prod.example.com/ns/shop/sa/api";
const ENTRY: &str = r#"{name: mesh, mtls: {spiffe_trust_domain: prod.example.com}, groups: {"path=/ns/shop/sa/api": [readers]}}"#;
const POLICIES: &str = r#"
@id("auditors") permit (principal is User in Group::"auditors", action == Action::"viewAudit", resource);
@id("by-name") permit (principal == Workload::"mesh:/ns/shop/sa/web", action in Action::"shop.read", resource == Service::"shop")
when { context.auth.method == "mtls" && principal has spiffe_id && principal.spiffe_id like "spiffe://prod.example.com/ns/shop/*" };
"#;

/// The shop behind a listener that believes the authorities of `prod.example.com`.
pub(crate) struct Mesh {
    pub(crate) pki: Pki,
    pub(crate) authority: Pair,
    pub(crate) shop: Shop,
    upstream: Upstream,
    port: u16,
    /// Certifies the listener; clients believe it.
    ca: PathBuf,
}

impl Mesh {
    fn open() -> Self {
        let upstream = Upstream::start();
        let url = upstream.url();
        Self::before(&url, upstream)
    }

    /// The same, with another upstream at `url`.
    fn before(url: &str, upstream: Upstream) -> Self {
        let (pki, port) = (Pki::new(), free_port());
        let authority = pki.authority("mesh");
        let ca = pki.authority("web");
        let server = pki.server("gate", &ca);
        let shop = Shop::furnished(url, |plan| {
            plan.file("gate.crt", &server.pem())
                .file("gate.key", &server.key_pem())
                .file("mesh-ca.crt", &authority.pem())
                .policy("mesh.cedar", POLICIES)
                .workload(ENTRY)
                .listener(&format!(
                    "{{name: mesh, address: \"127.0.0.1:{port}\", tls: {{certificate: gate.crt, key: gate.key, client_ca: mesh-ca.crt}}}}"
                ))
        });
        Self { pki, authority, shop, upstream, port, ca: ca.certificate }
    }

    fn get(&self, client: Option<&Pair>, more: &[&str]) -> Got {
        curl(self.port, &self.ca, client, more)
    }

    fn connect(&self, client: &Pair) -> Open {
        Open::connect(self.port, &self.ca, client)
    }

    fn svid(&self, name: &str, id: &str) -> Pair {
        self.pki.svid(name, &self.authority, id)
    }

    /// Gets no answer at all, and nothing is forwarded.
    #[track_caller]
    fn fails_the_handshake(&self, client: &Pair, what: &str) {
        let got = self.get(Some(client), &[]);
        assert_eq!(got.status, 0, "{what}: {got:?}");
        assert!([35, 52, 55, 56].contains(&got.code), "{what}: {got:?}");
        assert!(self.upstream.take().is_empty(), "{what} reached the upstream");
    }

    fn replace(&self, file: &str, text: &str) {
        let (new, old) = (self.shop.house.dir().join("new"), self.shop.house.dir().join(file));
        fs::write(&new, text).unwrap();
        fs::rename(new, old).unwrap();
    }

    fn metric(&self, name: &str) -> String {
        let text = self.shop.house.api("GET", "/metrics", None, None).text();
        text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned()
    }
}

/// Tries until `holds`.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(40), "not within 40 s: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_certificate_names_a_workload_of_its_trust_domain() {
    let mesh = Mesh::open();
    let api = mesh.svid("api", API);
    for version in ["--http1.1", "--http2"] {
        assert_eq!(mesh.get(Some(&api), &[version]).status, 200);
        let received = mesh.upstream.take().remove(0);
        assert_eq!(received.headers("portcullis-principal"), ["mesh:/ns/shop/sa/api"]);
    }
    let web = mesh.svid("web-svid", "spiffe://prod.example.com/ns/shop/sa/web");
    assert_eq!(mesh.get(Some(&web), &[]).status, 200, "policy reads method and SPIFFE ID");
    assert_eq!(mesh.upstream.take().len(), 1);
    let other = mesh.svid("other", "spiffe://prod.example.com/ns/shop/sa/other");
    assert_eq!(mesh.get(Some(&other), &[]).status, 404, "nothing is permitted to it");
    assert_eq!(mesh.get(Some(&api), &["-X", "POST", "-d", "x"]).status, 403);
    assert!(mesh.upstream.take().is_empty());
    let auditor = mesh.shop.house.sign_in(&Person::new("sam", &["auditors"]));
    let events = mesh.shop.house.record(&auditor, |events| {
        events.iter().any(|event| {
            event["type"] == "attempt" && event["principal"]["id"] == "mesh:/ns/shop/sa/other"
        })
    });
    let admitted = events.iter().find(|event| {
        event["type"] == "attempt" && event["principal"]["id"] == "mesh:/ns/shop/sa/api"
    });
    assert_eq!(admitted.unwrap()["decision"], "permit");
}

#[test]
fn a_workload_is_listed_and_explained_by_its_own_scheme_once_a_gate_saw_it() {
    let mesh = Mesh::open();
    let web = mesh.svid("web-svid", "spiffe://prod.example.com/ns/shop/sa/web");
    let auditor = mesh.shop.house.sign_in(&Person::new("sam", &["auditors"]));
    let name = json!({"type": "Workload", "id": "mesh:/ns/shop/sa/web"});
    let question = json!({"principal": name, "operation": "shop.GET"});
    let explain = || {
        let (house, body) = (&mesh.shop.house, Some(question.clone()));
        house.api("POST", "/v1/policy/explain", Some(&auditor), body)
    };
    assert_eq!(explain().status, 404, "nobody has seen it");
    assert_eq!(mesh.get(Some(&web), &[]).status, 200);
    eventually("it is listed", || {
        let listed = mesh.shop.house.api("GET", "/v1/principals", Some(&auditor), None).json();
        let all = listed["principals"].as_array().unwrap();
        all.iter().any(|one| one["principal"] == name)
    });
    let explained = explain().json();
    assert_eq!(explained["auth_method"], "mtls", "{explained:#}");
}

#[test]
fn a_certificate_is_no_must_and_the_first_credential_decides() {
    let mesh = Mesh::open();
    let api = mesh.svid("api", API);
    let bearer = |token: &str| format!("Authorization: Bearer {token}");
    let token = mesh.shop.token.clone();
    assert_eq!(mesh.get(None, &[]).status, 401, "neither certificate nor token");
    assert_eq!(mesh.get(None, &["-H", &bearer(&token)]).status, 200, "a token alone");
    assert_eq!(mesh.get(Some(&api), &["-H", &bearer(&token)]).status, 200);
    let principals: Vec<_> = mesh.upstream.take();
    let principals: Vec<_> =
        principals.iter().flat_map(|received| received.headers("portcullis-principal")).collect();
    assert_eq!(principals, ["builds:reader", "builds:reader"], "the token comes first");
    for bad in [
        "Authorization: Bearer forged",
        "Authorization: Basic eDp5",
        "Portcullis-Authorization: Bearer x",
    ] {
        let got = mesh.get(Some(&api), &["-H", bad]);
        assert_eq!(got.status, 401, "{bad} falls through: {got:?}");
    }
    assert!(mesh.upstream.take().is_empty());
}

#[test]
fn d21_certificates_that_are_not_what_they_must_be_fail_the_handshake() {
    let mesh = Mesh::open();
    let (pki, authority) = (&mesh.pki, &mesh.authority);
    let stranger = pki.authority("stranger");
    mesh.fails_the_handshake(&pki.svid("forged", &stranger, API), "another authority");
    mesh.fails_the_handshake(&pki.expired("late", authority, API), "an expired certificate");
    let elsewhere = "spiffe://dev.example.com/ns/shop/sa/api";
    mesh.fails_the_handshake(&mesh.svid("dev", elsewhere), "another trust domain");
    let leaf = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n";
    let cases = [
        ("two-names", format!("{leaf}subjectAltName=URI:{API},URI:spiffe://prod.example.com/b\n")),
        ("two-domains", format!("{leaf}subjectAltName=URI:{API},URI:https://prod.example.com/b\n")),
        ("no-name", format!("{leaf}subjectAltName=DNS:api.prod.example.com\n")),
        ("no-san", leaf.to_owned()),
        ("query", format!("{leaf}subjectAltName=URI:{API}?admin\n")),
        ("no-path", format!("{leaf}subjectAltName=URI:spiffe://prod.example.com\n")),
        ("upper", format!("{leaf}subjectAltName=URI:spiffe://PROD.example.com/ns/shop/sa/api\n")),
        (
            "encoded",
            format!("{leaf}subjectAltName=URI:spiffe://prod.example.com/ns/%73hop/sa/api\n"),
        ),
        ("nul", format!("{leaf}subjectAltName={}\n", der_name(0x86, &format!("{API}\0.evil")))),
        (
            "nul-inside",
            format!(
                "{leaf}subjectAltName={}\n",
                der_name(0x86, "spiffe://prod.example.com\0.evil/ns/shop/sa/api")
            ),
        ),
        (
            "nul-beside",
            format!(
                "{leaf}subjectAltName={}\n",
                der_names(&[(0x86, API), (0x82, "a.example\0.evil")])
            ),
        ),
        (
            "authority",
            format!(
                "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,digitalSignature\nsubjectAltName=URI:{API}\n"
            ),
        ),
        (
            "signer",
            format!(
                "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature,keyCertSign\nsubjectAltName=URI:{API}\n"
            ),
        ),
        ("no-usage", format!("basicConstraints=critical,CA:FALSE\nsubjectAltName=URI:{API}\n")),
        ("server-only", format!("{leaf}extendedKeyUsage=serverAuth\nsubjectAltName=URI:{API}\n")),
    ];
    for (name, extensions) in cases {
        mesh.fails_the_handshake(&pki.leaf(name, authority, &extensions), name);
    }
    // The same, but for the defect.
    let sound =
        format!("{leaf}subjectAltName={}\n", der_names(&[(0x86, API), (0x82, "a.example")]));
    assert_eq!(mesh.get(Some(&pki.leaf("sound", authority, &sound)), &[]).status, 200);
}

/// A list of names, as openssl takes bytes.
fn der_names(names: &[(u8, &str)]) -> String {
    let mut inner = Vec::new();
    for (tag, name) in names {
        inner.extend([*tag, u8::try_from(name.len()).unwrap()]);
        inner.extend(name.as_bytes());
    }
    let length = u8::try_from(inner.len()).unwrap();
    let head = if length < 128 { vec![0x30, length] } else { vec![0x30, 0x81, length] };
    let hex: Vec<String> = head.iter().chain(&inner).map(|byte| format!("{byte:02x}")).collect();
    format!("DER:{}", hex.join(":"))
}

fn der_name(tag: u8, name: &str) -> String {
    der_names(&[(tag, name)])
}

#[test]
fn intermediates_are_followed_and_must_be_presented() {
    let mesh = Mesh::open();
    let between = mesh.pki.intermediate("between", &mesh.authority);
    let mut api = mesh.pki.svid("api", &between, API);
    mesh.fails_the_handshake(&api, "a chain with a gap");
    let chain = api.certificate.with_extension("chain");
    fs::write(&chain, api.pem() + &between.pem()).unwrap();
    api.certificate = chain;
    assert_eq!(mesh.get(Some(&api), &[]).status, 200);
    // A leaf is no authority, whoever certified it.
    let leaf = mesh.svid("leaf", API);
    let mut below = mesh.pki.svid("below", &leaf, "spiffe://prod.example.com/ns/shop/sa/web");
    let chain = below.certificate.with_extension("chain");
    fs::write(&chain, below.pem() + &leaf.pem()).unwrap();
    below.certificate = chain;
    mesh.upstream.take();
    mesh.fails_the_handshake(&below, "certified by a leaf");
}

#[test]
fn d21_no_session_is_resumed_where_clients_have_certificates() {
    let mesh = Mesh::open();
    let api = mesh.svid("api", API);
    let session = mesh.shop.house.dir().join("session");
    for version in ["-tls1_2", "-tls1_3"] {
        let talk = |more: [&str; 2]| {
            let script = format!(
                "(printf 'GET /page HTTP/1.1\\r\\nHost: {HOST}\\r\\nConnection: close\\r\\n\\r\\n'; sleep 2) | \
                 openssl s_client -connect 127.0.0.1:{} -servername {HOST} {version} -CAfile {} -cert {} -key {} {} {} 2>&1",
                mesh.port,
                mesh.ca.display(),
                api.certificate.display(),
                api.key.display(),
                more[0],
                more[1],
            );
            let output = Command::new("sh").args(["-c", &script]).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let _ = fs::remove_file(&session);
        let first = talk(["-sess_out", session.to_str().unwrap()]);
        assert!(first.contains("200 OK"), "{version}: {first}");
        assert!(!first.contains("Post-Handshake New Session Ticket"), "{version}: {first}");
        if session.exists() {
            let again = talk(["-sess_in", session.to_str().unwrap()]);
            assert!(!again.contains("Reused, TLS"), "{version}: {again}");
        }
    }
}

#[test]
fn d21_an_authority_that_is_no_longer_believed_vouches_for_no_open_connection() {
    let mesh = Mesh::open();
    let old = mesh.svid("api", API);
    let next = mesh.pki.authority("next");
    let new = mesh.pki.svid("new", &next, API);
    mesh.fails_the_handshake(&new, "an authority of tomorrow");
    let mut open = mesh.connect(&old);
    assert_eq!(open.get(), "200");
    mesh.replace("mesh-ca.crt", &(mesh.authority.pem() + &next.pem()));
    eventually("both are believed", || mesh.get(Some(&new), &[]).status == 200);
    assert_eq!(open.get(), "200", "a live connection goes on");
    assert_eq!(mesh.get(Some(&old), &[]).status, 200);
    mesh.replace("mesh-ca.crt", &next.pem());
    eventually("the old one is not", || mesh.get(Some(&old), &[]).status == 0);
    mesh.upstream.take();
    assert_eq!(open.get(), "401", "the connection is there, and its identity is gone");
    mesh.fails_the_handshake(&old, "the old authority");
    assert_eq!(mesh.get(Some(&new), &[]).status, 200);
}

#[test]
fn certificates_are_replaced_under_live_connections_and_broken_ones_are_not() {
    let mesh = Mesh::open();
    let api = mesh.svid("api", API);
    let (first, second) = (mesh.pki.authority("web-1"), mesh.pki.authority("web-2"));
    let mut open = mesh.connect(&api);
    assert_eq!(open.get(), "200");
    let server = mesh.pki.server("gate-1", &first);
    // A certificate without its key is half of a change: nothing happens until the rest is there.
    mesh.replace("gate.crt", &server.pem());
    let stale = "portcullis_certificates_stale{of=\"listener mesh\"}";
    eventually("the metric says so", || mesh.metric(stale).ends_with(" 1"));
    assert_eq!(mesh.get(Some(&api), &[]).status, 200, "the last good one stays");
    assert!(mesh.shop.house.log().contains("certificates.stale"), "{}", mesh.shop.house.log());
    let check = |file: &str| {
        let config = mesh.shop.house.dir().join("portcullis.yaml");
        let config = config.to_str().unwrap();
        let output = mesh.shop.house.cli("x", &["check", "--config", config]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.success(), file.is_empty(), "{said}");
        assert!(said.contains(file), "{said}");
        // The line that names the files.
        let named = said.contains("portcullis.yaml:") && said.contains("{name: mesh, ");
        assert_eq!(named, !file.is_empty(), "{said}");
    };
    check("`tls` of listener mesh");
    mesh.replace("gate.key", &server.key_pem());
    let by = |ca: &Pair| curl(mesh.port, &ca.certificate, Some(&api), &[]).status;
    eventually("the first is in force", || by(&first) == 200);
    assert!(mesh.metric(stale).ends_with(" 0"));
    check("");
    // SIGHUP as well as a change of the files.
    let server = mesh.pki.server("gate-2", &second);
    mesh.replace("gate.key", &server.key_pem());
    mesh.replace("gate.crt", &server.pem());
    mesh.shop.house.signal("HUP");
    eventually("the second is in force", || by(&second) == 200);
    for (file, garbage) in [
        ("mesh-ca.crt", "no certificate"),
        ("gate.key", ""),
        ("gate.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    ] {
        mesh.replace(file, garbage);
        eventually("the metric says so", || mesh.metric(stale).ends_with(" 1"));
        assert_eq!(by(&second), 200, "{file} is broken, and the last good one stays");
        check("`tls` of listener mesh");
    }
    assert_eq!(open.get(), "200", "the connection outlived it all");
    assert_eq!(mesh.shop.house.api("GET", "/readyz", None, None).status, 200);
}

#[test]
fn d21_a_live_stream_ends_with_the_authority_of_its_certificate() {
    let url = format!("http://{}", ticking_upstream());
    let mesh = Mesh::before(&url, Upstream::start());
    let api = mesh.svid("api", API);
    let stream = std::thread::scope(|scope| {
        let streaming = scope.spawn(|| mesh.get(Some(&api), &["-N", "--max-time", "60"]));
        eventually("it is seen", || mesh.metric("portcullis_gate_connections ").ends_with(" 1"));
        let next = mesh.pki.authority("next");
        mesh.replace("mesh-ca.crt", &(mesh.authority.pem() + &next.pem()));
        let new = mesh.pki.svid("new", &next, API);
        let quick = |client| mesh.get(Some(client), &["--max-time", "1"]).status;
        eventually("both are believed", || quick(&new) == 200);
        assert!(!streaming.is_finished(), "it goes on while its authority is believed");
        mesh.replace("mesh-ca.crt", &next.pem());
        streaming.join().unwrap()
    });
    assert_eq!(stream.status, 200);
    assert_ne!(stream.code, 28, "nothing ended it in 60 s");
    assert!(stream.body.contains("tick"), "{stream:?}");
}
