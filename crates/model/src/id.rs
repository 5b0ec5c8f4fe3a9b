//! Identifiers: ULIDs for everything stored, short codes for refusals.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::Entropy;

/// A text that is no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an id")]
pub struct InvalidId(pub String);

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Ulid);

        impl $name {
            /// A new id: 48 bits of `now` in milliseconds, 80 random bits, sortable by time.
            pub fn new(now: Timestamp, entropy: &dyn Entropy) -> Self {
                let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
                Self(Ulid::from_parts(millis, entropy.random_u128()))
            }

            /// From 128 bits that the caller has made sure are unique.
            pub const fn from_bits(bits: u128) -> Self {
                Self(Ulid(bits))
            }

            /// The 128 bits.
            pub const fn to_bits(self) -> u128 {
                self.0.0
            }

            /// As everybody writes it, without the formatting machinery.
            pub fn to_text(self) -> [u8; 26] {
                let mut text = [0; 26];
                self.0.array_to_str(&mut text);
                text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Ulid::from_str(text).map(Self).map_err(|_| InvalidId(text.to_owned()))
            }
        }
    )+};
}

ids! {
    /// One access request.
    AccessRequestId,
    /// One message to somebody about an access request.
    NoticeId,
    /// One message that a receiver did not take.
    DeliveryId,
    /// One review of an access request.
    ReviewId,
    /// One grant.
    GrantId,
    /// One sign-in of a person.
    SignInId,
    /// One human being, whatever providers and names they sign in with.
    PersonId,
    /// One passkey of a reviewer.
    PasskeyId,
    /// One sealed credential.
    SealedId,
    /// One legal hold.
    LegalHoldId,
    /// One HTTP request (or gRPC call, or upgrade) at the gate.
    RequestId,
    /// One user or group of the directory.
    DirectoryId,
    /// One long-lived exchange.
    ConnectionId,
    /// One entry of the record.
    EventId,
}

/// The short name of a refusal: eight bits of it would be enough for a person's list, twenty make
/// guessing pointless within the hour that it lives. Means something to its own principal only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct RefusalId(String);

/// Crockford's base 32: no I, L, O or U, so that a code can be read out over the phone.
const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const REFUSAL_LENGTH: usize = 4;

impl RefusalId {
    /// A new code of four characters, 20 random bits. Whoever stores it retries on a clash.
    pub fn new(entropy: &dyn Entropy) -> Self {
        let mut bits = entropy.random_u128();
        let mut text = String::with_capacity(REFUSAL_LENGTH);
        for _ in 0..REFUSAL_LENGTH {
            let index = usize::try_from(bits & 31).unwrap_or(0);
            text.push(char::from(CROCKFORD.get(index).copied().unwrap_or(b'0')));
            bits >>= 5;
        }
        Self(text)
    }

    /// The code as people read it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RefusalId {
    type Err = InvalidId;

    /// Reads a code as people write it: any case, and O for 0, I or L for 1.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let folded: String = text
            .chars()
            .map(|c| match c.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            })
            .collect();
        let valid =
            folded.len() == REFUSAL_LENGTH && folded.bytes().all(|b| CROCKFORD.contains(&b));
        if valid { Ok(Self(folded)) } else { Err(InvalidId(text.to_owned())) }
    }
}

impl<'de> Deserialize<'de> for RefusalId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for RefusalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
