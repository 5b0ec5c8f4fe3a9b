//! What becomes of instances and of their connections when configurations change.

use portcullis_policy::upstream::{HealthCheck, UpstreamSource};

use super::{service::tests::source, *};

const TWO: [(&str, &str); 2] = [("a", "http://127.0.0.1:1"), ("b", "http://127.0.0.1:2")];

#[test]
fn an_instance_that_nobody_checks_any_more_is_well_again() {
    let registry = Registry::new(1, None);
    let health = Some(HealthCheck::default());
    let checked = source(&TWO, UpstreamSource { health, ..UpstreamSource::default() });
    let picks = |service: &service::Service| service.choice(service.now()).1.picks.len();
    let service = registry.service(&checked, 1);
    service.checked(0, false);
    assert_eq!(picks(&service), 1);
    let mut other = checked.clone();
    other.hosts.push("shop.test".to_owned());
    assert_eq!(picks(&registry.service(&other, 2)), 1, "what was said last holds");
    let unchecked = source(&TWO, UpstreamSource::default());
    assert_eq!(picks(&registry.service(&unchecked, 3)), 2);
}
