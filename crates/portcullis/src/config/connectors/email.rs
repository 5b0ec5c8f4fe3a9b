//! `connectors.email`: the server that takes mails.

use std::path::PathBuf;

use portcullis_policy::notice::NoticeTarget;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::{secret::SecretRef, section::Field};

/// RFC 8314: submission that is encrypted from the first byte.
const IMPLICIT_PORT: u16 = 465;
/// RFC 6409: submission, encrypted after STARTTLS.
const SUBMISSION_PORT: u16 = 587;

/// How mails are sent.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Email {
    /// The name of the mail server, which its certificate must have, and its port; without one 465, or 587 with
    /// `starttls`.
    #[schemars(with = "String")]
    pub(crate) smtp: Server,
    /// How the connection is encrypted; `implicit` if absent. `none` is for this machine only.
    pub(crate) tls: MailTls,
    /// Who sends: `portcullis@example.com`.
    pub(crate) from: String,
    /// Who logs in there; without, the server must take mails from whoever comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) username: Option<String>,
    /// And with what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<SecretRef>,
    /// Only these authorities are believed, and not those of the machine: a PEM file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
}

/// A mail server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Serialize for Server {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How the connection to a mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MailTls {
    /// From the first byte.
    Implicit,
    /// After STARTTLS; a server that offers none gets no mail.
    Starttls,
    /// Not at all.
    None,
}

impl Email {
    pub(super) fn read(field: &Field<'_>, demo: bool) -> Option<Self> {
        let mut section = field.section()?;
        let tls = section.field("tls").map_or(Some(MailTls::Implicit), |field| {
            field.one_of(&[
                ("implicit", MailTls::Implicit),
                ("starttls", MailTls::Starttls),
                ("none", MailTls::None),
            ])
        });
        let smtp = section.required("smtp").and_then(|field| server(&field, tls));
        let from = section.required("from").and_then(|field| sender(&field));
        let username = section.field("username");
        let username = username.map(|field| field.text().map(str::to_owned));
        let password = section.field("password").map(|field| SecretRef::read(&field, demo));
        if username.is_some() != password.is_some() {
            section.error("`username` and `password` come together".into(), None);
        }
        let ca = section.field("ca").and_then(|field| field.text().map(PathBuf::from));
        if let (Some(Server { host, .. }), Some(MailTls::None)) = (&smtp, tls)
            && !is_here(host)
        {
            let help = Some("use `implicit` or `starttls`".into());
            section.error(format!("mails to `{host}` would be readable on their way"), help);
        }
        section.finish();
        let username = username.map_or(Some(None), |read| read.map(Some))?;
        let password = password.map_or(Some(None), |read| read.map(Some))?;
        Some(Self { smtp: smtp?, tls: tls?, from: from?, username, password, ca })
    }
}

/// `smtp.example.com` or `smtp.example.com:2525`.
fn server(field: &Field<'_>, tls: Option<MailTls>) -> Option<Server> {
    let text = field.text()?;
    let usual = if tls == Some(MailTls::Implicit) { IMPLICIT_PORT } else { SUBMISSION_PORT };
    let split = match text.split_once(':') {
        Some((host, port)) => port.parse().ok().map(|port| (host, port)),
        None => Some((text, usual)),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let split = split.filter(|(host, _)| !host.is_empty() && host.chars().all(fits));
    if split.is_none() {
        let help = Some("write it like smtp.example.com or smtp.example.com:465".into());
        field.error(format!("`{text}` is no mail server"), help);
    }
    split.map(|(host, port)| Server { host: host.to_owned(), port })
}

fn sender(field: &Field<'_>) -> Option<String> {
    match format!("email:{}", field.text()?).parse() {
        Ok(NoticeTarget::Email(address)) => Some(address),
        Ok(_) => None,
        Err(error) => {
            field.error(error.to_string(), None);
            None
        }
    }
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
