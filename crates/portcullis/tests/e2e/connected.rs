//! Operators see how connected systems are: at the API, on the command line, on a page and in metrics.

use serde_json::{Value, json};

use crate::{
    browser::{Browser, TYPED},
    mesh::eventually,
    metrics::{documented, families, fetch},
    outgoing::ADMINS,
    payments::{POLICIES, Payments, Visitor, ben, id, lea},
    people::Person,
    sink_peer::{SECRET, SinkPeer},
    upstream::Upstream,
    vendor::Vendor,
};

const TOKEN: &str = "y_NbAkKc66ryYTWUXYEu";
const CANARY: &str = "url-canary";

fn root() -> Person {
    Person::new("root", &["admins"])
}

/// Payments, a channel that is told of what waits, a webhook, a system that decides and PagerDuty.
struct Connected {
    payments: Payments,
    teams: SinkPeer,
    tickets: SinkPeer,
    pagerduty: Vendor,
}

impl Connected {
    fn open() -> Self {
        let teams = SinkPeer::of("teams_double.py", &["workflow", "0"]);
        let tickets = SinkPeer::http();
        let pagerduty = Vendor::start("pagerduty_peer.py", &[TOKEN, "hook", "old", "routing"]);
        let setting = format!(
            "connectors: {{teams: {{payments: {{url: {{file: teams}}}}}}, \
             webhooks: {{tickets: {{url: \"http://127.0.0.1:{}/in\", secret: {{file: key}}, events: [access_requested]}}}}, \
             decisions: {{desk: {{secret: {{file: key}}}}}}, \
             pagerduty: {{url: \"{}\", token: {{file: pd}}, services: {{payments: PPAY}}, poll: 1s, fresh_for: 3s}}}}",
            tickets.port, pagerduty.url
        );
        let url = format!(
            "http://127.0.0.1:{}/workflows/1/triggers/manual/paths/invoke?sig={CANARY}",
            teams.port
        );
        let rule = "@reviews(\"1\") @max_duration(\"15m\")";
        let told = POLICIES.replace(rule, &format!("{rule} @notify(\"teams:payments\")"));
        assert_ne!(told, POLICIES);
        let payments = Payments::furnished(Upstream::start(), |plan| {
            plan.setting(&setting)
                .file("teams", &url)
                .file("key", SECRET)
                .file("pd", TOKEN)
                .policy("payments.cedar", &told)
                .policy("admins.cedar", ADMINS)
        });
        Self { payments, teams, tickets, pagerduty }
    }

    fn all(&self) -> Vec<Value> {
        let auditor = self.payments.auditor();
        let answer = self.payments.house.api("GET", "/v1/connectors", Some(&auditor), None);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(!answer.text().contains(CANARY), "a secret is shown: {}", answer.text());
        answer.json()["connectors"].as_array().unwrap().clone()
    }

    fn one(&self, name: &str) -> Value {
        let all = self.all();
        let found = all.iter().find(|one| one["name"] == name);
        found.unwrap_or_else(|| panic!("no {name}: {all:#?}")).clone()
    }

    /// Waits until the system called `name` is in `state`.
    fn becomes(&self, name: &str, state: &str) -> Value {
        eventually(&format!("{name} is {state}"), || self.one(name)["state"] == state);
        self.one(name)
    }
}

fn asks(visitor: &Visitor<'_>) -> Value {
    let refused = visitor.refund(100);
    let asked = visitor.ask(&refused, json!({"rule": "payments.refund.reviewed"}));
    assert_eq!(asked.status, 201, "{}", asked.text());
    asked.json()
}

#[test]
fn each_system_says_whether_it_works_since_when_it_fails_and_what_waits() {
    let mut office = Connected::open();
    let all = office.all();
    let names: Vec<_> = all.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["teams:payments", "webhook:tickets", "decisions:desk", "pagerduty"]);
    for name in ["teams:payments", "decisions:desk"] {
        assert_eq!(office.one(name)["state"], "unknown", "nobody spoke with {name}");
    }
    let known = office.becomes("pagerduty", "working");
    assert!(known["known_until"].is_string() && known["answered_at"].is_string(), "{known:#}");

    office.teams.now("answer 503");
    let ben = office.payments.enter(&ben());
    let asked = asks(&ben);
    let down = office.becomes("teams:payments", "failing");
    assert!(down["trouble"].as_str().unwrap().contains("503"), "{down:#}");
    assert!(down["failing_since"].is_string() && down["answered_at"].is_null(), "{down:#}");
    assert_eq!((&down["waiting"], &down["set_aside"]), (&json!(1), &json!(0)), "{down:#}");
    office.teams.now("rest 600");
    let resting = office.becomes("teams:payments", "resting");
    assert!(resting["rests_until"].is_string(), "{resting:#}");
    assert_eq!(resting["failing_since"], down["failing_since"], "since it first failed");

    // Nobody who tells is believed to be the system.
    let path = "/v1/decisions/desk";
    let forged = office.payments.house.api("POST", path, None, Some(json!({"type": "x"})));
    assert_eq!(forged.status, 401, "{}", forged.text());
    let desk = office.one("decisions:desk");
    assert!(desk["refused"]["why"].is_string() && desk["heard_at"].is_null(), "{desk:#}");
    assert_eq!(desk["state"], "unknown");

    office.pagerduty.order(&json!({"do": "down"}));
    let silent = office.becomes("pagerduty", "failing");
    assert!(silent["trouble"].as_str().unwrap().contains("503"), "{silent:#}");
    office.payments.event("connector_failing", |event| {
        event["detail"].as_str().unwrap().starts_with("pagerduty at ")
    });
    office.pagerduty.order(&json!({"do": "up"}));
    office.becomes("pagerduty", "working");

    let lea = office.payments.enter(&lea());
    assert_eq!(lea.approve(&asked).json()["state"], "approved");
    assert!(!office.payments.house.log().contains(CANARY));
}

#[test]
fn what_a_webhook_refuses_is_failing_and_then_counted_as_set_aside() {
    let mut office = Connected::open();
    office.tickets.now("answer 400");
    let asked = asks(&office.payments.enter(&ben()));
    office.payments.event("delivery_set_aside", |_| true);
    let aside = office.one("webhook:tickets");
    assert_eq!((&aside["state"], &aside["set_aside"]), (&json!("failing"), &json!(1)), "{aside:#}");
    assert!(aside["trouble"].as_str().unwrap().starts_with("events: "), "{aside:#}");
    office.teams.until(|got| got.to_string().contains(id(&asked)));
    office.becomes("teams:payments", "working");
    eventually("nothing waits", || office.one("teams:payments")["waiting"] == 0);

    // The command line and the page say the same.
    let root = office.payments.house.sign_in(&root());
    office.payments.house.profile("root", &root);
    let (code, said) = office.payments.house.says("root", &["connectors"]);
    assert_eq!(code, Some(0), "{said}");
    for word in
        ["teams:payments", "working", "webhook:tickets", "failing since", "400", "known until"]
    {
        assert!(said.contains(word), "{word}: {said}");
    }
    let control = format!("http://{}", office.payments.house.control);
    let mut browser = Browser::signed_in(&office.payments.house, &self::root());
    let page = browser.send("GET", &format!("{control}/system"), TYPED, "").text();
    for word in [
        "Connected systems",
        "teams:payments",
        "webhook:tickets",
        "failing since",
        "nothing known yet",
        "one is set aside",
    ] {
        assert!(page.contains(word), "{word}: {page}");
    }
    assert!(!page.contains(CANARY), "a secret is shown");
    // When it lies there no more, nothing is known to be wrong.
    office.tickets.now("answer 200");
    let auditor = office.payments.auditor();
    let aside = office.payments.house.api("GET", "/v1/deliveries", Some(&auditor), None).json();
    let path = format!("/v1/deliveries/{}/redeliver", id(&aside["deliveries"][0]));
    let again = office.payments.house.api("POST", &path, Some(&root), None);
    assert_eq!(again.status, 204, "{}", again.text());
    let mended = office.one("webhook:tickets");
    assert_ne!(mended["state"], "failing", "{mended:#}");
    assert_eq!(mended["set_aside"], 0, "{mended:#}");
    // Others are told nothing.
    let ben = office.payments.enter(&ben());
    assert_eq!(ben.call("GET", "/v1/connectors", None).status, 403);
    assert_eq!(office.payments.house.api("GET", "/v1/connectors", None, None).status, 401);
}

#[test]
fn the_documented_metrics_of_connected_systems_are_there_and_name_no_secret() {
    let mut office = Connected::open();
    let asked = asks(&office.payments.enter(&ben()));
    office.teams.until(|got| got.to_string().contains(id(&asked)));
    office.becomes("teams:payments", "working");
    office.becomes("pagerduty", "working");
    let listed = documented();
    let ours = listed.iter().filter(|(name, _)| name.starts_with("portcullis_connector_"));
    // One needs a message of a system, which nobody sent here.
    let ours: Vec<_> =
        ours.filter(|(name, _)| !name.ends_with("heard_timestamp_seconds")).collect();
    assert_eq!(ours.len(), 6, "{ours:?}");
    let text = fetch(&office.payments.house, "application/openmetrics-text").text();
    assert!(!text.contains(CANARY) && !text.contains(TOKEN), "{text}");
    let found = families("openmetrics", &text);
    for (name, (kind, labels)) in ours {
        let bare = name.strip_suffix("_total").unwrap_or(name);
        let family = found.iter().find(|family| family["name"] == bare);
        let family = family.unwrap_or_else(|| panic!("no {name}: {text}"));
        assert_eq!(family["type"], kind.as_str(), "{name}");
        for sample in family["samples"].as_array().unwrap() {
            let own = sample["labels"].as_object().unwrap().keys().cloned().collect();
            assert_eq!(*labels, own, "{name}");
        }
    }
    let up = || {
        let text = fetch(&office.payments.house, "text/plain").text();
        let line = text.lines().find(|line| {
            line.starts_with("portcullis_connector_up{") && line.contains("\"pagerduty\"")
        });
        line.unwrap_or_else(|| panic!("{text}")).ends_with(" 1")
    };
    assert!(up());
    office.pagerduty.order(&json!({"do": "down"}));
    eventually("it is down", || !up());
}
