//! Test files as they are written.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use portcullis_model::{
    AttributeValue, ClassName, GrantKind, IncidentId, InstanceName, OperationName, PolicyId,
    PrincipalKind, ScheduleName, ServiceName, Severity,
};
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};

use crate::{LoadError, place::File};

/// A test file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tests {
    pub(super) principals: BTreeMap<String, PrincipalEntry>,
    /// Those that are open.
    #[serde(default)]
    pub(super) incidents: BTreeMap<IncidentId, IncidentEntry>,
    pub(super) cases: Vec<Case>,
}

/// An open incident.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IncidentEntry {
    pub(super) services: BTreeSet<ServiceName>,
    pub(super) severity: Severity,
    /// Who opened it, like `corp:lea`.
    pub(super) opened_by: Option<String>,
}

/// Somebody who asks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PrincipalEntry {
    #[serde(rename = "type")]
    pub(super) kind: PrincipalKind,
    pub(super) id: Spanned<String>,
    #[serde(default)]
    pub(super) groups: Vec<String>,
    pub(super) email: Option<String>,
    #[serde(default)]
    pub(super) amr: Vec<String>,
    #[serde(default)]
    pub(super) on_call: BTreeSet<ScheduleName>,
    #[serde(default)]
    pub(super) claims: BTreeMap<String, AttributeValue>,
}

/// One question and its answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: Spanned<String>,
    pub(super) principal: String,
    pub(super) operation: OperationName,
    pub(super) instance: Option<InstanceName>,
    /// The class of data to be seen in the operation's answers: that is what is asked then.
    pub(super) reveal: Option<ClassName>,
    #[serde(default)]
    pub(super) context: ContextEntry,
    pub(super) grant: Option<GrantEntry>,
    pub(super) expect: Expected,
    pub(super) policies: Option<Vec<PolicyId>>,
    pub(super) ways: Option<Vec<WayEntry>>,
}

/// What is known of the request; what is left out is absent, or as usual as can be.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ContextEntry {
    pub(super) source: Option<IpAddr>,
    pub(super) country: Option<String>,
    pub(super) params: Option<serde_json::Map<String, serde_json::Value>>,
    pub(super) body: Option<serde_json::Value>,
    pub(super) now: Option<String>,
    pub(super) auth_age: Option<String>,
}

/// A grant in force.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantEntry {
    pub(super) rule: PolicyId,
    pub(super) reviews: Option<u8>,
    pub(super) kind: Option<GrantKind>,
    pub(super) incident: Option<IncidentId>,
}

/// One way among those that are expected, best first.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WayEntry {
    pub(super) rule: PolicyId,
    pub(super) reviews: Option<u8>,
    pub(super) incident: Option<IncidentId>,
}

/// The three answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Expected {
    Permit,
    Requestable,
    Deny,
}

impl Expected {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Requestable => "requestable",
            Self::Deny => "deny",
        }
    }
}

/// Reads `file`, or says where it is no test file.
pub(super) fn parse(file: File<'_>) -> Result<Tests, Box<LoadError>> {
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    serde_saphyr::from_str_with_options(file.text, options).map_err(|error| {
        let line = error.location().as_ref().and_then(line);
        let message = error.without_snippet().render();
        let message = message.lines().next().unwrap_or("is not YAML");
        // The place is told by the error itself; the library's text repeats it.
        let message = message.split(" at line ").next().unwrap_or(message);
        Box::new(at_line(file, line, format!("not a policy test: {message}")))
    })
}

/// The 1-based line of `location`, if it has one.
pub(super) fn line(location: &Location) -> Option<usize> {
    usize::try_from(location.line()).ok().filter(|line| *line > 0)
}

/// A mistake in this line of `file`.
pub(super) fn at_line(file: File<'_>, line: Option<usize>, message: String) -> LoadError {
    let text = line.and_then(|line| file.text.lines().nth(line.checked_sub(1)?));
    LoadError { line, snippet: text.map(str::to_owned), ..file.error_of_file(message) }
}
