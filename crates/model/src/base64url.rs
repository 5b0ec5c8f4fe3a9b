//! Bytes that travel as base64url without padding (RFC 4648, section 5), as `WebAuthn` writes them.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes, in JSON a base64url text. Read strictly: no padding, no other alphabet, no stray bits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Base64Url(pub Vec<u8>);

impl AsRef<[u8]> for Base64Url {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Base64Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(&self.0))
    }
}

impl FromStr for Base64Url {
    type Err = base64::DecodeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        URL_SAFE_NO_PAD.decode(text).map(Self)
    }
}

impl Serialize for Base64Url {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Base64Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error| serde::de::Error::custom(format!("no base64url: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_text_for_the_same_bytes() {
        let bytes = Base64Url(vec![0xfb, 0xff, 0]);
        assert_eq!(bytes.to_string(), "-_8A");
        assert_eq!("-_8A".parse::<Base64Url>().unwrap(), bytes);
        for other in ["-_8A=", "+/8A", "-_8", "-_8B\n", "-_9", "-_8A "] {
            let same = other.parse::<Base64Url>().is_ok_and(|read| read == bytes);
            assert!(!same, "{other:?}");
        }
    }
}
