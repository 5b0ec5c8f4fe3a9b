//! Services that let strangers in, as far as policy permits.

use std::fs;

use crate::{
    house::{House, Plan},
    mesh::eventually,
    people::Person,
    upstream::Upstream,
    wire::Response,
};

const SITE: &str = "site.example.com";
const SHOP: &str = "shop.example.com";
const POLICIES: &str = r#"
@id("strangers")
permit (principal is Anonymous, action in Action::"site.read", resource == Service::"site")
when { context.auth.method == "anonymous" };

@id("maybe-later") @reviews("0")
permit (principal, action == Action::"site.PUT", resource == Service::"site")
when { context has grant };

@id("members")
permit (principal is Workload in Group::"members", action, resource == Service::"site");

// As wide as can be, and still not for strangers: the shop does not let them in.
@id("everybody")
permit (principal, action in Action::"shop.read", resource == Service::"shop");

@id("auditors")
permit (principal is User in Group::"auditors", action == Action::"viewAudit", resource);
"#;

struct Town {
    house: House,
    upstream: Upstream,
}

impl Town {
    fn open() -> Self {
        let upstream = Upstream::start();
        let service = |name: &str, more: &str| {
            format!(
                "name: {name}\nhosts: [{name}.example.com]\n{more}upstream: {{url: \"{}\"}}",
                upstream.url()
            )
        };
        let house = Plan::empty()
            .service(&service("site", "anonymous: true\n"))
            .service(&service("shop", ""))
            .policy("town.cedar", POLICIES)
            .start();
        Self { house, upstream }
    }

    fn ask(&self, host: &str, method: &str, token: Option<&str>) -> Response {
        self.house.gate(host, method, "/page", token, None)
    }
}

#[test]
fn strangers_are_let_in_where_the_service_and_policy_say_so_and_are_on_record() {
    let town = Town::open();
    assert_eq!(town.ask(SITE, "GET", None).status, 200);
    let received = town.upstream.take().remove(0);
    assert_eq!(received.headers("portcullis-principal"), ["anonymous"]);
    assert_eq!(town.ask(SITE, "POST", None).status, 401, "policy permits reading");
    let requestable = town.ask(SITE, "PUT", None);
    assert_eq!(requestable.status, 401);
    for word in ["ways", "refusal", "maybe-later"] {
        assert!(requestable.json().get(word).is_none(), "{}", requestable.text());
    }
    let member = town.house.workload_token("member", &["members"]);
    assert_eq!(town.ask(SITE, "POST", Some(&member)).status, 200);
    assert_eq!(town.upstream.take()[0].headers("portcullis-principal"), ["builds:member"]);
    let auditor = town.house.sign_in(&Person::new("sam", &["auditors"]));
    let of_strangers = |event: &&serde_json::Value| event["principal"]["type"] == "Anonymous";
    let events =
        town.house.record(&auditor, |events| events.iter().filter(of_strangers).count() >= 3);
    let events: Vec<_> = events.iter().filter(of_strangers).collect();
    let admitted = events.iter().find(|event| event["operation"] == "site.GET").unwrap();
    assert_eq!(admitted["decision"], "permit");
    assert_eq!(admitted["policies"], serde_json::json!(["strangers"]));
    let refused = events.iter().find(|event| event["operation"] == "site.POST").unwrap();
    assert_eq!(refused["refusal"], "unauthenticated");
}

#[test]
fn strangers_elsewhere_and_bad_credentials_anywhere_are_refused() {
    let town = Town::open();
    assert_eq!(town.ask(SHOP, "GET", None).status, 401, "however wide its permits");
    assert_eq!(town.ask("nowhere.example.com", "GET", None).status, 401);
    for bad in ["forged", "pc_sign_forged", "a.b.c", &town.house.workload_token("x", &[])[1..]] {
        assert_eq!(town.ask(SITE, "GET", Some(bad)).status, 401, "{bad} falls through");
    }
    let raw = |headers: &str| {
        let head =
            format!("GET /page HTTP/1.1\r\nHost: {SITE}\r\n{headers}Connection: close\r\n\r\n");
        crate::wire::exchange(town.house.gate, head).status
    };
    assert_eq!(raw("Authorization: Basic eDp5\r\n"), 401);
    assert_eq!(raw("Portcullis-Authorization: \r\n"), 401);
    assert!(town.upstream.take().is_empty());
    assert_eq!(raw("Portcullis-Principal: builds:member\r\nClient-Cert: :AAAA:\r\n"), 200);
    let received = town.upstream.take().remove(0);
    assert_eq!(received.headers("portcullis-principal"), ["anonymous"]);
    assert!(received.headers("client-cert").is_empty());
}

#[test]
fn a_service_that_lets_strangers_in_no_longer_refuses_them_at_once() {
    let town = Town::open();
    assert_eq!(town.ask(SITE, "GET", None).status, 200);
    let config = town.house.dir().join("portcullis.yaml");
    let text = fs::read_to_string(&config).unwrap();
    // The policy that names strangers has nobody to apply to any more: the bundle says so, and the
    // old one stays.
    fs::write(&config, text.replace("anonymous: true", "anonymous: false")).unwrap();
    eventually("the bundle is refused", || town.house.log().contains("bundle refused"));
    assert_eq!(town.ask(SITE, "GET", None).status, 200);
    town.house.write_policy("town.cedar", &POLICIES.replace("principal is Anonymous", "principal"));
    eventually("strangers are refused", || town.ask(SITE, "GET", None).status == 401);
}
