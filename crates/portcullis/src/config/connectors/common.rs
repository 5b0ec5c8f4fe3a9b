//! What all systems that tell of incidents have in common: how they are reached, and what theirs is here.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use portcullis_model::{PrincipalId, PrincipalKind, ScheduleName, ServiceName, Severity, Window};
use schemars::JsonSchema;
use serde::Serialize;
use url::Url;

use super::{Beside, given};
use crate::config::{
    export::posted_to,
    secret::SecretRef,
    section::{Field, Section, nearest},
};

const OFTENEST: Duration = Duration::from_secs(1);

/// What is said of a system whatever it is.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Common {
    /// What the ids of its incidents begin with here, before a hyphen.
    pub(crate) prefix: String,
    /// Our services, each with those of theirs that stand for it.
    #[schemars(with = "BTreeMap<String, Vec<String>>")]
    pub(crate) services: BTreeMap<ServiceName, BTreeSet<String>>,
    /// Their severities in our words; theirs where there are none.
    #[schemars(with = "BTreeMap<String, String>")]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) severities: BTreeMap<String, Severity>,
    /// Our schedules that they keep, and what they call them.
    #[schemars(with = "BTreeMap<String, String>")]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) schedules: BTreeMap<ScheduleName, String>,
    /// Who their people are here.
    pub(crate) people: People,
    /// How often it is asked; 30s if absent.
    #[schemars(with = "String")]
    #[serde(serialize_with = "crate::config::as_text")]
    pub(crate) poll: Window,
    /// For how long what it said is known; 5m if absent.
    #[schemars(with = "String")]
    #[serde(serialize_with = "crate::config::as_text")]
    pub(crate) fresh_for: Window,
}

/// Who another system's people are here.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub(crate) struct People {
    /// By e-mail address, as this provider of people has verified it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) by_email: Option<String>,
    /// By their id there: `{PXPGF42: corp:ana}`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) named: BTreeMap<String, String>,
}

/// How an API is reached.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Api {
    /// Where it begins.
    #[schemars(with = "String")]
    pub(crate) url: Url,
    /// What proves who asks.
    pub(crate) token: SecretRef,
    /// Only these authorities are believed, and not those of the machine: a PEM file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
}

impl Common {
    /// Takes what is common out of `section`.
    pub(super) fn read(
        section: &mut Section<'_>,
        prefix: &'static str,
        beside: Beside<'_>,
    ) -> Option<Self> {
        let own = section.field("prefix");
        let prefix = own.map_or(Some(prefix.to_owned()), |field| prefix_of(&field));
        let services = section.required("services").map(|field| services(&field, beside));
        let severities = section.field("severities").map_or_else(BTreeMap::new, |field| {
            let pairs = field.pairs().into_iter();
            pairs.filter_map(|(name, field)| Some((name, field.parsed()?))).collect()
        });
        let schedules = section.field("schedules");
        let schedules = schedules.map_or_else(BTreeMap::new, |field| schedules_of(&field, beside));
        let people = section.field("people");
        let people = people.map_or(Some(People::default()), |field| people_of(&field, beside));
        let poll = section.field("poll");
        let poll = poll.map_or(Some(Window::seconds(30)), |field| window(&field));
        let fresh_for = section.field("fresh_for");
        let fresh_for = fresh_for.map_or(Some(Window::minutes(5)), |field| window(&field));
        if let (Some(poll), Some(fresh)) = (poll, fresh_for)
            && fresh.get() <= poll.get()
        {
            let help = Some("what is said must be known until it is asked for again".to_owned());
            section.error(format!("`fresh_for` ({fresh}) is no longer than `poll` ({poll})"), help);
        }
        let (services, people) = (services?, people?);
        let (prefix, poll, fresh_for) = (prefix?, poll?, fresh_for?);
        Some(Self { prefix, services, severities, schedules, people, poll, fresh_for })
    }

    /// Their services, each with ours.
    pub(crate) fn theirs(&self) -> BTreeMap<String, BTreeSet<ServiceName>> {
        let mut theirs: BTreeMap<String, BTreeSet<ServiceName>> = BTreeMap::new();
        for (ours, all) in &self.services {
            for one in all {
                theirs.entry(one.clone()).or_default().insert(ours.clone());
            }
        }
        theirs
    }

    /// Their people that are named.
    pub(crate) fn named(&self) -> BTreeMap<String, PrincipalId> {
        let user = |id: &String| PrincipalId { kind: PrincipalKind::User, id: id.as_str().into() };
        self.people.named.iter().map(|(theirs, ours)| (theirs.clone(), user(ours))).collect()
    }
}

impl Api {
    /// Takes `url`, `token` and `ca` out of `section`.
    pub(super) fn read(section: &mut Section<'_>, url: Option<&str>, demo: bool) -> Option<Self> {
        let own = section.field("url");
        let url = match (own, url) {
            (Some(field), _) => posted_to(&field),
            (None, Some(usual)) => usual.parse().ok(),
            (None, None) => section.required("url").and_then(|field| posted_to(&field)),
        };
        let token = section.required("token").and_then(|field| SecretRef::read(&field, demo));
        let ca = section.field("ca").map(|field| field.text().map(PathBuf::from));
        Some(Self { url: url?, token: token?, ca: given(ca)? })
    }
}

/// The secrets that a system's messages are signed with: one, or several while they change.
pub(super) fn secrets(field: &Field<'_>, demo: bool) -> Option<Vec<SecretRef>> {
    if !field.is_list() {
        return SecretRef::read(field, demo).map(|one| vec![one]);
    }
    let all: Vec<_> = field.list().iter().map(|one| SecretRef::read(one, demo)).collect();
    if all.is_empty() {
        field.error("there is no secret in it".into(), Some("take it out to ask only".into()));
    }
    all.into_iter().collect()
}

fn prefix_of(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let fits = text.len() <= 16
        && text.chars().all(|c| c.is_ascii_alphanumeric())
        && text.starts_with(|c: char| c.is_ascii_alphabetic());
    if !fits {
        let help = Some("letters and digits, 16 at most, a letter first, like PD".into());
        field.error(format!("`{text}` is no prefix"), help);
    }
    fits.then(|| text.to_owned())
}

pub(super) fn window(field: &Field<'_>) -> Option<Window> {
    let window: Window = field.parsed()?;
    if window.get() < OFTENEST {
        field.error(format!("{window} is too short"), Some("a second is the shortest".into()));
        return None;
    }
    Some(window)
}

fn services(field: &Field<'_>, beside: Beside<'_>) -> BTreeMap<ServiceName, BTreeSet<String>> {
    let known: Vec<&str> = beside.services.iter().map(|one| one.name.as_str()).collect();
    let one = |(name, theirs): (String, Field<'_>)| {
        let Some(service) = beside.services.iter().find(|one| one.name.as_str() == name) else {
            let near = nearest(&name, &known).map(|near| format!("did you mean `{near}`?"));
            theirs.error(format!("there is no service `{name}`"), near);
            return None;
        };
        let all: BTreeSet<String> = if theirs.is_list() {
            theirs.texts().into_iter().collect()
        } else {
            theirs.text().map(str::to_owned).into_iter().collect()
        };
        Some((service.name.clone(), all))
    };
    let services: BTreeMap<_, _> = field.pairs().into_iter().filter_map(one).collect();
    if services.is_empty() {
        let help = Some("write {payments: THEIRS}: others' incidents do not matter here".into());
        field.error("no service is named".into(), help);
    }
    services
}

fn schedules_of(field: &Field<'_>, beside: Beside<'_>) -> BTreeMap<ScheduleName, String> {
    let one = |(name, theirs): (String, Field<'_>)| {
        if beside.kept.contains(&name) {
            let help = Some("one of the two has to say who is on call".into());
            theirs.error(format!("`{name}` stands under `schedules` as well"), help);
            return None;
        }
        let ours = name.parse().map_err(|error: portcullis_model::InvalidName| {
            theirs.error(error.to_string(), None);
        });
        Some((ours.ok()?, theirs.text()?.to_owned()))
    };
    field.pairs().into_iter().filter_map(one).collect()
}

fn people_of(field: &Field<'_>, beside: Beside<'_>) -> Option<People> {
    let mut section = field.section()?;
    let by_email = section.field("by_email").map(|field| {
        let name = field.text()?;
        let known: Vec<&str> = beside
            .identity
            .iter()
            .flat_map(|identity| identity.people.iter().map(|one| one.name.as_str()))
            .collect();
        if !known.contains(&name) {
            let near = nearest(name, &known).map(|near| format!("did you mean `{near}`?"));
            field.error(format!("no provider of people is called `{name}`"), near);
            return None;
        }
        Some(name.to_owned())
    });
    let named = section.field("named").map_or_else(BTreeMap::new, |field| {
        let pairs = field.pairs().into_iter();
        pairs
            .filter_map(|(theirs, field)| {
                let ours = field.text()?;
                if !ours.contains(':') {
                    let help = Some("write it like corp:ana".into());
                    field.error(format!("`{ours}` is nobody's name"), help);
                    return None;
                }
                Some((theirs, ours.to_owned()))
            })
            .collect()
    });
    section.finish();
    Some(People { by_email: given(by_email)?, named })
}
