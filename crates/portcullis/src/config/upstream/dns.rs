//! `dns`: instances that a name server knows.

use std::net::SocketAddr;

use portcullis_model::Window;
use portcullis_policy::upstream as source;
use schemars::JsonSchema;
use serde::Serialize;
use url::{Host, Url};

use super::{or, parsed};
use crate::config::section::{Field, Section};

/// Where instances are found: `http://payments.internal:8080` or `tcp://ledger.internal:5432` (its addresses),
/// or a mapping.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Dns {
    /// Scheme, host and port; the instances are the addresses of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// A name with SRV records; the instances are their targets. With `https` and `tls`, `upstream.tls` must
    /// say who they are: `server_name` or `spiffe_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    srv: Option<String>,
    /// For `srv`: `http`, `https` or `h2c`, or `tcp` or `tls`; default `http`.
    scheme: String,
    /// Name servers as `address:port`; default: the machine's own.
    #[schemars(with = "Vec<String>")]
    servers: Vec<SocketAddr>,
    /// The shortest time until it is asked again, whatever the TTL says; default `5s`.
    #[schemars(with = "String")]
    min_ttl: Window,
    /// The longest; default `5m`.
    #[schemars(with = "String")]
    max_ttl: Window,
    #[serde(skip)]
    name: Option<source::DnsName>,
}

const SCHEMES: [(&str, &str); 5] =
    [("http", "http"), ("https", "https"), ("h2c", "h2c"), ("tcp", "tcp"), ("tls", "tls")];

impl Dns {
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        if !field.is_map() {
            let (url, scheme, name) = host(field)?;
            return Some(Self { url: Some(url), scheme, name: Some(name), ..Self::usual()? });
        }
        let mut section = field.section()?;
        let usual = Self::usual()?;
        let named = named(&mut section);
        let servers = or(&mut section, "servers", Vec::new(), servers);
        let min_ttl = parsed(&mut section, "min_ttl", usual.min_ttl);
        let max_ttl = parsed(&mut section, "max_ttl", usual.max_ttl);
        section.finish();
        let named = named?;
        let (min_ttl, max_ttl) = (min_ttl?, max_ttl?);
        if max_ttl < min_ttl {
            field.error("`max_ttl` is shorter than `min_ttl`".into(), None);
            return None;
        }
        Some(Self { servers: servers?, min_ttl, max_ttl, ..named })
    }

    fn usual() -> Option<Self> {
        Some(Self {
            url: None,
            srv: None,
            scheme: "http".to_owned(),
            servers: Vec::new(),
            min_ttl: "5s".parse().ok()?,
            max_ttl: Window::minutes(5),
            name: None,
        })
    }

    /// The beginning of what would be the URL of each instance.
    pub(super) fn scheme(&self) -> String {
        format!("{}://", self.scheme)
    }

    /// Whether records say which hosts the instances are on.
    pub(super) fn is_srv(&self) -> bool {
        self.srv.is_some()
    }

    pub(super) fn source(&self) -> source::DnsSource {
        let nothing = || source::DnsName::Srv(String::new());
        source::DnsSource {
            name: self.name.clone().unwrap_or_else(nothing),
            scheme: self.scheme.clone(),
            servers: self.servers.clone(),
            refresh: (self.min_ttl, self.max_ttl),
        }
    }
}

fn named(section: &mut Section<'_>) -> Option<Dns> {
    let (url, srv, scheme) = (section.field("url"), section.field("srv"), section.field("scheme"));
    match (url, srv) {
        (Some(url), None) => {
            if let Some(scheme) = scheme {
                scheme.error("`url` says the scheme already".into(), Some("take it out".into()));
                return None;
            }
            let (url, scheme, name) = host(&url)?;
            Some(Dns { url: Some(url), scheme, name: Some(name), ..Dns::usual()? })
        }
        (None, Some(srv)) => {
            let scheme = scheme.map_or(Some("http"), |field| field.one_of(&SCHEMES))?.to_owned();
            let text = srv.text()?;
            let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            if text.len() > 253 || !text.bytes().all(is_name) {
                let help = Some("write it like _http._tcp.payments.internal".into());
                srv.error(format!("`{text}` is no name with SRV records"), help);
                return None;
            }
            let name = Some(source::DnsName::Srv(text.to_owned()));
            Some(Dns { srv: Some(text.to_owned()), scheme, name, ..Dns::usual()? })
        }
        _ => {
            let help = "write `url: http://payments.internal:8080`, or `srv: _http._tcp.…`";
            section.error("`dns` needs either `url` or `srv`".into(), Some(help.into()));
            None
        }
    }
}

/// The URL, its scheme, and what is asked for.
fn host(field: &Field<'_>) -> Option<(String, String, source::DnsName)> {
    let text = field.text()?;
    if !text.contains("://") {
        let help = "write it like http://payments.internal:8080";
        field.error(format!("`{text}` does not say what is spoken there"), Some(help.into()));
        return None;
    }
    let text = super::base_url(field)?;
    // Other schemes than http and https have hosts that are not looked at, and no usual port.
    let (scheme, rest) = text.split_once("://")?;
    let known = if scheme == "https" { scheme } else { "http" };
    let url = Url::parse(&format!("{known}://{rest}"));
    let url = url.map_err(|error| field.error(format!("`{text}`: {error}"), None)).ok()?;
    let Some(Host::Domain(host)) = url.host() else {
        let help = Some("write an address under `url` or `instances`".into());
        field.error("`dns` needs a name, and this is an address".into(), help);
        return None;
    };
    let port = url.port_or_known_default()?;
    let name = source::DnsName::Host(host.to_owned(), port);
    Some((text.clone(), scheme.to_owned(), name))
}

fn servers(field: &Field<'_>) -> Option<Vec<SocketAddr>> {
    let read: Vec<Option<SocketAddr>> = field.list().iter().map(Field::parsed).collect();
    read.into_iter().collect()
}
