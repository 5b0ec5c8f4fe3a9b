//! Who hears of an access request, and in which order: `@notify` and `@escalate` of a rule.

use std::{fmt, str::FromStr, sync::Arc};

use portcullis_model::Window;
use url::{Host, Url};

/// The most that one rule tells.
pub(crate) const MOST_TARGETS: usize = 8;

/// Somebody who is told of access requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoticeTarget {
    /// A JSON document is posted to this URL.
    Webhook(Url),
    /// Somebody is woken by PagerDuty: the name of a key under `connectors.pagerduty.urgent`.
    PagerDuty(String),
}

/// A text that is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    /// Not `scheme:rest`, or of a scheme that nobody here delivers to.
    #[error(
        "`{0}` is nowhere that this version delivers to; write webhook:https://… or pagerduty:NAME"
    )]
    Scheme(String),
    /// Not a name of a key.
    #[error("`{0}` is no name: lower-case letters, digits, `-` and `.`, 64 at most")]
    Name(String),
    /// Not a URL.
    #[error("`{0}` is not a URL")]
    Url(String),
    /// It would be readable on its way.
    #[error("`{0}` must begin with https://, or lead to this machine")]
    Cleartext(String),
    /// Whatever stands in a policy is read by many.
    #[error("`{0}` has a user name or password in it; a policy is no place for one")]
    Secret(String),
}

impl FromStr for NoticeTarget {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let address = match text.split_once(':') {
            Some(("webhook", address)) => address,
            Some(("pagerduty", name)) => return name_of(name).map(Self::PagerDuty),
            _ => return Err(InvalidTarget::Scheme(text.to_owned())),
        };
        let url: Url = address.parse().map_err(|_| InvalidTarget::Url(address.to_owned()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidTarget::Secret(format!("webhook:{}", host(&url))));
        }
        match url.scheme() {
            "https" => Ok(Self::Webhook(url)),
            "http" if is_here(&url) => Ok(Self::Webhook(url)),
            _ => Err(InvalidTarget::Cleartext(text.to_owned())),
        }
    }
}

impl fmt::Display for NoticeTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Webhook(url) => write!(f, "webhook:{url}"),
            Self::PagerDuty(name) => write!(f, "pagerduty:{name}"),
        }
    }
}

impl NoticeTarget {
    /// For people and the record: without the path, which may be a secret of the receiver's.
    pub fn in_short(&self) -> String {
        match self {
            Self::Webhook(url) => format!("webhook:{}", host(url)),
            Self::PagerDuty(_) => self.to_string(),
        }
    }

    /// Whether what was told stands there until it is taken back: somebody is awake for it.
    pub fn stands(&self) -> bool {
        match self {
            Self::Webhook(_) => false,
            Self::PagerDuty(_) => true,
        }
    }
}

fn name_of(text: &str) -> Result<String, InvalidTarget> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let named = (1..=64).contains(&text.len()) && text.chars().all(fits);
    named.then(|| text.to_owned()).ok_or_else(|| InvalidTarget::Name(text.to_owned()))
}

fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}

fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Who hears of a rule's access requests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notices {
    /// Whom to tell, in order.
    pub targets: Arc<[NoticeTarget]>,
    /// The next one is told when nobody has answered for so long; without it all are told at once.
    pub escalate: Option<Window>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_webhook_that_nobody_reads_on_the_way() {
        for text in ["webhook:https://chat.example.com/hooks/1", "webhook:http://127.0.0.1:9/x"] {
            let target: NoticeTarget = text.parse().unwrap();
            assert_eq!(target.to_string(), text);
        }
        let target: NoticeTarget = "webhook:https://chat.example.com/hooks/1".parse().unwrap();
        assert_eq!(target.in_short(), "webhook:chat.example.com");
        let page: NoticeTarget = "pagerduty:urgent".parse().unwrap();
        assert_eq!((page.to_string().as_str(), page.stands()), ("pagerduty:urgent", true));
        for text in [
            "slack:#payments",
            "pagerduty:",
            "pagerduty:Urgent One",
            "https://chat.example.com",
            "webhook:",
            "webhook:chat",
            "webhook:http://chat.example.com/",
            "webhook:http://127.0.0.1.example.com/",
            "webhook:file:///etc/passwd",
            "webhook:https://ana:secret@chat.example.com/",
        ] {
            let refused = text.parse::<NoticeTarget>().unwrap_err().to_string();
            assert!(!refused.contains("secret"), "{refused}");
        }
    }
}
