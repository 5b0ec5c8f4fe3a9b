//! The console: the story of an access request with two people at Chromium, and what its pages keep from
//! whoever should not.

use std::{path::Path, process::Command, time::Duration};

use portcullis_testkit::{Process, net::free_port};
use serde_json::{Value, json};

use crate::{
    browser::{Browser, TYPED, form_token},
    chromium::{installed, self_signed},
    desk::Desk,
    payments::{Payments, ana, ben, grant, id, lea},
    people::Person,
    upstream::Upstream,
    wire::Response,
};

const STORY: &str = r#"
@id("desk.reviewed") @reviews("1") @max_duration("15m")
permit (principal is User in Group::"engineers", action in Action::"desk.read", resource in Service::"desk")
when { context has grant };

@id("desk.reviewers")
permit (principal is User in Group::"leads", action == Action::"review", resource is AccessRequest)
when { resource.service == Service::"desk" };

@id("desk.revokers")
permit (principal is User in Group::"leads", action == Action::"revoke", resource == Service::"desk");

@id("desk.emergency") @emergency("true") @max_duration("5m")
permit (principal is User in Group::"engineers", action in [Action::"desk.read", Action::"desk.write"], resource in Service::"desk")
when { context has grant && context.grant.kind == "emergency" };
"#;

#[test]
fn two_people_go_from_a_refused_page_to_an_open_one_and_back() {
    let Some(folder) = installed() else { return };
    let port = free_port();
    let (certificate, key) = self_signed();
    let desk = Desk::furnished(Upstream::start(), |plan| {
        plan.listener(&format!(
            "{{name: tls, address: \"127.0.0.1:{port}\", tls: {{certificate: gate.crt, key: gate.key}}}}"
        ))
        .file("gate.crt", &certificate)
        .file("gate.key", &key)
        .policy("story.cedar", STORY)
    });
    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("console");
    std::fs::create_dir_all(&pictures).unwrap();
    let control = format!("http://{}", desk.house.control);
    let page = format!("https://desk.example.com:{port}/page?x=1");
    let mut command = Command::new("node");
    command.args(["story.mjs", &page, &control]).arg(&pictures).current_dir(folder);
    let mut story = Process::start(&mut command);
    let patience = Duration::from_mins(3);
    for (name, group) in [("lea", "leads"), ("ben", "engineers")] {
        assert_eq!(story.wait_for_line("seat ", patience), name);
        desk.house.people.browsers().seat(&Person::new(name, &[group]));
        story.tell("seated");
    }
    let report: Value = serde_json::from_str(&story.wait_for_line("report ", patience)).unwrap();
    assert!(report["error"].is_null(), "{report:#}\n{}", desk.house.log());
    let says = |part: &str, words: &[&str]| {
        let text = report[part].as_str().unwrap_or_default();
        for word in words {
            assert!(text.contains(word), "{part} lacks `{word}`: {text}");
        }
    };
    says("inbox_before", &["Nothing waits for you"]);
    says("refused", &["403", "needs a grant", "With a review by lea", "Ask for access"]);
    says("asking", &["GET /page", "With one review", "lea", "Emergency"]);
    says("waiting", &["Waits for an answer: 0 of 1", "lea", "goes on by itself"]);
    says("to_answer", &["ben", "the desk is on fire", "desk.reviewed", "Your answer"]);
    says("went_through", &["upstream"]);
    says("revoking", &["No connection is open by it"]);
    says("revoked", &["Over: it was revoked"]);
    assert_eq!(report["closed"], 403, "{report:#}");
    says("plain_approved", &["Your answer is on record"]);
    says("plain_went_through", &["upstream"]);
    assert_eq!(report["errors"], json!([]), "{report:#}");
    assert_eq!(report["serious"], json!([]), "{:#}", report["serious"]);
    // The provider is on loopback as well.
    for origin in report["origins"].as_array().unwrap() {
        let origin = origin.as_str().unwrap();
        let own = page.starts_with(origin) || origin.starts_with("http://127.0.0.1:");
        assert!(own, "something was asked of {origin}");
    }
}

/// A browser at control.
struct Seat {
    browser: Browser,
    control: String,
}

impl Seat {
    fn of(payments: &Payments, person: &Person) -> Self {
        payments.house.people.browsers().seat(person);
        let control = format!("http://{}", payments.house.control);
        let mut browser = Browser::new(&payments.house);
        let response = browser.open(&format!("{control}/sign-in?page=/requests"));
        assert_eq!(response.status, 200, "{:#?} {}", browser.history, response.text());
        Self { browser, control }
    }

    fn open(&mut self, path: &str) -> Response {
        self.browser.send("GET", &format!("{}{path}", self.control), TYPED, "")
    }

    /// The token of its pages.
    fn token(&mut self) -> String {
        let page = self.open("/requests").text();
        form_token(&page).to_owned()
    }

    fn send(&mut self, path: &str, headers: &str, body: &str) -> Response {
        let headers = format!("Content-Type: application/x-www-form-urlencoded\r\n{headers}");
        self.browser.send("POST", &format!("{}{path}", self.control), &headers, body)
    }

    /// A form that a page of control sends.
    fn fill(&mut self, path: &str, body: &str) -> Response {
        let body = format!("csrf={}&{body}", self.token());
        let own = format!("Origin: {}\r\nSec-Fetch-Site: same-origin\r\n", self.control);
        self.send(path, &own, &body)
    }
}

fn state(payments: &Payments, path: &str) -> Value {
    payments.house.api("GET", path, Some(&payments.auditor()), None).json()["state"].clone()
}

#[test]
fn d24_a_form_that_no_page_of_ours_sent_does_nothing() {
    let payments = Payments::open();
    let (ana, ben, lea) = (payments.enter(&ana()), payments.enter(&ben()), payments.enter(&lea()));
    let pending = ben.ask(&ben.refund(1), json!({})).json();
    let granted = grant(&ana.ask(&ana.refund(1), json!({})).json());
    let request = format!("/requests/{}", id(&pending));
    let mut seats = [
        (
            Seat::of(&payments, &crate::payments::lea()),
            vec![
                (format!("{request}/review"), "decision=approve&note=x"),
                (format!("{request}/review"), "decision=decline&note=x"),
                (format!("/grants/{granted}/revoke"), ""),
            ],
        ),
        (
            Seat::of(&payments, &crate::payments::ben()),
            vec![
                (format!("{request}/withdraw"), ""),
                ("/ask".to_owned(), "operation=payments.events&reason=x"),
                ("/emergencies".to_owned(), "service=payments&reason=x"),
            ],
        ),
    ];
    for (seat, forms) in &mut seats {
        let token = seat.token();
        let own = format!("Origin: {}\r\n", seat.control);
        for (path, body) in forms {
            let with_token = format!("csrf={token}&{body}");
            for (headers, body) in [
                (own.clone(), (*body).to_owned()),
                (own.clone(), format!("csrf=x&{body}")),
                (String::new(), with_token.clone()),
                ("Origin: null\r\n".to_owned(), with_token.clone()),
                ("Origin: https://evil.example\r\n".to_owned(), with_token.clone()),
                (format!("{own}Sec-Fetch-Site: cross-site\r\n"), with_token.clone()),
                (format!("{own}Sec-Fetch-Site: same-site\r\n"), with_token.clone()),
            ] {
                let response = seat.send(path, &headers, &body);
                assert_eq!(response.status, 403, "{path} {headers} {body}: {}", response.text());
            }
        }
    }
    assert_eq!(state(&payments, &format!("/v1/access-requests/{}", id(&pending))), "pending");
    assert_eq!(state(&payments, &format!("/v1/grants/{granted}")), "in_force");
    assert_eq!(
        lea.call("GET", "/v1/access-requests?filter=to-review", None).json()["access_requests"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let [(lea, _), _] = &mut seats;
    let approved = lea.fill(&format!("{request}/review"), "decision=approve");
    assert_eq!(approved.status, 303, "{}", approved.text());
    assert_eq!(ben.refund(1).status, 200);
    assert_eq!(lea.fill(&format!("/grants/{granted}/revoke"), "").status, 303);
    assert_eq!(state(&payments, &format!("/v1/grants/{granted}")), "ended");
}

#[test]
fn e10_whoever_opens_a_page_changes_nothing_by_it() {
    let payments = Payments::open();
    let (ana, ben) = (payments.enter(&ana()), payments.enter(&ben()));
    let refused = ben.refund(1).json();
    let code = refused["refusal"].as_str().unwrap().to_owned();
    let pending = ben.ask(&ben.refund(2), json!({})).json();
    let granted = grant(&ana.ask(&ana.refund(1), json!({})).json());
    let mut seats = [crate::payments::lea(), crate::payments::ben(), crate::payments::ana()]
        .map(|person| Seat::of(&payments, &person));
    let before =
        payments.record(|events| events.iter().any(|one| one["grant"] == granted.as_str())).len();
    let request = format!("/requests/{}", id(&pending));
    let pages = [
        "/ask".to_owned(),
        "/ask?service=payments".into(),
        "/ask?operation=payments.createRefund".into(),
        format!("/ask/{code}"),
        format!("/ask/{code}?page=https%3A%2F%2Fevil.example%2F"),
        "/requests".into(),
        request.clone(),
        format!("{request}?decision=approve"),
        format!("{request}/review?decision=approve"),
        format!("{request}/withdraw"),
        "/review".into(),
        format!("/grants/{granted}"),
        format!("/grants/{granted}/revoke"),
        "/emergencies".into(),
        "/me".into(),
    ];
    let mut read = 0;
    for seat in &mut seats {
        for page in &pages {
            for headers in [TYPED, "", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n"]
            {
                let response =
                    seat.browser.send("GET", &format!("{}{page}", seat.control), headers, "");
                assert!(response.status < 500, "{page}: {}", response.text());
                assert!(
                    !response.text().contains("https://evil.example"),
                    "no way leads out of here"
                );
                read += usize::from(response.status == 200);
            }
        }
    }
    assert!(read > 25, "{read} were read");
    assert_eq!(state(&payments, &format!("/v1/access-requests/{}", id(&pending))), "pending");
    assert_eq!(state(&payments, &format!("/v1/grants/{granted}")), "in_force");
    for event in payments.record(|_| true).iter().skip(before) {
        let kind = event["type"].as_str().unwrap();
        assert!(
            ["record_read", "signed_in", "control_refused", "attempt"].contains(&kind),
            "{event:#}"
        );
    }
}

#[test]
fn e15_a_reviewer_reads_what_was_written_and_nothing_misleads() {
    let payments = Payments::open();
    let ben = payments.enter(&ben());
    let _known = payments.enter(&lea());
    let currency = format!("\u{202e}<b>{}", "x".repeat(3000));
    let refused = ben.send("POST", "/v1/refunds", Some(json!({"amount": 1, "currency": currency})));
    let digest = refused.json()["digest"].as_str().unwrap().to_owned();
    let reason = "<script>alert(1)</script> <@U1> [x](http://evil) \u{200b}&amp;";
    let asked = ben.ask(&refused, json!({"reason": reason})).json();
    let mut lea = Seat::of(&payments, &crate::payments::lea());
    for path in [format!("/requests/{}", id(&asked)), "/review".to_owned()] {
        let page = lea.open(&path).text();
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt; &lt;@U1&gt;"), "{page}");
        assert!(page.contains("U+200B") && page.contains("&amp;amp;"), "{page}");
        assert!(!page.contains("<script>alert") && !page.contains('\u{200b}'), "{page}");
    }
    let page = lea.open(&format!("/requests/{}", id(&asked))).text();
    assert!(page.contains(&digest), "{page}");
    assert!(page.contains(&"x".repeat(3000)), "nothing is left out unsaid: {page}");
    assert!(page.contains("&lt;b&gt;xxx") && !page.contains('\u{202e}'), "{page}");
    let code = ben.refund(3).json()["refusal"].as_str().unwrap().to_owned();
    let mut ben = Seat::of(&payments, &crate::payments::ben());
    for bad in [
        "first%0Asecond%3Cb%3E",
        "%E2%80%AEtxt.exe%3Cb%3E",
        &format!("%3Cb%3E{}", "a".repeat(3000)),
    ] {
        let answer = ben.fill(&format!("/ask/{code}"), &format!("reason={bad}"));
        assert_eq!(answer.status, 400, "{bad}: {}", answer.text());
        let page = answer.text();
        assert!(
            page.contains("role=\"alert\"") && page.contains("&#60;b&#62;"),
            "what was typed stays: {page}"
        );
        assert!(!page.contains("<b>"), "{page}");
    }
}

#[test]
fn e37_what_is_another_persons_is_not_there() {
    let payments = Payments::open();
    let (ana, ben) = (payments.enter(&ana()), payments.enter(&ben()));
    let code = ben.refund(1).json()["refusal"].as_str().unwrap().to_owned();
    let pending = ben.ask(&ben.refund(2), json!({})).json();
    let granted = grant(&ana.ask(&ana.refund(1), json!({})).json());
    let request = format!("/requests/{}", id(&pending));
    let mut mia = Seat::of(&payments, &Person::new("mia", &["engineering"]));
    for path in [
        format!("/ask/{code}"),
        request.clone(),
        format!("/grants/{granted}"),
        "/requests/01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned(),
        "/requests/nonsense".to_owned(),
    ] {
        let answer = mia.open(&path);
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        assert!(
            !answer.text().contains("createRefund") && !answer.text().contains("refunds stuck")
        );
    }
    for (path, body) in [
        (format!("{request}/review"), "decision=approve"),
        (format!("{request}/withdraw"), ""),
        (format!("/grants/{granted}/revoke"), ""),
        (format!("/grants/{granted}/give-back"), ""),
        (format!("/ask/{code}"), "reason=x"),
    ] {
        let answer = mia.fill(&path, body);
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
    }
    assert_eq!(state(&payments, &format!("/v1/access-requests/{}", id(&pending))), "pending");
    let mut nobody = Browser::new(&payments.house);
    let page = format!("http://{}{request}", payments.house.control);
    let led = nobody.send("GET", &page, TYPED, "");
    assert_eq!(led.status, 303);
    assert!(led.header("location").unwrap().starts_with("/sign-in?page="), "and back afterwards");
}

#[test]
fn d14_asking_leads_back_to_where_a_gate_serves_and_nowhere_else() {
    let payments = Payments::open();
    let code = payments.enter(&ben()).refund(1).json()["refusal"].as_str().unwrap().to_owned();
    let mut ben = Seat::of(&payments, &crate::payments::ben());
    let back = "Back to the page that was refused";
    let own = "https%3A%2F%2Fpayments.example.com%2Fv1%2Frefunds%3Fx%3D1";
    let page = ben.open(&format!("/ask/{code}?page={own}")).text();
    assert!(
        page.contains(back)
            && page.contains("href=\"https://payments.example.com/v1/refunds?x=1\"")
    );
    for other in [
        "https://evil.example/",
        "https://evil.example/https://payments.example.com/",
        "https://payments.example.com.evil.example/",
        "https://payments.example.com@evil.example/",
        "https://evil.example%23@payments.example.com/",
        "https://payments.example.com:1/",
        "https://payments.example.com//evil.example/",
        "https://payments.example.com/.portcullis/sign-out",
        "//payments.example.com/",
        "/requests",
        "javascript:alert(1)",
        "javascript://payments.example.com/%250aalert(1)",
        "ftp://payments.example.com/",
    ] {
        let page = ben.open(&format!("/ask/{code}?page={other}"));
        assert_eq!(page.status, 200, "{other}: {}", page.text());
        assert!(!page.text().contains(back), "{other}");
        let sent = ben.fill(&format!("/ask/{code}"), &format!("reason=x&page={other}"));
        let location = sent.header("location").unwrap().to_owned();
        assert!(location.starts_with("/requests/") && !location.contains("page="), "{location}");
    }
    let sent = ben.fill(&format!("/ask/{code}"), &format!("reason=x&page={own}"));
    assert!(
        sent.header("location").unwrap().contains("?page=https%3A%2F%2Fpayments"),
        "{}",
        sent.text()
    );
}

#[test]
fn the_inbox_has_a_way_to_all_that_waits() {
    let payments = Payments::open();
    let mut asked = std::collections::BTreeSet::new();
    for person in 0..4 {
        let who = payments.house.sign_in(&Person::new(&format!("eve-{person}"), &["engineering"]));
        for seconds in 0..26 {
            let body = json!({"queries": [{"operation": "payments.createRefund"}], "reason": "stuck",
                "duration": format!("{}s", 60 + seconds)});
            let answer = payments.house.api("POST", "/v1/access-requests", Some(&who), Some(body));
            assert_eq!(answer.status, 201, "{}", answer.text());
            asked.insert(id(&answer.json()).to_owned());
        }
    }
    let mut lea = Seat::of(&payments, &crate::payments::lea());
    let (mut path, mut seen) = ("/review".to_owned(), std::collections::BTreeSet::new());
    for shown in [100, 4] {
        let page = lea.open(&path).text();
        assert_eq!(page.matches("data-row").count(), shown, "{path}");
        // What brings it up to date asks for the same part.
        assert!(page.contains(&format!("hx-get=\"{path}\"")), "{path}: {page}");
        seen.extend(asked.iter().filter(|id| page.contains(&format!("/requests/{id}"))).cloned());
        let next = page.split("href=\"").find(|part| part.contains("rel=\"next\""));
        path = next.map_or_else(String::new, |part| part.split('"').next().unwrap().to_owned());
    }
    assert_eq!((path.as_str(), seen), ("", asked));
}
