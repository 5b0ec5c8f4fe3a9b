//! Names and values of headers, read once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use http::{HeaderName, HeaderValue};

/// What a service wants changed in the headers of its requests and answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct HeaderRules {
    /// Of requests.
    pub request: HeaderChanges,
    /// Of answers.
    pub response: HeaderChanges,
}

/// Changes of one header section: first what is removed, then what is set, then what is added.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct HeaderChanges {
    /// Instead of all there are by that name.
    pub set: BTreeMap<FieldName, FieldValue>,
    /// Beside those that are there.
    pub add: BTreeMap<FieldName, FieldValue>,
    /// All there are by that name.
    pub remove: BTreeSet<FieldName>,
}

/// A text that is no header's name or value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidField {
    /// Not a name.
    #[error("it is not the name of a header")]
    Name,
    /// Not a value.
    #[error(
        "a value has 1 to 4096 visible characters of ASCII, and spaces between them but not around"
    )]
    Value,
}

/// The name of a header.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FieldName(HeaderName);

/// The value of a header.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FieldValue(HeaderValue);

const LONGEST: usize = 4096;

impl FieldName {
    /// As messages have it.
    pub fn get(&self) -> &HeaderName {
        &self.0
    }
}

impl FieldValue {
    /// As messages have it.
    pub fn get(&self) -> &HeaderValue {
        &self.0
    }
}

impl PartialOrd for FieldName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for FieldName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.as_str().cmp(other.0.as_str())
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl TryFrom<String> for FieldName {
    type Error = InvalidField;

    fn try_from(text: String) -> Result<Self, InvalidField> {
        HeaderName::from_bytes(text.as_bytes()).map(Self).map_err(|_| InvalidField::Name)
    }
}

impl TryFrom<String> for FieldValue {
    type Error = InvalidField;

    fn try_from(text: String) -> Result<Self, InvalidField> {
        let is_plain = (1..=LONGEST).contains(&text.len())
            && text.trim() == text
            && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        let value = is_plain.then(|| HeaderValue::try_from(text).ok()).flatten();
        value.map(Self).ok_or(InvalidField::Value)
    }
}

impl From<FieldName> for String {
    fn from(name: FieldName) -> Self {
        name.0.as_str().to_owned()
    }
}

impl From<FieldValue> for String {
    fn from(value: FieldValue) -> Self {
        value.0.to_str().unwrap_or_default().to_owned()
    }
}
