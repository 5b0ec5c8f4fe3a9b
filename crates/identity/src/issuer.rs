//! What is configured of an issuer of workload tokens.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc, time::Duration};

use serde::Deserialize;
use url::{Host, Url};

use crate::{CiJobs, ConfigError, Requirement, Rule, Template};

/// An issuer's identifier: the exact text of `iss`, and where its discovery document is.
///
/// Compared letter by letter (OpenID Connect Discovery 1.0, 4.3), so that a slash at the end
/// makes another issuer. `https`, except on loopback.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IssuerUrl {
    text: Arc<str>,
    url: Url,
}

impl IssuerUrl {
    /// The text that `iss` must equal.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Where the discovery document is: behind the path, if there is one.
    pub(crate) fn discovery(&self) -> Url {
        let mut url = self.url.clone();
        let path = format!("{}/.well-known/openid-configuration", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    }
}

impl FromStr for IssuerUrl {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let refused = |why| ConfigError::IssuerUrl { issuer: text.to_owned(), why };
        let url = Url::parse(text).map_err(|_| refused("it must be an absolute URL"))?;
        if !is_private_enough(&url) {
            return Err(refused("it must start with https:// unless it is on loopback"));
        }
        if url.query().is_some() || url.fragment().is_some() || has_userinfo(&url) {
            return Err(refused("it must have no query, no fragment and no user name"));
        }
        Ok(Self { text: text.into(), url })
    }
}

impl<'de> Deserialize<'de> for IssuerUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for IssuerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for IssuerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IssuerUrl({})", self.text)
    }
}

/// An endpoint that configuration names. `https`, except on loopback.
#[derive(Clone, PartialEq, Eq)]
pub struct EndpointUrl(Url);

impl EndpointUrl {
    /// The address.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

impl FromStr for EndpointUrl {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let refused = |why| ConfigError::Endpoint { endpoint: text.to_owned(), why };
        let url = Url::parse(text).map_err(|_| refused("it must be an absolute URL"))?;
        if !is_private_enough(&url) {
            return Err(refused("it must start with https:// unless it is on loopback"));
        }
        if url.fragment().is_some() || has_userinfo(&url) {
            return Err(refused("it must have no fragment and no user name"));
        }
        Ok(Self(url))
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EndpointUrl({self})")
    }
}

/// What type a mapped claim has, in tokens and in policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum ClaimType {
    /// `true` or `false`.
    Bool,
    /// A whole number of 64 bits.
    Long,
    /// Text.
    String,
    /// A list of texts.
    #[serde(rename = "Set<String>")]
    Set,
}

impl ClaimType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Bool, Self::Long, Self::String, Self::Set];

    /// As it is written in configuration and in schemas.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "Bool",
            Self::Long => "Long",
            Self::String => "String",
            Self::Set => "Set<String>",
        }
    }
}

/// What becomes of the claims that an issuer vouches for, however it does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    /// How principals are named.
    pub subject: Template,
    /// Claims that policies may read.
    pub claims: BTreeMap<String, ClaimType>,
    /// What must be said for anybody to be accepted at all.
    pub require: Vec<Requirement>,
    /// Groups by claims.
    pub groups: Vec<Rule>,
    /// The claim that lists groups. If it is set, a caller without it is refused.
    pub groups_claim: Option<String>,
}

/// One issuer of workload tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtIssuer {
    /// Its name in configuration: the first half of its principals' names.
    pub name: String,
    /// Its identifier.
    pub issuer: IssuerUrl,
    /// What `aud` must be or hold.
    pub audience: String,
    /// What its principals are called, and what is known of them.
    pub mapping: Mapping,
    /// Hosts, besides the issuer's own, that its discovery document may point to.
    pub endpoint_hosts: Vec<String>,
    /// The time between two fetches of its keys, if not that of the pace.
    pub refresh_every: Option<Duration>,
    /// How its jobs run, if it is a CI system: its tokens are then exchanged and never presented.
    pub ci: Option<CiJobs>,
}

impl JwtIssuer {
    /// An issuer with `{sub}` for a subject, and neither claims nor groups.
    pub fn new(name: impl Into<String>, issuer: IssuerUrl, audience: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            issuer,
            audience: audience.into(),
            mapping: Mapping::default(),
            endpoint_hosts: Vec::new(),
            refresh_every: None,
            ci: None,
        }
    }
}

/// `https`, or `http` that never leaves the machine.
pub(crate) fn is_private_enough(url: &Url) -> bool {
    url.has_host() && (url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url)))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

pub(crate) fn has_userinfo(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_or_loopback_is_an_issuer() {
        for good in ["https://id.example.com", "https://id.example.com/a/", "http://127.0.0.1:9"] {
            assert_eq!(good.parse::<IssuerUrl>().unwrap().as_str(), good);
        }
        for bad in [
            "http://id.example.com",
            "id.example.com",
            "https://a?b",
            "https://a#b",
            "https://u@a",
            "ftp://127.0.0.1",
            "http://127.0.0.1.evil.example",
            "",
        ] {
            assert!(bad.parse::<IssuerUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_https_or_loopback_is_an_endpoint() {
        for good in ["https://id.example.com/introspect?tenant=1", "http://127.0.0.1:9/x"] {
            assert_eq!(good.parse::<EndpointUrl>().unwrap().to_string(), good);
        }
        for bad in ["http://id.example.com/x", "/x", "https://a/x#b", "https://u:p@a/x", ""] {
            assert!(bad.parse::<EndpointUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn discovery_is_behind_the_issuers_path() {
        let discovery = |text: &str| text.parse::<IssuerUrl>().unwrap().discovery().to_string();
        let end = ".well-known/openid-configuration";
        assert_eq!(discovery("https://a.example"), format!("https://a.example/{end}"));
        assert_eq!(discovery("https://a.example/b/"), format!("https://a.example/b/{end}"));
    }
}
