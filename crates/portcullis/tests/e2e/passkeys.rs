//! Passkeys for reviewing: by authenticators in software (Yubico's `fido2`) that lie on request, and by
//! Chromium with its virtual one.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use portcullis_testkit::Process;
use serde_json::{Value, json};

use crate::{
    chromium,
    payments::{POLICIES, Payments, Visitor, ben, grant, id, lea, leo},
    upstream::Upstream,
    wire::Response,
};

const PATIENCE: Duration = Duration::from_mins(1);

/// Only a signed review counts.
fn open() -> Payments {
    let right = "resource.service == Service::\"payments\"";
    let signed = format!("{right} && principal.amr.contains(\"passkey\")");
    let policies = POLICIES.replace(right, &signed);
    assert_ne!(policies, POLICIES);
    Payments::furnished(Upstream::start(), |plan| {
        plan.control_host("localhost").policy("payments.cedar", &policies)
    })
}

fn origin(payments: &Payments) -> String {
    format!("http://localhost:{}", payments.house.control.port())
}

/// Something that has passkeys: one JSON command a line in, one JSON answer a line out.
struct Authenticator {
    process: Process,
    origin: String,
}

impl Authenticator {
    /// In Python, and a liar if it is told to.
    fn software(payments: &Payments) -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
        let own = root.join(".cache/python/bin/python");
        let python = std::env::var_os("PORTCULLIS_PYTHON").map_or(own, PathBuf::from);
        let mut command = Command::new(python);
        command.arg(root.join("tests/outsiders/passkey_peer.py"));
        Self::start(&mut command, origin(payments))
    }

    /// Chromium on a page of control; `None` where it is not installed and need not be.
    fn chromium(payments: &Payments) -> Option<Self> {
        let folder = chromium::installed()?;
        let mut command = Command::new("node");
        command.args(["passkeys.mjs", &format!("{}/", origin(payments))]).current_dir(folder);
        Some(Self::start(&mut command, origin(payments)))
    }

    fn start(command: &mut Command, origin: String) -> Self {
        let process = Process::start(command);
        process.wait_for_line("ready", PATIENCE);
        Self { process, origin }
    }

    fn command(&mut self, command: Value) -> Value {
        self.process.tell(&command.to_string());
        serde_json::from_str(&self.process.wait_for_line("answer ", PATIENCE)).unwrap()
    }

    /// Does `what` with `key`, telling `lies`.
    fn does(&mut self, what: &str, key: &str, options: &Value, lies: &Value) -> Value {
        let mut command =
            json!({"do": what, "key": key, "options": options, "origin": self.origin});
        command.as_object_mut().unwrap().extend(lies.as_object().unwrap().clone());
        self.command(command)
    }

    /// Registers a passkey of `who` under `key`.
    fn register(&mut self, who: &Visitor<'_>, key: &str, lies: &Value) -> Response {
        let options = begin(who);
        let credential = self.does("create", key, &options, lies);
        register(who, key, &credential)
    }
}

fn begin(who: &Visitor<'_>) -> Value {
    let options = who.call("POST", "/v1/passkeys/options", None);
    assert_eq!(options.status, 201, "{}", options.text());
    options.json()["publicKey"].clone()
}

fn register(who: &Visitor<'_>, name: &str, credential: &Value) -> Response {
    let body = json!({"name": name, "credential": credential});
    who.call("POST", "/v1/passkeys", Some(body))
}

fn review(who: &Visitor<'_>, request: &Value, body: Value) -> Response {
    who.call("POST", &format!("/v1/access-requests/{}/reviews", id(request)), Some(body))
}

/// The challenge that comes instead of an approval.
fn challenged(who: &Visitor<'_>, request: &Value) -> Value {
    let answer = who.approve(request);
    assert_eq!(answer.status, 403, "{}", answer.text());
    let problem = answer.json();
    assert!(problem["type"].as_str().unwrap().ends_with("/problems/passkey-needed"), "{problem:#}");
    problem["passkey"].clone()
}

fn approval(assertion: &Value) -> Value {
    json!({"decision": "approve", "passkey": assertion})
}

fn asked(ben: &Visitor<'_>, amount: i64) -> Value {
    ben.ask(&ben.refund(amount), json!({})).json()
}

fn state(who: &Visitor<'_>, request: &Value) -> Value {
    who.call("GET", &format!("/v1/access-requests/{}", id(request)), None).json()
}

#[test]
fn a_signed_approval_opens_and_stays_in_the_record_for_any_auditor() {
    let payments = open();
    let mut keys = Authenticator::software(&payments);
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let request = asked(&ben, 1);
    let before = lea.approve(&request);
    assert_eq!(before.status, 403);
    assert!(before.json().get("passkey").is_none(), "there is none yet");
    assert!(before.text().contains("register one first"), "{}", before.text());
    for (n, algorithm) in (1..).zip(["ES256", "EdDSA", "RS256"]) {
        let made = keys.register(&lea, algorithm, &json!({"algorithm": algorithm}));
        assert_eq!(made.status, 201, "{}", made.text());
        let request = asked(&ben, n);
        let seen = state(&lea, &request);
        assert_eq!((&seen["can_review"], &seen["needs_passkey"]), (&json!(true), &json!(true)));
        let challenge = challenged(&lea, &request);
        let statement: Value =
            serde_json::from_str(challenge["statement"].as_str().unwrap()).unwrap();
        assert_eq!(statement["access_request"], request["id"]);
        assert_eq!(statement["decision"], "approve");
        assert_eq!(ben.refund(n).status, 403, "a challenge opens nothing");
        let options = &challenge["publicKey"];
        assert_eq!(options["userVerification"], "required");
        let assertion = keys.does("get", algorithm, options, &json!({}));
        let approved = review(&lea, &request, approval(&assertion));
        assert_eq!(approved.status, 201, "{}", approved.text());
        let granted = grant(&approved.json());
        assert_eq!(approved.json()["reviews"][0]["passkey"], made.json()["id"]);
        assert_eq!(ben.refund(n).status, 200);
        payments.event("grant_started", |event| event["grant"] == granted.as_str());
        let event = payments.event("reviewed", |event| event["access_request"] == request["id"]);
        let said = keys.command(json!({"do": "audit", "proof": event["passkey"]}));
        assert_eq!(said["statement"], statement, "{said:#}");
        for (member, was, is) in [("statement", "approve", "decline"), ("nonce", "A", "B")] {
            let mut forged = event["passkey"].clone();
            let text = forged[member].as_str().unwrap().replace(was, is);
            forged[member] = json!(text + if member == "nonce" { "AA" } else { "" });
            let said = keys.command(json!({"do": "audit", "proof": forged}));
            assert!(said["error"].is_string(), "{member}: {said:#}");
        }
    }
    let listed = lea.call("GET", "/v1/passkeys", None).json();
    assert_eq!(listed["passkeys"].as_array().unwrap().len(), 3);
    assert!(listed["passkeys"][0]["last_used_at"].is_string(), "{listed:#}");
    assert_eq!(ben.call("GET", "/v1/passkeys", None).json(), json!({"passkeys": []}));
    let event = payments.event("passkey_registered", |_| true);
    assert_eq!(event["principal"]["id"], "corp:lea");
}

#[test]
fn a_signature_that_is_not_exactly_this_one_counts_for_nothing_and_spends_its_challenge() {
    let payments = open();
    let mut keys = Authenticator::software(&payments);
    let (ben, lea, leo) = (payments.enter(&ben()), payments.enter(&lea()), payments.enter(&leo()));
    assert_eq!(keys.register(&lea, "lea", &json!({})).status, 201);
    assert_eq!(keys.register(&leo, "leo", &json!({})).status, 201);
    let (request, other) = (asked(&ben, 1), asked(&ben, 2));
    let foreign = challenged(&leo, &request)["publicKey"]["challenge"].clone();
    let elsewhere = challenged(&lea, &other)["publicKey"]["challenge"].clone();
    let registering = begin(&lea)["challenge"].clone();
    let port = payments.house.control.port();
    let approve = json!({"decision": "approve"});
    let (later, unknown) = ("answers another challenge", "its challenge is unknown");
    let lies = [
        ("did not verify the user", json!({"uv": false}), approve.clone()),
        ("another origin", json!({"origin": "https://localhost"}), approve.clone()),
        ("another origin", json!({"origin": "http://localhost:1"}), approve.clone()),
        ("another origin", json!({"origin": format!("http://127.0.0.1:{port}")}), approve.clone()),
        ("another relying party", json!({"rp": "example.com"}), approve.clone()),
        // Of their own, another person's, for another access request, for registering.
        (unknown, json!({"challenge": "A".repeat(43)}), approve.clone()),
        (unknown, json!({"challenge": foreign}), approve.clone()),
        ("another access request", json!({"challenge": elsewhere}), approve.clone()),
        ("for registering", json!({"challenge": registering}), approve.clone()),
        // Another answer than the one that the challenge was made for.
        (later, json!({}), json!({"decision": "decline", "note": "no"})),
        (later, json!({}), json!({"decision": "approve", "note": "fine"})),
        (later, json!({}), json!({"decision": "approve", "duration": "5m"})),
    ];
    for (why, lies, mut body) in lies {
        let options = challenged(&lea, &request)["publicKey"].clone();
        body["passkey"] = keys.does("get", "lea", &options, &lies);
        let refused = review(&lea, &request, body.clone());
        assert_eq!(refused.status, 403, "{why}: {}", refused.text());
        assert!(refused.text().contains(why), "{why}: {}", refused.text());
        if lies.get("challenge").is_none() {
            // Its challenge was for one answer, and that was it.
            let honest = keys.does("get", "lea", &options, &json!({}));
            let late = review(&lea, &request, approval(&honest));
            assert!(late.text().contains(unknown), "{why}: {}", late.text());
        }
    }
    // Under her name with his key, and under his name.
    let options = challenged(&lea, &request)["publicKey"].clone();
    let hers = options["allowCredentials"][0]["id"].clone();
    let forged = keys.does("get", "leo", &options, &json!({"credential": hers}));
    assert_eq!(review(&lea, &request, approval(&forged)).status, 403);
    let options = challenged(&lea, &request)["publicKey"].clone();
    let his = keys.does("get", "leo", &options, &json!({}));
    assert_eq!(review(&lea, &request, approval(&his)).status, 403);
    assert_eq!(state(&lea, &request)["state"], "pending");
    assert_eq!(state(&lea, &request)["reviews"], json!([]));
    let event = payments.event("review_refused", |_| true);
    assert!(event["detail"].as_str().unwrap().starts_with("by passkey: "), "{event:#}");
    assert_eq!(ben.refund(1).status, 403);
}

#[test]
fn a_signature_counts_once_and_a_copied_or_deleted_passkey_never() {
    let payments = open();
    let mut keys = Authenticator::software(&payments);
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let made = keys.register(&lea, "lea", &json!({})).json();
    let first = asked(&ben, 1);
    let options = challenged(&lea, &first)["publicKey"].clone();
    let assertion = keys.does("get", "lea", &options, &json!({"counter": 7}));
    assert_eq!(review(&lea, &first, approval(&assertion)).status, 201);
    let again = review(&lea, &first, approval(&assertion));
    assert_eq!(again.status, 409, "{}", again.text());
    let second = asked(&ben, 2);
    assert_eq!(review(&lea, &second, approval(&assertion)).status, 403, "for another");
    for counter in [7, 3, 0] {
        let options = challenged(&lea, &second)["publicKey"].clone();
        let copied = keys.does("get", "lea", &options, &json!({"counter": counter}));
        let refused = review(&lea, &second, approval(&copied));
        assert_eq!(refused.status, 403, "{counter}: {}", refused.text());
        assert!(refused.text().contains("there may be a copy"), "{}", refused.text());
    }
    let options = challenged(&lea, &second)["publicKey"].clone();
    let sound = keys.does("get", "lea", &options, &json!({"counter": 8}));
    let path = format!("/v1/passkeys/{}", id(&made));
    assert_eq!(ben.call("DELETE", &path, None).status, 404, "it is not his");
    assert_eq!(lea.call("DELETE", &path, None).status, 204);
    assert_eq!(lea.call("DELETE", &path, None).status, 404);
    assert_eq!(review(&lea, &second, approval(&sound)).status, 403, "it is deleted");
    assert!(lea.approve(&second).text().contains("register one first"));
    payments.event("passkey_removed", |event| event["principal"]["id"] == "corp:lea");
    assert_eq!(state(&lea, &second)["state"], "pending");
}

#[test]
fn registering_is_as_strict() {
    let payments = open();
    let mut keys = Authenticator::software(&payments);
    let (lea, leo) = (payments.enter(&lea()), payments.enter(&leo()));
    let his = begin(&leo)["challenge"].clone();
    for (lie, lies) in [
        ("nobody verified", json!({"uv": false})),
        ("another origin", json!({"origin": "https://evil.example.com"})),
        ("another relying party", json!({"rp": "example.com"})),
        ("an unknown algorithm", json!({"algorithm": "ES384"})),
        ("a challenge of their own", json!({"challenge": "A".repeat(43)})),
        ("another person's challenge", json!({"challenge": his})),
    ] {
        let refused = keys.register(&lea, "lea", &lies);
        assert_eq!(refused.status, 400, "{lie}: {}", refused.text());
        assert_eq!(refused.json()["field"], "credential", "{lie}");
    }
    let options = begin(&lea);
    let credential = keys.does("create", "lea", &options, &json!({}));
    for name in ["", "a\nb", &"n".repeat(65)] {
        assert_eq!(register(&lea, name, &credential).json()["field"], "name", "{name:?}");
    }
    assert_eq!(register(&lea, "laptop", &credential).status, 201);
    assert_eq!(register(&lea, "laptop", &credential).status, 400, "its challenge is spent");
    for nonsense in [json!({}), json!("x"), json!({"rawId": "*", "type": "public-key"})] {
        assert_eq!(register(&lea, "laptop", &nonsense).status, 400);
    }
    for n in 1..10 {
        assert_eq!(keys.register(&lea, &format!("key {n}"), &json!({})).status, 201);
    }
    let eleventh = lea.call("POST", "/v1/passkeys/options", None);
    assert_eq!(eleventh.status, 409, "{}", eleventh.text());
    let job = payments.house.workload_token("ci", &["leads"]);
    let answer = payments.house.api("POST", "/v1/passkeys/options", Some(&job), None);
    assert_eq!(answer.status, 403, "{}", answer.text());
    let event = payments.event("control_refused", |_| true);
    assert!(event["detail"].as_str().unwrap().contains("passkey"), "{event:#}");
}

#[test]
fn the_command_line_says_where_to_go_on() {
    let payments = open();
    let mut keys = Authenticator::software(&payments);
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let request = asked(&ben, 1);
    payments.house.profile("lea", &lea.control);
    let says = |what: &str| {
        let output = payments.house.cli("lea", &["review", id(&request), "approve"]);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        let page = format!("{}/problems/passkey-needed", origin(&payments));
        assert!(said.contains(what) && said.contains(&page), "{said}");
        said
    };
    says("register one first");
    assert_eq!(keys.register(&lea, "lea", &json!({})).status, 201);
    says("in a browser");
    let page = payments.house.api("GET", "/problems/passkey-needed", None, None);
    assert!(page.status == 200 && page.text().contains("/v1/passkeys"), "{}", page.text());
    let listed = payments.house.cli("lea", &["requests", "--to-review"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("payments.createRefund"));
}

#[test]
fn where_browsers_have_no_passkeys_control_says_so() {
    let payments = Payments::open();
    let lea = payments.enter(&lea());
    let answer = lea.call("POST", "/v1/passkeys/options", None);
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert!(answer.text().contains("control.url"), "{}", answer.text());
}

#[test]
fn chromium_registers_and_signs_on_a_page_of_control() {
    let payments = open();
    let Some(mut chromium) = Authenticator::chromium(&payments) else { return };
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let made = chromium.does("create", "", &begin(&lea), &json!({}));
    let made = register(&lea, "laptop", &made);
    assert_eq!(made.status, 201, "{}", made.text());
    let twice = chromium.does("create", "", &begin(&lea), &json!({}));
    assert!(twice["error"].as_str().unwrap().contains("InvalidStateError"), "{twice:#}");
    let request = asked(&ben, 1);
    // Without the person, the browser gives no signature, and one that it gives is worth nothing.
    chromium.command(json!({"do": "verify", "user": false}));
    let mut options = challenged(&lea, &request)["publicKey"].clone();
    let refused = chromium.does("get", "", &options, &json!({}));
    assert!(refused["error"].is_string(), "{refused:#}");
    options["userVerification"] = json!("discouraged");
    let unverified = chromium.does("get", "", &options, &json!({}));
    let answer = review(&lea, &request, approval(&unverified));
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(answer.text().contains("did not verify the user"), "{}", answer.text());
    chromium.command(json!({"do": "verify", "user": true}));
    let options = challenged(&lea, &request)["publicKey"].clone();
    let assertion = chromium.does("get", "", &options, &json!({}));
    let approved = review(&lea, &request, approval(&assertion));
    assert_eq!(approved.status, 201, "{}", approved.text());
    assert_eq!(ben.refund(1).status, 200);
    let event = payments.event("reviewed", |event| event["access_request"] == request["id"]);
    let mut auditor = Authenticator::software(&payments);
    let said = auditor.command(json!({"do": "audit", "proof": event["passkey"]}));
    assert_eq!(said["statement"]["decision"], "approve", "{said:#}");
    // On a page of another origin the browser does not sign for this one.
    let elsewhere = format!("http://127.0.0.1:{}/", payments.house.control.port());
    chromium.command(json!({"do": "goto", "url": elsewhere}));
    let other = chromium.does("get", "", &options, &json!({}));
    assert!(other["error"].as_str().unwrap().contains("SecurityError"), "{other:#}");
}

#[test]
fn a_review_on_the_console_is_signed_with_a_passkey_registered_there() {
    let payments = open();
    let Some(mut chromium) = Authenticator::chromium(&payments) else { return };
    let ben = payments.enter(&ben());
    let request = asked(&ben, 1);
    payments.house.people.browsers().seat(&lea());
    let at = |path: &str| json!({"do": "goto", "url": format!("{}{path}", origin(&payments))});
    let page = format!("/requests/{}", id(&request));
    let press =
        |button: &str, until: &str| json!({"do": "press", "button": button, "until": until});
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../screenshots");
    std::fs::create_dir_all(&pictures).unwrap();
    let picture = |name: &str, width: u32| {
        let file = pictures.join(format!("{name}-{width}.png"));
        json!({"do": "picture", "file": file, "width": width})
    };
    let says = |answer: Value, words: &[&str]| {
        let text = answer["text"].as_str().unwrap_or_else(|| panic!("{answer:#}"));
        assert!(words.iter().all(|word| text.contains(word)), "{words:?}: {text}");
    };
    says(chromium.command(at("/sign-in?page=/review")), &["refunds stuck", "takes your passkey"]);
    chromium.command(at(&page));
    let none = chromium.command(press("Approve", "Nothing has been answered"));
    says(none, &["you have none yet", "Register a passkey"]);
    chromium.command(at("/me"));
    chromium.command(json!({"do": "fill", "field": "name", "text": "lea's laptop"}));
    let made = chromium.command(press("Register a passkey", "The passkey is registered"));
    says(made, &["lea's laptop"]);
    chromium.command(at(&page));
    chromium.command(json!({"do": "fill", "field": "note", "text": "fine by me"}));
    let signing = chromium.command(press("Approve", "What is signed, word for word"));
    says(signing, &["You approve:", "payments.createRefund", "fine by me", id(&request)]);
    for width in [390, 1440] {
        chromium.command(picture("sign", width));
    }
    // Somebody else's finger: nothing is answered, and the page says so.
    chromium.command(json!({"do": "verify", "user": false}));
    chromium.command(press("Sign with my passkey", "The passkey did not sign"));
    assert_eq!(ben.refund(1).status, 403);
    chromium.command(json!({"do": "verify", "user": true}));
    let approved = chromium.command(press("Sign with my passkey", "Your answer is on record"));
    says(approved, &["signed with a passkey", "fine by me"]);
    assert_eq!(ben.refund(1).status, 200);
    let event = payments.event("reviewed", |event| event["access_request"] == request["id"]);
    let said = Authenticator::software(&payments)
        .command(json!({"do": "audit", "proof": event["passkey"]}));
    assert_eq!(said["statement"]["decision"], "approve", "{said:#}");
    assert_eq!(said["statement"]["note"], "fine by me", "{said:#}");
}
