//! Hosts to services: which service, and which instance of it, a host and a path lead to.

use std::{collections::HashMap, net::Ipv6Addr};

use foldhash::fast::RandomState;

use super::template::leads;

/// Where one host leads, by path prefix.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    by_host: HashMap<Box<str>, Vec<Destination>, RandomState>,
}

/// A service under a host and a prefix. Indices are those of the catalogue.
#[derive(Debug)]
pub(super) struct Destination {
    /// `/a/b`, or empty.
    pub(super) prefix: String,
    /// The service.
    pub(super) service: usize,
    /// Which instance the host addresses.
    pub(super) addressed: Addressed,
}

/// What a host says about instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Addressed {
    /// Nothing: any instance will do.
    Any,
    /// This one.
    Instance(usize),
    /// One that the service does not have: nothing is there.
    Unknown,
}

impl Hosts {
    /// The destination of `host` and `path`: the one with the longest prefix.
    pub(super) fn lookup(&self, host: &str, path: &str) -> Option<&Destination> {
        if !path.starts_with('/') {
            return None;
        }
        let found = self.by_host.get(host)?.iter().find(|to| leads(&to.prefix, path))?;
        (found.addressed != Addressed::Unknown).then_some(found)
    }

    /// The service that has `host` and `prefix` already.
    pub(super) fn holder(&self, host: &str, prefix: &str) -> Option<usize> {
        self.by_host.get(host)?.iter().find(|to| to.prefix == prefix).map(|to| to.service)
    }

    /// Whether anything is at `host`, and what of it.
    pub(super) fn destinations(&self, host: &str) -> &[Destination] {
        self.by_host.get(host).map_or(&[], Vec::as_slice)
    }

    /// Adds a destination. Longest prefix first: a prefix that leads another is shorter.
    pub(super) fn insert(&mut self, host: &str, to: Destination) {
        let all = self.by_host.entry(host.into()).or_default();
        let at = all.partition_point(|other| other.prefix.len() >= to.prefix.len());
        all.insert(at, to);
    }
}

/// `payments--p-2.example.com`: the host that addresses `instance` behind `host`. `None` where a
/// host has no labels to write it into.
pub(super) fn addressing(host: &str, instance: &str) -> Option<String> {
    if host.starts_with('[') || host.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let (first, rest) = host.split_once('.').map_or((host, ""), |(first, rest)| (first, rest));
    let dot = if rest.is_empty() { "" } else { "." };
    Some(format!("{first}--{instance}{dot}{rest}"))
}

/// Checks that `host` is written as requests name it after canonicalization: lower case, no port,
/// no trailing dot (RFC 1123, 2.1; RFC 3986, 3.2.2).
pub(super) fn check(host: &str) -> Result<(), &'static str> {
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']').unwrap_or(inner);
        return match inner.parse::<Ipv6Addr>() {
            Ok(address) if format!("[{address}]") == host => Ok(()),
            Ok(_) => Err("an IPv6 address is written short, in lower case and without a port"),
            Err(_) => Err("it is no IPv6 address"),
        };
    }
    if host.is_empty() || host.len() > 253 {
        return Err("a host has 1 to 253 characters");
    }
    if host.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("hosts are written in lower case");
    }
    if host.contains(':') {
        return Err("hosts are written without scheme and port");
    }
    if host.ends_with('.') {
        return Err("hosts are written without a trailing dot");
    }
    if host.split('.').all(is_label) {
        Ok(())
    } else {
        Err("labels are 1 to 63 of a-z, 0-9 and inner hyphens; wildcards are not hosts")
    }
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}
