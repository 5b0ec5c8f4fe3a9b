//! Rules about claims: what a token must say to be accepted, and what puts its bearer into groups.
//!
//! A value is compared letter by letter. A glob is one only where the rule says so: identities are
//! data, and a branch that somebody called `release.*` must never widen a rule. There are no
//! regular expressions.

use portcullis_model::Group;
use serde_json::Value;

use crate::{ConfigError, claims::Claims};

/// What a claim must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// Exactly this.
    Exact(String),
    /// Like this, where `*` stands for any characters but `/` and everything else for itself.
    Glob(String),
}

/// A claim, and the patterns of which it must match one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    claim: String,
    any: Vec<Pattern>,
}

/// What a token must say, all of it, to put its bearer into groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    when: Vec<Requirement>,
    groups: Vec<Group>,
}

impl Pattern {
    /// A glob. `**`, and one that would match anything, are refused: they say less than they seem.
    pub fn glob(text: &str) -> Result<Self, ConfigError> {
        let refused = |why| Err(ConfigError::Glob { glob: text.to_owned(), why });
        if text.contains("**") {
            return refused("`*` stands for any characters but `/`; there is no `**`");
        }
        if !text.contains('*') {
            return refused("it has no `*`; write the value itself, without `glob`");
        }
        if text.chars().all(|c| c == '*' || c == '/') {
            return refused("it would match whatever anybody calls their branch");
        }
        Ok(Self::Glob(text.to_owned()))
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(value) => text == value,
            Self::Glob(glob) => glob_matches(glob, text),
        }
    }

    fn in_words(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Glob(text) => text,
        }
    }
}

impl Requirement {
    /// `claim` must match one of `any`.
    pub fn new(claim: impl Into<String>, any: Vec<Pattern>) -> Self {
        Self { claim: claim.into(), any }
    }

    /// The claim.
    pub fn claim(&self) -> &str {
        &self.claim
    }

    /// Whether it is met: by the claim's text, number or flag, or by one text of its list.
    pub(crate) fn is_met(&self, claims: &Claims) -> bool {
        let any = |text: &str| self.any.iter().any(|pattern| pattern.matches(text));
        match claims.get(&self.claim) {
            Some(Value::String(text)) => any(text),
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).any(any),
            Some(Value::Bool(flag)) => any(if *flag { "true" } else { "false" }),
            Some(Value::Number(number)) => any(&number.to_string()),
            Some(Value::Null | Value::Object(_)) | None => false,
        }
    }

    /// `ref=refs/heads/main`, as rules are written.
    fn in_words(&self) -> String {
        let any: Vec<_> = self.any.iter().map(Pattern::in_words).collect();
        format!("{}={}", self.claim, any.join("|"))
    }
}

impl Rule {
    /// All of `when` gives `groups`.
    pub fn new(when: Vec<Requirement>, groups: Vec<Group>) -> Self {
        Self { when, groups }
    }

    /// Reads `claim=value`, as in `environment=production`.
    pub fn parse(condition: &str, groups: Vec<Group>) -> Result<Self, ConfigError> {
        match condition.split_once('=') {
            Some((claim, value)) if !claim.is_empty() && !value.is_empty() => {
                let when = Requirement::new(claim, vec![Pattern::Exact(value.to_owned())]);
                Ok(Self::new(vec![when], groups))
            }
            _ => Err(ConfigError::GroupRule(condition.to_owned())),
        }
    }

    /// The claims that it asks for.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        self.when.iter().map(Requirement::claim)
    }

    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// INVARIANT: a rule without a condition gives nothing.
    pub(crate) fn is_met(&self, claims: &Claims) -> bool {
        !self.when.is_empty() && self.when.iter().all(|requirement| requirement.is_met(claims))
    }

    /// What it asks for, for people.
    pub(crate) fn in_words(&self) -> String {
        let all: Vec<_> = self.when.iter().map(Requirement::in_words).collect();
        all.join(" and ")
    }
}

/// Segment by segment, so that no `*` ever reaches over a `/`.
fn glob_matches(glob: &str, text: &str) -> bool {
    let (glob, text): (Vec<_>, Vec<_>) = (glob.split('/').collect(), text.split('/').collect());
    glob.len() == text.len() && glob.iter().zip(&text).all(|(glob, text)| segment(glob, text))
}

/// Whether the pieces between the stars follow each other: each as early as it can, the last at the
/// end. No piece is looked for twice.
fn segment(glob: &str, text: &str) -> bool {
    let Some((first, rest)) = glob.split_once('*') else { return glob == text };
    let Some(mut left) = text.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some((_, after)) = left.split_once(piece) else { return false };
        left = after;
    }
    left.len() >= last.len() && left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn met(any: Vec<Pattern>, claim: &Value) -> bool {
        let claims = json!({"ref": claim});
        Requirement::new("ref", any).is_met(claims.as_object().unwrap())
    }

    fn like(glob: &str, text: &str) -> bool {
        met(vec![Pattern::glob(glob).unwrap()], &json!(text))
    }

    #[test]
    fn b15_a_value_is_data_and_never_a_pattern() {
        let exact = |value: &str| vec![Pattern::Exact(value.to_owned())];
        assert!(met(exact("refs/heads/main"), &json!("refs/heads/main")));
        for other in ["refs/heads/main2", "refs/heads/mai", "REFS/heads/main", " refs/heads/main"] {
            assert!(!met(exact("refs/heads/main"), &json!(other)), "{other}");
        }
        for wild in ["refs/heads/*", "refs/heads/.*", "refs/heads/ma[i]n", "refs/heads/mai?"] {
            assert!(!met(exact(wild), &json!("refs/heads/main")), "{wild}");
        }
        assert!(met(exact("refs/heads/*"), &json!("refs/heads/*")));
    }

    #[test]
    fn a_star_stays_between_two_slashes() {
        assert!(like("refs/heads/release-*", "refs/heads/release-1.2"));
        assert!(like("refs/heads/*-release", "refs/heads/a-release-release"));
        assert!(like("refs/tags/v*.*", "refs/tags/v1.2"));
        assert!(like("refs/tags/v*", "refs/tags/v"));
        for other in [
            "refs/heads/release-1/2",
            "refs/heads/release",
            "refs/heads/xrelease-1",
            "refs/pull/1/refs/heads/release-1",
            "refs/heads/release-1/",
        ] {
            assert!(!like("refs/heads/release-*", other), "{other}");
        }
        assert!(!like("refs/tags/v*.*", "refs/tags/v12"));
        assert!(!like("a*a", "a"));
        assert!(!like("v*?", "v1"), "everything but `*` is itself");
    }

    #[test]
    fn a_glob_that_says_nothing_is_refused() {
        for bad in ["", "*", "*/*", "refs/**", "refs/heads/main"] {
            assert!(Pattern::glob(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_numbers_and_flags_are_compared_as_text() {
        let exact = |value: &str| vec![Pattern::Exact(value.to_owned())];
        assert!(met(exact("a"), &json!(["b", "a"])));
        assert!(met(exact("7"), &json!(7)));
        assert!(met(exact("true"), &json!(true)));
        for never in [json!(null), json!({"a": "a"}), json!([["a"]]), json!([1])] {
            assert!(!met(exact("a"), &never), "{never}");
        }
    }

    #[test]
    fn a_rule_wants_all_and_one_without_a_condition_gives_nothing() {
        let claims = json!({"repository": "shop/cart", "ref": "main"});
        let claims = claims.as_object().unwrap();
        let wants =
            |claim, value: &str| Requirement::new(claim, vec![Pattern::Exact(value.to_owned())]);
        let both = vec![wants("repository", "shop/cart"), wants("ref", "main")];
        assert!(Rule::new(both, vec![]).is_met(claims));
        let one = vec![wants("repository", "shop/cart"), wants("ref", "next")];
        assert!(!Rule::new(one, vec![]).is_met(claims));
        assert!(!Rule::new(vec![], vec![]).is_met(claims));
    }

    #[test]
    fn a_group_rule_needs_a_claim_and_a_value() {
        assert!(Rule::parse("a=b=c", vec![]).is_ok_and(|rule| rule.in_words() == "a=b=c"));
        for bad in ["", "a", "=b", "a="] {
            assert!(Rule::parse(bad, vec![]).is_err(), "{bad}");
        }
    }
}
