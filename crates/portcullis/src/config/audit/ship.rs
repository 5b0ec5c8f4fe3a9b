//! `audit.ship`: where the record is copied to while it is written.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use portcullis_model::Window;
use schemars::JsonSchema;
use serde::Serialize;
use url::{Host, Url};

use crate::config::{
    secret::SecretRef,
    section::{Field, Section},
};

const EVERY: Duration = Duration::from_secs(10);

/// The place, and what it takes to write there.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Ship {
    /// `s3://bucket/prefix`, or `file:///path`.
    #[schemars(with = "String")]
    #[serde(serialize_with = "crate::config::as_text")]
    pub(crate) to: ShipTo,
    /// How often; `10s`.
    #[schemars(with = "String")]
    #[serde(serialize_with = "crate::config::as_text")]
    pub(crate) every: Window,
    /// For S3.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) s3: Option<S3>,
}

/// How a bucket is reached.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct S3 {
    /// The region that requests are signed for: `eu-central-1`.
    pub(crate) region: String,
    /// Where it is, if it is not Amazon's: `https://minio.example.com`.
    #[schemars(with = "Option<String>")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<Url>,
    /// The id of the access key.
    pub(crate) access_key: SecretRef,
    /// The secret key.
    pub(crate) secret_key: SecretRef,
}

/// A place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ShipTo {
    /// A folder, best on another machine's disk.
    Folder(PathBuf),
    /// A bucket, and a prefix in it without slashes at its ends.
    Bucket { bucket: String, prefix: String },
}

/// Why a text is no place.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no place to ship to; write s3://bucket/prefix or file:///path")]
pub(crate) struct InvalidShipTo(String);

impl FromStr for ShipTo {
    type Err = InvalidShipTo;

    fn from_str(text: &str) -> Result<Self, InvalidShipTo> {
        let invalid = || InvalidShipTo(text.to_owned());
        if let Some(path) = text.strip_prefix("file://") {
            let path = PathBuf::from(path);
            return if path.is_absolute() { Ok(Self::Folder(path)) } else { Err(invalid()) };
        }
        let rest = text.strip_prefix("s3://").ok_or_else(invalid)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
        let within = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        let prefix = prefix.trim_matches('/');
        let parts = prefix.split('/').all(|part| !["", ".", ".."].contains(&part));
        let valid = bucket.len() >= 3 && bucket.chars().all(plain) && prefix.chars().all(within);
        if !valid || !(parts || prefix.is_empty()) {
            return Err(invalid());
        }
        Ok(Self::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl fmt::Display for ShipTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "file://{}", path.display()),
            Self::Bucket { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

impl Ship {
    pub(super) fn read(field: &Field<'_>, demo: bool) -> Option<Self> {
        let mut section = field.section()?;
        let to: Option<ShipTo> = section.required("to").and_then(|field| field.parsed());
        let every = section.field("every");
        let every = every.map_or_else(|| Window::new(EVERY).ok(), |field| field.parsed());
        let s3 = match &to {
            Some(ShipTo::Bucket { .. }) => Some(S3::read(&mut section, demo)),
            _ => None,
        };
        section.finish();
        Some(Self { to: to?, every: every?, s3: s3.map_or(Some(None), |read| read.map(Some))? })
    }
}

impl S3 {
    pub(super) fn read(section: &mut Section<'_>, demo: bool) -> Option<Self> {
        let region = section.required("region").and_then(|f| f.text().map(str::to_owned));
        let endpoint = section.field("endpoint").map(|field| endpoint(&field));
        let key = |field: Field<'_>| SecretRef::read(&field, demo);
        let access_key = section.required("access_key").and_then(key);
        let secret_key = section.required("secret_key").and_then(key);
        Some(Self {
            region: region?,
            endpoint: endpoint.map_or(Some(None), |read| read.map(Some))?,
            access_key: access_key?,
            secret_key: secret_key?,
        })
    }
}

fn endpoint(field: &Field<'_>) -> Option<Url> {
    let url: Url = field.parsed()?;
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
        let help =
            Some("write https://…; without TLS, whoever is on the way reads the record".into());
        field.error(format!("`endpoint` cannot be `{url}`"), help);
        return None;
    }
    // It is shown where places are shown.
    let plain = url.username().is_empty() && url.password().is_none();
    if !plain || url.query().is_some() || url.fragment().is_some() {
        let help = Some("write scheme, host and port; keys stand in access_key, secret_key".into());
        field.error("`endpoint` has more than scheme, host, port and path".to_owned(), help);
        return None;
    }
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{SOUND, loaded, refused};

    fn with(audit: &str) -> String {
        let text = SOUND
            .replace("audit: {directory: audit}", &format!("audit: {{directory: audit, {audit}}}"));
        assert_ne!(text, SOUND);
        text
    }

    #[test]
    fn a_bucket_needs_credentials_and_a_folder_takes_none() {
        let bucket = "ship: {to: \"s3://record/eu\", region: eu-central-1, access_key: {env: A}, \
                      secret_key: {file: b}}, most: 1GiB";
        let audit = loaded(&with(bucket)).expect("loads").config.audit;
        let ship = audit.ship.expect("a place");
        assert_eq!(
            (ship.to.to_string().as_str(), ship.every.to_string().as_str()),
            ("s3://record/eu", "10s")
        );
        assert!(loaded(&with("ship: {to: \"file:///copy\"}")).is_ok());
        for (mistake, message) in [
            ("ship: {to: \"s3://record\"}", "lacks `region`"),
            ("ship: {to: \"file:///copy\", region: x}", "unknown key `region`"),
            ("ship: {to: elsewhere}", "is no place to ship to"),
            ("ship: {every: 1m}", "lacks `to`"),
            ("most: 1MiB", "`most` is 16MiB at least"),
            ("retention: 0d", "is no time to keep a record for"),
            ("retention: 12h", "is no time to keep a record for"),
        ] {
            let shown = refused(&with(mistake));
            assert!(shown.contains(message), "{mistake}: {shown}");
        }
        for (endpoint, taken) in [
            ("https://minio.example.com", true),
            ("http://127.0.0.1:9000", true),
            ("http://minio.example.com", false),
            ("ftp://127.0.0.1", false),
            ("https://key:secret@minio.example.com", false),
            ("https://minio.example.com/?x=y", false),
            ("https://minio.example.com/#x", false),
        ] {
            let text =
                with(&bucket.replace("eu-central-1", &format!("eu, endpoint: \"{endpoint}\"")));
            assert_eq!(loaded(&text).is_ok(), taken, "{endpoint}");
        }
        let hidden = refused(&with(&bucket.replace("{file: b}", "in-the-open")));
        assert!(hidden.contains("a secret stands") && !hidden.contains("in-the-open"), "{hidden}");
    }

    #[test]
    fn places_read_one_way() {
        for text in ["s3://bucket", "s3://a-bucket.b/some/prefix", "file:///var/copies/record"] {
            assert_eq!(text.parse::<ShipTo>().unwrap().to_string(), text);
        }
        assert_eq!("s3://bucket/a/".parse::<ShipTo>().unwrap().to_string(), "s3://bucket/a");
        for none in [
            "",
            "s3://",
            "s3://b",
            "s3://Bucket",
            "s3://bucket/a//b",
            "s3://bucket/../x",
            "file://here",
            "/x",
            "gs://bucket",
            "s3://bucket/a b",
        ] {
            assert!(none.parse::<ShipTo>().is_err(), "{none}");
        }
    }
}
