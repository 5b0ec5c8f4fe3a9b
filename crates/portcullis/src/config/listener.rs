//! `listeners`: where traffic enters the gate.

use std::{net::SocketAddr, path::PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::section::{Field, Section};

/// One listener.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Listener {
    /// Its name, for logs and metrics.
    pub(crate) name: String,
    /// Where it listens.
    #[schemars(with = "String")]
    pub(crate) address: SocketAddr,
    /// With TLS, or in clear text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<Tls>,
}

/// A certificate and its key, as PEM files.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Tls {
    /// The chain, leaf first.
    pub(crate) certificate: PathBuf,
    /// The private key.
    pub(crate) key: PathBuf,
}

impl Listener {
    pub(super) fn read(mut section: Section<'_>) -> Option<Self> {
        let name = section.required("name").and_then(|field| field.text().map(str::to_owned));
        let address = section.required("address").and_then(|field| socket_address(&field));
        let tls = section.field("tls").and_then(|field| Tls::read(&field));
        section.finish();
        Some(Self { name: name?, address: address?, tls })
    }
}

impl Tls {
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let certificate = section.required("certificate").and_then(|f| f.text().map(PathBuf::from));
        let key = section.required("key").and_then(|f| f.text().map(PathBuf::from));
        section.unsupported("client_ca");
        section.finish();
        Some(Self { certificate: certificate?, key: key? })
    }
}

pub(super) fn socket_address(field: &Field<'_>) -> Option<SocketAddr> {
    let text = field.text()?;
    let parsed = text.parse();
    if parsed.is_err() {
        let help = Some("write it like 127.0.0.1:8080 or [::1]:8080".into());
        field.error(format!("`{text}` is not an address with a port"), help);
    }
    parsed.ok()
}
