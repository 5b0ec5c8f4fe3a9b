//! What a policy's `@record` keeps of a request. The record itself has a salted commitment to it and nothing
//! else: the content and its salt lie beside the record, so that both can be erased and every proof still
//! holds. Without the salt the commitment says nothing of the content, however little there is to guess.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::{Base64Url, ClassName};

/// The parts of a request that are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ContentParts {
    /// Its headers.
    pub headers: bool,
    /// Its body.
    pub body: bool,
}

/// A text that names no parts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no parts of a request; write headers, body, or headers,body")]
pub struct InvalidParts(String);

impl ContentParts {
    /// As policies and the record write it.
    pub const fn as_str(self) -> &'static str {
        match (self.headers, self.body) {
            (true, true) => "headers,body",
            (true, false) => "headers",
            (false, true) => "body",
            (false, false) => "",
        }
    }

    /// Whether nothing is kept.
    pub const fn is_none(self) -> bool {
        !self.headers && !self.body
    }

    /// These and those.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self { headers: self.headers || other.headers, body: self.body || other.body }
    }
}

impl FromStr for ContentParts {
    type Err = InvalidParts;

    fn from_str(text: &str) -> Result<Self, InvalidParts> {
        let invalid = || InvalidParts(text.to_owned());
        let mut parts = Self::default();
        for part in text.split(',') {
            let part = match part.trim() {
                "headers" => &mut parts.headers,
                "body" => &mut parts.body,
                _ => return Err(invalid()),
            };
            if std::mem::replace(part, true) {
                return Err(invalid());
            }
        }
        Ok(parts)
    }
}

impl fmt::Display for ContentParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ContentParts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentParts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What was kept of a request, sensitive data masked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestContent {
    /// The headers that the upstream got from the client, in their order; absent if they are not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<Vec<KeptHeader>>,
    /// The body; absent if it is not kept, or there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<KeptBody>,
}

/// A header of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptHeader {
    /// Its name, in lower case.
    pub name: String,
    /// Its value, masked; absent if it is a credential, or there was no room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A body of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptBody {
    /// Its bytes, as they were sent.
    pub size: u64,
    /// What it is: `application/json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// It as text, masked; absent if it is no text, too large, or could not be looked into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// It as bytes, where it is no text and its service has nothing sensitive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Base64Url>,
    /// The SHA-256 of one that is too large to keep, where its service has nothing sensitive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The classes of sensitive data that were looked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masked: Vec<ClassName>,
}

/// What the record has of content: that it was kept, and a commitment to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentNote {
    /// Of its [`Opening`].
    pub commitment: String,
    /// The key that it is kept under.
    pub key: String,
    /// What was kept.
    pub parts: ContentParts,
}

/// Content with its salt: whoever has both can show that the record commits to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// Random, and of this content alone.
    pub salt: Base64Url,
    /// A [`RequestContent`] as JSON, byte for byte as it was committed to.
    pub content: String,
}

impl Opening {
    /// Bytes of a salt.
    pub const SALT: usize = 32;

    /// `sha256:` and 64 hexadecimal digits: SHA-256 over the label `portcullis content 1` and a zero byte, then
    /// the salt and the content, each behind its length as eight bytes, big endian.
    pub fn commitment(&self) -> String {
        use fmt::Write as _;
        let mut hash = Sha256::new_with_prefix(b"portcullis content 1\0");
        for part in [&self.salt.0, self.content.as_bytes()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in hash.finalize() {
            let _infallible = write!(text, "{byte:02x}");
        }
        text
    }
}

/// What the record says of content that was erased. The event that it is in says who, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedNote {
    /// The position of the record that it was the content of.
    pub seq: u64,
    /// The commitment that stands there.
    pub commitment: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_named_once_each() {
        for text in ["headers", "body", "headers,body"] {
            assert_eq!(text.parse::<ContentParts>().unwrap().to_string(), text);
        }
        assert_eq!("body, headers".parse::<ContentParts>().unwrap().to_string(), "headers,body");
        for text in ["", "bodies", "body,body", "body,", "all"] {
            assert!(text.parse::<ContentParts>().is_err(), "{text}");
        }
    }

    #[test]
    fn k13_a_commitment_is_to_one_content_under_one_salt() {
        let opening = |salt: &[u8], content: &str| Opening {
            salt: Base64Url(salt.to_vec()),
            content: content.to_owned(),
        };
        let one = opening(&[1; 32], "{}");
        assert_eq!(one.commitment(), opening(&[1; 32], "{}").commitment());
        assert_eq!(one.commitment().len(), 71);
        for other in
            [opening(&[2; 32], "{}"), opening(&[1; 32], "{ }"), opening(&[1; 31], "\u{1}{}")]
        {
            assert_ne!(one.commitment(), other.commitment());
        }
    }
}
