//! A house with two services that people open in a browser.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    browser::Browser,
    house::{House, Plan},
    people::Person,
    upstream::Upstream,
    wire::{Response, exchange},
};

const POLICIES: &str = r#"
@id("staff")
permit (principal is User in Group::"staff", action, resource in Service::"desk");

@id("staff.shelf")
permit (principal is User in Group::"staff", action, resource in Service::"shelf");

@id("auditors")
permit (principal is User in Group::"auditors", action == Action::"viewAudit", resource);
"#;
pub(crate) const PAGE: &str = "https://desk.example.com/page?x=1";
pub(crate) const GATE: &str = "__Host-portcullis";
pub(crate) const CONTROL: &str = "portcullis-control";

/// A house with a desk and a shelf that browsers visit.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) house: House,
    pub(crate) upstream: Upstream,
}

pub(crate) fn ana() -> Person {
    Person::new("ana", &["staff"])
}

impl Desk {
    pub(crate) fn open() -> Self {
        Self::furnished(Upstream::start(), |plan| plan)
    }

    pub(crate) fn furnished(upstream: Upstream, furnish: impl FnOnce(Plan) -> Plan) -> Self {
        let service = |name: &str| {
            let url = upstream.url();
            format!(
                "name: {name}\nhosts: [{name}.example.com]\nupstream: {{instances: {{d-1: \"{url}\"}}}}"
            )
        };
        let plan = Plan::empty().service(&service("desk")).service(&service("shelf"));
        let house = furnish(plan.policy("desk.cedar", POLICIES)).start();
        house.people.browsers().seat(&ana());
        Self { house, upstream }
    }

    /// A browser in which ana is signed in at the desk.
    pub(crate) fn browser(&self) -> Browser {
        let mut browser = Browser::new(&self.house);
        let response = browser.open(PAGE);
        assert_eq!(response.status, 200, "{:#?} {}", browser.history, response.text());
        self.upstream.take();
        browser
    }

    /// A script's request at the desk, with exactly these headers.
    pub(crate) fn script(&self, method: &str, headers: &str) -> Response {
        let head = format!(
            "{method} /data HTTP/1.1\r\nHost: desk.example.com\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        exchange(self.house.gate, head)
    }

    pub(crate) fn becomes(wanted: u16, ask: impl Fn() -> Response) -> Duration {
        let begun = Instant::now();
        loop {
            let response = ask();
            if response.status == wanted {
                return begun.elapsed();
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{}", response.text());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn events(&self, kind: &str, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let auditor = self.house.sign_in(&Person::new("sam", &["auditors"]));
        let of = |events: &[Value]| {
            events.iter().filter(|event| event["type"] == kind).cloned().collect::<Vec<_>>()
        };
        of(&self.house.record(&auditor, |events| enough(&of(events))))
    }
}

pub(crate) fn cookie(browser: &Browser) -> String {
    format!("Cookie: {GATE}={}\r\n", browser.cookie("desk.example.com", GATE).unwrap())
}

/// What a page of the desk's own origin sends along.
pub(crate) const OWN: &str = "Origin: https://desk.example.com\r\nSec-Fetch-Site: same-origin\r\n";
