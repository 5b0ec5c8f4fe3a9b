//! The mark of a refusal: a header by which the gate says that an answer is its own no.
//!
//! A body can be imitated by whatever answers; this header cannot, since the gate removes it from all that
//! upstreams send. It says why in one word, as a structured field (RFC 9651): `requestable;id="7K2M"`. It does not
//! say more: what a person reads is in the body, or in `grpc-message`.

use std::{fmt, str::FromStr};

use crate::{Refusal, RefusalId};

/// The header's name, as HTTP/2 writes it.
pub const REFUSAL_HEADER: &str = "portcullis-refusal";

/// Longer than any code.
const LONGEST_CODE: usize = 40;

/// What the header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalMark {
    /// The refusal's code: [`Refusal::code`], or one of a later version.
    pub code: String,
    /// The code to ask with, if it can be asked about.
    pub id: Option<RefusalId>,
}

impl RefusalMark {
    /// Whether a grant would open it, and it can be asked for by its id.
    pub fn requestable(&self) -> Option<&RefusalId> {
        self.id.as_ref().filter(|_| self.code == "requestable")
    }

    /// Whether credentials would: those that came, if any, are worth nothing.
    pub fn wants_credentials(&self) -> bool {
        matches!(self.code.as_str(), "unauthenticated" | "bad-credentials")
    }
}

impl From<&Refusal> for RefusalMark {
    fn from(refusal: &Refusal) -> Self {
        let id = match refusal {
            Refusal::Requestable(what) => what.id.clone(),
            _ => None,
        };
        Self { code: refusal.code().to_owned(), id }
    }
}

impl fmt::Display for RefusalMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)?;
        self.id.iter().try_for_each(|id| write!(f, ";id=\"{id}\""))
    }
}

/// What stands there is no mark of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`portcullis-refusal` does not say a refusal's code")]
pub struct NoMark;

impl FromStr for RefusalMark {
    type Err = NoMark;

    /// Reads what a gate writes. Parameters of later versions are passed over.
    fn from_str(text: &str) -> Result<Self, NoMark> {
        let mut parts = text.split(';').map(str::trim);
        let code = parts.next().unwrap_or_default();
        let is_code = code.starts_with(|first: char| first.is_ascii_lowercase())
            && code.len() <= LONGEST_CODE
            && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        if !is_code {
            return Err(NoMark);
        }
        let quoted = |id: &str| id.strip_prefix('"')?.strip_suffix('"')?.parse().ok();
        let id = parts.find_map(|part| part.strip_prefix("id="));
        let id = id.map(|id| quoted(id).ok_or(NoMark)).transpose()?;
        Ok(Self { code: code.to_owned(), id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for text in ["denied", "requestable;id=\"7K2M\"", "too-large"] {
            assert_eq!(text.parse::<RefusalMark>().unwrap().to_string(), text);
        }
        let mark: RefusalMark = "requestable; id=\"7K2M\"; more=1".parse().unwrap();
        assert_eq!(mark.requestable().unwrap().as_str(), "7K2M");
        assert_eq!("denied;id=\"7K2M\"".parse::<RefusalMark>().unwrap().requestable(), None);
        assert!("bad-credentials".parse::<RefusalMark>().unwrap().wants_credentials());
    }

    #[test]
    fn what_no_gate_writes_is_none() {
        let long = "a".repeat(LONGEST_CODE + 1);
        for text in ["", "7K2M", "-", "requestable;id=\"'; rm\"", "Denied", "a b", long.as_str()] {
            assert_eq!(text.parse::<RefusalMark>(), Err(NoMark), "{text}");
        }
    }
}
