//! How a workload's claims become its name: `ci:{repository}`.
//!
//! Two tokens with different claims must never come out with one name, so a value that holds the
//! text which separates it from the next placeholder is refused, as are control characters.

use std::{fmt, str::FromStr};

use serde::Deserialize;

use crate::ConfigError;

/// Text with placeholders in braces, each naming a claim.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    prefix: String,
    placeholders: Vec<Placeholder>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Placeholder {
    claim: String,
    /// What stands between this placeholder and the next one, or the end.
    separator: String,
}

impl Template {
    /// Fills the placeholders in; `None` if a claim is missing, empty, or could be misread.
    pub(crate) fn fill<'a>(&self, claim: impl Fn(&str) -> Option<&'a str>) -> Option<String> {
        let mut filled = self.prefix.clone();
        let last = self.placeholders.len().saturating_sub(1);
        for (at, placeholder) in self.placeholders.iter().enumerate() {
            let value = claim(&placeholder.claim)?;
            let misread = at < last && value.contains(&placeholder.separator);
            if value.is_empty() || misread || value.chars().any(char::is_control) {
                return None;
            }
            filled.push_str(value);
            filled.push_str(&placeholder.separator);
        }
        Some(filled)
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        let mut pieces = text.split('{');
        let prefix = pieces.next().unwrap_or_default().to_owned();
        let mut placeholders = Vec::new();
        for piece in pieces {
            let (claim, separator) = piece.split_once('}').ok_or("a `{` is never closed")?;
            if claim.is_empty() {
                return Err("`{}` names no claim");
            }
            if separator.contains('}') {
                return Err("a `}` closes nothing");
            }
            placeholders
                .push(Placeholder { claim: claim.to_owned(), separator: separator.to_owned() });
        }
        let last = placeholders.len().checked_sub(1).ok_or("it names no claim")?;
        if prefix.contains('}') {
            return Err("a `}` closes nothing");
        }
        if placeholders.iter().take(last).any(|placeholder| placeholder.separator.is_empty()) {
            return Err("two placeholders need some text between them, or names could collide");
        }
        Ok(Self { text: text.to_owned(), prefix, placeholders })
    }
}

impl Default for Template {
    /// `{sub}`.
    fn default() -> Self {
        let sub = Placeholder { claim: "sub".to_owned(), separator: String::new() };
        Self { text: "{sub}".to_owned(), prefix: String::new(), placeholders: vec![sub] }
    }
}

impl FromStr for Template {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        Self::read(text).map_err(|why| ConfigError::Template { template: text.to_owned(), why })
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(template: &str, repository: &'static str) -> Option<String> {
        let template: Template = template.parse().unwrap();
        template.fill(|claim| match claim {
            "repository" => Some(repository),
            "ref" => Some("main"),
            _ => None,
        })
    }

    #[test]
    fn placeholders_are_filled_in() {
        assert_eq!(fill("ci:{repository}", "shop/cart").unwrap(), "ci:shop/cart");
        assert_eq!(fill("{repository}@{ref}!", "shop").unwrap(), "shop@main!");
        assert_eq!(Template::default(), "{sub}".parse().unwrap());
    }

    #[test]
    fn a_missing_empty_or_ambiguous_value_names_nobody() {
        assert_eq!(fill("{job}", "shop"), None);
        assert_eq!(fill("{repository}", ""), None);
        assert_eq!(fill("{repository}", "a\nb"), None);
        assert_eq!(fill("{repository}@{ref}", "shop@main"), None);
        assert_eq!(fill("{ref}@{repository}", "shop@main").unwrap(), "main@shop@main");
    }

    #[test]
    fn a_template_that_cannot_tell_workloads_apart_does_not_parse() {
        for bad in ["", "ci", "{", "{a", "a}", "{}", "{a}{b}", "{a}}"] {
            assert!(bad.parse::<Template>().is_err(), "{bad}");
        }
    }
}
