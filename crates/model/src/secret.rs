//! Secrets: tokens that Portcullis issues, and text that must never be printed.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Entropy;

/// Text that prints as nothing. Reading it takes a call that stands out in review.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What a token that Portcullis issued is for. Its prefix says so, so that leaks can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// A sign-in.
    SignIn,
    /// What the CLI polls with while a person signs in.
    Device,
    /// What binds a browser's sign-in under way to that browser.
    Browser,
    /// What hands a sign-in from control to a gate, once.
    Code,
    /// What is redeemed for a grant token, once.
    Once,
    /// What opens one grant, for tools that cannot sign in.
    Grant,
    /// What was said when a sealed credential was opened.
    Sealed,
    /// What a button in a chat carries, once.
    Button,
}

impl TokenKind {
    /// The prefix.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::SignIn => "pc_sign_",
            Self::Device => "pc_device_",
            Self::Browser => "pc_browser_",
            Self::Code => "pc_code_",
            Self::Once => "pc_once_",
            Self::Grant => "pc_grant_",
            Self::Sealed => "pc_sealed_",
            Self::Button => "pc_button_",
        }
    }

    /// Whether `text` has the shape of such a token: its prefix and 256 bits.
    pub fn fits(self, text: &str) -> bool {
        let bits = text.strip_prefix(self.prefix());
        bits.is_some_and(|bits| URL_SAFE_NO_PAD.decode(bits).is_ok_and(|bits| bits.len() == 32))
    }

    /// A new token: the prefix and 256 random bits.
    pub fn issue(self, entropy: &dyn Entropy) -> Secret {
        let mut bits = [0; 32];
        entropy.fill(&mut bits);
        Secret::new(format!("{}{}", self.prefix(), URL_SAFE_NO_PAD.encode(bits)))
    }
}

/// The SHA-256 of a token: what is stored and looked up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// Hashes a token as it was presented.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

impl FromStr for TokenHash {
    type Err = base64::DecodeSliceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut hash = [0; 32];
        URL_SAFE_NO_PAD.decode_slice(text, &mut hash)?;
        Ok(Self(hash))
    }
}

impl Serialize for TokenHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
