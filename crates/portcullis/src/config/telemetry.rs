//! `telemetry`: where spans of sampled requests go.

use std::{collections::BTreeMap, fmt, path::Path, str::FromStr};

use anyhow::{Context, Result};
use portcullis_identity::EndpointUrl;
use portcullis_model::Secret;
use reqwest::header::HeaderName;
use schemars::JsonSchema;
use serde::Serialize;
use url::Url;

use super::{
    secret::SecretRef,
    section::{Field, Section},
};

/// Traces by OTLP over HTTP, in protobuf.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Telemetry {
    /// The collector: `http://127.0.0.1:4318`. Without a path, `/v1/traces` is meant.
    #[schemars(with = "String")]
    pub(crate) endpoint: Url,
    /// What it is told with each batch, such as `authorization`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, SecretRef>,
    /// How many of the requests that begin a trace are sampled: `1%`, the default; `0%` for none.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) sample: Share,
    /// Whether a request that continues a trace is sampled if its caller samples it, and only then;
    /// the default. Otherwise `sample` says.
    pub(crate) follow_callers: bool,
    /// What collectors call this gate; default `portcullis`.
    pub(crate) service_name: String,
    /// Further attributes of this process: `{deployment.environment.name: production}`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) resource: BTreeMap<String, String>,
}

/// A part of all, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share(u32);

/// Why a text is no share.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a share; write it like 1% or 0.05%, 100% at most")]
pub(crate) struct InvalidShare(String);

impl Telemetry {
    pub(super) fn read(field: &Field<'_>, demo: bool) -> Option<Self> {
        let mut section = field.section()?;
        let address = section.required("endpoint");
        let endpoint = address.as_ref().and_then(endpoint);
        let headers = headers(&mut section, demo);
        if let (Some(field), Some(url)) = (&address, &endpoint)
            && !headers.is_empty()
            && url.as_str().parse::<EndpointUrl>().is_err()
        {
            let help = Some("use https://, or a collector on this machine".into());
            field.error("`headers` would leave this machine in clear text".into(), help);
        }
        let sample = section.field("sample").map_or(Some(Share(10_000)), |field| field.parsed());
        let follow = section.field("follow_callers").map_or(Some(true), |field| field.boolean());
        let name = section.field("service_name");
        let name = name.map_or(Some("portcullis".to_owned()), |f| f.text().map(str::to_owned));
        let resource = section.field("resource").map(|field| field.pairs()).unwrap_or_default();
        let resource = resource.into_iter().filter_map(|(key, value)| {
            if key == "service.name" {
                let help = Some("write `service_name`".into());
                value.error("`service.name` has a key of its own".into(), help);
                return None;
            }
            Some((key, value.text()?.to_owned()))
        });
        let resource = resource.collect();
        section.finish();
        Some(Self {
            endpoint: endpoint?,
            headers,
            sample: sample?,
            follow_callers: follow?,
            service_name: name?,
            resource,
        })
    }

    /// The headers themselves.
    pub(crate) fn secrets(&self, base: &Path) -> Result<Vec<(String, Secret)>> {
        let resolve = |(name, secret): (&String, &SecretRef)| {
            let secret = secret.resolve(base);
            Ok((name.clone(), secret.with_context(|| format!("`telemetry.headers.{name}`"))?))
        };
        self.headers.iter().map(resolve).collect()
    }
}

fn endpoint(field: &Field<'_>) -> Option<Url> {
    let mut url: Url = field.parsed()?;
    let sound = ["http", "https"].contains(&url.scheme())
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !sound {
        let help = Some("write it like http://127.0.0.1:4318".into());
        field.error("`endpoint` is not the address of a collector".into(), help);
        return None;
    }
    if url.path() == "/" {
        url.set_path("/v1/traces");
    }
    Some(url)
}

fn headers(section: &mut Section<'_>, demo: bool) -> BTreeMap<String, SecretRef> {
    let own = ["content-type", "content-length", "host", "transfer-encoding", "connection"];
    let given = section.field("headers").map(|field| field.pairs()).unwrap_or_default();
    let read = given.into_iter().filter_map(|(name, value)| {
        let lower = name.to_ascii_lowercase();
        if HeaderName::from_bytes(lower.as_bytes()).is_err() || own.contains(&lower.as_str()) {
            value.error(format!("`{name}` is no header that may be set"), None);
            return None;
        }
        Some((lower, SecretRef::read(&value, demo)?))
    });
    read.collect()
}

impl Share {
    const ALL: u32 = 1_000_000;

    /// The number below which as many of all numbers are; `None`: all are.
    pub(crate) fn threshold(self) -> Option<u64> {
        let step = u64::MAX / u64::from(Self::ALL);
        (self.0 < Self::ALL).then(|| u64::from(self.0) * step)
    }
}

impl FromStr for Share {
    type Err = InvalidShare;

    fn from_str(text: &str) -> Result<Self, InvalidShare> {
        let invalid = || InvalidShare(text.to_owned());
        let percent = text.strip_suffix('%').ok_or_else(invalid)?;
        let (whole, part) = percent.split_once('.').unwrap_or((percent, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 4 {
            return Err(invalid());
        }
        let whole: u32 = whole.parse().ok().filter(|whole| *whole <= 100).ok_or_else(invalid)?;
        let part: u32 = format!("{part:0<4}").parse().map_err(|_| invalid())?;
        let share = whole * 10_000 + part;
        if share > Self::ALL { Err(invalid()) } else { Ok(Self(share)) }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 10_000, format!("{:04}", self.0 % 10_000));
        let part = part.trim_end_matches('0');
        if part.is_empty() { write!(f, "{whole}%") } else { write!(f, "{whole}.{part}%") }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SOUND, loaded, refused};

    fn with(section: &str) -> String {
        format!("{SOUND}\ntelemetry: {section}\n")
    }

    #[test]
    fn a_collector_needs_no_more_than_its_address() {
        let loaded = loaded(&with("{endpoint: \"http://127.0.0.1:4318\"}")).expect("loads");
        let telemetry = loaded.config.telemetry.expect("telemetry");
        assert_eq!(telemetry.endpoint.as_str(), "http://127.0.0.1:4318/v1/traces");
        assert_eq!((telemetry.sample.to_string().as_str(), telemetry.follow_callers), ("1%", true));
        let shares = [("0%", Some(0)), ("100%", None), ("0.0001%", Some(u64::MAX / 1_000_000))];
        for (text, threshold) in shares {
            let share: super::Share = text.parse().expect(text);
            assert_eq!((share.threshold(), share.to_string().as_str()), (threshold, text));
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_and_no_secret_is_shown() {
        for (section, says) in [
            ("{}", "lacks `endpoint`"),
            ("{endpoint: \"collector:4318\"}", "is not the address of a collector"),
            ("{endpoint: \"http://a:b@127.0.0.1\"}", "is not the address of a collector"),
            ("{endpoint: \"http://127.0.0.1\", sample: 0.5}", "must be text, and is a number"),
            ("{endpoint: \"http://127.0.0.1\", sample: 101%}", "is not a share"),
            ("{endpoint: \"http://127.0.0.1\", sample: 100.1%}", "is not a share"),
            ("{endpoint: \"http://127.0.0.1\", sample: 0.00001%}", "is not a share"),
            ("{endpoint: \"http://127.0.0.1\", metrics: true}", "unknown key `metrics`"),
            (
                "{endpoint: \"http://c.example\", headers: {authorization: {env: A}}}",
                "would leave this machine in clear text",
            ),
            (
                "{endpoint: \"https://c.example\", headers: {authorization: hunter2}}",
                "a secret stands in the configuration",
            ),
            (
                "{endpoint: \"https://c.example\", headers: {Host: {env: A}}}",
                "`Host` is no header that may be set",
            ),
            (
                "{endpoint: \"https://c.example\", resource: {service.name: a}}",
                "`service.name` has a key of its own",
            ),
        ] {
            let told = refused(&with(section));
            assert!(told.contains(says), "{section}: {told}");
            assert!(!told.contains("hunter2"), "{told}");
        }
    }
}
