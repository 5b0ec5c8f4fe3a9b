//! Sensitive data: masked for everybody, seen by whom policy lets see it, asked for like anything else.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use self::orders::Slow;
use crate::{
    house::{House, Plan},
    payments::grant,
    people::Person,
    wire::Response,
};

pub(crate) const CARD: &str = "4111111111111111";
const EMAIL: &str = "sue@customers.example";

/// Within a second, where nothing else keeps the machine busy.
const AT_ONCE: Duration = Duration::from_secs(10);

const POLICIES: &str = r#"
@id("read")
permit (principal is User in Group::"oncall", action in [Action::"payments.read", Action::"ledger.read"], resource in Service::"payments");
@id("read.ledger")
permit (principal is User, action in Action::"ledger.read", resource in Service::"ledger");

@id("order.reviewed") @reviews("1") @max_duration("20m")
permit (principal is User in Group::"engineering", action == Action::"payments.getOrder", resource in Service::"payments")
when { context has grant };

@id("notes")
permit (principal is User in Group::"oncall", action == Action::"payments.putNote", resource in Service::"payments");
@id("customers") @reviews("1") @max_duration("10m") @max_uses("1")
permit (principal is User in Group::"engineering", action == Action::"payments.moveCustomer", resource in Service::"payments")
when { context has grant };

@id("order.create") @reviews("1") @max_duration("10m") @max_uses("1")
permit (principal is User in Group::"engineering", action == Action::"payments.createOrder", resource in Service::"payments")
when { context has grant };

@id("pci.reviewed") @reviews("1") @max_duration("10m")
permit (principal is User, action == Action::"reveal", resource == DataClass::"payments/pci")
when { context has grant };

@id("pii.brief") @reviews("0") @max_duration("6s")
permit (principal is User in Group::"oncall", action == Action::"reveal", resource == DataClass::"payments/pii")
when { context has grant };

@id("pii.support") @all_services("true")
permit (principal is User in Group::"support", action == Action::"reveal", resource in DataClass::"pii");

@id("pii.desk")
permit (principal is User in Group::"desk", action == Action::"reveal", resource == DataClass::"payments/pii")
when { context.operation == "payments.getOrder" };

@id("reviewers")
permit (principal is User in Group::"leads", action == Action::"review", resource is AccessRequest)
when { resource.service == Service::"payments" };
@id("revokers")
permit (principal is User in Group::"leads", action in [Action::"revoke", Action::"viewConnections"], resource == Service::"payments");
@id("auditors")
permit (principal is User in Group::"auditors", action == Action::"viewAudit", resource);
"#;

const OPERATIONS: &str = "operations:\n  inline:\n    getOrder: GET /orders/{id}\n    getEmpty: GET /orders/{id}/empty\n    createOrder: POST /orders\n    events: GET /events\n    \
     putNote: PUT /orders/{id}/note\n    moveCustomer: POST /customers/{email}";

mod asked;
mod calls;
mod ends;
mod met;
mod orders;
mod reported;

struct Orders {
    house: House,
    slow: Arc<Slow>,
    auditor: String,
}

struct Visitor<'a> {
    house: &'a House,
    control: String,
    gate: String,
}

impl Orders {
    fn open() -> Self {
        let slow = Arc::<Slow>::default();
        let url = format!("http://{}", orders::start(&slow));
        let service = |name: &str| {
            format!(
                "name: {name}\nhosts: [{name}.example.com]\nupstream: {{instances: {{i-1: \"{url}\"}}}}\n\
                 sensitive: {{pci: [\"$.card.number\"], pii: {{paths: [\"$..email\"], recognise: [email]}}}}\n{OPERATIONS}"
            )
        };
        let house = Plan::empty()
            .service(&service("payments"))
            .service(&service("ledger"))
            .policy("all.cedar", POLICIES)
            .start();
        let auditor = house.sign_in(&Person::new("sam", &["auditors"]));
        Self { house, slow, auditor }
    }

    fn enter(&self, name: &str, groups: &[&str]) -> Visitor<'_> {
        let control = self.house.sign_in(&Person::new(name, groups));
        let gate = self.house.gate_token(&control);
        Visitor { house: &self.house, control, gate }
    }

    /// The record of the request that `response` answers, once it is there.
    fn attempt(&self, response: &Response) -> Value {
        let id = response.header("portcullis-request-id").unwrap().to_owned();
        let is_it = |event: &&Value| event["request"] == *id && event["type"] == "attempt";
        let events = self.house.record(&self.auditor, |events| events.iter().any(|e| is_it(&e)));
        events.iter().find(is_it).unwrap().clone()
    }
}

impl Visitor<'_> {
    fn order(&self, service: &str) -> Response {
        let host = format!("{service}.example.com");
        self.house.gate(&host, "GET", "/orders/o-1", Some(&self.gate), None)
    }

    fn ask(&self, queries: &Value) -> Response {
        let body = json!({"queries": queries, "reason": "a customer calls"});
        self.house.api("POST", "/v1/access-requests", Some(&self.control), Some(body))
    }

    fn approve(&self, request: &Value) -> Response {
        let path = format!("/v1/access-requests/{}/reviews", request["id"].as_str().unwrap());
        let body = json!({"decision": "approve"});
        self.house.api("POST", &path, Some(&self.control), Some(body))
    }

    fn post(&self, path: &str) -> Response {
        self.house.api("POST", path, Some(&self.control), None)
    }

    /// The lines of the stream of orders, as they come.
    fn watch(&self) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(self.house.gate).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let token = &self.gate;
        write!(
            stream,
            "GET /events HTTP/1.1\r\nHost: payments.example.com\r\nAuthorization: Bearer {token}\r\n\r\n"
        )
        .unwrap();
        BufReader::new(stream)
    }
}

fn masked(response: &Response) -> &str {
    response.header("portcullis-masked").unwrap_or_default()
}

#[track_caller]
fn shows(response: &Response, card: bool, email: bool) {
    assert_eq!(response.status, 200, "{}", response.text());
    let text = response.text();
    assert_eq!((text.contains(CARD), text.contains(EMAIL)), (card, email), "{text}");
    assert!(text.contains("o-1"), "{text}");
}

#[test]
fn sensitive_data_is_masked_for_whom_no_policy_reveals_it() {
    let orders = Orders::open();
    let (ana, sue) =
        (orders.enter("ana", &["oncall"]), orders.enter("sue", &["oncall", "support"]));
    let seen = ana.order("payments");
    let attempt = orders.attempt(&seen);
    assert_eq!(attempt["masked"], json!(["pci", "pii"]), "{attempt:#}");
    assert_eq!(attempt["met"], json!(["pci", "pii"]), "{attempt:#}");
    assert_eq!(attempt.get("revealed"), None, "{attempt:#}");
    shows(&seen, false, false);
    assert_eq!(masked(&seen), "pci, pii");
    let seen = sue.order("payments");
    let attempt = orders.attempt(&seen);
    assert_eq!(attempt["masked"], json!(["pci"]), "{attempt:#}");
    assert_eq!(attempt["met"], json!(["pci"]), "{attempt:#}");
    assert_eq!(attempt["revealed"], json!([{"class": "pii"}]), "{attempt:#}");
    // What applies to every answer, and what there was of it in this one.
    let path = "/orders/o-1/empty";
    let empty = orders.house.gate("ledger.example.com", "GET", path, Some(&ana.gate), None);
    let attempt = orders.attempt(&empty);
    assert_eq!(empty.text(), "{\"id\":\"o-1\"}");
    assert_eq!(attempt["masked"], json!(["pci", "pii"]), "{attempt:#}");
    assert_eq!(attempt["met"], json!([]), "{attempt:#}");
    shows(&seen, false, true);
    assert_eq!(masked(&seen), "pci");
    shows(&sue.order("ledger"), false, true);
}

#[test]
fn an_operation_and_what_is_seen_in_it_wait_for_one_review() {
    let orders = Orders::open();
    let (ben, lea) = (orders.enter("ben", &["engineering"]), orders.enter("lea", &["leads"]));
    assert_eq!(ben.order("payments").status, 403);
    let asked = ben.ask(&json!([{"operation": "payments.getOrder", "reveal": "pci"}]));
    assert_eq!(asked.status, 201, "{}", asked.text());
    let asked = asked.json();
    let wanted: Vec<_> =
        asked["queries"].as_array().unwrap().iter().map(|query| &query["operation"]).collect();
    assert_eq!(wanted, ["payments.getOrder", "payments.reveal:pci"], "{asked:#}");
    assert_eq!(asked["queries"][1]["reveal"], "pci", "{asked:#}");
    assert_eq!((&asked["reviews_needed"], &asked["duration"]), (&json!(1), &json!("10m")));
    let approved = lea.approve(&asked).json();
    let grants = approved["grants"].as_array().unwrap();
    assert_eq!(grants.len(), 2, "{approved:#}");
    let seen = ben.order("payments");
    let attempt = orders.attempt(&seen);
    assert_eq!(attempt["grant"], grants[0], "{attempt:#}");
    assert_eq!(attempt["revealed"], json!([{"class": "pci", "grant": grants[1]}]), "{attempt:#}");
    assert_eq!(attempt["masked"], json!(["pii"]), "{attempt:#}");
    shows(&seen, true, false);
    assert_eq!(masked(&seen), "pii");
    // The class of the same name of another service is another.
    let other = ben.order("ledger");
    assert_eq!(orders.attempt(&other)["masked"], json!(["pci", "pii"]));
    shows(&other, false, false);
    // Given back, it is masked again.
    let path = format!("/v1/grants/{}/give-back", grants[1].as_str().unwrap());
    assert_eq!(ben.post(&path).status, 200);
    shows(&ben.order("payments"), false, false);
    let unknown = ben.ask(&json!([{"operation": "payments.getOrder", "reveal": "phi"}]));
    assert_eq!(unknown.status, 404, "{}", unknown.text());
    let nothing = ben.ask(&json!([{"operation": "ledger.getOrder", "reveal": "pci"}]));
    assert_eq!(nothing.status, 403, "{}", nothing.text());
}

#[test]
fn what_is_open_already_is_not_asked_for() {
    let orders = Orders::open();
    let ana = orders.enter("ana", &["oncall"]);
    orders.house.profile("ana", &ana.control);
    let lea = orders.enter("lea", &["leads"]);
    let (code, said) = orders.house.says(
        "ana",
        &["ask", "payments.getOrder", "--reveal", "pci", "--reason", "a customer calls"],
    );
    assert_eq!(code, Some(0), "{said}");
    let waits = orders.house.api("GET", "/v1/access-requests", Some(&ana.control), None).json();
    let asked = &waits["access_requests"][0];
    assert_eq!(asked["queries"].as_array().map(Vec::len), Some(1), "{asked:#}");
    assert_eq!(asked["queries"][0]["operation"], "payments.reveal:pci");
    let granted = grant(&lea.approve(asked).json());
    shows(&ana.order("payments"), true, false);
    let (_, said) = orders.house.says("ana", &["grants"]);
    assert!(said.contains("payments.reveal:pci"), "{said}");
    let (_, said) = orders.house.says("ana", &["services", "payments"]);
    assert!(said.contains("shown") && said.contains("masked; ask: automatic"), "{said}");
    orders.house.profile("dan", &orders.enter("dan", &["desk", "engineering"]).control);
    let (_, said) = orders.house.says("dan", &["services", "payments"]);
    let conditions = "shown under conditions: pii.desk: context.operation == \"payments.getOrder\"";
    assert!(said.contains("pii") && said.contains(conditions), "{said}");
    let (code, said) =
        orders.house.says("ana", &["ask", "payments.getOrder", "--reveal", "phi", "--reason", "x"]);
    let why = "`payments` has no class of data `phi`; it has pci, pii";
    assert!(code != Some(0) && said.contains(why), "{said}");
    assert_eq!(lea.post(&format!("/v1/grants/{granted}/revoke")).status, 200);
    shows(&ana.order("payments"), false, false);
    let (code, said) =
        orders.house.says("ana", &["policy", "explain", "payments.getOrder", "--reveal", "pci"]);
    assert!(code == Some(0) && said.contains("pci.reviewed"), "{said}");
}

/// Reads lines until one holds `text`.
fn until(lines: &mut BufReader<TcpStream>, text: &str) {
    let begun = Instant::now();
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended before {text:?}");
        assert!(begun.elapsed() < Duration::from_mins(1), "{text:?} never came");
    }
}

#[test]
fn e21_what_is_revealed_in_a_stream_ends_with_its_grant() {
    let orders = Orders::open();
    let (ana, lea) = (orders.enter("ana", &["oncall"]), orders.enter("lea", &["leads"]));
    let asked = ana.ask(&json!([{"operation": "payments.events", "reveal": "pci"}])).json();
    let granted = grant(&lea.approve(&asked).json());
    let mut lines = ana.watch();
    until(&mut lines, CARD);
    let begun = Instant::now();
    let answer = lea.post(&format!("/v1/grants/{granted}/revoke?wait=30s"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let cuts = answer.json();
    assert_eq!(cuts["connections"].as_array().map(Vec::len), Some(1), "{cuts:#}");
    let mut rest = Vec::new();
    let _ = lines.read_to_end(&mut rest);
    assert!(begun.elapsed() < AT_ONCE, "it went on for {:?}", begun.elapsed());
    // Its attempt was on record before it was known what would come.
    let ended = orders.ended("grant_ended");
    assert_eq!(ended["met"], json!(["pii"]), "{ended:#}");
    // Whoever comes back sees the same, masked.
    let mut lines = ana.watch();
    until(&mut lines, "portcullis-masked: pci, pii");
    until(&mut lines, "o-1");
    let mut some = vec![0; 4096];
    lines.read_exact(&mut some).unwrap();
    assert!(!String::from_utf8_lossy(&some).contains(CARD));
}

#[test]
fn e21_what_is_revealed_in_a_stream_ends_with_its_time() {
    let orders = Orders::open();
    let ana = orders.enter("ana", &["oncall"]);
    let asked = ana.ask(&json!([{"operation": "payments.events", "reveal": "pii"}])).json();
    assert_eq!(asked["state"], "approved", "{asked:#}");
    let ends: jiff::Timestamp = {
        let path = format!("/v1/grants/{}", grant(&asked));
        let shown = orders.house.api("GET", &path, Some(&ana.control), None).json();
        shown["expires_at"].as_str().unwrap().parse().unwrap()
    };
    let mut lines = ana.watch();
    until(&mut lines, EMAIL);
    let mut rest = Vec::new();
    let _ = lines.read_to_end(&mut rest);
    let late = portcullis_testkit::ambient::machine_time().duration_since(ends);
    let late = late.as_secs_f64();
    // The clock shows whole seconds.
    assert!(late > -1.0, "it ended {late} s before its grant did");
    assert!(late < AT_ONCE.as_secs_f64(), "it ended {late} s after its grant");
    shows(&ana.order("payments"), false, false);
}

/// A body as people see it: what is sensitive masked, the rest as it was sent.
#[track_caller]
fn is_shown_masked(shown: &Value) {
    let body = &shown["body"];
    assert_eq!(body["content_type"], "application/json", "{shown:#}");
    assert_eq!(body["masked"], json!(["pci", "pii"]), "{shown:#}");
    let text = body["text"].as_str().unwrap();
    assert!(!text.contains(CARD) && !text.contains(EMAIL), "{text}");
    assert!(text.contains("\"id\":\"o-1\"") && text.contains("a note"), "{text}");
}

fn new_order() -> Value {
    json!({"id": "o-1", "card": {"number": CARD}, "customer": {"email": EMAIL}, "note": "a note"})
}

#[test]
fn e15_bodies_of_refused_requests_are_shown_masked_and_rest_sealed() {
    let orders = Orders::open();
    // Who sees the class in answers sees it masked here.
    let sue = orders.enter("sue", &["engineering", "support"]);
    let (ben, lea) = (orders.enter("ben", &["engineering"]), orders.enter("lea", &["leads"]));
    let host = "payments.example.com";
    let refused = orders.house.gate(host, "POST", "/orders", Some(&sue.gate), Some(new_order()));
    assert_eq!(refused.status, 403, "{}", refused.text());
    let code = refused.json()["refusal"].as_str().unwrap().to_owned();
    let path = format!("/v1/refusals/{code}");
    let shown = orders.house.api("GET", &path, Some(&sue.control), None);
    is_shown_masked(&shown.json());
    assert_eq!(orders.house.api("GET", &path, Some(&ben.control), None).status, 404);
    let body = json!({"refusal": code, "reason": "a customer calls"});
    let asked = orders.house.api("POST", "/v1/access-requests", Some(&sue.control), Some(body));
    let asked = asked.json();
    let path = format!("/v1/access-requests/{}", asked["id"].as_str().unwrap());
    is_shown_masked(&orders.house.api("GET", &path, Some(&lea.control), None).json());
    orders.house.profile("lea", &lea.control);
    let (code, said) = orders.house.says("lea", &["requests", asked["id"].as_str().unwrap()]);
    assert!(code == Some(0) && said.contains("a note") && !said.contains(CARD), "{said}");
    for file in std::fs::read_dir(orders.house.dir()).unwrap() {
        let path = file.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("portcullis.db") {
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(6).any(|window| window == b"a note");
            assert!(!found, "{} has it in clear", path.display());
        }
    }
}

#[test]
fn e15_a_body_that_waits_is_shown_masked_for_as_long_as_it_waits() {
    let orders = Orders::open();
    let (ben, lea) = (orders.enter("ben", &["engineering"]), orders.enter("lea", &["leads"]));
    let body = new_order().to_string();
    let mut wire = crate::wire::Wire::connect(orders.house.gate);
    wire.send(format!(
        "POST /orders HTTP/1.1\r\nHost: payments.example.com\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nPrefer: wait=60\r\nContent-Length: {}\r\n\r\n{body}",
        ben.gate,
        body.len()
    ));
    let list = "/v1/access-requests?filter=to-review";
    let begun = Instant::now();
    let asked = loop {
        let page = orders.house.api("GET", list, Some(&lea.control), None).json();
        if let Some(one) = page["access_requests"].get(0) {
            assert_eq!(one.get("body"), None, "lists are without bodies: {one:#}");
            break one.clone();
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{page:#}");
        std::thread::sleep(Duration::from_millis(20));
    };
    let path = format!("/v1/access-requests/{}", asked["id"].as_str().unwrap());
    let look = || orders.house.api("GET", &path, Some(&lea.control), None).json();
    is_shown_masked(&look());
    let no = json!({"decision": "decline", "note": "call me"});
    let review = format!("{path}/reviews");
    assert!(orders.house.api("POST", &review, Some(&lea.control), Some(no)).status < 300);
    assert_eq!(wire.response().unwrap().status, 403);
    let begun = Instant::now();
    while look().get("body").is_some() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it is kept: {:#}", look());
        std::thread::sleep(Duration::from_millis(20));
    }
}

const SHOP_API: &str = r#"{"openapi": "3.1.0", "info": {"title": "shop", "version": "1"},
  "paths": {"/orders": {"get": {"operationId": "orders", "responses": {"200": {"description": "ok",
    "content": {"application/json": {"schema": {"type": "object", "properties": {
      "customer": {"type": "object", "properties": {"email": {"type": "string"}}}}}}}}}}}}}"#;

#[test]
fn the_check_warns_of_paths_that_lead_nowhere() {
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("policies")).unwrap();
    std::fs::write(folder.path().join("api.json"), SHOP_API).unwrap();
    let file = folder.path().join("portcullis.yaml");
    let check = |path: &str| {
        let text = format!(
            "listeners:\n  - {{name: gate, address: \"127.0.0.1:1\"}}\n\
             control: {{address: \"127.0.0.1:2\", url: \"http://127.0.0.1:2\"}}\n\
             store: sqlite:portcullis.db\naudit: {{directory: audit}}\n\
             identity: {{people: [{{name: corp, oidc: {{issuer: \"https://id.example.com\", client_id: a}}}}]}}\n\
             policies: policies\nservices:\n  - name: shop\n    hosts: [shop.example.com]\n    \
             upstream: {{url: \"http://127.0.0.1:3\"}}\n    operations: {{openapi: api.json}}\n    \
             sensitive: {{pii: [\"{path}\"]}}\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut command = std::process::Command::new(crate::house::binary());
        let output = command.arg("check").arg("-c").arg(&file).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{said}");
        said
    };
    let said = check("$.custmer.email");
    assert!(said.contains("warning: service shop: class pii"), "{said}");
    assert!(said.contains("$.custmer.email"), "{said}");
    for sound in ["$.customer.email", "$..email"] {
        let said = check(sound);
        assert!(!said.contains("warning"), "{said}");
    }
}
