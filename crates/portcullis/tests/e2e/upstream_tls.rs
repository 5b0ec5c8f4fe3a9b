//! Upstreams that prove who they are, and to whom the gate does.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Stdio},
    sync::{Arc, Mutex},
};

use portcullis_testkit::TempDir;
use serde_json::json;

use crate::{
    house::{House, Plan},
    mesh::eventually,
    pki::{Pair, Pki, python},
    svid::Agent,
    upstream::Upstream,
    wire::Response,
};

const API: &str = "spiffe://prod.example.com/ns/shop/sa/api";
const GATE: &str = "spiffe://prod.example.com/gate";
const POLICY: &str = r#"@id("readers") @all_services("true")
permit (principal is Workload in Group::"readers", action in Action::"read", resource);"#;

/// A service outside that speaks TLS, and what it says.
pub(crate) struct Outside {
    child: Child,
    pub(crate) port: u16,
    said: Arc<Mutex<Vec<String>>>,
}

impl Outside {
    /// Presents `own`; clients need a certificate by `clients`, if that is somebody.
    pub(crate) fn start(own: &Pair, clients: Option<&Pair>) -> Self {
        let mut command = python("tls_upstream.py");
        command.args([&own.certificate, &own.key]).args(clients.map(|by| &by.certificate));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                log.lock().unwrap().push(line);
            }
        });
        Self { child, port, said }
    }

    fn requests(&self) -> usize {
        self.said.lock().unwrap().iter().filter(|line| line.starts_with("GET")).count()
    }

    /// A service entry for it, called `name`.
    fn service(&self, name: &str, tls: &str) -> String {
        let url = format!("https://127.0.0.1:{}", self.port);
        entry(name, &url, tls)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn entry(name: &str, url: &str, tls: &str) -> String {
    format!("name: {name}\nhosts: [{name}.test]\nupstream: {{url: \"{url}\"{tls}}}")
}

fn ask(house: &House, service: &str) -> Response {
    let token = house.workload_token("reader", &["readers"]);
    house.gate(&format!("{service}.test"), "GET", "/page", Some(&token), None)
}

/// 502, and the log says why.
#[track_caller]
fn fails(house: &House, service: &str, why: &str) {
    let before = house.log().len();
    let answer = ask(house, service);
    assert_eq!(answer.status, 502, "{service}: {}", answer.text());
    let log = house.log();
    assert!(log[before..].contains(why), "{service}: {why}: {}", &log[before..]);
}

/// Whole at once: half a file is another file.
fn replace(dir: &Path, name: &str, text: &str) {
    fs::write(dir.join("new"), text).unwrap();
    fs::rename(dir.join("new"), dir.join(name)).unwrap();
}

/// Authorities, the gate's own certificate, and services outside.
struct All {
    mesh: Pair,
    stranger: Pair,
    gate: Pair,
    api: Outside,
    open: Outside,
    named: Outside,
    late: Outside,
}

impl All {
    fn new(pki: &Pki) -> Self {
        let (mesh, stranger) = (pki.authority("mesh"), pki.authority("stranger"));
        Self {
            gate: pki.svid("gate", &mesh, GATE),
            api: Outside::start(&pki.svid("api", &mesh, API), Some(&mesh)),
            open: Outside::start(&pki.svid("api-2", &mesh, API), None),
            named: Outside::start(&pki.server("named", &mesh), None),
            late: Outside::start(&pki.expired("late", &mesh, API), None),
            mesh,
            stranger,
        }
    }

    /// How many requests arrived anywhere.
    fn requests(&self) -> usize {
        [&self.api, &self.open, &self.named, &self.late].map(Outside::requests).iter().sum()
    }
}

/// Services for each way to believe, and not to believe, one of those outside.
fn house_of_all(pki: &All, clear: &Upstream) -> House {
    let All { mesh, stranger, gate, api, open, named, late } = pki;
    let own = "certificate: gate.crt, key: gate.key";
    let api_id = format!("spiffe_id: \"{API}\"");
    Plan::empty()
        .file("mesh.crt", &mesh.pem())
        .file("stranger.crt", &stranger.pem())
        .file("gate.crt", &gate.pem())
        .file("gate.key", &gate.key_pem())
        .policy("read.cedar", POLICY)
        .service(&api.service("exact", &format!(", tls: {{ca: mesh.crt, {own}, {api_id}}}")))
        .service(&api.service(
            "domain",
            &format!(", tls: {{ca: mesh.crt, {own}, spiffe_id: \"spiffe://prod.example.com\"}}"),
        ))
        .service(&api.service("nobody", &format!(", tls: {{ca: mesh.crt, {api_id}}}")))
        .service(&open.service("open", &format!(", tls: {{ca: mesh.crt, {api_id}}}")))
        .service(&open.service(
            "other",
            ", tls: {ca: mesh.crt, spiffe_id: \"spiffe://prod.example.com/ns/shop/sa/web\"}",
        ))
        .service(
            &open.service(
                "elsewhere",
                ", tls: {ca: mesh.crt, spiffe_id: \"spiffe://dev.example.com\"}",
            ),
        )
        .service(&open.service("wrong-ca", &format!(", tls: {{ca: stranger.crt, {api_id}}}")))
        .service(&open.service("usual", ""))
        .service(&open.service("by-host", ", tls: {ca: mesh.crt}"))
        .service(&late.service("late", &format!(", tls: {{ca: mesh.crt, {api_id}}}")))
        .service(&named.service("named", ", tls: {ca: mesh.crt, server_name: shop.example.com}"))
        .service(&named.service("misnamed", ", tls: {ca: mesh.crt, server_name: b.example.com}"))
        .service(&named.service("no-id", &format!(", tls: {{ca: mesh.crt, {api_id}}}")))
        .service(&entry(
            "clear",
            &clear.url().replace("http:", "https:"),
            &format!(", tls: {{ca: mesh.crt, {api_id}}}"),
        ))
        .start()
}

#[test]
fn f16_an_upstream_that_is_not_who_it_must_be_gets_nothing() {
    let (pki, clear) = (Pki::new(), Upstream::start());
    let all = All::new(&pki);
    let house = house_of_all(&all, &clear);
    for service in ["exact", "domain"] {
        let answer = ask(&house, service);
        assert_eq!((answer.status, answer.text().as_str()), (200, GATE), "{service}");
    }
    for service in ["open", "named"] {
        let answer = ask(&house, service);
        assert_eq!((answer.status, answer.text().as_str()), (200, "nobody"), "{service}");
    }
    let sent = all.requests();
    fails(&house, "other", &format!("it is {API}, and not"));
    fails(&house, "elsewhere", &format!("it is {API}, and not a workload of dev.example.com"));
    fails(&house, "wrong-ca", "none of the configured authorities issued it");
    fails(&house, "usual", "none of the configured authorities issued it");
    fails(&house, "by-host", "its certificate: ");
    fails(&house, "late", "its certificate: it has expired");
    fails(&house, "misnamed", "not valid for name");
    fails(&house, "no-id", "the certificate has no URI name");
    assert_eq!(ask(&house, "clear").status, 502, "nobody shakes hands there");
    // With TLS 1.3 the refusal comes after the handshake: the request was on its way, and read by nobody.
    assert_eq!(ask(&house, "nobody").status, 502);
    assert_eq!(all.requests(), sent, "nothing was forwarded");
    // What one of two services believes of one address is nothing to the other, whatever is pooled.
    for _ in 0..8 {
        assert_eq!(ask(&house, "open").status, 200);
        assert_eq!(ask(&house, "other").status, 502);
    }
    assert!(clear.received().iter().all(|one| !one.head.contains("/page")), "never in clear text");
}

/// How the only service of a house is reached.
const ONE: &str = ", tls: {ca: tls/mesh.crt, certificate: tls/gate.crt, key: tls/gate.key, \
                   spiffe_id: \"spiffe://prod.example.com/ns/shop/sa/api\"}";

/// One service outside and the gate, both certified by `first`.
fn house_of_one(pki: &Pki, first: &Pair) -> (Outside, House) {
    let api = Outside::start(&pki.svid("api", first, API), Some(first));
    let gate = pki.svid("gate", first, GATE);
    let house = Plan::empty()
        .file("tls/mesh.crt", &first.pem())
        .file("tls/gate.crt", &gate.pem())
        .file("tls/gate.key", &gate.key_pem())
        .policy("read.cedar", POLICY)
        .service(&api.service("api", ONE))
        .start();
    (api, house)
}

#[test]
fn f16_a_reload_that_does_not_hold_leaves_upstreams_to_the_bundle_in_force() {
    let pki = Pki::new();
    let (first, second) = (pki.authority("first"), pki.authority("second"));
    let (_api, house) = house_of_one(&pki, &first);
    let tls = house.dir().join("tls");
    let settings = fs::read_to_string(house.dir().join("portcullis.yaml")).unwrap();
    let reload = |settings: &str| replace(house.dir(), "portcullis.yaml", settings);
    assert_eq!(ask(&house, "api").status, 200);
    let broken = settings.replace("tls/mesh.crt", "tls/none.crt");
    reload(&broken);
    eventually("it is refused", || house.log().contains("the bundle in force stays"));
    let line = broken.lines().position(|line| line.contains("tls/none.crt")).unwrap() + 1;
    let place = format!("portcullis.yaml:{line}");
    assert!(house.log().contains(&place), "{place}: {}", house.log());
    let config = house.dir().join("portcullis.yaml");
    let (status, said) = house.says("x", &["check", "--config", config.to_str().unwrap()]);
    assert_eq!(status, Some(1), "{said}");
    let snippet = broken.lines().nth(line - 1).unwrap().trim();
    for told in [&place, snippet, "`upstream.tls` of `api`: ", "put a usable file there"] {
        assert!(said.contains(told), "{told}: {said}");
    }
    assert_eq!(ask(&house, "api").status, 200);
    // What is pooled still goes with the authority that vouched for it.
    replace(&tls, "mesh.crt", &second.pem());
    eventually("the authority is believed no longer", || ask(&house, "api").status == 502);
    replace(&tls, "mesh.crt", &first.pem());
    eventually("it is believed again", || ask(&house, "api").status == 200);
    // What a bundle no longer names ends with it, and is read again when it comes back.
    let in_force = || house.log().matches("bundle in force").count();
    reload(&settings.replace(ONE, ""));
    eventually("the machine's own are asked", || ask(&house, "api").status == 502);
    replace(&tls, "mesh.crt", &second.pem());
    let before = in_force();
    reload(&settings);
    eventually("the first is in force again", || in_force() > before);
    for _ in 0..8 {
        fails(&house, "api", "none of the configured authorities issued it");
    }
}

#[test]
fn f16_authorities_and_certificates_of_upstreams_are_replaced_while_running() {
    let pki = Pki::new();
    let (first, second) = (pki.authority("first"), pki.authority("second"));
    let renewed = pki.svid("renewed", &first, "spiffe://prod.example.com/gate-2");
    let (api, house) = house_of_one(&pki, &first);
    let dir = house.dir().join("tls");
    assert_eq!(ask(&house, "api").text(), GATE);
    // A key that fits no certificate changes nothing.
    replace(&dir, "gate.key", &renewed.key_pem());
    let stale = "portcullis_certificates_stale{of=\"upstreams spiffe://prod.example.com/ns/shop/sa/api, certified by tls/mesh.crt\"} 1";
    let metrics = || house.api("GET", "/metrics", None, None).text();
    eventually("the metric says so", || metrics().contains(stale));
    assert_eq!(ask(&house, "api").text(), GATE);
    replace(&dir, "gate.crt", &renewed.pem());
    eventually("the new certificate is presented", || ask(&house, "api").text().ends_with("-2"));
    // Pooled connections go with the authority that vouched for them.
    replace(&dir, "mesh.crt", &second.pem());
    eventually("the authority is believed no longer", || ask(&house, "api").status == 502);
    for _ in 0..8 {
        fails(&house, "api", "none of the configured authorities issued it");
    }
    replace(&dir, "mesh.crt", &(second.pem() + &first.pem()));
    eventually("it is believed again", || ask(&house, "api").status == 200);
    // A reload takes a new service in, and refuses one whose files are not there.
    let file = house.dir().join("portcullis.yaml");
    let before = fs::read_to_string(&file).unwrap();
    let with = |service: &str| {
        let lines: Vec<String> = service.lines().map(|line| format!("    {line}")).collect();
        format!("{before}  - {}\n", lines.join("\n").trim_start())
    };
    let broken = api.service("late", &ONE.replace("mesh.crt", "none.crt"));
    replace(house.dir(), "portcullis.yaml", &with(&broken));
    eventually("the reload is refused", || house.log().contains("none.crt is not usable"));
    assert_eq!(ask(&house, "late").status, 404);
    replace(house.dir(), "portcullis.yaml", &with(&api.service("late", ONE)));
    eventually("the reload is in force", || ask(&house, "late").status == 200);
}

#[test]
fn f16_the_workload_api_gives_what_upstreams_are_shown_and_certified_by() {
    let (pki, folder) = (Pki::new(), TempDir::new().unwrap());
    let (first, second) = (pki.authority("first"), pki.authority("second"));
    let api = Outside::start(&pki.svid("api", &first, API), Some(&first));
    let socket = folder.path().join("agent.sock");
    let tls = format!(", tls: {{workload_api: [svid, bundles], spiffe_id: \"{API}\"}}");
    let house = Plan::empty()
        .identity(&format!("workload_api: \"unix://{}\"", socket.display()))
        .policy("read.cedar", POLICY)
        .service(&api.service("api", &tls))
        .start();
    fails(&house, "api", "the Workload API");
    assert_eq!(api.requests(), 0);
    let gate = pki.svid("gate", &first, GATE);
    let state = |bundle: &Pair| json!({"spiffe_id": GATE, "chain": gate.certificate, "key": gate.key, "bundle": bundle.certificate});
    let mut agent = Agent::start(folder.path(), &state(&first));
    eventually("it has told", || ask(&house, "api").status == 200);
    assert_eq!(ask(&house, "api").text(), GATE);
    agent.tell(&state(&second));
    eventually("the authority is believed no longer", || ask(&house, "api").status == 502);
    agent.tell(&state(&first));
    eventually("it is believed again", || ask(&house, "api").status == 200);
}
