//! Group J: what is for operators has a door of its own.

use crate::{
    people::Person,
    shop::{HOST, Shop},
    upstream::Upstream,
    wire::request,
};

/// What this product and others serve to operators.
const INSIDE: [&str; 14] = [
    "/metrics",
    "/healthz",
    "/readyz",
    "/v1/openapi.json",
    "/v1/whoami",
    "/v1/bundle",
    "/v1/audit/log/checkpoint",
    "/v1/events",
    "/debug/pprof/",
    "/debug/pprof/profile",
    "/debug/vars",
    "/config_dump",
    "/stats/prometheus",
    "/.portcullis/metrics",
];

#[test]
fn j05_admin_metrics_and_profiles_are_not_at_the_gate() {
    let upstream = Upstream::start();
    let shop = Shop::before(&upstream.url());
    let house = &shop.house;
    let control = house.control.to_string();
    let operator = house.sign_in(&Person::new("lea", &["leads"]));
    for path in INSIDE {
        let is_own = path.starts_with("/.portcullis/");
        for host in [HOST, "control.example.com", control.as_str(), "localhost"] {
            let stranger = house.gate(host, "GET", path, None, None);
            let wanted = if is_own { 404 } else { 401 };
            assert_eq!(stranger.status, wanted, "{host}{path}: {}", stranger.text());
            // Who may look at control is nobody here: the audiences never mix.
            let answer = house.gate(host, "GET", path, Some(&operator), None);
            assert_eq!(answer.status, wanted, "{host}{path}: {}", answer.text());
            assert!(!answer.text().contains("portcullis_gate"), "{host}{path}");
            // Whoever is known gets what policy opens: the service's own, and nothing of the gate's.
            let answer = house.gate(host, "GET", path, Some(&shop.token), None);
            let wanted = if host == HOST && !is_own { (200, "upstream") } else { (404, "") };
            assert_eq!(answer.status, wanted.0, "{host}{path}: {}", answer.text());
            assert!(answer.text().contains(wanted.1), "{host}{path}: {}", answer.text());
        }
    }
    // Nor is what stands behind the gate to be had at control.
    upstream.take();
    for path in ["/page", "/metrics"] {
        let answer = request(house.control, HOST, "GET", path, Some(&shop.token), None);
        assert_ne!(answer.text(), "upstream", "{path}");
    }
    assert!(upstream.take().is_empty());
}
