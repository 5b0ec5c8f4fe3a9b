//! SPIFFE: tokens by trust domain, and the Workload API of an agent that grpcio serves.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

use portcullis_testkit::{TempDir, ambient::machine_time, net::free_port};
use serde_json::{Value, json};

use crate::{
    mesh::eventually,
    pki::{Open, Pair, Pki, curl, python},
    shop::{HOST, Shop},
    upstream::Upstream,
    wire::Response,
};

const API: &str = "spiffe://prod.example.com/ns/shop/sa/api";
const GATE: &str = "spiffe://prod.example.com/gate";
const GROUPS: &str = r#"groups: {"path=/ns/shop/sa/api": [readers]}"#;

/// The keys of one trust domain, minted by `PyJWT`.
struct Minter {
    key: PathBuf,
    kid: &'static str,
}

impl Minter {
    fn new(pki: &Pki, kid: &'static str) -> Self {
        Self { key: pki.authority(kid).key, kid }
    }

    fn jwks(&self, purpose: &[&str]) -> String {
        run(&[&["jwks", self.key.to_str().unwrap(), self.kid], purpose].concat())
    }

    /// A sound token of the API, but for `changes`: null takes a claim away.
    fn token(&self, changes: Value) -> String {
        self.signed("ES256", changes, json!({"kid": self.kid}))
    }

    fn signed(&self, alg: &str, changes: Value, headers: Value) -> String {
        let now = machine_time().as_second();
        let mut claims = json!({"sub": API, "aud": ["portcullis"], "exp": now + 300, "iat": now});
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let (claims, headers) = (claims.to_string(), headers.to_string());
        run(&["token", self.key.to_str().unwrap(), alg, &claims, &headers])
    }
}

fn run(args: &[&str]) -> String {
    let output = python("jwt_svid.py").args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn d01_d02_d04_d05_d06_a_jwt_svid_is_a_token_of_its_trust_domain_and_nothing_else() {
    let (pki, upstream) = (Pki::new(), Upstream::start());
    let (minter, stranger) = (Minter::new(&pki, "k1"), Minter::new(&pki, "k2"));
    let entry = format!(
        "{{name: mesh, jwt_svid: {{spiffe_trust_domain: prod.example.com, audience: portcullis, bundle: keys.json}}, {GROUPS}}}"
    );
    let shop = Shop::furnished(&upstream.url(), |plan| {
        plan.file("keys.json", &minter.jwks(&["jwt-svid"])).workload(&entry)
    });
    let status = |token: &str| shop.read_as(token).status;
    assert_eq!(status(&minter.token(json!({}))), 200);
    assert_eq!(upstream.take()[0].headers("portcullis-principal"), ["mesh:/ns/shop/sa/api"]);
    assert_eq!(status(&minter.token(json!({"aud": "portcullis", "iat": null}))), 200);
    assert_eq!(status(&minter.token(json!({"iss": "https://spire.example.com"}))), 200);
    let typ = |typ: &str| minter.signed("ES256", json!({}), json!({"kid": "k1", "typ": typ}));
    assert_eq!(status(&typ("JOSE")), 200);
    assert_eq!(shop.read_as(&shop.token).status, 200, "other issuers are not affected");
    upstream.take();
    let now = machine_time().as_second();
    let claims = [
        json!({"aud": null}),
        json!({"aud": ["other"]}),
        json!({"aud": []}),
        json!({"exp": null}),
        json!({"exp": now - 60}),
        json!({"exp": "never"}),
        json!({"exp": 1e300}),
        json!({"nbf": now + 600}),
        json!({"sub": null}),
        json!({"sub": "spiffe://dev.example.com/ns/shop/sa/api"}),
        json!({"sub": "spiffe://prod.example.com"}),
        json!({"sub": format!("{API}?admin")}),
        json!({"sub": "spiffe://prod.example.com/ns/shop/sa/../sa/api"}),
        json!({"sub": "spiffe://prod.example.com/ns/shop/sa/api\u{0}"}),
        json!({"sub": "/ns/shop/sa/api"}),
        json!({"iss": shop.house.workloads.url()}),
        json!({"nonce": "n"}),
    ];
    let mut bad: Vec<(String, String)> =
        claims.iter().map(|change| (change.to_string(), minter.token(change.clone()))).collect();
    let kid = json!({"kid": "k1"});
    bad.push(("no signature".into(), minter.signed("none", json!({}), kid.clone())));
    bad.push(("the public key as a secret".into(), minter.signed("HS256", json!({}), kid.clone())));
    bad.push(("a stranger's key".into(), stranger.signed("ES256", json!({}), kid)));
    bad.push(("a stranger's name of a key".into(), stranger.token(json!({}))));
    bad.push(("another purpose".into(), typ("logout+jwt")));
    for (what, token) in bad {
        let mut found = 503;
        // A key that is not known is asked for; on a busy machine its issuer may be too slow to say.
        eventually(&what, || {
            found = status(&token);
            found != 503
        });
        assert_eq!(found, 401, "{what}");
    }
    assert!(upstream.take().is_empty());
}

#[test]
fn d09_the_keys_of_a_trust_domain_are_replaced_while_running() {
    let (pki, upstream) = (Pki::new(), Upstream::start());
    let (old, new) = (Minter::new(&pki, "k1"), Minter::new(&pki, "k2"));
    let entry = format!(
        "{{name: mesh, jwt_svid: {{spiffe_trust_domain: prod.example.com, audience: portcullis, bundle: keys/mesh.jwks}}, {GROUPS}}}"
    );
    let shop = Shop::furnished(&upstream.url(), |plan| {
        plan.file("keys/mesh.jwks", &old.jwks(&[])).workload(&entry)
    });
    let keys = shop.house.dir().join("keys/mesh.jwks");
    let (before, after) = (old.token(json!({})), new.token(json!({})));
    assert_eq!((shop.read_as(&before).status, shop.read_as(&after).status), (200, 401));
    // Keys for certificates, or none at all, change nothing.
    for broken in [new.jwks(&["x509-svid"]), "{}".into(), "<html>".into()] {
        fs::write(&keys, broken).unwrap();
        let stale = "portcullis_certificates_stale{of=\"tokens of prod.example.com\"} 1";
        eventually("the metric says so", || {
            shop.house.api("GET", "/metrics", None, None).text().contains(stale)
        });
        assert_eq!(shop.read_as(&before).status, 200, "the last good keys stay");
    }
    fs::write(&keys, new.jwks(&[])).unwrap();
    eventually("the new key is known", || shop.read_as(&after).status == 200);
    assert_eq!(shop.read_as(&before).status, 401, "the old key is gone, remembered tokens too");
}

/// An agent that speaks the Workload API.
pub(crate) struct Agent {
    child: Child,
    stdin: ChildStdin,
}

impl Agent {
    /// One that tells `state` to begin with.
    pub(crate) fn start(folder: &Path, state: &Value) -> Self {
        let mut child = python("workload_api.py")
            .arg(folder.join("agent.sock"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        writeln!(stdin, "{state}").unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "serving");
        Self { child, stdin }
    }

    /// Tells `state` from now on.
    pub(crate) fn tell(&mut self, state: &Value) {
        writeln!(self.stdin, "{state}").unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The shop behind a listener that has everything from an agent's Workload API.
struct Federation {
    pki: Pki,
    folder: TempDir,
    port: u16,
    shop: Shop,
    upstream: Upstream,
    /// The first authority of `prod.example.com`.
    first: Pair,
    /// The authority of `partner.example.com`.
    partner: Pair,
    minter: Minter,
}

const MESH: &str = "mtls: {spiffe_trust_domain: prod.example.com}, jwt_svid: {spiffe_trust_domain: prod.example.com, audience: portcullis, workload_api: true}";
const PARTNER: &str = r#"{name: partner, mtls: {spiffe_trust_domain: partner.example.com}, groups: {"spiffe_id=spiffe://partner.example.com/shop": [readers]}}"#;

impl Federation {
    /// The agent is not there yet.
    fn found() -> Self {
        let (pki, upstream, port) = (Pki::new(), Upstream::start(), free_port());
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("agent.sock");
        let listener = format!(
            "{{name: mesh, address: \"127.0.0.1:{port}\", tls: {{workload_api: [svid, bundles]}}}}"
        );
        let shop = Shop::furnished_unready(&upstream.url(), |plan| {
            plan.workload(&format!("{{name: mesh, {MESH}, {GROUPS}}}"))
                .workload(PARTNER)
                .identity(&format!("workload_api: \"unix://{}\"", socket.display()))
                .listener(&listener)
        });
        let (first, partner) = (pki.authority("first"), pki.authority("partner"));
        let minter = Minter::new(&pki, "k1");
        Self { pki, folder, port, shop, upstream, first, partner, minter }
    }

    /// With an agent that has told the first authority and key.
    fn running() -> (Self, Agent) {
        let federation = Self::found();
        let own = federation.gates("gate-1", &federation.first);
        let state = federation.state(&own, &[&federation.first], &federation.minter);
        let agent = Agent::start(federation.folder.path(), &state);
        eventually("it is ready", || federation.ready().status == 200);
        (federation, agent)
    }

    /// What an agent can tell.
    fn state(&self, own: &Pair, authorities: &[&Pair], minter: &Minter) -> Value {
        // Files of their own: what was told before stays as it was.
        let number = self.pki.count();
        let bundle = self.pki.path(&format!("bundle-{number}.pem"));
        let keys = self.pki.path(&format!("keys-{number}.json"));
        fs::write(&bundle, authorities.iter().map(|pair| pair.pem()).collect::<String>()).unwrap();
        fs::write(&keys, minter.jwks(&[])).unwrap();
        json!({
            "spiffe_id": GATE, "chain": own.certificate, "key": own.key, "bundle": bundle,
            "federated": {"partner.example.com": self.partner.certificate},
            "keys": {"prod.example.com": keys},
        })
    }

    /// The gate's own certificate: named for SPIFFE, and for clients that go by host.
    fn gates(&self, name: &str, by: &Pair) -> Pair {
        let usage = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n";
        let names = format!("subjectAltName=URI:{GATE},DNS:{HOST}\n");
        self.pki.leaf(name, by, &format!("{usage}{names}"))
    }

    /// What a client gets that believes `ca`; 0 for no answer.
    fn get(&self, ca: &Pair, client: &Pair) -> u16 {
        curl(self.port, &ca.certificate, Some(client), &[]).status
    }

    fn ready(&self) -> Response {
        self.shop.house.api("GET", "/readyz", None, None)
    }
}

#[test]
fn without_its_agent_a_listener_waits_and_says_what_for() {
    let federation = Federation::found();
    eventually("it says what it waits for", || {
        std::net::TcpStream::connect(federation.shop.house.control).is_ok()
            && federation.ready().text().contains("listener mesh has no certificate yet")
    });
    let api = federation.pki.svid("api", &federation.first, API);
    assert_eq!(federation.get(&federation.first, &api), 0, "no answer");
    let clear = Command::new("curl")
        .args(["-sS", "--max-time", "5", &format!("http://127.0.0.1:{}/page", federation.port)])
        .output();
    assert!(!clear.unwrap().status.success(), "least of all in clear text");
    assert_eq!(federation.shop.read_as(&federation.shop.token).status, 200, "others serve");
    let token = federation.minter.token(json!({}));
    assert_eq!(federation.shop.read_as(&token).status, 503, "its keys are not known yet");
    federation.upstream.take();
    let own = federation.gates("gate-1", &federation.first);
    let state = federation.state(&own, &[&federation.first], &federation.minter);
    let _agent = Agent::start(federation.folder.path(), &state);
    eventually("it is ready", || federation.ready().status == 200);
    assert_eq!(federation.get(&federation.first, &api), 200);
    eventually("the keys have come", || federation.shop.read_as(&token).status == 200);
}

#[test]
fn a_trust_domain_vouches_for_its_own_names_only() {
    let (federation, _agent) = Federation::running();
    let Federation { pki, first, partner, minter, .. } = &federation;
    let api = pki.svid("api", first, API);
    assert_eq!(federation.get(first, &api), 200);
    let theirs = pki.svid("theirs", partner, "spiffe://partner.example.com/shop");
    assert_eq!(federation.get(first, &theirs), 200, "a federated trust domain");
    let token = minter.token(json!({}));
    eventually("the keys have come", || federation.shop.read_as(&token).status == 200);
    let received = federation.upstream.take();
    let names: Vec<_> =
        received.iter().flat_map(|one| one.headers("portcullis-principal")).collect();
    // One name, however it is proven.
    assert_eq!(names, ["mesh:/ns/shop/sa/api", "partner:/shop", "mesh:/ns/shop/sa/api"]);
    assert_eq!(federation.get(first, &pki.svid("crossed", partner, API)), 0);
    let crossed = pki.svid("crossed-2", first, "spiffe://partner.example.com/shop");
    assert_eq!(federation.get(first, &crossed), 0);
    assert!(federation.upstream.take().is_empty());
}

#[test]
fn d21_the_workload_api_rotates_certificate_bundles_and_keys_under_live_connections() {
    let (federation, mut agent) = Federation::running();
    let Federation { pki, first, minter, shop, .. } = &federation;
    let api = pki.svid("api", first, API);
    let mut open = Open::connect(federation.port, &first.certificate, &api);
    assert_eq!(open.get(), "200");
    let token = minter.token(json!({}));
    eventually("the keys have come", || shop.read_as(&token).status == 200);
    // A new authority is announced, then the gate's own certificate is of it, then the old one goes.
    let second = pki.authority("second");
    let own = federation.gates("gate-2", first);
    agent.tell(&federation.state(&own, &[first, &second], minter));
    let renewed = pki.svid("renewed", &second, API);
    eventually("the second is believed", || federation.get(first, &renewed) == 200);
    let own = federation.gates("gate-3", &second);
    agent.tell(&federation.state(&own, &[first, &second], minter));
    eventually("its certificate is presented", || federation.get(&second, &api) == 200);
    assert_eq!(open.get(), "200", "the live connection outlived both");
    let other = Minter::new(pki, "k2");
    agent.tell(&federation.state(&own, &[&second], &other));
    eventually("the first is not believed", || federation.get(&second, &api) == 0);
    assert_eq!(open.get(), "401", "its identity went with its authority");
    eventually("nor is the first key", || shop.read_as(&token).status == 401);
    assert_eq!(shop.read_as(&other.token(json!({}))).status, 200);
    // Without the agent, what is known stays; when it is back, it is listened to again.
    drop(agent);
    let stale = "portcullis_certificates_stale{of=\"listener mesh\"} 1";
    let metrics = || shop.house.api("GET", "/metrics", None, None).text();
    eventually("the metric says so", || metrics().contains(stale));
    assert_eq!((federation.get(&second, &renewed), federation.ready().status), (200, 200));
    let third = pki.authority("third");
    let own = federation.gates("gate-4", &third);
    let told = federation.state(&own, &[&third], &other);
    let _agent = Agent::start(federation.folder.path(), &told);
    let last = pki.svid("last", &third, API);
    eventually("it is listened to again", || federation.get(&third, &last) == 200);
}
