//! The service catalogue: hosts to services, methods and paths to operations, and what is declared
//! about parameters and bodies.
//!
//! Compiled once when a bundle loads, borrowed by every request after that. Everything is compared
//! with the canonical host and path that are also forwarded; nothing is normalized here, and what
//! is not declared leads nowhere.

mod address;
mod declared;
mod document;
mod hosts;
mod inspect;
mod json;
mod load;
mod media;
mod names;
mod openapi;
mod operation;
mod protobuf;
mod responses;
mod schema;
mod service;
mod template;
mod trie;
pub mod types;

pub use operation::{Coding, HeaderParams, InspectError, Operation};
pub use protobuf::ProtobufMethod;
pub use responses::leading_nowhere;
pub use service::{Matched, Service};
pub use types::{Field, RecordType, Type};

use portcullis_model::{InstanceName, OperationName, ServiceName};

use crate::{LoadError, bundle::ServiceSource};
use hosts::{Addressed, Hosts};

/// All services of a bundle.
#[derive(Debug)]
pub struct Catalog {
    /// Sorted by name.
    services: Vec<Service>,
    hosts: Hosts,
    /// Some service is shared with pages of other origins.
    is_shared: bool,
    /// The countries of addresses are known.
    is_located: bool,
}

/// Where a host and path lead.
#[derive(Debug, Clone, Copy)]
pub struct Routed<'a> {
    /// The service.
    pub service: &'a Service,
    /// The instance that the host named (`payments--p-2.example.com`), known to exist.
    pub instance: Option<&'a InstanceName>,
}

impl Catalog {
    /// Reads what is declared about `services`; reports every mistake at once.
    pub fn load(services: &[ServiceSource]) -> Result<Self, Vec<LoadError>> {
        let is_shared = services.iter().any(|service| service.edge.cors.is_some());
        load::load(services).map(|(services, hosts)| Self {
            services,
            hosts,
            is_shared,
            is_located: false,
        })
    }

    /// The service that `host` (canonical: lower case, no port, no trailing dot) and `path`
    /// (canonical, no query) lead to. `None` is the same 404 for everybody.
    pub fn route(&self, host: &str, path: &str) -> Option<Routed<'_>> {
        let to = self.hosts.lookup(host, path)?;
        let service = self.services.get(to.service)?;
        match to.addressed {
            Addressed::Any => Some(Routed { service, instance: None }),
            Addressed::Instance(index) => {
                let (instance, _) = service.source().instances.get_index(index)?;
                Some(Routed { service, instance: Some(instance) })
            }
            Addressed::Unknown => None,
        }
    }

    /// The same where the countries of addresses are known, or not.
    pub(crate) fn located(self, is_located: bool) -> Self {
        Self { is_located, ..self }
    }

    pub(crate) fn is_located(&self) -> bool {
        self.is_located
    }

    /// Whether any service is shared with pages of other origins.
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Whether anything is at `host`.
    pub fn has_host(&self, host: &str) -> bool {
        !self.hosts.destinations(host).is_empty()
    }

    /// A service by name.
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.lookup(name.as_str())
    }

    /// All services, by name.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.iter()
    }

    /// Whether there is such an operation, or class of data to be seen.
    pub fn knows(&self, name: &OperationName) -> bool {
        let service = self.lookup(name.service());
        service.is_some_and(|service| {
            service.operation(name).is_some() || service.reveals().contains(name)
        })
    }

    /// An operation by its full name.
    pub fn operation(&self, name: &OperationName) -> Option<&Operation> {
        self.lookup(name.service())?.operation(name)
    }

    fn lookup(&self, name: &str) -> Option<&Service> {
        let by_name = |service: &Service| service.source().name.as_str().cmp(name);
        let at = self.services.binary_search_by(by_name).ok()?;
        self.services.get(at)
    }
}

#[cfg(test)]
mod tests;
