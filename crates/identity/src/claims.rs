//! What a proven token says, read strictly.
//!
//! A claim of the wrong type is a refusal and never a default: a reader that took `"exp": "never"`
//! for "no expiry" would admit for ever.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{AttributeValue, Group, Origin, Principal, PrincipalId, PrincipalKind};
use serde_json::{Map, Value};

use crate::{AuthError, ClaimType, Mapping, Rule};

/// How far clocks may be apart. The same on both sides of a token's life.
pub(crate) const LEEWAY: SignedDuration = SignedDuration::from_secs(30);

/// Longer than any honest name.
const MAX_SUBJECT: usize = 512;

pub(crate) type Claims = Map<String, Value>;

/// When a token was made, and when it stops being accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) issued_at: Option<Timestamp>,
    /// `exp` and the leeway: the first moment at which the token is refused.
    pub(crate) ends_at: Timestamp,
}

impl Life {
    /// Checks `exp` (required), `nbf` and `iat` (RFC 7519, 4.1).
    pub(crate) fn check(claims: &Claims, now: Timestamp) -> Result<Self, AuthError> {
        time(claims, "exp")?.ok_or(AuthError::Bad("the token never expires"))?;
        Self::check_said(claims, now)
    }

    /// The same where whoever vouches is asked again, so that `exp` may be absent (RFC 7662, 2.2).
    pub(crate) fn check_said(claims: &Claims, now: Timestamp) -> Result<Self, AuthError> {
        let ends_at = match time(claims, "exp")? {
            None => Timestamp::MAX,
            Some(exp) => exp
                .checked_add(LEEWAY)
                .map_err(|_| AuthError::Bad("the token's expiry is out of range"))?,
        };
        if now >= ends_at {
            return Err(AuthError::Bad("the token has expired"));
        }
        let issued_at = time(claims, "iat")?;
        let begins_at = [issued_at, time(claims, "nbf")?];
        if begins_at.into_iter().flatten().any(|begins_at| begins_at.duration_since(now) > LEEWAY) {
            return Err(AuthError::Bad("the token is not valid yet"));
        }
        Ok(Self { issued_at, ends_at })
    }
}

/// Checks that `aud` is, or lists, `audience`.
pub(crate) fn check_audience(claims: &Claims, audience: &str) -> Result<(), AuthError> {
    let ours = match claims.get("aud") {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(many)) => {
            many.iter().all(Value::is_string) && many.iter().any(|one| one == audience)
        }
        _ => false,
    };
    if ours { Ok(()) } else { Err(AuthError::Bad("the token is for another audience")) }
}

/// Refuses tokens that were made for another purpose than to be presented to a service: a
/// person's ID token, a refresh or logout token (RFC 8725, 3.12).
pub(crate) fn check_purpose(media_type: Option<&str>, claims: &Claims) -> Result<(), AuthError> {
    let other = AuthError::Bad("the token was made for another purpose");
    if !matches!(media_type, None | Some("jwt" | "at+jwt")) {
        return Err(other);
    }
    if ["nonce", "at_hash", "c_hash", "s_hash", "events"]
        .iter()
        .any(|name| claims.contains_key(*name))
    {
        return Err(other);
    }
    // Providers that sign all their tokens alike say here what each is for.
    let said = ["token_use", "typ"].iter().filter_map(|name| claims.get(*name)?.as_str());
    let purposes = ["id", "id_token", "refresh", "refresh_token", "offline", "logout"];
    if said.into_iter().any(|said| purposes.contains(&said.to_ascii_lowercase().as_str())) {
        return Err(other);
    }
    Ok(())
}

/// The principal that `claims` are about as `mapping` says, under the issuer's `name`, and where what
/// is known of it came from: `vouches` is what the issuer calls itself.
pub(crate) fn principal(
    name: &str,
    vouches: &str,
    mapping: &Mapping,
    claims: &Claims,
) -> Result<(Principal, Origin), AuthError> {
    if let Some(unmet) = mapping.require.iter().find(|requirement| !requirement.is_met(claims)) {
        tracing::debug!(issuer = name, claim = unmet.claim(), "a requirement is not met");
        return Err(AuthError::Bad(
            "the token does not say what is required of its issuer's tokens",
        ));
    }
    let subject = mapping
        .subject
        .fill(|claim| claims.get(claim)?.as_str())
        .filter(|subject| subject.len() <= MAX_SUBJECT)
        .ok_or(AuthError::Bad("the token lacks a usable claim that its subject is made from"))?;
    let mut groups = BTreeMap::new();
    if let Some(claim) = &mapping.groups_claim {
        let from = format!("claim `{claim}`");
        groups.extend(groups_of(claims, claim)?.into_iter().map(|group| (group, from.clone())));
    }
    for rule in mapping.groups.iter().filter(|rule| rule.is_met(claims)) {
        let from = format!("rule `{}`", rule.in_words());
        for group in rule.groups() {
            groups.entry(group.clone()).or_insert_with(|| from.clone());
        }
    }
    let principal = Principal {
        id: PrincipalId::new(PrincipalKind::Workload, name, &subject),
        person: None,
        name: subject,
        email: None,
        groups: groups.keys().cloned().collect(),
        amr: BTreeSet::new(),
        issuer: name.to_owned(),
        claims: attributes(&mapping.claims, claims)?,
    };
    let (issuer, subject) = (vouches.to_owned(), mapping.subject.to_string());
    Ok((principal, Origin { issuer, subject, groups }))
}

/// The groups listed by `claim`. Left out, cut short or of another type, they are an error: an
/// empty set would quietly lift every rule that forbids something to a group.
pub(crate) fn groups_of(claims: &Claims, claim: &str) -> Result<BTreeSet<Group>, AuthError> {
    let elsewhere = claims.get("_claim_names").is_some_and(|names| names.get(claim).is_some());
    if elsewhere || claims.contains_key("hasgroups") {
        return Err(AuthError::Bad(
            "the identity provider left the groups out because there are too many",
        ));
    }
    let listed = claims.get(claim).ok_or(AuthError::Bad("the token lacks the groups claim"))?;
    texts(listed)
        .map(|groups| groups.into_iter().map(Group::from).collect())
        .ok_or(AuthError::Bad("the token's groups claim is not a list of texts"))
}

/// The groups of all `rules` that hold for `claims`.
pub(crate) fn granted_by(rules: &[Rule], claims: &Claims) -> BTreeSet<Group> {
    let holding = rules.iter().filter(|rule| rule.is_met(claims));
    holding.flat_map(|rule| rule.groups().iter().cloned()).collect()
}

pub(crate) fn attributes(
    types: &BTreeMap<String, ClaimType>,
    claims: &Claims,
) -> Result<BTreeMap<String, AttributeValue>, AuthError> {
    // Systems say so that there is none, as Buildkite of the key of a step without one.
    let said = |name: &String| claims.get(name).filter(|value| !value.is_null());
    let present = types.iter().filter_map(|(name, kind)| Some((name, kind, said(name)?)));
    present.map(|(name, kind, value)| Ok((name.clone(), attribute(*kind, value)?))).collect()
}

fn attribute(kind: ClaimType, value: &Value) -> Result<AttributeValue, AuthError> {
    let typed = match kind {
        ClaimType::Bool => value.as_bool().map(AttributeValue::Bool),
        ClaimType::Long => value.as_i64().map(AttributeValue::Long),
        ClaimType::String => value.as_str().map(|text| AttributeValue::String(text.to_owned())),
        ClaimType::Set => texts(value).map(AttributeValue::Set),
    };
    typed.ok_or(AuthError::Bad("a claim of the token has another type than is configured"))
}

fn texts(value: &Value) -> Option<BTreeSet<String>> {
    value.as_array()?.iter().map(|one| one.as_str().map(str::to_owned)).collect()
}

/// A `NumericDate` in whole seconds, or nothing; anything else is refused.
pub(crate) fn time(claims: &Claims, name: &str) -> Result<Option<Timestamp>, AuthError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    value
        .as_i64()
        .filter(|seconds| *seconds >= 0)
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map(Some)
        .ok_or(AuthError::Bad("a time in the token is not a whole number of seconds"))
}
