//! Alert rules: what in the record somebody should be called for.
//!
//! One reader follows the log, like a sink does, and asks each rule about each entry. What fires becomes an
//! event of the record, with everything that whoever is called needs to know; webhooks get such events as
//! sinks get theirs ([`crate::export`]). The reader's cursor, what rules remember and what fired are one
//! transaction: a crash neither loses an alert nor fires it twice. Only what is wrong with the record itself is
//! also told directly, since it may be what keeps the record from telling it.

mod denials;
mod firing;
mod habits;
mod leaf;
mod rounds;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use jiff::Timestamp;
use portcullis_model::Window;

pub(crate) use watch::{READER, run};

/// An alert rule as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name in configuration.
    pub name: String,
    /// What it looks for.
    pub looks_for: LooksFor,
    /// Once it has fired, it holds its tongue about the same for so long.
    pub cool_down: Window,
    /// The webhooks that hear of it.
    pub to: Vec<String>,
}

/// What a rule looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LooksFor {
    /// So many refusals of one principal, or of one service, within a window.
    Denials {
        /// How many.
        count: u32,
        /// Within which time.
        within: Window,
        /// Whether those of one service are counted, whoever it was.
        by_service: bool,
    },
    /// Somebody opened something in an emergency.
    Emergency,
    /// Somebody comes from a country that they did not come from within the last time.
    NewCountry(Memory),
    /// Somebody does what they did not do within the last time.
    UnusualOperation(Memory),
    /// The record cannot be written or read, or what is in it is not what was signed.
    Record {
        /// How often a part of it is verified.
        every: Window,
    },
    /// A certificate or an authority ends soon.
    Certificate {
        /// How soon.
        within: Window,
    },
    /// A sink has taken nothing for long.
    SinkFailing,
}

/// How long habits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// What was done within this time is usual.
    pub remember: Window,
    /// Somebody who has been known for less has no habits yet.
    pub learn: Window,
}

impl LooksFor {
    /// Its word in configuration.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Denials { .. } => "denials",
            Self::Emergency => "emergency",
            Self::NewCountry(_) => "new_country",
            Self::UnusualOperation(_) => "unusual_operation",
            Self::Record { .. } => "record",
            Self::Certificate { .. } => "certificate",
            Self::SinkFailing => "sink_failing",
        }
    }
}

/// A certificate and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateEnd {
    /// Which: `listener tls: cert.pem`.
    pub what: String,
    /// When it ends.
    pub at: Timestamp,
}

/// What is wrong with the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordTrouble {
    /// It cannot be written or read.
    Stopped(String),
    /// What is in it is not what was signed.
    Changed(String),
}

/// What rules ask of the world outside the record. Each may be slow.
#[async_trait]
pub trait Surroundings: Debug + Send + Sync {
    /// The country of an address, if it is known.
    fn country(&self, address: IpAddr) -> Option<String>;

    /// Looks at a part of the record, picked by `numbers`; says what is wrong.
    async fn verify(&self, numbers: Vec<u64>) -> Result<(), RecordTrouble>;

    /// When the certificates of this process end, as far as they can be read.
    async fn certificates(&self) -> Vec<CertificateEnd>;
}

/// The rules, and what they fired.
#[derive(Debug, Clone, Default)]
pub struct Alerts {
    rules: Vec<Rule>,
    base_url: String,
    around: Option<Arc<dyn Surroundings>>,
    /// How often each fired since the process started.
    told: Arc<Mutex<BTreeMap<String, u64>>>,
}

/// A rule and how it is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleView {
    /// Its name in configuration.
    pub name: String,
    /// What it looks for.
    pub kind: &'static str,
    /// The webhooks that hear of it.
    pub to: Vec<String>,
    /// How often it fired since the process started.
    pub fired: u64,
    /// When it last fired, for what, and how often it has held its tongue since: newest first.
    pub firings: Vec<FiringView>,
}

/// A firing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FiringView {
    /// For what.
    pub about: String,
    /// When.
    pub at: Timestamp,
    /// How often it would have fired again.
    pub suppressed: u32,
}

impl Alerts {
    /// `rules`, which ask `around`; links begin with `base_url`.
    pub fn new(rules: Vec<Rule>, base_url: String, around: Arc<dyn Surroundings>) -> Self {
        Self { rules, base_url, around: Some(around), told: Arc::default() }
    }

    /// How often each rule fired since the process started.
    pub fn counts(&self) -> Vec<(String, u64)> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |rule: &Rule| told.get(&rule.name).copied().unwrap_or_default();
        self.rules.iter().map(|rule| (rule.name.clone(), count(rule))).collect()
    }

    pub(crate) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    fn note(&self, rule: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        *told.entry(rule.to_owned()).or_default() += 1;
    }

    /// The webhooks that some rule names.
    pub fn named(&self) -> BTreeSet<&str> {
        self.rules.iter().flat_map(|rule| &rule.to).map(String::as_str).collect()
    }
}
