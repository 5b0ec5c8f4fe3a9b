//! What a proven ID token says of a person.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::{PersonClaims, email};
use crate::{
    AuthError, ClaimType, IssuerUrl, Rule, Template,
    claims::{Claims, Life, attributes, check_audience, granted_by, groups_of, time},
    jws::Unproven,
};

/// What is read of a person.
#[derive(Debug, Clone)]
pub(super) struct Reads {
    /// How they are named.
    pub(super) subject: Template,
    /// The claim that lists groups.
    pub(super) groups_claim: Option<String>,
    /// Groups by claims.
    pub(super) groups: Vec<Rule>,
    /// Claims that policies may read.
    pub(super) claims: BTreeMap<String, ClaimType>,
}

/// Reads a person from a token whose signature has been checked.
pub(super) fn person(
    issuer: &IssuerUrl,
    client_id: &str,
    reads: &Reads,
    token: &Unproven<'_>,
    now: Timestamp,
) -> Result<PersonClaims, AuthError> {
    let claims = &token.claims;
    if text(claims, "iss") != Some(issuer.as_str()) {
        return Err(AuthError::Bad("it is of another issuer"));
    }
    if !matches!(token.media_type().as_deref(), None | Some("jwt")) {
        return Err(AuthError::Bad("it is no ID token"));
    }
    check_audience(claims, client_id)?;
    check_authorized_party(claims, client_id)?;
    let life = Life::check(claims, now)?;
    life.issued_at.ok_or(AuthError::Bad("it does not say when it was made"))?;
    claimed(reads, claims)
}

/// Reads a person from what the provider says, whoever has checked that it does.
pub(super) fn claimed(reads: &Reads, claims: &Claims) -> Result<PersonClaims, AuthError> {
    let subject =
        reads.subject.fill(|claim| text(claims, claim)).filter(|subject| is_name(subject));
    let subject = subject.ok_or(AuthError::Bad("it names no usable subject"))?;
    let mut groups = match &reads.groups_claim {
        Some(claim) => groups_of(claims, claim)?,
        None => BTreeSet::new(),
    };
    groups.extend(granted_by(&reads.groups, claims));
    Ok(PersonClaims {
        email: verified_email(claims),
        name: name(claims).map_or_else(|| subject.clone(), str::to_owned),
        subject,
        groups,
        claims: attributes(&reads.claims, claims)?,
        amr: methods(claims)?,
        auth_time: time(claims, "auth_time")?,
        session: text(claims, "sid").filter(|sid| is_name(sid)).map(str::to_owned),
    })
}

pub(super) fn is_name(text: &str) -> bool {
    (1..=255).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// A token for several, or that names its party, must name us.
fn check_authorized_party(claims: &Claims, client_id: &str) -> Result<(), AuthError> {
    let several = claims.get("aud").and_then(Value::as_array).is_some_and(|aud| aud.len() > 1);
    match claims.get("azp") {
        Some(azp) if azp == client_id => Ok(()),
        None if !several => Ok(()),
        _ => Err(AuthError::Bad("it was made for another client")),
    }
}

/// `email_verified` must be `true` itself: a provider that says "true" has not been read.
fn verified_email(claims: &Claims) -> Option<String> {
    let verified = claims.get("email_verified") == Some(&Value::Bool(true));
    text(claims, "email").filter(|_| verified).and_then(email::parse)
}

fn name(claims: &Claims) -> Option<&str> {
    let names = ["name", "preferred_username", "username"];
    let names = names.into_iter().filter_map(|claim| text(claims, claim));
    names
        .into_iter()
        .find(|name| (1..=200).contains(&name.len()) && !name.chars().any(char::is_control))
}

fn methods(claims: &Claims) -> Result<BTreeSet<String>, AuthError> {
    let bad = AuthError::Bad("its `amr` is not a list of texts");
    match claims.get("amr") {
        None => Ok(BTreeSet::new()),
        Some(Value::Array(list)) => {
            let texts = list.iter().map(|one| one.as_str().map(str::to_owned));
            texts.collect::<Option<_>>().ok_or(bad)
        }
        Some(_) => Err(bad),
    }
}

pub(super) fn text<'a>(claims: &'a Claims, name: &str) -> Option<&'a str> {
    claims.get(name)?.as_str()
}
