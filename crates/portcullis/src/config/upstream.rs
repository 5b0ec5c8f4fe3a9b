//! `upstream` of a service: its instances, how one of them is chosen, and how it is reached.

mod dns;
mod health;
mod limits;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use indexmap::IndexMap;
use ipnet::IpNet;
use portcullis_model::{InstanceName, Window};
use portcullis_policy::upstream::UpstreamSource;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use url::Url;

use super::{
    section::{Field, Section},
    tcp,
    upstream_tls::UpstreamTls,
};
use dns::Dns;
use health::Health;
use limits::{Ejection, Limits, Retries, Timeouts};

/// The instances of a service: `instances`, one `url`, or `dns`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Upstream {
    /// Names and base URLs (`http://`, `https://`, `h2c://`; or `tcp://host:port`, `tls://host:port`), or
    /// `{url: …, zone: …}`.
    #[schemars(with = "BTreeMap<String, String>")]
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    instances: IndexMap<InstanceName, Instance>,
    /// Where instances are found, if they are not listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    dns: Option<Dns>,
    /// Instances that the balancer never picks.
    #[schemars(with = "Vec<String>")]
    addressed_only: Vec<InstanceName>,
    /// Instances of other zones are left alone while this share of those in the gate's own `zone` is up;
    /// default `50%`.
    #[schemars(with = "String")]
    zone_share: Percent,
    /// With a smaller share of instances up, all are used, whatever is known of them; default `25%`.
    #[schemars(with = "String")]
    panic_below: Percent,
    /// How long an instance that came back takes to its full share; default `10s`, or `never`.
    #[schemars(with = "String")]
    #[serde(serialize_with = "or_never")]
    slow_start: Option<Window>,
    /// How long things may take.
    timeouts: Timeouts,
    /// When an instance is left out for a while.
    ejection: Ejection,
    /// How much may be under way at the same time.
    limits: Limits,
    /// What is sent again where that is safe.
    retries: Retries,
    /// How instances are asked whether they are well; without it, they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<Health>,
    /// How instances prove who they are, and the gate to them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<UpstreamTls>,
    /// Networks of special addresses (loopback, link-local, metadata, multicast) that may be dialled.
    #[schemars(with = "Vec<String>")]
    allow: Vec<IpNet>,
}

/// One instance: a URL, or more.
#[derive(Debug, Clone, Serialize)]
struct Instance {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
}

/// A share: `50%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Percent(u8);

/// Why a text is no share.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a share; write it like 50%")]
struct InvalidPercent(String);

impl FromStr for Percent {
    type Err = InvalidPercent;

    fn from_str(text: &str) -> Result<Self, InvalidPercent> {
        let digits = text.strip_suffix('%').filter(|digits| !digits.starts_with('+'));
        let share = digits.and_then(|digits| digits.parse().ok()).filter(|share| *share <= 100);
        share.map(Self).ok_or_else(|| InvalidPercent(text.to_owned()))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[expect(clippy::ref_option, reason = "this is how the serializer hands it over")]
fn or_never<S: Serializer>(window: &Option<Window>, serializer: S) -> Result<S::Ok, S::Error> {
    match window {
        Some(window) => serializer.collect_str(window),
        None => serializer.serialize_str("never"),
    }
}

/// The value of `key`, or what it is without it. `None`: it is there, and wrong.
fn or<T>(
    section: &mut Section<'_>,
    key: &'static str,
    usual: T,
    read: impl FnOnce(&Field<'_>) -> Option<T>,
) -> Option<T> {
    section.field(key).map_or(Some(usual), |field| read(&field))
}

/// The same, of what parses from text.
fn parsed<T: FromStr<Err: fmt::Display>>(
    section: &mut Section<'_>,
    key: &'static str,
    usual: T,
) -> Option<T> {
    or(section, key, usual, |field: &Field<'_>| field.parsed())
}

impl Upstream {
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let usual = UpstreamSource::default();
        let (instances, dns) = sources(&mut section);
        let only = section.field("addressed_only");
        let addressed_only = only.map(|field| addressed(&field, &instances)).unwrap_or_default();
        let zone_share = parsed(&mut section, "zone_share", Percent(usual.zone_share));
        let panic_below = parsed(&mut section, "panic_below", Percent(usual.panic_below));
        let slow_start = or(&mut section, "slow_start", usual.slow_start, |field| {
            if field.as_text() == Some("never") { Some(None) } else { field.parsed().map(Some) }
        });
        let timeouts = or(&mut section, "timeouts", Timeouts::usual(), Timeouts::read);
        let ejection = or(&mut section, "ejection", Ejection::usual(), Ejection::read);
        let limits = or(&mut section, "limits", Limits::usual(), Limits::read);
        let retries = or(&mut section, "retries", Retries::usual(), Retries::read);
        let health = or(&mut section, "health", None, |field| Health::read(field).map(Some));
        let allow = or(&mut section, "allow", Vec::new(), networks);
        let tls = section.field("tls");
        section.finish();
        let read = Self {
            instances,
            dns: dns?,
            addressed_only,
            zone_share: zone_share?,
            panic_below: panic_below?,
            slow_start: slow_start?,
            timeouts: timeouts?,
            ejection: ejection?,
            limits: limits?,
            retries: retries?,
            health: health?,
            tls: tls.as_ref().and_then(UpstreamTls::read),
            allow: allow?,
        };
        if read.is_named_by_dns() && (tls.is_none() || read.tls.is_some()) {
            let help = "add `tls: {server_name: payments.internal}` or a `spiffe_id`";
            let message = "name servers would say whose certificates are believed";
            field.error(message.into(), Some(help.into()));
        }
        if let Some(tls) = tls {
            read.check_tls(&tls);
        }
        if read.spoken_to().any(|url| tcp::is_address(&url))
            && read.health.as_ref().is_some_and(Health::has_path)
        {
            let help = Some("take `path` out: a TCP service is connected to".into());
            field.error("`path` is for HTTP, and this service speaks TCP".into(), help);
        }
        (read.dns.is_some() || !read.instances.is_empty()).then_some(read)
    }

    /// Whether instances have to prove a name that a record gave.
    fn is_named_by_dns(&self) -> bool {
        let said =
            |tls: &UpstreamTls| tls.server_name.as_ref().or(tls.spiffe_id.as_ref()).is_some();
        self.dns.as_ref().is_some_and(|dns| dns.is_srv() && has_tls(&dns.scheme()))
            && !self.tls.as_ref().is_some_and(said)
    }

    /// Nothing falls back to clear text.
    fn check_tls(&self, given: &Field<'_>) {
        let listed = self.instances.iter().map(|(name, it)| (name.as_str(), it.url.clone()));
        let found = self.dns.as_ref().map(|dns| ("dns", dns.scheme()));
        if let Some((name, url)) = listed.chain(found).find(|(_, url)| !has_tls(url)) {
            let help = Some("write https://…: nothing falls back to clear text".into());
            given.error(format!("`{name}` at {url} has no TLS"), help);
        }
    }

    /// URLs of instances that are listed, or the beginning of those that are found.
    pub(super) fn spoken_to(&self) -> impl Iterator<Item = String> {
        let listed = self.instances.values().map(|it| it.url.clone());
        listed.chain(self.dns.as_ref().map(Dns::scheme))
    }

    /// The instances that are listed, and where they are.
    pub(super) fn urls(&self) -> IndexMap<InstanceName, String> {
        self.instances.iter().map(|(name, it)| (name.clone(), it.url.clone())).collect()
    }

    /// Instances that the balancer never picks.
    pub(super) fn addressed_only(&self) -> &[InstanceName] {
        &self.addressed_only
    }

    /// As a bundle has it.
    pub(super) fn source(&self) -> UpstreamSource {
        let zones = self.instances.iter();
        let zones = zones.filter_map(|(name, it)| Some((name.clone(), it.zone.clone()?)));
        UpstreamSource {
            zones: zones.collect(),
            zone_share: self.zone_share.0,
            panic_below: self.panic_below.0,
            timeouts: self.timeouts.source(),
            ejection: self.ejection.source(),
            slow_start: self.slow_start,
            instance_limits: self.limits.of_instances(),
            service_limits: self.limits.of_all(),
            retries: self.retries.source(),
            health: self.health.as_ref().map(Health::source),
            dns: self.dns.as_ref().map(Dns::source),
            allow: self.allow.clone(),
        }
    }
}

fn has_tls(url: &str) -> bool {
    url.starts_with("https:") || url.starts_with("tls:")
}

/// What is listed, and where the others are found, of which there is one.
#[expect(clippy::option_option, reason = "nothing was said, or something wrong")]
fn sources(section: &mut Section<'_>) -> (IndexMap<InstanceName, Instance>, Option<Option<Dns>>) {
    let (url, map) = (section.field("url"), section.field("instances"));
    let dns = section.field("dns");
    section.unsupported("kubernetes");
    match (url, map, dns) {
        (Some(url), None, None) => {
            let main = base_url(&url).map(|url| Instance { url, zone: None });
            ("main".parse().ok().zip(main).into_iter().collect(), Some(None))
        }
        (None, Some(map), None) => (instances(&map), Some(None)),
        (None, None, Some(dns)) => (IndexMap::new(), Dns::read(&dns).map(Some)),
        _ => {
            let help = "write `url: http://…`, `instances: {name: http://…}` or `dns: http://…`";
            let message = "an upstream needs one of `url`, `instances` and `dns`";
            section.error(message.into(), Some(help.into()));
            (IndexMap::new(), None)
        }
    }
}

fn networks(field: &Field<'_>) -> Option<Vec<IpNet>> {
    let read: Vec<Option<IpNet>> = field.list().iter().map(Field::parsed).collect();
    read.into_iter().collect()
}

fn instances(field: &Field<'_>) -> IndexMap<InstanceName, Instance> {
    let pairs = field.pairs();
    if pairs.is_empty() {
        field.error("`instances` is empty".into(), Some("name at least one".into()));
    }
    let pairs = pairs.into_iter().filter_map(|(name, value)| {
        let parsed = InstanceName::from_str(&name);
        let name = parsed.map_err(|error| value.error(error.to_string(), None)).ok()?;
        Some((name, instance(&value)?))
    });
    pairs.collect()
}

fn instance(field: &Field<'_>) -> Option<Instance> {
    if !field.is_map() {
        return Some(Instance { url: base_url(field)?, zone: None });
    }
    let mut section = field.section()?;
    let url = section.required("url").and_then(|field| base_url(&field));
    let zone = section.field("zone").map(|field| field.text().map(str::to_owned));
    section.finish();
    Some(Instance { url: url?, zone: zone.map_or(Some(None), |read| read.map(Some))? })
}

/// A base URL of an instance: scheme, host, port, and nothing that the gate would have to guess about.
fn base_url(field: &Field<'_>) -> Option<String> {
    let url: Url = field.parsed()?;
    if tcp::is_address(url.as_str()) {
        let (path, host) = (url.path(), url.host_str());
        let is_bare =
            matches!(path, "" | "/") && url.query().is_none() && url.username().is_empty();
        if !is_bare || url.fragment().is_some() || host.is_none() || url.port().is_none() {
            let help = Some("write it like tcp://10.0.0.5:5432 or tls://…".into());
            field.error("a TCP address is a host and a port".into(), help);
            return None;
        }
        return field.text().map(str::to_owned);
    }
    let help = Some("write it like http://10.0.0.5:8080, https://…, h2c://…".into());
    if !matches!(url.scheme(), "http" | "https" | "h2c") || url.host().is_none() {
        field.error(format!("`{url}` is not an upstream URL"), help);
        return None;
    }
    if !url.username().is_empty() || url.password().is_some() {
        field.error("an upstream URL must not hold credentials".into(), help);
        return None;
    }
    if url.query().is_some() || url.fragment().is_some() {
        field.error("an upstream URL has no query and no fragment".into(), help);
        return None;
    }
    field.text().map(str::to_owned)
}

fn addressed(field: &Field<'_>, known: &IndexMap<InstanceName, Instance>) -> Vec<InstanceName> {
    let mut seen = BTreeSet::new();
    for item in field.list() {
        let Some(name) = item.parsed::<InstanceName>() else { continue };
        if known.contains_key(&name) {
            seen.insert(name);
        } else {
            item.error(format!("there is no instance `{name}`"), None);
        }
    }
    if !known.is_empty() && seen.len() == known.len() {
        let help = Some("leave at least one instance to the balancer".into());
        field.error("all instances are `addressed_only`".into(), help);
    }
    seen.into_iter().collect()
}
