//! Who hears of an access request, and in which order: `@notify` and `@escalate` of a rule.

mod slack;

use std::{collections::BTreeSet, fmt, str::FromStr, sync::Arc};

use portcullis_model::Window;
use url::{Host, Url};

pub use self::slack::SlackPlace;

/// The most that one rule tells.
pub(crate) const MOST_TARGETS: usize = 8;
const LONGEST_NAME: usize = 64;
/// RFC 5321, 4.5.3.1.3, without the angle brackets.
const LONGEST_ADDRESS: usize = 254;

/// Somebody who is told of access requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoticeTarget {
    /// A JSON document is posted to this URL.
    Webhook(Url),
    /// The same, signed, to a webhook that the configuration has under this name.
    Named(String),
    /// A card in the channel of Microsoft Teams that the configuration has under this name.
    Teams(String),
    /// A mail to this address.
    Email(String),
    /// A message in Slack, which becomes the record of what came of it.
    Slack(SlackPlace),
    /// Somebody is woken by PagerDuty: the name of a key under `connectors.pagerduty.urgent`.
    PagerDuty(String),
}

/// A text that is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    /// Not `scheme:rest`, or of a scheme that nobody here delivers to.
    #[error(
        "`{0}` is nowhere that this version delivers to; write webhook:https://…, or slack:#channel, webhook:NAME, \
         teams:NAME, email:ADDRESS or pagerduty:NAME with what `connectors` names"
    )]
    Scheme(String),
    /// Not a name that configuration can have.
    #[error("`{0}` is no name of a connector: lower-case letters, digits, `-` and `.`, 64 at most")]
    Name(String),
    /// Not an address that one mail goes to.
    #[error("`{0}` is no e-mail address; write it like oncall@example.com")]
    Address(String),
    /// Not a URL.
    #[error("`{0}` is not a URL")]
    Url(String),
    /// It would be readable on its way.
    #[error("`{0}` must begin with https://, or lead to this machine")]
    Cleartext(String),
    /// No place in Slack.
    #[error(
        "`{0}` is no place in Slack; write #channel, @ its member's id, @provider:subject or reviewers"
    )]
    Slack(String),
    /// Whatever stands in a policy is read by many.
    #[error("`{0}` has a user name or password in it; a policy is no place for one")]
    Secret(String),
}

impl FromStr for NoticeTarget {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let address = match text.split_once(':') {
            Some(("teams", name)) => return named(name).map(Self::Teams),
            Some(("email", address)) => return mailbox(address).map(Self::Email),
            Some(("webhook", name)) if !name.contains(':') => return named(name).map(Self::Named),
            Some(("webhook", address)) => address,
            Some(("slack", place)) => return place.parse().map(Self::Slack),
            Some(("pagerduty", name)) => return named(name).map(Self::PagerDuty),
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
            Self::Named(name) => write!(f, "webhook:{name}"),
            Self::Teams(name) => write!(f, "teams:{name}"),
            Self::Email(address) => write!(f, "email:{address}"),
            Self::Slack(place) => write!(f, "slack:{place}"),
            Self::PagerDuty(name) => write!(f, "pagerduty:{name}"),
        }
    }
}

impl NoticeTarget {
    /// For people and the record: without the path, which may be a secret of the receiver's.
    pub fn in_short(&self) -> String {
        match self {
            Self::Webhook(url) => format!("webhook:{}", host(url)),
            Self::Named(_)
            | Self::Teams(_)
            | Self::Email(_)
            | Self::Slack(_)
            | Self::PagerDuty(_) => self.to_string(),
        }
    }

    /// What the configuration must have for it, as a bundle names it; nothing where it needs nothing.
    pub fn needs(&self) -> Option<String> {
        match self {
            Self::Webhook(_) => None,
            Self::Named(_) | Self::Teams(_) | Self::PagerDuty(_) => Some(self.to_string()),
            Self::Email(_) => Some("email".to_owned()),
            Self::Slack(_) => Some("slack".to_owned()),
        }
    }

    /// What it leads to is not in `receivers`, in words.
    pub(crate) fn missing(&self, receivers: &BTreeSet<String>) -> Option<String> {
        let needs = self.needs().filter(|needs| !receivers.contains(needs))?;
        let absent = match self {
            Self::Email(_) => "`connectors.email`".to_owned(),
            Self::Slack(_) => "`connectors.slack`".to_owned(),
            Self::Webhook(_) | Self::Named(_) => format!("`{needs}` under `connectors.webhooks`"),
            Self::Teams(_) => format!("`{needs}` under `connectors.teams`"),
            Self::PagerDuty(_) => format!("`{needs}` under `connectors.pagerduty.urgent`"),
        };
        Some(format!("`{self}` leads nowhere: the configuration has no {absent}"))
    }

    /// Whether what came of it is told there in a message of its own: the one that asked cannot be changed.
    pub fn tells_outcome(&self) -> bool {
        matches!(self, Self::Teams(_))
    }

    /// Whether what was told stands there until it is taken back: somebody is awake for it.
    pub fn stands(&self) -> bool {
        matches!(self, Self::PagerDuty(_))
    }
}

/// A name that configuration can have.
fn named(name: &str) -> Result<String, InvalidTarget> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(fits) {
        return Err(InvalidTarget::Name(name.to_owned()));
    }
    Ok(name.to_owned())
}

/// One mailbox and nothing else: neither a second one nor a header gets in by it (RFC 5321, 4.1.2, without quoting).
fn mailbox(address: &str) -> Result<String, InvalidTarget> {
    let atom = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    let dotted = |text: &str, fits: &dyn Fn(char) -> bool| {
        text.split('.').all(|part| !part.is_empty() && part.chars().all(fits))
    };
    let label = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let fits = address.len() <= LONGEST_ADDRESS
        && address.split_once('@').is_some_and(|(local, domain)| {
            local.len() <= 64 && dotted(local, &atom) && dotted(domain, &label)
        });
    if fits { Ok(address.to_owned()) } else { Err(InvalidTarget::Address(address.to_owned())) }
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
    fn what_configuration_names_is_looked_for_there() {
        let known: BTreeSet<String> = ["teams:payments".to_owned(), "email".to_owned()].into();
        for (text, missing) in [
            ("teams:payments", None),
            ("teams:other", Some("connectors.teams")),
            ("email:oncall@example.com", None),
            ("webhook:siem", Some("connectors.webhooks")),
            ("webhook:https://chat.example.com/", None),
        ] {
            let target: NoticeTarget = text.parse().unwrap();
            assert_eq!((target.to_string(), target.in_short().contains('/')), (text.into(), false));
            let said = target.missing(&known);
            assert_eq!(said.is_some(), missing.is_some(), "{said:?}");
            assert!(said.unwrap_or_default().contains(missing.unwrap_or_default()));
        }
    }

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
            "slack:payments",
            "pagerduty:",
            "pagerduty:Urgent One",
            "https://chat.example.com",
            "webhook:",
            "webhook:Chat",
            "teams:",
            "teams:pay ments",
            "email:",
            "email:oncall",
            "email:a@b.example, c@d.example",
            "email:a@b.example\r\nBcc: c@d.example",
            "email:<a@b.example>",
            "email:a..b@c.example",
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
