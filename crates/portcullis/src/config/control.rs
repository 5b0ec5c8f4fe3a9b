//! `control`: where the API listens, and the URL that people and services know it by.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Serialize;
use url::Url;

use super::{
    listener::{Tls, socket_address},
    section::Field,
    spot::Spot,
};

/// The control plane's own door.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct ControlSection {
    /// Where the API listens.
    #[schemars(with = "String")]
    pub(crate) address: SocketAddr,
    /// How it is reached from outside; links in refusals start with it.
    #[schemars(with = "String")]
    pub(crate) url: Url,
    /// With TLS, or in clear text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<Tls>,
    /// Where `tls` stands.
    #[serde(skip)]
    pub(crate) tls_spot: Option<Spot>,
}

impl ControlSection {
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let address = section.required("address").and_then(|field| socket_address(&field));
        let url = section.required("url").and_then(|field| http_url(&field));
        let given = section.field("tls");
        let tls = given.as_ref().and_then(Tls::read);
        section.finish();
        let tls_spot = given.as_ref().map(Spot::of);
        Some(Self { address: address?, url: url?, tls, tls_spot })
    }
}

/// An `http` or `https` URL with a host.
pub(super) fn http_url(field: &Field<'_>) -> Option<Url> {
    let url: Url = field.parsed()?;
    if matches!(url.scheme(), "http" | "https") && url.host().is_some() {
        return Some(url);
    }
    field.error(format!("`{url}` is not an http or https URL"), None);
    None
}
