//! The envelope of a token: three parts, a header that is read with suspicion, one signature.
//!
//! Nothing in a header chooses an algorithm, a key or an address (RFC 8725, 3.1 and 3.10): the
//! header's `alg` must equal what the key says, `kid` is looked up among the keys that are known,
//! and `jku`, `x5u` and `x5c` are not read. `jwk` is, of proofs of possession only: who is believed
//! there is told by the key's thumbprint.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::AuthError;

/// Larger than any honest token, and small enough to be read by anybody's leave.
const MAX_TOKEN: usize = 16 * 1024;

/// A token whose parts are readable. Nothing in it is proven yet.
#[derive(Debug)]
pub(crate) struct Unproven<'a> {
    pub(crate) alg: String,
    pub(crate) kid: Option<String>,
    pub(crate) typ: Option<String>,
    /// The key that came along; nobody vouches for it.
    pub(crate) jwk: Option<Value>,
    pub(crate) claims: Map<String, Value>,
    /// What was signed: the first two parts with the dot between them.
    pub(crate) message: &'a str,
    pub(crate) signature: &'a str,
}

impl<'a> Unproven<'a> {
    pub(crate) fn parse(token: &'a str) -> Result<Self, AuthError> {
        if token.len() > MAX_TOKEN {
            return Err(AuthError::Bad("the token is larger than 16 KiB"));
        }
        let not_a_jwt = AuthError::Bad("the token is not a signed JWT");
        let (message, signature) = token.rsplit_once('.').ok_or(not_a_jwt.clone())?;
        let (header, claims) = message.split_once('.').ok_or(not_a_jwt.clone())?;
        let mut header = object(header).ok_or(not_a_jwt.clone())?;
        let claims = object(claims).ok_or(not_a_jwt)?;
        if header.contains_key("crit") {
            return Err(AuthError::Bad("the token has critical extensions"));
        }
        // RFC 7797 and RFC 7516 change what is signed; neither belongs here.
        if header.contains_key("b64") || header.contains_key("enc") || header.contains_key("zip") {
            return Err(AuthError::Bad("the token is not a plain signed JWT"));
        }
        let mut text = |name: &str| match header.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(AuthError::Bad("a parameter of the token's header has the wrong type")),
        };
        let alg = text("alg")?.ok_or(AuthError::Bad("the token names no algorithm"))?;
        let (kid, typ) = (text("kid")?, text("typ")?);
        Ok(Self { alg, kid, typ, jwk: header.remove("jwk"), claims, message, signature })
    }

    /// The `typ` without the `application/` that it may carry (RFC 7515, 4.1.9), in lower case.
    pub(crate) fn media_type(&self) -> Option<String> {
        let typ = self.typ.as_deref()?.to_ascii_lowercase();
        Some(typ.strip_prefix("application/").map(str::to_owned).unwrap_or(typ))
    }
}

/// Whether `token` is in the form of RFC 7515 or RFC 7516: what comes before its first dot is an
/// object. Nobody but its signature vouches for it then, however damaged the rest is.
pub(crate) fn is_jose(token: &str) -> bool {
    token.split_once('.').is_some_and(|(header, _)| {
        let json = URL_SAFE_NO_PAD.decode(header).ok();
        json.is_some_and(|json| serde_json::from_slice::<Map<String, Value>>(&json).is_ok())
    })
}

/// An object in which every name stands once.
pub(crate) fn unique_object(json: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice::<UniqueMap>(json).ok().map(|map| map.0)
}

fn object(part: &str) -> Option<Map<String, Value>> {
    unique_object(&URL_SAFE_NO_PAD.decode(part).ok()?)
}

/// An object in which every name stands once: of two `aud`, two readers might take one each.
struct UniqueMap(Map<String, Value>);

impl<'de> Deserialize<'de> for UniqueMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueVisitor)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = UniqueMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<UniqueMap, A::Error> {
        let mut map = Map::new();
        while let Some((name, value)) = access.next_entry::<String, Value>()? {
            if map.insert(name, value).is_some() {
                return Err(A::Error::custom("a name stands twice"));
            }
        }
        Ok(UniqueMap(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, claims: &str) -> String {
        format!("{}.{}.AA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn what_is_not_three_readable_parts_is_refused() {
        for bad in ["", ".", "..", "a.b.c", "e30.e30.", "e30.e30", "e30.e30.a.b", "\u{e9}.e30.a"] {
            assert!(Unproven::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_that_stands_twice_is_refused() {
        let twice = token(r#"{"alg":"ES256"}"#, r#"{"aud":"a","aud":"b"}"#);
        assert!(Unproven::parse(&twice).is_err());
        assert!(Unproven::parse(&token(r#"{"alg":"none","alg":"ES256"}"#, "{}")).is_err());
        assert!(Unproven::parse(&token(r#"{"alg":"ES256"}"#, "{}")).is_ok());
    }

    #[test]
    fn what_begins_with_a_header_is_a_jwt_and_nothing_else_is() {
        for jose in [&token("{}", "{}"), "e30.", "e30.x", "eyJhbGciOiJub25lIn0.e30.", "IHt9.a"] {
            assert!(is_jose(jose), "{jose}");
        }
        for other in ["", "e30", ".e30", "a.b", "ory_at_abc.def", "v4.public.eyJ9", "W10.e30.x"] {
            assert!(!is_jose(other), "{other}");
        }
    }

    #[test]
    fn a_media_type_is_compared_without_case_and_prefix() {
        let media_type = |typ: &str| {
            let token = token(&format!(r#"{{"alg":"ES256","typ":"{typ}"}}"#), "{}");
            Unproven::parse(&token).unwrap().media_type().unwrap()
        };
        assert_eq!(media_type("application/AT+jwt"), "at+jwt");
        assert_eq!(media_type("JWT"), "jwt");
    }

    #[test]
    fn an_endless_token_is_refused_before_it_is_read() {
        let refusal = Unproven::parse(&"a".repeat(MAX_TOKEN + 1)).unwrap_err();
        assert_eq!(refusal, AuthError::Bad("the token is larger than 16 KiB"));
    }
}
