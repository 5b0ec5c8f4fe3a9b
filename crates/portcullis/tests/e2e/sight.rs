//! What reviewers see of what others hold: what belongs to their services, and no more.

use serde_json::{Value, json};

use crate::{
    browser::{Browser, TYPED},
    payments::{Payments, ben, grant, lea, sam},
    people::Person,
    upstream::Upstream,
};

const POLICIES: &str = r#"
@id("stock.asked") @reviews("0") @max_duration("30m")
permit (principal is User in Group::"engineering", action == Action::"stock.GET", resource in Service::"stock")
when { context has grant };

@id("stock.reviewers")
permit (principal is User in Group::"keepers", action == Action::"review", resource is AccessRequest)
when { resource.service == Service::"stock" };

@id("stock.reviewers.of.one")
permit (principal is User in Group::"clerks", action == Action::"review", resource is AccessRequest)
when { resource.actions.contains("stock.DELETE") };

@id("administrators")
permit (principal is User in Group::"admins", action == Action::"administer", resource);
"#;

/// The grants and access requests that `page` leads to.
fn links(page: &str) -> Vec<String> {
    let targets = page.split("href=\"").skip(1).filter_map(|rest| rest.split_once('"'));
    let targets = targets.map(|(target, _)| target);
    let closer = |to: &&str| to.starts_with("/grants/") || to.starts_with("/requests/");
    targets.filter(closer).map(str::to_owned).collect()
}

/// Ben holds a grant for payments, and one for the stock.
fn furnished() -> Payments {
    let payments = Payments::furnished(Upstream::start(), |plan| {
        plan.service(
            "name: stock\nhosts: [stock.example.com]\n\
             upstream: {instances: {i-1: \"http://127.0.0.1:9\"}}",
        )
        .policy("stock.cedar", POLICIES)
    });
    {
        let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
        let ask = |operation: &str| {
            let body = json!({"queries": [{"operation": operation}], "reason": "counting"});
            let asked = ben.call("POST", "/v1/access-requests", Some(body));
            assert_eq!(asked.status, 201, "{}", asked.text());
            asked.json()
        };
        grant(&ask("stock.GET"));
        let approved = lea.approve(&ask("payments.events"));
        assert_eq!(approved.json()["state"], "approved", "{}", approved.text());
    }
    payments
}

fn keeper() -> Person {
    Person::new("kim", &["keepers"])
}

/// The services of the grants of Ben that `listed` shows.
fn services(listed: &Value) -> Vec<String> {
    let all = listed["principals"].as_array().unwrap();
    let ben = all.iter().find(|one| one["principal"]["id"] == "corp:ben").unwrap();
    let grants = ben["grants"].as_array().unwrap().iter();
    let mut services: Vec<_> =
        grants.map(|grant| grant["service"].as_str().unwrap().to_owned()).collect();
    services.sort();
    services
}

#[test]
fn reviewers_see_grants_of_services_that_they_review_and_auditors_all() {
    let payments = furnished();
    // Of something that nobody holds.
    let clerk = Person::new("cleo", &["clerks"]);
    let admin = Person::new("root", &["admins", "keepers"]);
    for (person, seen) in [
        (lea(), vec!["payments"]),
        (keeper(), vec!["stock"]),
        (clerk, vec![]),
        (sam(), vec!["payments", "stock"]),
        (admin, vec!["payments", "stock"]),
    ] {
        let visitor = payments.enter(&person);
        let listed = visitor.call("GET", "/v1/principals", None);
        assert_eq!(listed.status, 200, "{}", listed.text());
        assert_eq!(services(&listed.json()), seen, "{}", person.subject);
        // A report is of everybody and everything: it is for who may read all of the record.
        let report = visitor.call("GET", "/v1/reports/access?since=2026-01-01T00:00:00Z", None);
        let may = if person.subject == "sam" { 200 } else { 403 };
        assert_eq!(report.status, may, "{}: {}", person.subject, report.text());
    }
    let ben = payments.enter(&ben());
    assert_eq!(ben.call("GET", "/v1/principals", None).status, 403);
}

#[test]
fn the_page_of_somebody_shows_what_the_reader_may_see_of_them() {
    let payments = furnished();
    let control = format!("http://{}", payments.house.control);
    // Who may revoke what is of one service and review what is of another, and who may do neither.
    let rob = Person::new("rob", &["leads", "keepers"]);
    let admin = Person::new("root", &["admins", "keepers"]);
    let both = || vec!["stock.GET", "payments.events"];
    for (person, shown, hidden, closer) in [
        (lea(), vec!["payments.events"], vec!["stock.GET"], "g"),
        (keeper(), vec!["stock.GET"], vec!["payments.events"], "r"),
        (sam(), both(), vec!["You see grants that"], "gg"),
        (rob, both(), vec![], "gr"),
        (admin, both(), vec![], "r"),
    ] {
        let mut browser = Browser::signed_in(&payments.house, &person);
        let page = browser.send("GET", &format!("{control}/people/corp%3Aben"), TYPED, "");
        assert_eq!(page.status, 200, "{}", page.text());
        let page = page.text();
        for word in shown {
            assert!(page.contains(word), "{} {word}: {page}", person.subject);
        }
        for word in hidden {
            assert!(!page.contains(word), "{} {word}: {page}", person.subject);
        }
        // Each grant leads to what its reader may open, and nowhere else.
        let found = links(&page);
        let mut kinds: Vec<char> = found.iter().filter_map(|to| to.chars().nth(1)).collect();
        kinds.sort_unstable();
        assert_eq!(kinds.iter().collect::<String>(), closer, "{} {found:?}", person.subject);
        for to in found {
            let answer = browser.send("GET", &format!("{control}{to}"), TYPED, "");
            assert_eq!(answer.status, 200, "{} {to}: {}", person.subject, answer.text());
        }
    }
}
