//! Every page of the console, on a house where something has happened: it answers everybody, with the headers
//! that keep others out, and Chromium and axe find nothing wrong with it at the width of a phone and of a desk.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    browser::{Browser, TYPED, form_token},
    chromium,
    payments::{self, Payments, ana, ben, grant, id, lea, sam},
    people::Person,
    streams::ticking_upstream,
    upstream::Upstream,
    wire::Wire,
};

const POLICIES: &str = r#"
@id("sse.open")
permit (principal is User in Group::"engineering", action == Action::"sse.GET", resource in Service::"sse");

@id("payments.emergency") @emergency("true") @max_duration("5m")
permit (principal is User in Group::"engineering", action in [Action::"payments.read", Action::"payments.write"], resource in Service::"payments")
when { context has grant && context.grant.kind == "emergency" };

@id("managers")
permit (principal is User in Group::"leads", action == Action::"manageIncident", resource);

@id("sse.revokers")
permit (principal is User in Group::"leads", action in [Action::"revoke", Action::"viewConnections"], resource == Service::"sse");
"#;

/// Two tests of policies, of which one is wrong.
const TESTS: &str = r#"
principals:
  ana: {type: User, id: "corp:ana", groups: [oncall, engineering]}
  ben: {type: User, id: "corp:ben", groups: [engineering]}
cases:
  - {name: who is on call looks at refunds, principal: ana, operation: payments.listRefunds, expect: permit}
  - {name: engineers look at refunds, principal: ben, operation: payments.listRefunds, expect: permit}
"#;

/// Systems of which none is there.
const CONNECTORS: &str = "connectors: {teams: {payments: {url: {file: teams}}}, \
    webhooks: {tickets: {url: \"http://127.0.0.1:9/in\", secret: {file: key}}}, \
    grafana_irm: {url: \"http://127.0.0.1:9\", token: {file: key}, services: {payments: C1}}}";

/// A house where something has happened, and a connection is open.
struct Busy {
    payments: Payments,
    /// Addresses that name something that there is.
    named: Vec<String>,
    _open: Wire,
}

/// Somebody who has every right that a page asks for.
fn dora() -> Person {
    Person::new("dora", &["oncall", "engineering", "leads", "auditors"])
}

/// Somebody who has none.
fn nora() -> Person {
    Person::new("nora", &[])
}

/// Pages without an id, one a line.
const PAGES: &[&str] = &[
    "/",
    "/overview",
    "/overview?span=30d",
    "/live",
    "/record",
    "/record?type=attempt&decision=permit",
    "/record?text=nothing+is+called+so",
    "/services",
    "/people",
    "/people?name=nobody",
    "/incidents",
    "/incidents/PD-1",
    "/policies",
    "/system",
    "/review",
    "/requests",
    "/ask",
    "/ask?service=payments",
    "/emergencies",
    "/me",
];

impl Busy {
    fn house() -> Self {
        let payments = Payments::furnished(Upstream::start(), |plan| {
            let service = format!(
                "name: sse\nhosts: [sse.example.com]\nupstream: {{instances: {{i-1: \"http://{}\"}}}}",
                ticking_upstream()
            );
            let by_policy = "@reviews(\"0\") @max_duration(\"30m\")";
            let kept = format!("@record(\"headers,body\") {by_policy}");
            plan.service(&service)
                .policy("more.cedar", POLICIES)
                .policy("payments.cedar", &payments::POLICIES.replace(by_policy, &kept))
                .policy("payments.test.yaml", TESTS)
                .setting(CONNECTORS)
                .file("teams", "http://127.0.0.1:9/workflows?sig=url-canary")
                .file("key", crate::sink_peer::SECRET)
        });
        let (ana, ben, lea) =
            (payments.enter(&ana()), payments.enter(&ben()), payments.enter(&lea()));
        let incident = json!({"id": "PD-1", "title": "refunds are stuck", "severity": "sev1", "services": ["payments"]});
        assert_eq!(lea.call("POST", "/v1/incidents", Some(incident)).status, 201);
        for path in ["/v1/refunds", "/v1/refunds/7"] {
            assert_eq!(ana.send("GET", path, None).status, 200);
        }
        assert_eq!(ben.send("GET", "/v1/refunds", None).status, 403);
        let by_policy = ana.ask(&ana.refund(120), json!({})).json();
        let held = grant(&by_policy);
        assert_eq!(ana.refund(120).status, 200);
        let approved = ben.ask(&ben.refund(130), json!({})).json();
        assert_eq!(lea.approve(&approved).status, 201);
        let declined = ben.ask(&ben.send("POST", "/v1/payouts", None), json!({})).json();
        assert_eq!(lea.decline(&declined, "not <b>today</b>").status, 201);
        let pending = ben.ask(&ben.send("POST", "/v1/payouts", None), json!({})).json();
        let emergency =
            json!({"queries": [{"operation": "payments.*"}], "reason": "payouts are stuck"});
        assert_eq!(ben.call("POST", "/v1/access-requests", Some(emergency)).status, 201);
        let mut wire = Wire::connect(payments.house.gate);
        wire.send(format!(
            "GET /ticks HTTP/1.1\r\nHost: sse.example.com\r\nAuthorization: Bearer {}\r\n\r\n",
            ben.gate
        ));
        wire.read_until(b"tick");
        let connections = ben.call("GET", "/v1/connections", None).json();
        let connection = id(&connections["connections"][0]).to_owned();
        let attempt = payments.event("attempt", |event| event["grant"] == held.as_str());
        let seq = attempt["seq"].as_u64().unwrap();
        let named = vec![
            format!("/record/{seq}"),
            format!("/record/{seq}/proof"),
            format!("/record/{seq}/content"),
            format!("/record?access_request={}", id(&pending)),
            format!("/live/connections/{connection}"),
            "/services/payments".to_owned(),
            "/people/corp%3Aben".to_owned(),
        ];
        Self { payments, named, _open: wire }
    }

    fn pages(&self) -> Vec<String> {
        PAGES.iter().map(|page| (*page).to_owned()).chain(self.named.iter().cloned()).collect()
    }

    fn control(&self) -> String {
        format!("http://{}", self.payments.house.control)
    }

    /// The browser of `person`, signed in at the console.
    fn browser(&self, person: &Person) -> Browser {
        Browser::signed_in(&self.payments.house, person)
    }
}

#[test]
fn every_page_answers_everybody_and_keeps_others_out() {
    let busy = Busy::house();
    for person in [ana(), ben(), lea(), sam(), dora(), nora()] {
        let mut browser = busy.browser(&person);
        for page in busy.pages() {
            let address = format!("{}{page}", busy.control());
            let answer =
                browser.send("GET", &address, &format!("Accept: text/html\r\n{TYPED}"), "");
            let who = &person.subject;
            assert!(
                [200, 303, 403, 404].contains(&answer.status),
                "{who} {page}: {}",
                answer.text()
            );
            assert!(who != "dora" || answer.status == 200, "{page}: {}", answer.text());
            let policy = answer.header("content-security-policy").unwrap_or_default();
            for part in [
                "default-src 'none'",
                "script-src 'self'",
                "style-src 'self'",
                "frame-ancestors 'none'",
                "base-uri 'none'",
            ] {
                assert!(policy.contains(part), "{page}: {policy}");
            }
            assert!(!policy.contains("unsafe"), "{page}: {policy}");
            assert!(
                answer.header("cache-control").is_some_and(|kept| kept.contains("no-store")),
                "{page}"
            );
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{page}");
            assert_eq!(answer.header("referrer-policy"), Some("same-origin"), "{page}");
            assert!(!answer.text().contains(" style="), "{page}");
            assert!(!answer.text().contains("<b>today"), "{page}");
        }
    }
    // Whoever is not signed in is led to where they can.
    let mut nobody = Browser::new(&busy.payments.house);
    for page in busy.pages().iter().filter(|page| *page != "/") {
        let answer = nobody.send("GET", &format!("{}{page}", busy.control()), TYPED, "");
        assert_eq!(answer.status, 303, "{page}");
        assert!(answer.header("location").unwrap().starts_with("/sign-in?page="), "{page}");
    }
}

#[test]
fn e37_a_connection_is_closed_by_who_may_and_by_a_page_of_ours_only() {
    let busy = Busy::house();
    let page = busy.named.iter().find(|page| page.starts_with("/live/connections/")).unwrap();
    let address = format!("{}{page}", busy.control());
    let form = "Content-Type: application/x-www-form-urlencoded\r\nSec-Fetch-Site: same-origin\r\n";
    let origin = format!("{form}Origin: {}\r\n", busy.control());
    let mut lea = busy.browser(&lea());
    let shown = lea.send("GET", &address, TYPED, "").text();
    assert!(shown.contains("This ends 1 live connection: that of corp:ben to sse.GET"), "{shown}");
    let token = |page: &str| format!("csrf={}", form_token(page));
    let close = format!("{address}/close");
    let foreign = format!("{form}Origin: http://evil.example\r\n");
    assert_eq!(lea.send("POST", &close, &foreign, &token(&shown)).status, 403);
    assert_eq!(lea.send("POST", &close, &origin, "csrf=guessed").status, 403);
    let mut ana = busy.browser(&ana());
    assert_eq!(ana.send("GET", &address, TYPED, "").status, 404, "it is not there for others");
    let own = ana.send("GET", &format!("{}/live", busy.control()), TYPED, "").text();
    let refused = ana.send("POST", &close, &origin, &token(&own));
    assert_eq!(refused.status, 404, "{}", refused.text());
    let closed = lea.send("POST", &close, &origin, &token(&shown));
    assert_eq!(
        (closed.status, closed.header("location")),
        (303, Some("/live?said=connection-closed"))
    );
    busy.payments.event("connection_closed", |event| event["principal"]["id"] == "corp:lea");
    let begun = Instant::now();
    while lea.send("GET", &address, TYPED, "").status != 404 {
        assert!(begun.elapsed() < Duration::from_secs(30), "it lives on");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn e10_the_record_is_for_those_who_may_read_it_and_their_reading_is_on_it() {
    let busy = Busy::house();
    let mut ben = busy.browser(&ben());
    for page in ["/record", "/record/0", "/overview", "/record/0/json", "/record/0/proof/file"] {
        let answer = ben.send("GET", &format!("{}{page}", busy.control()), TYPED, "");
        assert_eq!(answer.status, 403, "{page}: {}", answer.text());
    }
    let mut sam = busy.browser(&sam());
    let mut read = |page: &str| sam.send("GET", &format!("{}{page}", busy.control()), TYPED, "");
    let found = read("/record?service=payments&principal=corp%3Aben&decision=requestable");
    assert!(
        found.text().contains("createRefund") && !found.text().contains("/people/corp%3Aana"),
        "{}",
        found.text()
    );
    let wrong = read("/record?since=yesterday&service=payments");
    assert_eq!(wrong.status, 400);
    assert!(
        wrong.text().contains("value=\"yesterday\""),
        "what was typed is kept: {}",
        wrong.text()
    );
    let proof = read("/record/0/proof/file");
    assert!(proof.text().starts_with("c2sp.org/tlog-proof@v1"), "{}", proof.text());
    assert!(read("/record/0/json").json()["type"].is_string());
    assert_eq!(read("/record/999999999").status, 404);
    let asked = |event: &Value| {
        event["principal"]["id"] == "corp:sam"
            && event["detail"].as_str().is_some_and(|detail| detail.contains("service=payments"))
    };
    busy.payments.event("record_read", asked);
}

#[test]
fn chromium_and_axe_find_nothing_wrong_with_any_page() {
    let Some(folder) = chromium::installed() else { return };
    let busy = Busy::house();
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../screenshots");
    std::fs::create_dir_all(&pictures).unwrap();
    busy.payments.house.people.browsers().seat(&dora());
    let pages = busy.pages();
    let mut look = Command::new("node");
    look.args(["pages.mjs", &busy.control(), "dora"]).arg(pictures).args(&pages);
    let output = look.current_dir(&folder).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    });
    assert!(report["error"].is_null(), "{report:#}\n{}", busy.payments.house.log());
    let seen = report["pages"].as_array().unwrap();
    assert_eq!(seen.len(), pages.len() * 4, "two widths, two themes");
    let is_good = |page: &&Value| {
        let nothing = |key: &str| page[key].as_array().is_some_and(Vec::is_empty);
        let lists = ["violations", "errors", "foreign"].into_iter().all(nothing);
        lists && page["overflow"] == 0 && page["status"] == 200
    };
    let bad: Vec<_> = seen.iter().filter(|page| !is_good(page)).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}
