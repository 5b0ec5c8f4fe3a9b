//! What the gate does for one service beside deciding: whom it must meet upstream, whose pages may read
//! its answers, what is changed in headers, and what of its data is masked.
//!
//! Part of the bundle, so that it changes with it as a whole. Holds names of files and never what is
//! in them: those change by themselves, and some of them are secret.

mod fields;

pub use fields::{FieldName, FieldValue, HeaderChanges, HeaderRules, InvalidField};

use crate::sensitive::SensitiveSource;

/// See the module. The default is nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct EdgeSource {
    /// How instances prove who they are, and the gate to them, where it is not the usual way.
    #[serde(default)]
    pub upstream_tls: Option<UpstreamTls>,
    /// Pages of other origins that it is shared with.
    #[serde(default)]
    pub cors: Option<Cors>,
    /// What is changed in the headers of its requests and answers.
    #[serde(default)]
    pub headers: Option<HeaderRules>,
    /// What of its data is sensitive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensitive: Option<SensitiveSource>,
}

/// Pages of other origins that a service is shared with. Lists are as headers have them: `GET, POST`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cors {
    /// Whose pages.
    pub origins: Origins,
    /// What they may send.
    pub methods: String,
    /// The headers that they may set.
    pub headers: String,
    /// Whether credentials that browsers keep may go along.
    pub credentials: bool,
    /// How many seconds browsers may remember that.
    pub max_age: u64,
    /// Headers of answers that they may read, beside those of the gate.
    pub expose: String,
}

/// Whose pages.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origins {
    /// Everybody's.
    Any,
    /// Those of these origins, as browsers write them: `https://app.example.com`.
    These(Vec<String>),
}

/// TLS to the instances of a service. Two services whose settings differ share no connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct UpstreamTls {
    /// Who certifies instances.
    pub authorities: Authorities,
    /// What the gate presents, if they want to know who it is.
    pub own: Option<OwnCertificate>,
    /// The workload that an instance must be, `spiffe://prod.example.com/ns/shop/sa/api`, or the
    /// trust domain that it must be of, `spiffe://prod.example.com`. It takes the place of the name
    /// of a host.
    pub spiffe_id: Option<String>,
    /// The name to ask for, and to find in the certificate where no SPIFFE ID is wanted, instead of
    /// the URL's host.
    pub server_name: Option<String>,
}

/// Who certifies instances.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authorities {
    /// Those that the machine believes.
    System,
    /// Those in this PEM file.
    File(String),
    /// Those of the SPIFFE ID's trust domain, as the Workload API tells them.
    WorkloadApi,
}

/// What the gate presents to instances.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnCertificate {
    /// From PEM files.
    Files {
        /// The chain, leaf first.
        certificate: String,
        /// The private key.
        key: String,
    },
    /// What the Workload API gives the gate.
    WorkloadApi,
}

impl UpstreamTls {
    /// Whether the Workload API has a part in it.
    pub fn asks_workload_api(&self) -> bool {
        self.authorities == Authorities::WorkloadApi
            || self.own == Some(OwnCertificate::WorkloadApi)
    }

    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let authorities = match &self.authorities {
            Authorities::File(path) => Some(path),
            Authorities::System | Authorities::WorkloadApi => None,
        };
        let own = match &self.own {
            Some(OwnCertificate::Files { certificate, key }) => Some([certificate, key]),
            Some(OwnCertificate::WorkloadApi) | None => None,
        };
        authorities.into_iter().chain(own.into_iter().flatten()).map(String::as_str)
    }
}
