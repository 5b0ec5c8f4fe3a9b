//! `export`: where the record is passed on to.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use portcullis_model::{EventType, ServiceName, Window};
use portcullis_policy::notice::NoticeTarget;
use schemars::JsonSchema;
use serde::Serialize;
use url::Url;

use super::{
    secret::SecretRef,
    section::{Field, Section, nearest},
    service::Service,
};

/// Events in a second.
const RATE: usize = 1000;
const MOST_SINKS: usize = 16;
const DECISIONS: [&str; 6] = ["approve", "decline", "deny", "permit", "refuse", "requestable"];

/// One sink: events of the record, passed on in their order, at least once.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Export {
    /// Its name; where it has come to is remembered by it.
    pub(crate) name: String,
    /// What brings events there.
    #[serde(flatten)]
    pub(crate) to: To,
    /// Which events; all of them if absent.
    pub(crate) only: Only,
    /// Whether it begins with the oldest event of the record, or with the first one after now.
    pub(crate) from: From,
    /// Events in a second, at most; 1000 if absent. One that was down for long is not flooded.
    pub(crate) rate: usize,
    /// It is on record when a sink has taken nothing for so long; 5m if absent.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) failing_after: Window,
}

/// What brings events to a sink.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum To {
    /// Posted as a JSON list.
    Http(Http),
    /// Written to a collector of syslog (RFC 5424).
    Syslog(Syslog),
    /// Appended to a file, one JSON object a line.
    File(Lines),
}

/// A sink that lists of events are posted to.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Http {
    /// `https://…`, or `http://` on this machine.
    #[schemars(with = "String")]
    pub(crate) url: Url,
    /// Signs each post as Standard Webhooks has it: `whsec_…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sign: Option<SecretRef>,
    /// Sent as a bearer token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bearer: Option<SecretRef>,
    /// Only these authorities are believed, and not those of the machine: a PEM file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
}

/// A collector of syslog.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Syslog {
    /// `host:port`; 6514 is the port of syslog over TLS.
    pub(crate) address: String,
    /// How it is reached; `tls` if absent. `tcp` is for this machine, unless `cleartext` says otherwise.
    pub(crate) transport: Transport,
    /// Everybody on the way may read the record.
    pub(crate) cleartext: bool,
    /// Only these authorities are believed, and not those of the machine: a PEM file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    /// The name of this host in each message; `portcullis` if absent.
    pub(crate) hostname: String,
}

/// How a collector of syslog is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    /// RFC 5425.
    Tls,
    /// RFC 6587, with octet counting.
    Tcp,
}

/// A file of JSON lines.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Lines {
    /// `exports/record.jsonl`.
    pub(crate) path: PathBuf,
    /// Whether each day has a file of its own, with its date in the name; `never` if absent.
    pub(crate) rotate: Rotate,
}

/// Whether a new file begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Rotate {
    /// One file.
    Never,
    /// A file for each day of UTC.
    Daily,
}

/// Where a sink begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum From {
    /// With the oldest event.
    Beginning,
    /// With the first one after the sink was configured.
    Now,
}

/// Which events a sink gets.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub(crate) struct Only {
    /// Of these types, like `attempt`; all if empty.
    pub(crate) types: BTreeSet<String>,
    /// Of these services; all if empty.
    pub(crate) services: BTreeSet<String>,
    /// Decided like this: `deny`, `requestable`, …; all if empty.
    pub(crate) decisions: BTreeSet<String>,
}

/// Reads `export`.
pub(super) fn read(field: &Field<'_>, demo: bool, services: &[Service]) -> Vec<Export> {
    let mut sinks: Vec<Export> = Vec::new();
    for item in field.list() {
        let Some(sink) = item.section().and_then(|section| one(section, demo, services)) else {
            continue;
        };
        if sinks.iter().any(|other| other.name == sink.name) {
            item.error(format!("two sinks are called `{}`", sink.name), None);
        } else if let Some(other) = sinks.iter().find(|other| shares_file(other, &sink)) {
            let help = Some("each would cut what the other is writing; give each its own".into());
            item.error(format!("`{}` is written to the same file", other.name), help);
        } else if sinks.len() == MOST_SINKS {
            item.error(format!("there are more than {MOST_SINKS} sinks"), None);
        } else {
            sinks.push(sink);
        }
    }
    sinks
}

fn shares_file(one: &Export, other: &Export) -> bool {
    match (&one.to, &other.to) {
        // As paths compare: `a/./b` and `a//b` are one.
        (To::File(one), To::File(other)) => {
            one.path.strip_prefix(".").unwrap_or(&one.path)
                == other.path.strip_prefix(".").unwrap_or(&other.path)
        }
        _ => false,
    }
}

fn one(mut section: Section<'_>, demo: bool, services: &[Service]) -> Option<Export> {
    let name = section.required("name").and_then(|field| named(&field));
    let kinds = [
        section.field("http").map(|field| http(&field, demo).map(To::Http)),
        section.field("syslog").map(|field| syslog(&field).map(To::Syslog)),
        section.field("file").map(|field| lines(&field).map(To::File)),
    ];
    let mut kinds = kinds.into_iter().flatten();
    let to = kinds.next();
    if to.is_none() || kinds.next().is_some() {
        let help = Some("write one of `http`, `syslog` and `file`".into());
        section.error("a sink leads to exactly one place".into(), help);
    }
    let only = section.field("only");
    let only = only.map_or(Some(Only::default()), |field| only_of(&field, services));
    let from = section.field("from").map_or(Some(From::Beginning), |field| {
        field.one_of(&[("beginning", From::Beginning), ("now", From::Now)])
    });
    let rate = section.field("rate").map_or(Some(RATE), |field| field.number(1..=100_000));
    let failing_after = section.field("failing_after");
    let failing_after = failing_after.map_or(Some(Window::minutes(5)), |field| field.parsed());
    section.finish();
    Some(Export {
        name: name?,
        to: to??,
        only: only?,
        from: from?,
        rate: rate?,
        failing_after: failing_after?,
    })
}

/// A name that goes into metrics and on the command line.
pub(super) fn named(field: &Field<'_>) -> Option<String> {
    let name = field.text()?;
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if name.len() > 64 || !name.chars().all(fits) {
        let help = Some("lower-case letters, digits, `-` and `.`, 64 at most".into());
        field.error(format!("`{name}` is no name"), help);
        return None;
    }
    Some(name.to_owned())
}

/// Where something may be posted to: the same rules as for notices.
pub(super) fn posted_to(field: &Field<'_>) -> Option<Url> {
    match format!("webhook:{}", field.text()?).parse::<NoticeTarget>() {
        Ok(NoticeTarget::Webhook(url)) => Some(url),
        // What begins with `webhook:` is a webhook.
        Ok(NoticeTarget::PagerDuty(_)) => None,
        Err(error) => {
            field.hide();
            field.error(error.to_string().replace("webhook:", ""), None);
            None
        }
    }
}

fn http(field: &Field<'_>, demo: bool) -> Option<Http> {
    let mut section = field.section()?;
    let url = section.required("url").and_then(|field| posted_to(&field));
    let sign = section.field("sign").map(|field| SecretRef::read(&field, demo));
    let bearer = section.field("bearer").map(|field| SecretRef::read(&field, demo));
    if sign.is_some() == bearer.is_some() {
        let help = Some("write `sign: {env: NAME}` or `bearer: {env: NAME}`".into());
        section.error("the sink has to know who posts".into(), help);
    }
    let ca = section.field("ca").and_then(|field| field.text().map(PathBuf::from));
    section.finish();
    let given =
        |secret: Option<Option<SecretRef>>| secret.map_or(Some(None), |read| read.map(Some));
    Some(Http { url: url?, sign: given(sign)?, bearer: given(bearer)?, ca })
}

fn syslog(field: &Field<'_>) -> Option<Syslog> {
    let mut section = field.section()?;
    let address = section.required("address");
    let address = address.and_then(|field| {
        let text = field.text()?;
        let split = text.rsplit_once(':');
        let sound =
            split.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if !sound {
            let help = Some("write it like logs.example.com:6514".into());
            field.error(format!("`{text}` is no host and port"), help);
        }
        sound.then(|| text.to_owned())
    });
    let transport = section.field("transport").map_or(Some(Transport::Tls), |field| {
        field.one_of(&[("tls", Transport::Tls), ("tcp", Transport::Tcp)])
    });
    let cleartext = section.field("cleartext").map_or(Some(false), |field| field.boolean());
    let ca = section.field("ca").and_then(|field| field.text().map(PathBuf::from));
    let hostname = section.field("hostname");
    let hostname = hostname.map_or(Some("portcullis".to_owned()), |field| {
        let text = field.text()?;
        let fits = (1..=255).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic());
        if !fits {
            field.error("`hostname` is 1 to 255 printable ASCII characters".into(), None);
        }
        fits.then(|| text.to_owned())
    });
    if let (Some(address), Some(Transport::Tcp), Some(false)) = (&address, transport, cleartext)
        && !is_here(address)
    {
        let help = Some(
            "use TLS, or write `cleartext: true` if everybody on the way may read the record"
                .into(),
        );
        section.error(format!("`{address}` is not this machine, and would be told in clear"), help);
    }
    section.finish();
    Some(Syslog {
        address: address?,
        transport: transport?,
        cleartext: cleartext?,
        ca,
        hostname: hostname?,
    })
}

fn is_here(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn lines(field: &Field<'_>) -> Option<Lines> {
    let mut section = field.section()?;
    let path = section.required("path").and_then(|field| {
        let path = PathBuf::from(field.text()?);
        if path.file_name().is_none() {
            field.error("`path` names no file".into(), None);
            return None;
        }
        Some(path)
    });
    let rotate = section.field("rotate").map_or(Some(Rotate::Never), |field| {
        field.one_of(&[("never", Rotate::Never), ("daily", Rotate::Daily)])
    });
    section.finish();
    Some(Lines { path: path?, rotate: rotate? })
}

fn only_of(field: &Field<'_>, services: &[Service]) -> Option<Only> {
    let mut section = field.section()?;
    let types = event_types();
    let types: Vec<&str> = types.iter().map(String::as_str).collect();
    let services: Vec<&str> = services.iter().map(|one| ServiceName::as_str(&one.name)).collect();
    let types = section.field("types").map_or_else(BTreeSet::new, |f| among(&f, &types, "type"));
    let services =
        section.field("services").map_or_else(BTreeSet::new, |f| among(&f, &services, "service"));
    let decisions = section
        .field("decisions")
        .map_or_else(BTreeSet::new, |f| among(&f, &DECISIONS, "decision"));
    section.finish();
    Some(Only { types, services, decisions })
}

/// A list of known words; a list that is there and empty would name nothing.
pub(super) fn among(field: &Field<'_>, known: &[&str], what: &str) -> BTreeSet<String> {
    let items = field.list();
    if items.is_empty() {
        field.error(format!("no {what} is named"), Some("take it out to name all".into()));
    }
    let word = |item: Field<'_>| {
        let text = item.text()?;
        if known.contains(&text) {
            return Some(text.to_owned());
        }
        let near = nearest(text, known).map(|near| format!("did you mean `{near}`?"));
        let help = near.unwrap_or_else(|| format!("there are: {}", known.join(", ")));
        item.error(format!("there is no {what} `{text}`"), Some(help));
        None
    };
    items.into_iter().filter_map(word).collect()
}

/// The names of all types of events: reading one that is none tells them.
fn event_types() -> Vec<String> {
    let told = serde_json::from_value::<EventType>(serde_json::Value::from("")).err();
    let told = told.map(|error| error.to_string()).unwrap_or_default();
    told.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

impl Export {
    /// Where it leads, for people and the record: a path may be a secret of the receiver's.
    pub(crate) fn place(&self) -> String {
        match &self.to {
            To::Http(http) => http_place(&http.url),
            To::Syslog(syslog) => match syslog.transport {
                Transport::Tls => format!("syslog+tls://{}", syslog.address),
                Transport::Tcp => format!("syslog+tcp://{}", syslog.address),
            },
            To::File(lines) => format!("file {}", lines.path.display()),
        }
    }
}

/// A URL without what may be secret in it.
pub(crate) fn http_place(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// How long one delivery may take.
pub(crate) const DELIVERY: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests;
