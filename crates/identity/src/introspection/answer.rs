//! What an issuer says of a token (RFC 7662, 2.2), read strictly.

use jiff::Timestamp;
use portcullis_model::{Origin, Principal};
use serde_json::Value;

use super::OpaqueIssuer;
use crate::{
    AuthError,
    claims::{self, Claims, Life},
    jws,
};

/// A token that its issuer vouches for.
#[derive(Debug)]
pub(super) struct Vouched {
    pub(super) principal: Principal,
    pub(super) origin: Origin,
    pub(super) life: Life,
}

/// Reads an answer; `None` if it is none, and says nothing about the token.
pub(super) fn read(
    issuer: &OpaqueIssuer,
    body: &[u8],
    now: Timestamp,
) -> Option<Result<Vouched, AuthError>> {
    let claims = jws::unique_object(body)?;
    match claims.get("active") {
        Some(Value::Bool(true)) => Some(vouched(issuer, &claims, now)),
        Some(Value::Bool(false)) => {
            Some(Err(AuthError::Bad("the token's issuer does not vouch for it")))
        }
        _ => None,
    }
}

fn vouched(issuer: &OpaqueIssuer, claims: &Claims, now: Timestamp) -> Result<Vouched, AuthError> {
    check_kind(claims)?;
    if let (Some(said), Some(known)) = (claims.get("iss"), issuer.issuer())
        && said != known.as_str()
    {
        return Err(AuthError::Bad("the token is of another issuer"));
    }
    if let Some(audience) = &issuer.audience {
        claims::check_audience(claims, audience)?;
    }
    check_scopes(claims, &issuer.scopes)?;
    let life = Life::check_said(claims, now)?;
    let (principal, origin) =
        claims::principal(&issuer.name, &issuer.in_words(), &issuer.mapping, claims)?;
    Ok(Vouched { principal, origin, life })
}

/// Issuers vouch for refresh tokens at the same place, and only what the answer says tells them
/// apart: so it has to say that it is about an access token. One that is bound to a key must not be
/// accepted from whoever bears it (RFC 9449, 7.1; RFC 8705, 3).
fn check_kind(claims: &Claims) -> Result<(), AuthError> {
    claims::check_purpose(None, claims)?;
    if claims.contains_key("cnf") {
        return Err(AuthError::Bad("the token is bound to a key and cannot be borne"));
    }
    let says = |name: &str, wanted: &[&str]| {
        let said = claims.get(name).map(|said| said.as_str().map(str::to_ascii_lowercase));
        said.map(|said| said.is_some_and(|said| wanted.contains(&said.as_str())))
    };
    let bearer = says("token_type", &["bearer", "access_token"]);
    let access = says("token_use", &["access", "access_token"]);
    let typ = says("typ", &["bearer", "at+jwt"]);
    match [bearer, access, typ] {
        // A wrong word is never outvoted by a right one, except `typ`, which has many meanings.
        [Some(false), ..] | [_, Some(false), _] => {
            Err(AuthError::Bad("the token was made for another purpose"))
        }
        said if said.contains(&Some(true)) => Ok(()),
        _ => Err(AuthError::Bad("its issuer does not say that this is an access token")),
    }
}

fn check_scopes(claims: &Claims, wanted: &[String]) -> Result<(), AuthError> {
    let held = claims.get("scope").and_then(Value::as_str).unwrap_or_default();
    let has = |one: &String| held.split(' ').any(|held| held == one);
    if wanted.iter().all(has) {
        return Ok(());
    }
    Err(AuthError::Bad("the token lacks a scope that its issuer's tokens need here"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use portcullis_model::Secret;
    use serde_json::json;

    use super::*;
    use crate::{Introspection, Mapping};

    fn issuer() -> OpaqueIssuer {
        OpaqueIssuer {
            name: "batch".into(),
            introspection: Introspection::At {
                endpoint: "https://id.example.com/introspect".parse().unwrap(),
                issuer: Some("https://id.example.com".parse().unwrap()),
            },
            client_id: "portcullis".into(),
            client_secret: Secret::new("s"),
            prefix: None,
            audience: Some("portcullis".into()),
            scopes: vec!["read".into(), "list".into()],
            mapping: Mapping::default(),
            answer: Duration::from_secs(30),
        }
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn sound() -> Value {
        json!({
            "active": true, "token_type": "Bearer", "sub": "job", "aud": ["x", "portcullis"],
            "scope": "list read", "iss": "https://id.example.com", "exp": 1_800_000_060,
        })
    }

    fn said(change: impl FnOnce(&mut Value)) -> Option<Result<Vouched, AuthError>> {
        let mut answer = sound();
        change(&mut answer);
        read(&issuer(), answer.to_string().as_bytes(), now())
    }

    #[test]
    fn a_sound_answer_names_a_workload() {
        let vouched = said(|_| {}).unwrap().unwrap();
        assert_eq!(vouched.principal.id.id.as_ref(), "batch:job");
        assert_eq!(vouched.life.ends_at.as_second(), 1_800_000_090);
        let forever = said(|answer| drop(answer.as_object_mut().unwrap().remove("exp")));
        assert_eq!(forever.unwrap().unwrap().life.ends_at, Timestamp::MAX);
    }

    #[test]
    fn an_answer_with_a_defect_vouches_for_nobody() {
        for (name, value) in [
            ("active", json!(false)),
            ("token_type", json!("DPoP")),
            ("token_type", json!(null)),
            ("token_type", json!(["Bearer"])),
            ("token_use", json!("refresh_token")),
            ("token_use", json!("id")),
            ("typ", json!("Refresh")),
            ("nonce", json!("x")),
            ("cnf", json!({"jkt": "x"})),
            ("cnf", json!({})),
            ("iss", json!("https://id.example.com/")),
            ("iss", json!(null)),
            ("aud", json!("other")),
            ("aud", json!(null)),
            ("scope", json!("list")),
            ("scope", json!("listread")),
            ("scope", json!(["list", "read"])),
            ("exp", json!(1_799_999_969)),
            ("exp", json!("never")),
            ("exp", json!(null)),
            ("nbf", json!(1_800_000_031)),
            ("iat", json!(1_800_000_031)),
            ("sub", json!(7)),
            ("sub", json!("")),
        ] {
            let found = said(|answer| answer[name] = value.clone());
            assert!(found.unwrap().is_err(), "{name}: {value}");
        }
        for name in ["token_type", "aud", "scope", "sub"] {
            let found = said(|answer| drop(answer.as_object_mut().unwrap().remove(name)));
            assert!(found.unwrap().is_err(), "without {name}");
        }
    }

    #[test]
    fn what_is_no_answer_says_nothing() {
        for active in [json!("true"), json!(1), json!(null), json!({})] {
            assert!(said(|answer| answer["active"] = active.clone()).is_none(), "{active}");
        }
        for body in ["", "[]", "<html>", r#"{"active":false,"active":true}"#, "{}"] {
            assert!(read(&issuer(), body.as_bytes(), now()).is_none(), "{body}");
        }
    }
}
