//! The service catalogue: hosts to services, methods and paths to operations, and what is declared
//! about parameters and bodies.

pub mod types;

pub use types::{Field, RecordType, Type};

use portcullis_model::{InstanceName, OperationName, ServiceName};

use crate::{
    LoadError,
    bundle::{OperationGroup, ServiceSource},
    context::Record,
};

/// All services of a bundle.
#[derive(Debug)]
pub struct Catalog {
    services: Vec<Service>,
}

/// One service.
#[derive(Debug)]
pub struct Service {
    source: ServiceSource,
}

/// One operation.
#[derive(Debug)]
pub struct Operation {
    name: OperationName,
    group: OperationGroup,
    params: Option<RecordType>,
    body: Option<RecordType>,
}

/// Where a host and path lead.
#[derive(Debug)]
pub struct Routed<'a> {
    /// The service.
    pub service: &'a Service,
    /// The instance that the host named (`payments--p-2.example.com`), known to exist.
    pub instance: Option<&'a InstanceName>,
}

/// An operation found for a method and path.
#[derive(Debug)]
pub struct Matched<'a> {
    /// The operation.
    pub operation: &'a Operation,
    /// Raw (still percent-encoded) path parameters, in template order.
    pub path_params: Vec<(&'a str, String)>,
}

/// Why a request cannot be inspected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// It can be read in more than one way, or not at all: 400.
    #[error("{0}")]
    Malformed(String),
    /// A value that the declared type cannot hold: 422.
    #[error("{0}")]
    NotRepresentable(String),
}

impl Catalog {
    /// Reads what is declared about `services`; reports every mistake at once.
    pub fn load(services: &[ServiceSource]) -> Result<Self, Vec<LoadError>> {
        let services = services.iter().map(|source| Service { source: source.clone() }).collect();
        Ok(Self { services })
    }

    /// The service that `host` (canonical: lower case, no port, no trailing dot) and `path`
    /// (canonical, no query) lead to. `None` is the same 404 for everybody.
    pub fn route(&self, _host: &str, _path: &str) -> Option<Routed<'_>> {
        None
    }

    /// A service by name.
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.services.iter().find(|service| service.source.name == *name)
    }

    /// All services, by name.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.iter()
    }

    /// An operation by its full name.
    pub fn operation(&self, _name: &OperationName) -> Option<&Operation> {
        None
    }
}

impl Service {
    /// As configured: name, hosts, instances, limits.
    pub fn source(&self) -> &ServiceSource {
        &self.source
    }

    /// Its operations, by name.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        std::iter::empty()
    }

    /// The operation that `method` on `path` (canonical, no query) is.
    pub fn matching(&self, _method: &str, _path: &str) -> Option<Matched<'_>> {
        None
    }
}

impl Operation {
    /// `payments.createRefund`.
    pub fn name(&self) -> &OperationName {
        &self.name
    }

    /// Read, write or admin.
    pub fn group(&self) -> OperationGroup {
        self.group
    }

    /// The type of [`Self::params`]: path and query parameters that policies can read. `None` if
    /// there are none.
    pub fn params_type(&self) -> Option<&RecordType> {
        self.params.as_ref()
    }

    /// The type of [`Self::body`]. `None` if no JSON object is declared.
    pub fn body_type(&self) -> Option<&RecordType> {
        self.body.as_ref()
    }

    /// Declared path and query parameters as a typed record; `query` is the raw query string.
    /// Duplicates of a single-valued parameter are malformed; undeclared ones stay out.
    pub fn params(
        &self,
        _path_params: &[(&str, String)],
        _query: Option<&str>,
    ) -> Result<Option<Record>, InspectError> {
        Ok(None)
    }

    /// The declared JSON body as a typed record. Duplicate keys are malformed, at any depth;
    /// undeclared properties stay out; `None` if no body is declared.
    pub fn body(
        &self,
        _content_type: Option<&str>,
        _body: &[u8],
    ) -> Result<Option<Record>, InspectError> {
        Ok(None)
    }
}
