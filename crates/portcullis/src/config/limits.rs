//! `limits`: what clients may take of the gate.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use ipnet::IpNet;
use portcullis_model::{ServiceName, Window};
use portcullis_proxy::Bounds;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    late::Late,
    section::{Field, Section},
    service::Service,
};

/// Bounds on what clients take; all have defaults. One more is refused, and what has begun goes on.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Limits {
    /// Connections of one core; default 16384.
    pub(crate) connections: usize,
    /// Connections of one source (an IPv4 address, the /64 of an IPv6 address), on all cores; default 4096.
    pub(crate) connections_per_source: usize,
    /// TLS handshakes of one source that are under way; default 256.
    pub(crate) handshakes_per_source: usize,
    /// Networks whose addresses stand for many clients each, so that their connections are not counted by
    /// source; default this machine, where a proxy may run: `[127.0.0.0/8, "::1/128"]`.
    #[schemars(with = "Vec<String>")]
    pub(crate) many_clients: Vec<IpNet>,
    /// Requests under way on one core; default 16384.
    pub(crate) requests: usize,
    /// Requests under way at one service, on one core; default 8192.
    pub(crate) requests_per_service: usize,
    /// The same for services where it is another: `{payments: 500}`.
    #[schemars(with = "BTreeMap<String, usize>")]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) services: BTreeMap<ServiceName, usize>,
    /// Requests and tunnels of one principal, on one core; default 2048.
    pub(crate) requests_per_principal: usize,
    /// How long a TLS handshake may take; default `10s`.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) handshake: Window,
    /// How long a head may take from its first byte; default `10s`.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) head: Window,
    /// How long a connection may rest without a request; default `1m15s`.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) idle: Window,
    /// A body that is waited for brings 1 KiB in each such span; default `30s`.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) body: Window,
    /// An answer that is there is taken, 1 KiB of it in each such span; default `5m`.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) answer: Window,
    /// How late a core may be with what is ready: beyond it, new requests get 503; default `500ms`, or `never`.
    #[schemars(with = "String")]
    pub(crate) late: Late,
}

impl Default for Limits {
    fn default() -> Self {
        let usual = Bounds::default();
        let number = |bound: u32| usize::try_from(bound).unwrap_or(usize::MAX);
        Self {
            connections: usual.connections,
            connections_per_source: number(usual.connections_per_source),
            handshakes_per_source: number(usual.handshakes_per_source),
            many_clients: usual.many_clients,
            requests: number(usual.requests),
            requests_per_service: number(usual.requests_per_service),
            services: BTreeMap::new(),
            requests_per_principal: number(usual.requests_per_principal),
            handshake: seconds(usual.handshake),
            head: seconds(usual.head),
            idle: seconds(usual.idle),
            body: seconds(usual.body),
            answer: seconds(usual.answer),
            late: Late(usual.late),
        }
    }
}

fn seconds(time: Duration) -> Window {
    Window::new(time).unwrap_or(Window::minutes(1))
}

impl Limits {
    /// More than that and it is none.
    const MOST: usize = 10_000_000;

    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let usual = Self::default();
        let networks = section.field("many_clients");
        let many_clients = networks
            .map_or(usual.many_clients, |field| field.list().iter().filter_map(network).collect());
        let services = section.field("services").map(|field| services(&field)).unwrap_or_default();
        let mut number = |key, usual| number(&mut section, key, usual);
        let connections = number("connections", usual.connections);
        let connections_per_source = number("connections_per_source", usual.connections_per_source);
        let handshakes_per_source = number("handshakes_per_source", usual.handshakes_per_source);
        let requests = number("requests", usual.requests);
        let requests_per_service = number("requests_per_service", usual.requests_per_service);
        let requests_per_principal = number("requests_per_principal", usual.requests_per_principal);
        let mut time = |key, usual| time(&mut section, key, usual);
        let handshake = time("handshake", usual.handshake);
        let head = time("head", usual.head);
        let idle = time("idle", usual.idle);
        let body = time("body", usual.body);
        let answer = time("answer", usual.answer);
        let late = section.field("late").map_or(Some(usual.late), |field| Late::read(&field));
        section.finish();
        Some(Self {
            connections: connections?,
            connections_per_source: connections_per_source?,
            handshakes_per_source: handshakes_per_source?,
            many_clients,
            requests: requests?,
            requests_per_service: requests_per_service?,
            services,
            requests_per_principal: requests_per_principal?,
            handshake: handshake?,
            head: head?,
            idle: idle?,
            body: body?,
            answer: answer?,
            late: late?,
        })
    }

    /// Reports bounds of services that there are not.
    pub(super) fn check(&self, field: &Field<'_>, services: &[Service]) {
        for name in self.services.keys() {
            if !services.iter().any(|service| service.name == *name) {
                let help = Some("name a service of this configuration, or take it out".into());
                field.error(format!("`limits.services`: there is no service `{name}`"), help);
            }
        }
    }

    /// As the gate takes them.
    pub(crate) fn bounds(&self) -> Bounds {
        let number = |bound: usize| u32::try_from(bound).unwrap_or(u32::MAX);
        let services = self.services.iter();
        Bounds {
            connections: self.connections,
            connections_per_source: number(self.connections_per_source),
            handshakes_per_source: number(self.handshakes_per_source),
            many_clients: self.many_clients.clone(),
            requests: number(self.requests),
            requests_per_service: number(self.requests_per_service),
            services: services.map(|(name, most)| (name.clone(), number(*most))).collect(),
            requests_per_principal: number(self.requests_per_principal),
            handshake: self.handshake.get(),
            head: self.head.get(),
            idle: self.idle.get(),
            body: self.body.get(),
            answer: self.answer.get(),
            late: self.late.0,
        }
    }
}

fn number(section: &mut Section<'_>, key: &'static str, usual: usize) -> Option<usize> {
    section.field(key).map_or(Some(usual), |field| field.number(1..=Limits::MOST))
}

fn time(section: &mut Section<'_>, key: &'static str, usual: Window) -> Option<Window> {
    /// Nobody waits longer for a client.
    const LONGEST: Window = Window::minutes(24 * 60);
    let Some(field) = section.field(key) else { return Some(usual) };
    let time: Window = field.parsed()?;
    if time > LONGEST {
        field.error(format!("`{key}` is {LONGEST} at most, and not {time}"), None);
        return None;
    }
    Some(time)
}

fn services(field: &Field<'_>) -> BTreeMap<ServiceName, usize> {
    let pairs = field.pairs().into_iter().filter_map(|(name, value)| {
        let parsed = name.parse::<ServiceName>();
        let name = parsed.map_err(|error| value.error(error.to_string(), None)).ok()?;
        Some((name, value.number(1..=Limits::MOST)?))
    });
    pairs.collect()
}

fn network(field: &Field<'_>) -> Option<IpNet> {
    let text = field.text()?;
    if let Ok(network) = text.parse::<IpNet>() {
        return Some(network.trunc());
    }
    let help = match text.parse::<IpAddr>() {
        Ok(ip) => format!("write {}", IpNet::from(ip)),
        Err(_) => "write it like 10.0.0.0/8 or 2001:db8::/32".into(),
    };
    field.error(format!("`{text}` is not a network"), Some(help));
    None
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SOUND, loaded, refused};

    fn with(limits: &str) -> String {
        SOUND.replacen("policies: policies", &format!("policies: policies\nlimits: {limits}"), 1)
    }

    #[test]
    fn limits_have_defaults_and_each_can_be_another() {
        let bounds = |text: &str| loaded(text).expect("loads").config.limits.bounds();
        assert_eq!(bounds(SOUND), portcullis_proxy::Bounds::default());
        let own = bounds(&with(
            "{connections: 9, requests_per_principal: 3, services: {payments: 5}, many_clients: [], head: 3s}",
        ));
        assert_eq!((own.connections, own.requests_per_principal), (9, 3));
        assert_eq!(own.services[&"payments".parse().unwrap()], 5);
        assert_eq!((own.head.as_secs(), own.many_clients.len()), (3, 0));
        assert_eq!(own.requests, portcullis_proxy::Bounds::default().requests);
    }

    #[test]
    fn limits_that_are_none_are_refused() {
        for (limits, message) in [
            ("{requests: 0}", "from 1 to"),
            ("{body: 2d}", "`body` is"),
            ("{idle: 0s}", "a duration of zero"),
            ("{services: {nobody: 5}}", "there is no service `nobody`"),
            ("{many_clients: [10.0.0.7]}", "10.0.0.7/32"),
            ("{request: 5}", "did you mean `requests`?"),
        ] {
            let shown = refused(&with(limits));
            assert!(shown.contains(message), "{limits}: {shown}");
        }
    }
}
