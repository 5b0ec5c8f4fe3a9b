//! What is asked of the record, and what of an entry answers it: one meaning of every question, whether
//! entries are looked at one after the other or found by an index.

use std::{fmt, str::FromStr, sync::Arc};

use jiff::Timestamp;
use serde::Deserialize;

use crate::{
    AccessRequestId, ClassName, GrantId, IncidentId, InstanceName, OperationName, ServiceName,
};

/// A search of the record. What is absent does not matter; what is there must all be so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// At this position or after it.
    pub from: Option<u64>,
    /// Before this position.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: usize,
    /// The newest first.
    pub newest: bool,
    /// Who: `corp:ana`.
    pub principal: Option<Arc<str>>,
    /// Where.
    pub service: Option<ServiceName>,
    /// On which instance: the one that was addressed, or that answered.
    pub instance: Option<InstanceName>,
    /// What.
    pub operation: Option<OperationName>,
    /// The grant that opened it, or that let somebody see sensitive data in it.
    pub grant: Option<GrantId>,
    /// The access request that it is part of.
    pub access_request: Option<AccessRequestId>,
    /// The incident that it is part of.
    pub incident: Option<IncidentId>,
    /// How it was decided, as it stands in the record: `permit`, `deny`, `approve`, …
    pub decision: Option<Arc<str>>,
    /// The class of sensitive data that was seen.
    pub class: Option<ClassName>,
    /// Sensitive data was seen, of whichever class.
    pub any_class: bool,
    /// The type, as it stands in the record.
    pub kind: Option<Arc<str>>,
    /// When, or later.
    pub since: Option<Timestamp>,
    /// Before when.
    pub until: Option<Timestamp>,
    /// Words in what people wrote, and in paths.
    pub words: Option<Words>,
}

/// What an entry can be found by, beside its words, its place and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// Its type.
    Type,
    /// Who.
    Principal,
    /// Where.
    Service,
    /// On which instance.
    Instance,
    /// What.
    Operation,
    /// By or for which grant.
    Grant,
    /// For which access request.
    AccessRequest,
    /// For which incident.
    Incident,
    /// How it was decided.
    Decision,
    /// Which class of data was seen.
    Class,
}

impl EventFilter {
    /// What entries must have in their fields.
    pub fn terms(&self) -> Vec<(Field, String)> {
        let text = |value: &Option<Arc<str>>| value.as_deref().map(str::to_owned);
        let all = [
            (Field::Type, text(&self.kind)),
            (Field::Principal, text(&self.principal)),
            (Field::Service, self.service.as_ref().map(ToString::to_string)),
            (Field::Instance, self.instance.as_ref().map(ToString::to_string)),
            (Field::Operation, self.operation.as_ref().map(ToString::to_string)),
            (Field::Grant, self.grant.map(|id| id.to_string())),
            (Field::AccessRequest, self.access_request.map(|id| id.to_string())),
            (Field::Incident, self.incident.as_ref().map(ToString::to_string)),
            (Field::Decision, text(&self.decision)),
            (Field::Class, self.class.as_ref().map(ToString::to_string)),
            (Field::Class, self.any_class.then(|| ANY.to_owned())),
        ];
        all.into_iter().filter_map(|(field, value)| Some((field, value?))).collect()
    }

    /// Whether every entry at all is meant, places aside.
    pub fn is_open(&self) -> bool {
        self.terms().is_empty()
            && self.since.is_none()
            && self.until.is_none()
            && self.words.is_none()
    }
}

/// What is asked, in words: as it goes on record when somebody reads it.
impl fmt::Display for EventFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("events")?;
        for (field, value) in self.terms() {
            write!(f, " {}={value}", field.as_str())?;
        }
        for (name, time) in [("since", self.since), ("until", self.until)] {
            if let Some(time) = time {
                write!(f, " {name}={time}")?;
            }
        }
        if let Some(words) = &self.words {
            write!(f, " text={words}")?;
        }
        for (name, position) in [("from", self.from), ("before", self.before)] {
            if let Some(position) = position {
                write!(f, " {name}={position}")?;
            }
        }
        Ok(())
    }
}

impl Field {
    /// Its name in questions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Principal => "principal",
            Self::Service => "service",
            Self::Instance => "instance",
            Self::Operation => "operation",
            Self::Grant => "grant",
            Self::AccessRequest => "access_request",
            Self::Incident => "incident",
            Self::Decision => "decision",
            Self::Class => "class",
        }
    }
}

/// Words to look for. Parts between spaces must all be there; of each part, the words must follow each
/// other: `/v1/refunds` is `v1` and then `refunds`. Letters and digits make words, their case does not
/// matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words(Vec<Vec<String>>);

/// There is no word in it, or too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "one to {} words of letters and digits, in {} bytes at most",
    Words::MOST,
    Words::MOST_BYTES
)]
pub struct NoWords;

impl Words {
    const MOST: usize = 20;
    const MOST_BYTES: usize = 400;

    /// The parts, each as its words in their order; none is empty.
    pub fn phrases(&self) -> &[Vec<String>] {
        &self.0
    }

    fn are_in(&self, text: &str) -> bool {
        let words: Vec<_> = text.split(' ').collect();
        self.0.iter().all(|phrase| words.windows(phrase.len()).any(|window| window == phrase))
    }
}

impl FromStr for Words {
    type Err = NoWords;

    fn from_str(text: &str) -> Result<Self, NoWords> {
        let phrase = |part: &str| tokens(part).collect::<Vec<_>>();
        let phrases = text.split_whitespace().map(phrase).filter(|words| !words.is_empty());
        let phrases: Vec<_> = phrases.collect();
        let count = phrases.iter().map(Vec::len).sum::<usize>();
        let fits = (1..=Self::MOST).contains(&count) && text.len() <= Self::MOST_BYTES;
        if fits { Ok(Self(phrases)) } else { Err(NoWords) }
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.0.iter().map(|phrase| phrase.join("/")).collect();
        write!(f, "`{}`", parts.join(" "))
    }
}

fn tokens(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| word.chars().flat_map(char::to_lowercase).collect())
}

/// An entry of the record, as far as it can be looked for. Events and attempts have the same field names.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Leaf {
    time: Option<Timestamp>,
    #[serde(rename = "type")]
    kind: Option<String>,
    principal: Option<Who>,
    service: Option<String>,
    instance: Option<String>,
    answered_by: Option<String>,
    operation: Option<String>,
    decision: Option<String>,
    grant: Option<String>,
    #[serde(default)]
    reveals: Vec<String>,
    #[serde(default)]
    revealed: Vec<Seen>,
    access_request: Option<String>,
    incident: Option<String>,
    detail: Option<String>,
    host: Option<String>,
    path: Option<String>,
    refusal: Option<String>,
    error: Option<String>,
    latency_us: Option<u64>,
    count: Option<u64>,
}

#[derive(Debug, Clone, Deserialize)]
struct Who {
    id: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Seen {
    class: String,
    grant: Option<String>,
}

/// The value of [`Field::Class`] where any was seen; no class is called so.
const ANY: &str = "*";
/// Stands between two texts of one entry; no word has it, so that none goes from one to the other.
const APART: &str = "\u{a6}";

impl Leaf {
    /// When.
    pub fn time(&self) -> Option<Timestamp> {
        self.time
    }

    /// Its type, as it stands in the record.
    pub fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// How it was decided, as it stands in the record.
    pub fn decision(&self) -> Option<&str> {
        self.decision.as_deref()
    }

    /// How long the answer took, in microseconds.
    pub fn latency_us(&self) -> Option<u64> {
        self.latency_us
    }

    /// How many it stands for.
    pub fn count(&self) -> u64 {
        self.count.unwrap_or(1)
    }

    /// Who, as it stands in the record.
    pub fn principal(&self) -> Option<&str> {
        self.principal.as_ref().map(|who| who.id.as_str())
    }

    /// Where.
    pub fn service(&self) -> Option<&str> {
        self.service.as_deref()
    }

    /// The classes of data that were seen, and whether a grant showed them.
    pub fn revealed(&self) -> impl Iterator<Item = (&str, bool)> {
        self.revealed.iter().map(|seen| (seen.class.as_str(), seen.grant.is_some()))
    }

    /// What it can be found by; each is named once at least.
    pub fn terms(&self) -> impl Iterator<Item = (Field, &str)> {
        let one = [
            (Field::Type, self.kind.as_deref()),
            (Field::Principal, self.principal()),
            (Field::Service, self.service.as_deref()),
            (Field::Instance, self.instance.as_deref()),
            (Field::Instance, self.answered_by.as_deref()),
            (Field::Operation, self.operation.as_deref()),
            (Field::Decision, self.decision.as_deref()),
            (Field::Grant, self.grant.as_deref()),
            (Field::AccessRequest, self.access_request.as_deref()),
            (Field::Incident, self.incident.as_deref()),
        ];
        let one = one.into_iter().filter_map(|(field, value)| Some((field, value?)));
        let reveals = self.reveals.iter().map(|grant| (Field::Grant, grant.as_str()));
        let classes = self.revealed.iter().map(|seen| (Field::Class, seen.class.as_str()));
        let by =
            self.revealed.iter().filter_map(|seen| Some((Field::Grant, seen.grant.as_deref()?)));
        let any = self.revealed.first().map(|_| (Field::Class, ANY));
        one.chain(reveals).chain(classes).chain(by).chain(any)
    }

    /// Its words, with one space between them: those of different texts are apart.
    pub fn words(&self) -> String {
        // The words of a reading are those that somebody looked for: they would be found ever after.
        let is_reading = self.kind.as_deref() == Some("record_read");
        let detail = if is_reading { &None } else { &self.detail };
        let texts = [detail, &self.path, &self.host, &self.refusal, &self.error];
        let mut all = String::new();
        for text in texts.into_iter().flatten() {
            for word in tokens(text).chain([APART.to_owned()]) {
                if !all.is_empty() {
                    all.push(' ');
                }
                all.push_str(&word);
            }
        }
        all
    }

    /// Whether it is what is asked for, its place aside.
    pub fn answers(&self, filter: &EventFilter) -> bool {
        let is_in_time = || {
            let not_before = filter.since.is_none_or(|since| self.time >= Some(since));
            // An entry without a time is at no time.
            let ended = |until| self.time.is_some_and(|time| time < until);
            not_before && filter.until.is_none_or(ended)
        };
        let has = |(field, wanted): (Field, String)| {
            self.terms().any(|(own, value)| own == field && value == wanted)
        };
        is_in_time()
            && filter.terms().into_iter().all(has)
            && filter.words.as_ref().is_none_or(|words| words.are_in(&self.words()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Words {
        text.parse().unwrap()
    }

    fn leaf() -> Leaf {
        Leaf {
            time: Some("2026-11-22T12:00:00Z".parse().unwrap()),
            kind: Some("attempt".into()),
            service: Some("payments".into()),
            revealed: vec![Seen { class: "pci".into(), grant: Some("7BX".into()) }],
            detail: Some("Kunde Müller, 50% \"zurück\"".into()),
            path: Some("/v1/refunds/R-17".into()),
            ..Leaf::default()
        }
    }

    #[test]
    fn words_are_found_whole_in_their_order_and_in_one_text() {
        let found = |text: &str| {
            leaf().answers(&EventFilter { words: Some(words(text)), ..EventFilter::default() })
        };
        for text in ["MÜLLER", "/v1/refunds", "50", "r-17 kunde", "\"zurück\"", "müller,50"] {
            assert!(found(text), "{text}");
        }
        for text in ["mülle", "refunds/v1", "zurück/v1", "kunde and", "refund*"] {
            assert!(!found(text), "{text}");
        }
        for text in ["", "\" * - ¦", &"a ".repeat(21), &"a".repeat(401)] {
            assert_eq!(text.parse::<Words>(), Err(NoWords), "{text}");
        }
    }

    #[test]
    fn everything_that_is_asked_for_must_be_so() {
        let payments = EventFilter {
            service: Some("payments".parse().unwrap()),
            class: Some("pci".parse().unwrap()),
            ..EventFilter::default()
        };
        assert!(leaf().answers(&payments) && !payments.is_open());
        let other = EventFilter { kind: Some("reviewed".into()), ..payments.clone() };
        assert!(!leaf().answers(&other));
        let at = |text: &str| Some(text.parse().unwrap());
        let since = |since, until| EventFilter { since, until, ..payments.clone() };
        let (noon, later) = (at("2026-11-22T12:00:00Z"), at("2026-11-22T12:00:01Z"));
        assert!(leaf().answers(&since(noon, later)));
        assert!(!leaf().answers(&since(None, noon)) && !leaf().answers(&since(later, None)));
        assert!(!Leaf::default().answers(&since(None, later)));
    }

    #[test]
    fn what_is_asked_is_said_in_words() {
        let filter = EventFilter {
            principal: Some("corp:ana".into()),
            words: Some(words("Card /v1/refunds")),
            from: Some(7),
            ..EventFilter::default()
        };
        assert_eq!(filter.to_string(), "events principal=corp:ana text=`card v1/refunds` from=7");
        assert_eq!(EventFilter::default().to_string(), "events");
    }
}
