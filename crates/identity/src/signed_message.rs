//! Messages that other systems sign, as Standard Webhooks 1.0.0 has it: HMAC-SHA256 over id, time and the
//! bytes of the body, as they came.
//!
//! Says which system a message is of. Does not know whether it came before, and not what it may decide.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use portcullis_model::{DECISIONS, Group, PersonId, Principal, PrincipalId, PrincipalKind, Secret};
use sha2::{Digest, Sha256};

use crate::{
    AuthError, Authenticated,
    standard_webhooks::{InvalidSecret, Signer},
};

/// What the reference libraries tolerate, in both directions.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
const LONGEST_ID: usize = 256;
/// A system whose decisions are accepted.
#[derive(Debug, Clone)]
pub struct Decider {
    principal: Arc<Principal>,
    signer: Signer,
}

impl Decider {
    /// The system called `name` in configuration, with what it signs with.
    pub fn new(
        name: &str,
        groups: impl IntoIterator<Item = Group>,
        secret: &Secret,
    ) -> Result<Self, InvalidSecret> {
        let principal = Principal {
            id: PrincipalId::new(PrincipalKind::Workload, DECISIONS, name),
            person: Some(counts_as(name)),
            name: name.to_owned(),
            email: None,
            groups: groups.into_iter().collect(),
            amr: std::collections::BTreeSet::new(),
            issuer: DECISIONS.to_owned(),
            claims: BTreeMap::new(),
        };
        Ok(Self { principal: Arc::new(principal), signer: Signer::new(secret)? })
    }

    /// Who it is.
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }
}

/// One system counts once, as one person does, also after a restart and under a new secret.
fn counts_as(name: &str) -> PersonId {
    let hash = Sha256::digest(format!("{DECISIONS}:{name}"));
    let bits = hash.iter().take(16).fold(0u128, |bits, byte| (bits << 8) | u128::from(*byte));
    PersonId::from_bits(bits)
}

/// A message as it came.
#[derive(Debug, Clone, Copy)]
pub struct SignedMessage<'a> {
    /// `webhook-id`.
    pub id: &'a str,
    /// `webhook-timestamp`: seconds since 1970.
    pub timestamp: &'a str,
    /// `webhook-signature`: one or more, separated by spaces.
    pub signatures: &'a str,
    /// The bytes of the body.
    pub body: &'a [u8],
}

/// The systems whose decisions are accepted, by their names in configuration.
#[derive(Debug, Clone, Default)]
pub struct Deciders(BTreeMap<String, Decider>);

impl Deciders {
    /// These.
    pub fn new(all: impl IntoIterator<Item = (String, Decider)>) -> Self {
        Self(all.into_iter().collect())
    }

    /// The one that is called so.
    pub fn lookup(&self, name: &str) -> Option<&Decider> {
        self.0.get(name)
    }

    /// All of them.
    pub fn each(&self) -> impl Iterator<Item = &Decider> {
        self.0.values()
    }
}

impl Decider {
    /// The system, for this message alone, if it signed it within five minutes of `now`.
    pub fn authenticate(
        &self,
        message: SignedMessage<'_>,
        now: Timestamp,
    ) -> Result<Authenticated, AuthError> {
        let SignedMessage { id, timestamp, signatures, body } = message;
        // INVARIANT: what is signed can be read in one way only, so no part of it holds the full stop between parts.
        let fits = |c: char| c.is_ascii_graphic() && c != '.';
        if id.is_empty() || id.len() > LONGEST_ID || !id.chars().all(fits) {
            return Err(AuthError::Bad("`webhook-id` is no message id"));
        }
        let digits = !timestamp.is_empty() && timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = timestamp.parse().ok().filter(|_| digits);
        let sent = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
        let sent = sent.ok_or(AuthError::Bad("`webhook-timestamp` is no time in seconds"))?;
        if !self.signer.has_signed(id, timestamp, signatures, body) {
            return Err(AuthError::Bad("no signature of the message is of this system"));
        }
        if now.duration_since(sent).abs() > TOLERANCE {
            return Err(AuthError::Bad("the message was signed more than five minutes from now"));
        }
        Ok(Authenticated::by_signature(Arc::clone(&self.principal), now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";
    /// Computed with Python's `hmac`.
    const SIGNED: &str = "v1,ZeeGpYq/E+LJmv4Rr+FiLPeUcCMR13nkh9N2DAygt4s=";

    fn message<'a>(id: &'a str, timestamp: &'a str, signatures: &'a str) -> SignedMessage<'a> {
        SignedMessage { id, timestamp, signatures, body: b"{\"a\":1}" }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn decider() -> Decider {
        Decider::new("desk", ["approvers".into()], &Secret::new(SECRET)).unwrap()
    }

    #[test]
    fn a_message_is_of_whom_signed_it() {
        let desk = decider();
        let sound = message("msg_1", "1700000000", SIGNED);
        let who = desk.authenticate(sound, at(1_700_000_000)).unwrap();
        assert_eq!(who.principal().id.to_string(), "Workload::\"decisions:desk\"");
        assert!(who.principal().id.is_decider() && who.principal().groups.contains("approvers"));
        let both = format!("v1,AAAA v1a,BBBB {SIGNED}");
        desk.authenticate(message("msg_1", "1700000000", &both), at(1_700_000_000)).unwrap();
        assert_eq!(decider().principal().person, desk.principal().person);
    }

    #[test]
    fn e05_forged_late_and_early_messages_are_of_nobody() {
        let (desk, now) = (decider(), at(1_700_000_000));
        for (id, time, signed) in [
            ("msg_2", "1700000000", SIGNED),
            ("msg_1", "1700000001", SIGNED),
            ("msg_1", "+1700000000", SIGNED),
            ("msg_1", "", SIGNED),
            ("", "1700000000", SIGNED),
            ("msg.1", "1700000000", SIGNED),
            ("msg_1", "1700000000", ""),
            ("msg_1", "1700000000", "v1,"),
            ("msg_1", "1700000000", "ZeeGpYq/E+LJmv4Rr+FiLPeUcCMR13nkh9N2DAygt4s="),
        ] {
            desk.authenticate(message(id, time, signed), now).unwrap_err();
        }
        let sound = message("msg_1", "1700000000", SIGNED);
        for second in [1_700_000_300, 1_699_999_700] {
            desk.authenticate(sound, at(second)).unwrap();
        }
        for second in [1_700_000_301, 1_700_000_360, 1_699_999_699, 1_699_999_640] {
            desk.authenticate(sound, at(second)).unwrap_err();
        }
        // E07: another body of the same meaning is another body.
        let same = SignedMessage { body: b"{\"a\": 1}", ..sound };
        desk.authenticate(same, now).unwrap_err();
    }
}
