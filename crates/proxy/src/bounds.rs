//! What clients may take of the gate: how many connections, how much at once, how long.
//!
//! Connections are bounded for the core that serves them and for the source that they come from; requests
//! for the core, for their service and for their principal. Each core counts its own, so that nothing is
//! shared between cores for a request.

use std::{collections::HashMap, time::Duration};

use ipnet::IpNet;
use portcullis_model::ServiceName;

/// Bounds on what clients take. Whatever is beyond them is refused; what has begun goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Connections of one core.
    pub connections: usize,
    /// Connections of one source, on all cores: an IPv4 address, or the /64 of an IPv6 address.
    pub connections_per_source: u32,
    /// TLS handshakes of one source that have begun and are not over.
    pub handshakes_per_source: u32,
    /// Networks whose addresses stand for many clients each: they are not counted by source.
    pub many_clients: Vec<IpNet>,
    /// Requests under way on one core.
    pub requests: u32,
    /// Requests under way at one service, on one core.
    pub requests_per_service: u32,
    /// The same for services where it is another.
    pub services: HashMap<ServiceName, u32>,
    /// Requests and tunnels of one principal, on one core.
    pub requests_per_principal: u32,
    /// How long a handshake may take.
    pub handshake: Duration,
    /// How long a head may take from its first byte.
    pub head: Duration,
    /// How long a connection may rest without a request.
    pub idle: Duration,
    /// A body that is waited for brings [`Self::LEAST`] in each such span.
    pub body: Duration,
    /// An answer that is there is taken, [`Self::LEAST`] of it at least, in each such span.
    pub answer: Duration,
    /// How late a core may be before it takes nothing new; `None`: however late.
    pub late: Option<Duration>,
}

impl Bounds {
    /// Bytes that a client which is waited for must move.
    pub const LEAST: u64 = 1024;

    /// Requests that may be under way at `service`.
    pub(crate) fn of_service(&self, service: &ServiceName) -> u32 {
        let own = if self.services.is_empty() { None } else { self.services.get(service) };
        own.copied().unwrap_or(self.requests_per_service)
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connections_per_source: 4096,
            handshakes_per_source: 256,
            many_clients: ["127.0.0.0/8", "::1/128"]
                .iter()
                .filter_map(|net| net.parse().ok())
                .collect(),
            requests: 16_384,
            requests_per_service: 8192,
            services: HashMap::new(),
            requests_per_principal: 2048,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            body: Duration::from_secs(30),
            answer: Duration::from_mins(5),
            late: Some(Duration::from_millis(500)),
        }
    }
}
