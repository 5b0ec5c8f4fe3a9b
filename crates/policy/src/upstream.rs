//! How the instances of a service are chosen and reached. Settings only: the gate carries them out.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use portcullis_model::{InstanceName, Window};
use serde::{Deserialize, Serialize};

/// How the instances of a service are chosen and reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpstreamSource {
    /// The zones of instances, where they are known.
    pub zones: BTreeMap<InstanceName, String>,
    /// So many percent of the instances in the gate's own zone must be up for the others to be left
    /// alone; default 50.
    pub zone_share: u8,
    /// With fewer than so many percent up, all are used, whatever is known of them; default 25.
    pub panic_below: u8,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// When an instance is left out for a while.
    pub ejection: Ejection,
    /// How long an instance that came back takes to its full share; default 10s. `None`: no time.
    pub slow_start: Option<Window>,
    /// How much may be under way to one instance.
    pub instance_limits: Limits,
    /// How much may be under way to all of them.
    pub service_limits: Limits,
    /// What is sent again.
    pub retries: Retries,
    /// How instances are asked whether they are well; by default they are not.
    pub health: Option<HealthCheck>,
    /// Where instances come from, if they are not listed.
    pub dns: Option<DnsSource>,
    /// Special addresses that may be dialled all the same.
    pub allow: Vec<IpNet>,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timeouts {
    /// Making a connection, TLS included; default 5s.
    pub connect: Window,
    /// The head of an answer, from the end of the request; default 1m. gRPC has deadlines of its own.
    pub request: Window,
    /// A pooled connection that nobody uses; default 50s.
    pub idle: Window,
}

/// When an instance is left out for a while because of how its requests went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ejection {
    /// So many failures in a row; default 5. 0: never.
    pub failures: u32,
    /// For how long the first time; each time more; default 5s.
    pub time: Window,
    /// The longest; default 5m.
    pub max_time: Window,
    /// So many percent of the instances at most, and always one of several; default 50.
    pub max_share: u8,
}

/// How much may be under way at the same time. What is more is refused at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Open connections.
    pub connections: u32,
    /// Requests.
    pub requests: u32,
    /// Requests that wait for a connection to be made.
    pub pending: u32,
}

/// What is sent again, where that is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Retries {
    /// How often one request may be tried again; default 2.
    pub attempts: u8,
    /// So many percent of all requests; default 20.
    pub share: u8,
    /// And so many a second in any case; default 10.
    pub floor: u32,
}

/// How instances are asked whether they are well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is got; `None`: connecting is all.
    pub path: Option<String>,
    /// The lowest and the highest status that says so.
    pub status: (u16, u16),
    /// How often.
    pub interval: Window,
    /// How long an answer may take.
    pub timeout: Window,
    /// After so many good answers in a row it is well.
    pub healthy_after: u32,
    /// After so many bad ones it is not.
    pub unhealthy_after: u32,
}

/// Instances that DNS knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsSource {
    /// What is asked for.
    pub name: DnsName,
    /// `http`, `https` or `h2c`; `tcp` or `tls` of services that speak TCP.
    pub scheme: String,
    /// Name servers as `address:port`; none: the machine's own.
    pub servers: Vec<std::net::SocketAddr>,
    /// The shortest and the longest time until it is asked again, whatever the TTL.
    pub refresh: (Window, Window),
}

/// What DNS is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DnsName {
    /// The addresses of a host, all with one port.
    Host(String, u16),
    /// Targets with their ports, by SRV records.
    Srv(String),
}

impl Default for UpstreamSource {
    fn default() -> Self {
        Self {
            zones: BTreeMap::new(),
            zone_share: 50,
            panic_below: 25,
            timeouts: Timeouts::default(),
            ejection: Ejection::default(),
            slow_start: Some(seconds(10)),
            instance_limits: Limits { connections: 16_384, requests: 16_384, pending: 4096 },
            service_limits: Limits { connections: 65_536, requests: 65_536, pending: 16_384 },
            retries: Retries::default(),
            health: None,
            dns: None,
            allow: Vec::new(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: seconds(5), request: Window::minutes(1), idle: seconds(50) }
    }
}

impl Default for Ejection {
    fn default() -> Self {
        Self { failures: 5, time: seconds(5), max_time: Window::minutes(5), max_share: 50 }
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 2, share: 20, floor: 10 }
    }
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            path: None,
            status: (200, 299),
            interval: seconds(10),
            timeout: seconds(2),
            healthy_after: 2,
            unhealthy_after: 3,
        }
    }
}

/// Defaults are written in code, and none is zero or longer than a year.
fn seconds(seconds: u64) -> Window {
    Window::new(std::time::Duration::from_secs(seconds)).unwrap_or(Window::minutes(1))
}

/// What is special about an address that a name has no business to lead to, if anything is: the
/// machine itself, its metadata service, or no single host. Private networks are not special.
pub fn special(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(address) => special_v4(address),
        IpAddr::V6(address) => special_v6(address),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, ..] => Some("unspecified"),
        [127, ..] => Some("loopback"),
        [169, 254, ..] => Some("link-local, as metadata services are"),
        // The metadata service of a large cloud, in the middle of shared address space.
        [100, 100, 100, 200] => Some("a metadata service"),
        [224..=239, ..] => Some("multicast"),
        [240..=255, ..] => Some("reserved or broadcast"),
        _ => None,
    }
}

fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback"),
        [0xfe80..=0xfebf, ..] => Some("link-local"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        // The IPv6 addresses of a metadata service.
        [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254] => Some("a metadata service"),
        // IPv4 inside: compatible, translated (RFC 6052) and 6to4 (RFC 3056) addresses.
        [0, 0, 0, 0, 0, 0, a, b] | [0x64, 0xff9b, 0, 0, 0, 0, a, b] | [0x2002, a, b, ..] => {
            let [[a, b], [c, d]] = [a.to_be_bytes(), b.to_be_bytes()];
            special_v4(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}
