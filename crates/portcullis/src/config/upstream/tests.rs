use portcullis_policy::upstream::{DnsName, UpstreamSource};

use crate::config::tests::{SOUND, loaded, refused};

const PLAIN: &str = "{url: \"http://127.0.0.1:9000\"}";

fn with(upstream: &str) -> String {
    assert!(SOUND.contains(PLAIN));
    SOUND.replace(PLAIN, upstream)
}

fn source(upstream: &str) -> UpstreamSource {
    loaded(&with(upstream)).unwrap().bundle.services[0].upstream.clone()
}

#[test]
fn without_settings_the_defaults_are_those_of_the_gate() {
    assert_eq!(source(PLAIN), UpstreamSource::default());
    assert_eq!(
        source("{instances: {p-1: {url: \"http://127.0.0.1:1\"}}}"),
        UpstreamSource::default()
    );
}

#[test]
fn what_is_set_arrives() {
    let set = source(
        "{instances: {p-1: {url: \"http://10.0.0.1\", zone: a}, p-2: \"https://10.0.0.2\"}, \
         zone_share: 70%, panic_below: 0%, slow_start: never, allow: [\"169.254.0.0/16\"], \
         timeouts: {connect: 1s, request: 2m, idle: 10s}, \
         ejection: {failures: 0, time: 1s, max_time: 2s, max_share: 10%}, \
         limits: {instance: {requests: 1}, service: {connections: 2, pending: 3}}, \
         retries: {attempts: 0, share: 1%, floor: 0}, \
         health: {path: /healthz, status: \"200-204\", interval: 1s, unhealthy_after: 1}}",
    );
    assert_eq!(set.zones.len(), 1);
    assert_eq!((set.zone_share, set.panic_below, set.slow_start), (70, 0, None));
    assert_eq!(set.timeouts.request.to_string(), "2m");
    assert_eq!((set.ejection.failures, set.ejection.max_share), (0, 10));
    assert_eq!((set.instance_limits.requests, set.service_limits.pending), (1, 3));
    assert_eq!(set.instance_limits.connections, 16_384, "the others are as they were");
    assert_eq!((set.retries.attempts, set.retries.share, set.retries.floor), (0, 1, 0));
    let health = set.health.unwrap();
    assert_eq!((health.status, health.unhealthy_after, health.healthy_after), ((200, 204), 1, 2));
    assert_eq!(set.allow.len(), 1);
}

#[test]
fn instances_are_found_by_host_or_by_service_records() {
    let host = source("{dns: \"h2c://pool.internal:8080\"}").dns.unwrap();
    assert_eq!(host.name, DnsName::Host("pool.internal".into(), 8080));
    assert_eq!((host.scheme.as_str(), host.servers.len()), ("h2c", 0));
    let plain =
        source("{dns: {url: \"https://pool.internal\", servers: [\"10.0.0.2:53\"]}}").dns.unwrap();
    assert_eq!((plain.name, plain.servers.len()), (DnsName::Host("pool.internal".into(), 443), 1));
    let named =
        source("{dns: {srv: _h._tcp.pool.internal, scheme: https, min_ttl: 1s}, tls: {server_name: pool.internal}}").dns.unwrap();
    assert_eq!(named.name, DnsName::Srv("_h._tcp.pool.internal".into()));
    assert_eq!(named.refresh.0.to_string(), "1s");
}

#[test]
fn mistakes_are_named() {
    for (upstream, said) in [
        ("{}", "one of `url`, `instances` and `dns`"),
        ("{url: \"http://a\", dns: \"http://a\"}", "one of `url`, `instances` and `dns`"),
        ("{url: \"http://a\", kubernetes: x}", "`kubernetes` is not supported"),
        ("{url: \"http://a\", zone_share: 50}", "must be text"),
        ("{url: \"http://a\", zone_share: 101%}", "is not a share"),
        ("{url: \"http://a\", timeouts: {read: 1s}}", "unknown key `read` in `timeouts`"),
        ("{url: \"http://a\", timeouts: {connect: 0s}}", "a duration of zero"),
        ("{url: \"http://a\", ejection: {time: 10m}}", "`max_time` is shorter than `time`"),
        ("{url: \"http://a\", limits: {requests: 1}}", "unknown key `requests` in `limits`"),
        ("{url: \"http://a\", limits: {service: {requests: 0}}}", "whole number from 1"),
        ("{url: \"http://a\", retries: {attempts: 11}}", "whole number from 0 to 10"),
        ("{url: \"http://a\", health: {path: healthz}}", "`healthz` is no path"),
        ("{url: \"http://a\", health: {path: \"/a b\"}}", "is no path"),
        ("{url: \"http://a\", health: {status: \"200\"}}", "who only connects gets no status"),
        ("{url: \"http://a\", health: {path: /, status: \"299-200\"}}", "no range of statuses"),
        ("{url: \"http://a\", allow: [\"10.0.0.0\"]}", "`allow[0]`"),
        ("{dns: \"http://10.0.0.5\"}", "`dns` needs a name"),
        ("{dns: {srv: a, url: \"http://a\"}}", "either `url` or `srv`"),
        ("{dns: {url: \"http://a\", scheme: h2c}}", "says the scheme already"),
        ("{dns: {srv: a, scheme: https}}", "whose certificates are believed"),
        ("{dns: {srv: a, scheme: https}, tls: {ca: a.crt}}", "server_name"),
        ("{dns: {srv: a, min_ttl: 10m}}", "`max_ttl` is shorter"),
        ("{dns: \"http://a\", addressed_only: [p-1]}", "there is no instance `p-1`"),
        ("{instances: {p-1: {zone: a}}}", "lacks `url`"),
    ] {
        let message = refused(&with(upstream));
        assert!(message.contains(said), "{upstream}: {message}");
    }
}
