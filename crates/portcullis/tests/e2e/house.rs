//! A running Portcullis: the real binary with a configuration, an identity provider, an issuer for workloads
//! and upstreams, all on loopback.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use portcullis_testkit::{Issuer, ambient::machine_time, net::free_port};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    people::{People, Person},
    secrecy,
    wire::{Response, request},
};

/// How a house is furnished.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// YAML under `services:`.
    services: String,
    /// Policy files by name.
    policies: Vec<(String, String)>,
    /// Further files beside the configuration.
    files: Vec<(String, String)>,
    /// Further lines about the issuer of workload tokens.
    jwt: String,
    /// Further listeners.
    listeners: String,
    /// Further identity providers of people.
    people: String,
    /// What browsers know control by.
    control_host: String,
    /// Further workloads, and whatever else stands under `identity`.
    workloads: String,
    /// Further settings of the first of them.
    corp: String,
    /// Whether the house's own provider of people is left out.
    no_corp: bool,
    /// Where control listens, if that matters.
    control_port: Option<u16>,
    /// Further lines at the top level.
    settings: String,
}

/// A running binary. Killed when dropped.
#[derive(Debug)]
pub(crate) struct House {
    pub(crate) gate: SocketAddr,
    pub(crate) control: SocketAddr,
    pub(crate) people: People,
    pub(crate) workloads: Issuer,
    child: Child,
    dir: TempDir,
    /// Files that the plan brought along.
    given: Vec<PathBuf>,
    /// What the command line has shown.
    shown: Mutex<Vec<u8>>,
}

impl Plan {
    /// No services, no policies.
    pub(crate) fn empty() -> Self {
        Self {
            services: String::new(),
            policies: Vec::new(),
            files: Vec::new(),
            jwt: String::new(),
            listeners: String::new(),
            people: String::new(),
            control_host: "127.0.0.1".to_owned(),
            workloads: String::new(),
            corp: String::new(),
            no_corp: false,
            control_port: None,
            settings: String::new(),
        }
    }

    /// Adds a service entry, as YAML without the leading dash's indentation.
    pub(crate) fn service(mut self, yaml: &str) -> Self {
        let mut lines = yaml.trim().lines();
        let first = lines.next().unwrap_or_default();
        self.services += &format!("  - {first}\n");
        for line in lines {
            self.services += &format!("    {line}\n");
        }
        self
    }

    /// Adds a policy file.
    pub(crate) fn policy(mut self, name: &str, text: &str) -> Self {
        self.policies.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Adds a file beside the configuration.
    pub(crate) fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Adds a line at the top of the configuration: `access_requests: {expire_after: 2s}`.
    pub(crate) fn setting(mut self, line: &str) -> Self {
        self.settings.extend([line, "\n"]);
        self
    }

    /// Sets something of the issuer of workload tokens: `refresh: 1s`.
    pub(crate) fn jwt(mut self, setting: &str) -> Self {
        self.jwt.extend([", ", setting]);
        self
    }

    /// Adds a listener: `{name: tls, address: \"127.0.0.1:1\"}`.
    pub(crate) fn listener(mut self, yaml: &str) -> Self {
        self.listeners.extend(["  - ", yaml, "\n"]);
        self
    }

    /// Adds an identity provider of people.
    pub(crate) fn people(mut self, yaml: &str) -> Self {
        self.people.extend(["    - ", yaml, "\n"]);
        self
    }

    /// Sets something of the house's own provider of people: `recheck: 1s`.
    pub(crate) fn corp(mut self, setting: &str) -> Self {
        self.corp.extend([", ", setting]);
        self
    }

    /// Gives control a URL with a name in it, as browsers want for passkeys.
    pub(crate) fn control_host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.control_host);
        self
    }

    /// Adds an entry of workloads: `{name: mesh, mtls: {spiffe_trust_domain: prod.example.com}}`.
    pub(crate) fn workload(mut self, yaml: &str) -> Self {
        self.workloads.extend(["    - ", yaml, "\n"]);
        self
    }

    /// Sets something of the identity provider of people: `claims: {level: Long}`.
    pub(crate) fn oidc(mut self, setting: &str) -> Self {
        self.corp.extend([", ", setting]);
        self
    }

    /// Adds a line to `identity`, after all workloads.
    pub(crate) fn identity(mut self, line: &str) -> Self {
        self.workloads.extend(["  ", line, "\n"]);
        self
    }

    /// Adds a provider of people and leaves the house's own out.
    pub(crate) fn only_people(mut self, yaml: &str) -> Self {
        self.no_corp = true;
        self.people(yaml)
    }

    /// Where control listens.
    pub(crate) fn control_port(mut self, port: u16) -> Self {
        self.control_port = Some(port);
        self
    }

    /// Writes it all down and starts the binary; returns when it is ready.
    pub(crate) fn start(self) -> House {
        let house = self.start_unready();
        house.wait_ready();
        house
    }

    /// Starts without waiting.
    pub(crate) fn start_unready(self) -> House {
        let dir = TempDir::new().unwrap();
        let (people, workloads) = (People::start(), Issuer::start());
        let gate = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let control = self.control_port.unwrap_or_else(free_port);
        let control = SocketAddr::from(([127, 0, 0, 1], control));
        let text = configuration(&self, gate, control, &people, &workloads);
        fs::write(dir.path().join("portcullis.yaml"), text).unwrap();
        for (name, text) in &self.files {
            write(&dir.path().join(name), text);
        }
        fs::create_dir_all(dir.path().join("policies")).unwrap();
        for (name, text) in &self.policies {
            write(&dir.path().join("policies").join(name), text);
        }
        let given = secrecy::given(&self.files);
        let child = serve(dir.path());
        House { gate, control, people, workloads, child, dir, given, shown: Mutex::default() }
    }
}

impl House {
    /// The folder with the configuration, the store and the record.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Waits until `/readyz` says so.
    pub(crate) fn wait_ready(&self) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while Instant::now() < deadline {
            if std::net::TcpStream::connect(self.control).is_ok()
                && self.api("GET", "/readyz", None, None).status == 200
            {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("not ready within 60 s:\n{}", self.log());
    }

    /// What the binary wrote to its standard error and output so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir().join("serve.log")).unwrap_or_default()
    }

    /// Ends the process at once, as `kill -9` does, and waits for its end.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until the process has ended by itself.
    pub(crate) fn wait_end(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it goes on:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts it again on the same state and waits until it is ready.
    pub(crate) fn restart(&mut self) {
        self.child = serve(self.dir.path());
        self.wait_ready();
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sets the wall clock that the process sees, if it was started with a file `faketime`: `+2h`.
    pub(crate) fn set_clock(&self, offset: &str) {
        let new = self.dir().join("faketime.new");
        write(&new, offset);
        fs::rename(new, self.dir().join("faketime")).unwrap();
    }

    /// Sends a signal by name: `HUP`, `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Replaces a policy file, in one step: half a policy is another policy.
    pub(crate) fn write_policy(&self, name: &str, text: &str) {
        let new = self.dir().join("policy.new");
        write(&new, text);
        fs::rename(new, self.dir().join("policies").join(name)).unwrap();
    }

    /// A sound workload token, five minutes, in `groups`.
    pub(crate) fn workload_token(&self, subject: &str, groups: &[&str]) -> String {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        let draft = self.workloads.token(machine_time());
        let token = draft.claim("sub", subject).claim("groups", groups).mint();
        secrecy::handed_out(&token);
        token
    }

    /// Signs `person` in by device flow and returns the control token.
    pub(crate) fn sign_in(&self, person: &Person) -> String {
        let begun = self.api("POST", "/v1/device", None, Some(json!({}))).json();
        self.people.confirm(begun["user_code"].as_str().unwrap(), person);
        let deadline = Instant::now() + Duration::from_mins(1);
        while Instant::now() < deadline {
            let poll = json!({"device_token": begun["device_token"]});
            let answer = self.api("POST", "/v1/device/token", None, Some(poll));
            if answer.status == 200 {
                return answer.json()["token"].as_str().unwrap().to_owned();
            }
            std::thread::sleep(Duration::from_millis(250));
        }
        panic!("{} could not sign in:\n{}", person.subject, self.log());
    }

    /// A gate token made from a control token.
    pub(crate) fn gate_token(&self, control_token: &str) -> String {
        let wanted = json!({"audience": "gate"});
        let answer = self.api("POST", "/v1/sign-ins", Some(control_token), Some(wanted));
        assert!(answer.status < 300, "{}: {}", answer.status, answer.text());
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    /// One call of the control API.
    pub(crate) fn api(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Response {
        request(self.control, "control.example.com", method, path, token, body.as_ref())
    }

    /// One request at the gate.
    pub(crate) fn gate(
        &self,
        host: &str,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Response {
        request(self.gate, host, method, path, token, body.as_ref())
    }

    /// Gives the CLI's `home` a profile that is signed in by `token`.
    pub(crate) fn profile(&self, home: &str, token: &str) {
        let folder = self.dir().join("homes").join(home).join("profiles");
        fs::create_dir_all(&folder).unwrap();
        let text = json!({"url": format!("http://{}", self.control), "token": token});
        let file = folder.join("default.json");
        fs::write(&file, text.to_string()).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Runs the CLI with a home of its own in this house.
    pub(crate) fn cli(&self, home: &str, args: &[&str]) -> Output {
        self.cli_with(home, args, &[])
    }

    /// How a command ended, and all that it said.
    pub(crate) fn says(&self, home: &str, args: &[&str]) -> (Option<i32>, String) {
        let Output { status, stdout, stderr } = self.cli(home, args);
        (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
    }

    /// A command with more in its environment.
    pub(crate) fn cli_with(&self, home: &str, args: &[&str], more: &[(&str, &str)]) -> Output {
        let output = Command::new(binary())
            .args(args)
            .envs(more.iter().copied())
            .env("PORTCULLIS_HOME", self.dir().join("homes").join(home))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        // These print a token: they are there for that.
        if !args.iter().any(|arg| ["token", "redeem", "--sealed"].contains(arg)) {
            let mut shown = self.shown.lock().unwrap();
            shown.extend([&output.stdout[..], &output.stderr[..]].concat());
        }
        output
    }

    /// Where secrets are in what the system has written so far.
    pub(crate) fn leaks(&self) -> Vec<String> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let metrics = metrics(self.control).unwrap_or_default();
        let written = [("the command line", shown), ("metrics", metrics)];
        secrecy::leaks(self.dir(), &self.given, &written)
    }

    /// The newest entries of the record, oldest first, waiting until `enough` says so of them.
    pub(crate) fn record(&self, auditor: &str, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let answer =
                self.api("GET", "/v1/audit/events?newest=true&limit=500", Some(auditor), None);
            assert_eq!(answer.status, 200, "{}", answer.text());
            let page = answer.json();
            let events = page["events"].as_array().expect("events").clone();
            if enough(&events) {
                return events;
            }
            assert!(Instant::now() < deadline, "the record lacks it: {page:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let leaks = if std::thread::panicking() { Vec::new() } else { self.leaks() };
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the binary's log:\n{}", self.log());
            return;
        }
        assert!(leaks.is_empty(), "secrets are in what the system wrote: {leaks:#?}");
    }
}

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_portcullis"))
}

fn serve(dir: &Path) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("serve.log")).unwrap();
    let mut command = Command::new(binary());
    let offset = dir.join("faketime");
    if offset.exists() {
        // The wall clock is what the file says; the clock that nobody sets stays as it is.
        command
            .env("LD_PRELOAD", crate::clocks::library())
            .env("FAKETIME_TIMESTAMP_FILE", offset)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
    crate::durability::preload(dir, &mut command);
    command
        .args(["serve", "--config"])
        .arg(dir.join("portcullis.yaml"))
        .args(["--cores", "2"])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn configuration(
    plan: &Plan,
    gate: SocketAddr,
    control: SocketAddr,
    people: &People,
    workloads: &Issuer,
) -> String {
    let services = if plan.services.is_empty() { "  []\n" } else { &plan.services };
    let corp = format!(
        "    - name: corp\n      oidc: {{issuer: \"{}\", client_id: portcullis, groups_claim: groups{}}}\n",
        people.issuer().url(),
        plan.corp
    );
    let corp = if plan.no_corp { "" } else { &corp };
    format!(
        "\
listeners:
  - {{name: gate, address: \"{gate}\"}}
{}control: {{address: \"{control}\", url: \"http://{}:{}\"}}
store: sqlite:portcullis.db
audit: {{directory: audit}}
identity:
  people:
{corp}{}  workloads:
    - name: builds
      jwt: {{issuer: \"{}\", audience: portcullis, groups_claim: groups{}}}
{}{}policies: policies
services:
{services}",
        plan.listeners,
        plan.control_host,
        control.port(),
        plan.people,
        workloads.url(),
        plan.jwt,
        plan.workloads,
        plan.settings
    )
}

/// The metrics, if the process is there to tell them.
fn metrics(control: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&control, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}
