//! The directory: users and groups by SCIM, with a client that others wrote, and who there is.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    house::{House, Plan},
    people::Person,
    streams::{script, ticking_upstream},
    wire::{Response, Wire},
};

const TOKEN: &str = "5e1f-canary-scim-token-0123456789abcdef";

const POLICIES: &str = r#"
@id("engineers")
permit (principal is User in Group::"engineering", action in [Action::"sse.GET", Action::"sse.HEAD"], resource);

@id("engineers.granted") @reviews("0") @max_duration("10m")
permit (principal is User in Group::"engineering", action == Action::"sse.POST", resource)
when { context has grant };

@id("engineers.reviewed") @reviews("1") @max_duration("10m")
permit (principal is User in Group::"engineering", action == Action::"sse.PUT", resource)
when { context has grant };

@id("leads")
permit (principal is User in Group::"leads", action == Action::"review", resource is AccessRequest);

@id("leads.watch")
permit (principal is User in Group::"leads", action in [Action::"revoke", Action::"viewConnections"], resource == Service::"sse");

@id("auditors")
permit (principal is User in Group::"auditors", action == Action::"viewAudit", resource is System);
"#;

struct Company {
    house: House,
}

struct Entered {
    control: String,
    gate: String,
}

impl Company {
    fn open() -> Self {
        let service = format!(
            "name: sse\nhosts: [sse.example.com]\nupstream: {{instances: {{i-1: \"http://{}\"}}}}",
            ticking_upstream()
        );
        let house = Plan::empty()
            .service(&service)
            .policy("company.cedar", POLICIES)
            .file("scim.token", &format!("{TOKEN}\n"))
            .identity("scim: {token: {file: scim.token}, provider: corp}")
            .start();
        Self { house }
    }

    /// What the provider's client says, or why it failed.
    fn scim(&self, arguments: &[&str]) -> Result<String, String> {
        let (python, path) = script("scim_client.py");
        let output = Command::new(python)
            .arg(path)
            .args([&format!("http://{}/scim/v2", self.house.control), TOKEN])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    #[track_caller]
    fn provision(&self, arguments: &[&str]) -> String {
        self.scim(arguments)
            .unwrap_or_else(|why| panic!("{arguments:?}: {why}\n{}", self.house.log()))
    }

    fn raw(&self, method: &str, path: &str, body: Option<Value>) -> Response {
        self.house.api(method, &format!("/scim/v2{path}"), Some(TOKEN), body)
    }

    fn enter(&self, person: &Person) -> Entered {
        let control = self.house.sign_in(person);
        let gate = self.house.gate_token(&control);
        Entered { control, gate }
    }

    fn whoami(&self, entered: &Entered) -> Response {
        self.house.api("GET", "/v1/whoami", Some(&entered.control), None)
    }

    fn groups(&self, entered: &Entered) -> Vec<String> {
        serde_json::from_value(self.whoami(entered).json()["groups"].clone()).unwrap()
    }

    /// A live stream of whoever holds `gate`.
    fn stream(&self, gate: &str) -> Wire {
        let mut wire = Wire::connect(self.house.gate);
        wire.send(format!(
            "GET /ticks HTTP/1.1\r\nHost: sse.example.com\r\nAuthorization: Bearer {gate}\r\n\r\n"
        ));
        let head = wire.read_until(b"data: tick");
        assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
        wire
    }

    fn head(&self, gate: &str) -> u16 {
        let mut wire = Wire::connect(self.house.gate);
        wire.send(format!(
            "GET /x HTTP/1.1\r\nHost: sse.example.com\r\nAuthorization: Bearer {gate}\r\nConnection: close\r\n\r\n"
        ));
        let head = wire.read_until(b"\r\n");
        String::from_utf8_lossy(&head).split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn refused_sign_in(&self, person: &Person) -> Response {
        let begun = self.house.api("POST", "/v1/device", None, Some(json!({}))).json();
        self.house.people.confirm(begun["user_code"].as_str().unwrap(), person);
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let poll = json!({"device_token": begun["device_token"]});
            let answer = self.house.api("POST", "/v1/device/token", None, Some(poll));
            if answer.status != 202 {
                return answer;
            }
            assert!(Instant::now() < deadline, "nobody answers");
            std::thread::sleep(Duration::from_millis(250));
        }
    }
}

#[test]
fn the_standards_own_checker_finds_nothing_wrong() {
    let company = Company::open();
    let said = company.provision(&["check"]);
    assert!(said.ends_with("ok"), "{said}");
}

#[test]
fn d25_deactivating_a_person_ends_sign_ins_grants_and_live_streams_at_once() {
    let company = Company::open();
    let ana = Person::new("ana", &["engineering"]);
    let lea = company.house.sign_in(&Person::new("lea", &["leads"]));
    for way in ["patch-inactive", "put-active", "delete-user"] {
        let id = company.provision(&["create-user", "ana", "ana", "ana@example.com"]);
        let group = company.provision(&["create-group", &format!("engineering-{way}"), &id]);
        let engineering = company.provision(&["create-group", "engineering", &id]);
        let entered = company.enter(&ana);
        let ask = json!({"queries": [{"operation": "sse.POST"}], "reason": "work"});
        let asked =
            company.house.api("POST", "/v1/access-requests", Some(&entered.control), Some(ask));
        assert_eq!(asked.json()["state"], "approved", "{}", asked.text());
        let ask = json!({"queries": [{"operation": "sse.PUT"}], "reason": "more work"});
        let waits =
            company.house.api("POST", "/v1/access-requests", Some(&entered.control), Some(ask));
        assert_eq!(waits.json()["state"], "pending", "{}", waits.text());
        let mut stream = company.stream(&entered.gate);
        let arguments: &[&str] =
            if way == "put-active" { &[way, &id, "false"] } else { &[way, &id] };
        company.provision(arguments);
        // The client has its answer: from now on nothing may come.
        assert!(stream.until_closed().is_some(), "{way}: the stream goes on");
        assert_eq!(company.whoami(&entered).status, 401, "{way}");
        assert_eq!(company.head(&entered.gate), 401, "{way}");
        let path = format!("/v1/access-requests/{}", waits.json()["id"].as_str().unwrap());
        let withdrawn = company.house.api("GET", &path, Some(&lea), None).json();
        assert_eq!(withdrawn["state"], "withdrawn", "{way}: {withdrawn:#}");
        assert_eq!(withdrawn["why"], "the requester is deactivated");
        let refused = company.refused_sign_in(&ana);
        assert_eq!(refused.status, 403, "{way}: {}", refused.text());
        assert!(refused.text().contains("deactivated"), "{}", refused.text());
        if way != "delete-user" {
            company.provision(&["put-active", &id, "true"]);
            let back = company.enter(&ana);
            assert_eq!(company.head(&back.gate), 200, "{way}");
            let grants = company.house.api("GET", "/v1/grants", Some(&back.control), None).json();
            let grants = grants["grants"].as_array().unwrap();
            assert!(grants.iter().all(|grant| grant["state"] == "ended"), "{grants:#?}");
            assert_eq!(grants[0]["end"], "holder_gone", "{grants:#?}");
            company.provision(&["delete-user", &id]);
        }
        let gone = company.raw("GET", &format!("/Users/{id}"), None);
        assert_eq!(gone.status, 404, "{}", gone.text());
        for group in [&group, &engineering] {
            assert_eq!(company.raw("DELETE", &format!("/Groups/{group}"), None).status, 204);
        }
    }
    // Deleted is not forgotten, and survives a restart.
    let mut company = company;
    company.house.kill();
    company.house.restart();
    assert_eq!(company.refused_sign_in(&ana).status, 403);
    // Whoever is made anew is somebody who may sign in.
    company.provision(&["create-user", "ana", "ana", "ana@example.com"]);
    company.enter(&ana);
    everything_is_on_record(&company);
}

fn everything_is_on_record(company: &Company) {
    let sam = company.house.sign_in(&Person::new("sam", &["auditors"]));
    let events = company
        .house
        .record(&sam, |events| events.iter().any(|event| event["decision"] == "user_deleted"));
    for (kind, decision) in [
        ("directory_changed", "user_deactivated"),
        ("directory_changed", "user_created"),
        ("directory_changed", "user_activated"),
        ("directory_changed", "user_deleted"),
        ("directory_changed", "group_created"),
        ("directory_changed", "group_deleted"),
        ("sign_in_ended", "deactivated"),
        ("grant_ended", "holder_gone"),
        ("access_request_ended", "withdrawn"),
        ("sign_in_refused", "deactivated"),
    ] {
        let there =
            events.iter().any(|event| event["type"] == kind && event["decision"] == decision);
        assert!(there, "{kind} {decision}");
    }
    assert!(!company.house.log().contains(TOKEN));
    assert!(!serde_json::to_string(&events).unwrap().contains(TOKEN));
}

#[test]
fn d25_a_person_is_stopped_under_every_name_that_they_have() {
    let company = Company::open();
    // Linked by their verified address alone: the directory does not know this subject.
    let id = company.provision(&["create-user", "ana", "another-subject", "ana@example.com"]);
    let group = company.provision(&["create-group", "engineering", &id]);
    let entered = company.enter(&Person::new("ana", &[]));
    assert_eq!(company.groups(&entered), ["engineering"]);
    let mut unverified = Person::new("mallory", &["engineering"]);
    unverified.email = "ana@example.com".into();
    unverified.email_verified = false;
    let mallory = company.enter(&unverified);
    company.provision(&["patch-inactive", &id]);
    assert_eq!(company.whoami(&entered).status, 401);
    assert_eq!(
        company.whoami(&mallory).status,
        200,
        "d19: an address that is not verified links nobody"
    );
    assert!(company.raw("GET", &format!("/Groups/{group}"), None).text().contains(&id));
}

#[test]
fn d20_e28_group_changes_reach_live_streams_and_waiting_requests() {
    let company = Company::open();
    let ana = company.provision(&["create-user", "ana", "ana", "ana@example.com"]);
    let group = company.provision(&["create-group", "engineering"]);
    // The token says more than the directory: the directory is newer.
    let entered = company.enter(&Person::new("ana", &["engineering", "leads"]));
    assert!(company.groups(&entered).is_empty());
    assert_eq!(company.head(&entered.gate), 404);
    company.provision(&["add-member", &group, &ana]);
    assert_eq!(company.groups(&entered), ["engineering"]);
    assert_eq!(company.head(&entered.gate), 200);
    let ask = json!({"queries": [{"operation": "sse.PUT"}], "reason": "work"});
    let asked = company.house.api("POST", "/v1/access-requests", Some(&entered.control), Some(ask));
    assert_eq!(asked.json()["state"], "pending", "{}", asked.text());
    let id = asked.json()["id"].as_str().unwrap().to_owned();
    let mut stream = company.stream(&entered.gate);
    company.provision(&["remove-member", &group, &ana]);
    let removed = Instant::now();
    assert!(stream.until_closed().is_some());
    assert!(removed.elapsed() < Duration::from_secs(10), "{:?}", removed.elapsed());
    assert_eq!(company.head(&entered.gate), 404);
    let sam = company.house.sign_in(&Person::new("sam", &["auditors"]));
    let changes = |events: &[Value]| {
        events.iter().filter(|event| event["decision"] == "group_changed").count()
    };
    company.house.record(&sam, |events| changes(events) == 2);
    // E28: approved afterwards, the request is decided by what is so now.
    let lea = company.house.sign_in(&Person::new("lea", &["leads"]));
    let path = format!("/v1/access-requests/{id}/reviews");
    let review = json!({"decision": "approve", "note": "fine"});
    let reviewed = company.house.api("POST", &path, Some(&lea), Some(review));
    assert_eq!(reviewed.json()["state"], "declined", "{}", reviewed.text());
}

#[test]
fn scim_takes_its_own_token_and_nothing_else_does() {
    let company = Company::open();
    let entered = company.enter(&Person::new("ana", &["engineering"]));
    for token in [None, Some("x"), Some(entered.control.as_str()), Some(&TOKEN[1..])] {
        for (method, path) in [("GET", "/Users"), ("POST", "/Groups"), ("GET", "/Schemas")] {
            let answer = company.house.api(method, &format!("/scim/v2{path}"), token, None);
            assert_eq!(answer.status, 401, "{token:?} {path}");
            assert!(answer.header("www-authenticate").is_some());
            assert_eq!(answer.json()["schemas"][0], "urn:ietf:params:scim:api:messages:2.0:Error");
        }
    }
    assert_eq!(company.house.api("GET", "/v1/whoami", Some(TOKEN), None).status, 401);
    assert_eq!(company.head(TOKEN), 401);
    let user = |name: &str| json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": name});
    let made = company.raw("POST", "/Users", Some(user("Ana")));
    assert_eq!(made.status, 201, "{}", made.text());
    assert!(made.header("content-type").is_some_and(|kind| kind == "application/scim+json"));
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let again = company.raw("POST", "/Users", Some(user("ana")));
    assert_eq!((again.status, again.json()["scimType"].clone()), (409, json!("uniqueness")));
    assert_eq!(company.provision(&["find-user", "userName eq \"ANA\""]), id);
    assert_eq!(company.provision(&["find-user", "externalId eq \"ana\""]), "");
    for (filter, kind) in
        [("userName%20co%20%22a%22", "invalidFilter"), ("active%20eq%20%22x%22", "invalidFilter")]
    {
        let answer = company.raw("GET", &format!("/Users?filter={filter}"), None);
        assert_eq!((answer.status, answer.json()["scimType"].clone()), (400, json!(kind)));
    }
    for body in [
        json!({}),
        json!({"schemas": [], "userName": "x"}),
        json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"]}),
        json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "a\nb"}),
        json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "x", "active": "no"}),
        json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": 1}),
    ] {
        let answer = company.raw("POST", "/Users", Some(body.clone()));
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
    }
    let group = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "g",
        "members": [{"value": "01ARZ3NDEKTSV4RRFFQ69G5FAV"}]});
    assert_eq!(company.raw("POST", "/Groups", Some(group)).status, 400, "a member who is nobody");
    // Without configuration there is no SCIM.
    let plain = Plan::empty().start();
    assert_eq!(plain.api("GET", "/scim/v2/Users", Some(TOKEN), None).status, 401);
}

#[test]
fn reviewers_and_auditors_see_who_there_is_and_others_do_not() {
    let company = Company::open();
    company.provision(&["create-user", "ana", "ana", "ana@example.com"]);
    let ana = company.enter(&Person::new("ana", &["engineering"]));
    let list = |token: &str| company.house.api("GET", "/v1/principals", Some(token), None);
    assert_eq!(list(&ana.control).status, 403);
    let lea = company.house.sign_in(&Person::new("lea", &["leads"]));
    let sam = company.house.sign_in(&Person::new("sam", &["auditors"]));
    for token in [&lea, &sam] {
        let listed = list(token).json();
        let all = listed["principals"].as_array().unwrap();
        let found = |id: &str| all.iter().find(|one| one["principal"]["id"] == id).unwrap();
        assert_eq!(found("corp:ana")["name"], "ana");
        assert_eq!(found("corp:ana")["provisioned"], true);
        assert_eq!(found("corp:ana")["groups"], json!([]), "the directory gave none");
        assert_eq!(found("corp:ana")["sign_ins"].as_array().map(Vec::len), Some(2));
        assert_eq!(found("corp:lea")["groups"], json!(["leads"]));
        assert_eq!(found("corp:lea")["active"], true);
    }
    let part = company.house.api("GET", "/v1/principals?limit=2", Some(&sam), None).json();
    let next = part["next"].as_str().unwrap().replace('"', "%22");
    let rest = company.house.api("GET", &format!("/v1/principals?cursor={next}"), Some(&sam), None);
    assert_eq!(rest.json()["principals"].as_array().map(Vec::len), Some(1), "{}", rest.text());
    company.house.profile("sam", &sam);
    let shown = company.house.cli("sam", &["principals"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("ana@example.com") && shown.contains("leads"), "{shown}");
}

#[test]
fn listings_show_people_as_the_directory_calls_them_and_not_their_subjects() {
    let company = Company::open();
    let user = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ana.anders",
        "externalId": "4711", "displayName": "Ana Anders", "emails": [{"value": "ana@example.com"}]});
    let made = company.raw("POST", "/Users", Some(user));
    assert_eq!(made.status, 201, "{}", made.text());
    company.provision(&["create-group", "engineering", made.json()["id"].as_str().unwrap()]);
    let mut ana = Person::new("4711", &[]);
    ana.email = "ana@example.com".into();
    let entered = company.enter(&ana);
    for (operation, state) in [("sse.POST", "approved"), ("sse.PUT", "pending")] {
        let ask = json!({"queries": [{"operation": operation}], "reason": "work"});
        let asked =
            company.house.api("POST", "/v1/access-requests", Some(&entered.control), Some(ask));
        assert_eq!(asked.json()["state"], state, "{}", asked.text());
    }
    let _stream = company.stream(&entered.gate);
    let lea = company.house.sign_in(&Person::new("lea", &["leads"]));
    company.house.profile("lea", &lea);
    for (listing, path, field, who) in [
        ("grants", "/v1/grants", "grants", "principal"),
        ("connections", "/v1/connections", "connections", "principal"),
        ("requests", "/v1/access-requests?filter=all", "access_requests", "requester"),
    ] {
        let listed = company.house.api("GET", path, Some(&lea), None).json();
        let expected = json!({"type": "User", "id": "corp:4711", "name": "Ana Anders", "email": "ana@example.com"});
        assert_eq!(listed[field][0][who], expected, "{listing}: {listed:#}");
        let shown = company.house.cli("lea", &[listing]);
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains("Ana Anders <ana@example.com>"), "{listing}: {shown}");
        assert!(!shown.contains("4711"), "{listing}: {shown}");
    }
}
