//! Opening a sealed credential, and checking what was opened with nothing but control's public key.
//!
//! `pc_sealed_TERMS.SIGNATURE.OPENING.SIGNATURE`, each in base64url: what control signed, then what the
//! holder signed.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use portcullis_model::{
    AccessRequestId, Grant, GrantId, GrantKind, GrantState, OperationName, Principal, PrincipalId,
    PrincipalKind, Resource, SealedOpening, SealedTerms, Secret, TokenKind,
};
use sha2::{Digest, Sha256};

use super::{SealedFile, SealingKey, SealingPublicKey, keys::verifies, lock::CannotUnlock};
use crate::{AuthError, Authenticated};

/// No token of ours is longer.
const LONGEST: usize = 8 * 1024;
/// What control signs leaves room for the opening, whose reason may take four bytes for each character.
const LONGEST_SIGNED: usize = 4 * 1024 + 512;
/// Clocks differ by so much.
const SKEW: SignedDuration = SignedDuration::from_secs(30);
/// Characters of a reason.
const LONGEST_REASON: usize = 500;
const TERMS: &[u8] = b"portcullis sealed credential\0";
const OPENING: &[u8] = b"portcullis sealed opening\0";

const FORGED: AuthError = AuthError::Bad("the sealed credential is damaged, or none of ours");

/// Terms that no gate would read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it says too much of its holder, who is in too many groups; name another")]
pub struct TooLong;

/// A sealed credential that somebody opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// What two people agreed to.
    pub terms: SealedTerms,
    /// What the holder says.
    pub opening: SealedOpening,
    /// The grant that it comes to: an emergency, until it ends.
    pub grant: Arc<Grant>,
}

impl SealingKey {
    /// Signs `terms`, for gates to read.
    pub fn seal(&self, terms: &SealedTerms) -> Result<String, TooLong> {
        let terms = serde_json::to_vec(terms).map_err(|_| TooLong)?;
        let signature = self.sign(&[TERMS, &terms].concat());
        let signed = joined(&terms, &signature);
        if signed.len() > LONGEST_SIGNED { Err(TooLong) } else { Ok(signed) }
    }
}

/// Opens what is in `file`: the token to present, and until when it is good.
pub fn open(
    file: &SealedFile,
    passphrase: &Secret,
    opening: &SealedOpening,
) -> Result<Secret, CannotUnlock> {
    let signed = file.signed.as_ref().ok_or(CannotUnlock::Damaged)?;
    let key = file.unlock(passphrase)?;
    let opening = serde_json::to_vec(opening).map_err(|_| CannotUnlock::Damaged)?;
    let signature = key.sign(&said(signed, &opening));
    let opening = joined(&opening, signature.as_ref());
    Ok(Secret::new(format!("{}{signed}.{opening}", TokenKind::Sealed.prefix())))
}

/// What the holder signs: this opening, of these terms and no others.
fn said(signed: &str, opening: &[u8]) -> Vec<u8> {
    [OPENING, &Sha256::digest(signed.as_bytes()), opening].concat()
}

fn joined(text: &[u8], signature: &[u8]) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(text), URL_SAFE_NO_PAD.encode(signature))
}

/// Who presents `token` at a gate, if it opens anything at `now`: its holder, as `known` has them now, or
/// else as they were when it was sealed.
pub fn authenticate(
    key: &SealingPublicKey,
    token: &str,
    known: impl FnOnce(&PrincipalId) -> Option<Arc<Principal>>,
    now: Timestamp,
) -> Result<(Authenticated, Arc<Opened>), AuthError> {
    let opened = opened(key, token, now)?;
    if now >= opened.grant.expires_at {
        return Err(AuthError::Bad("the sealed credential was opened for a time that is over"));
    }
    let sealed = || Arc::new(opened.terms.holder.clone());
    let holder = known(&opened.terms.holder.id).unwrap_or_else(sealed);
    let opened = Arc::new(opened);
    Ok((Authenticated::by_sealed(&opened, holder), opened))
}

/// What `token` opened, whether or not that is over at `now`.
pub fn opened(key: &SealingPublicKey, token: &str, now: Timestamp) -> Result<Opened, AuthError> {
    let parts = token.strip_prefix(TokenKind::Sealed.prefix()).ok_or(FORGED)?;
    if token.len() > LONGEST {
        return Err(FORGED);
    }
    let split: Vec<&str> = parts.split('.').collect();
    let [terms_text, terms_signature, opening, signature] = split.as_slice() else {
        return Err(FORGED);
    };
    let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| FORGED);
    let (terms, opening) = (decoded(terms_text)?, decoded(opening)?);
    // INVARIANT: nothing is read before control's signature over it is checked.
    if !key.verifies(&[TERMS, &terms].concat(), &decoded(terms_signature)?) {
        return Err(FORGED);
    }
    let terms: SealedTerms = serde_json::from_slice(&terms).map_err(|_| FORGED)?;
    let signed = format!("{terms_text}.{terms_signature}");
    let said = said(&signed, &opening);
    if !verifies(terms.public_key.as_ref(), &said, &decoded(signature)?) {
        return Err(FORGED);
    }
    let id = Sha256::digest(&said);
    let opening: SealedOpening = serde_json::from_slice(&opening).map_err(|_| FORGED)?;
    check(&terms, &opening, now)?;
    let grant = Arc::new(grant(&terms, &opening, id.as_ref()));
    Ok(Opened { terms, opening, grant })
}

fn check(terms: &SealedTerms, opening: &SealedOpening, now: Timestamp) -> Result<(), AuthError> {
    if opening.credential != terms.id || terms.holder.id.kind != PrincipalKind::User {
        return Err(FORGED);
    }
    if opening.at < terms.not_before || opening.at >= terms.expires_at {
        return Err(AuthError::Bad("the sealed credential was not good when it was opened"));
    }
    if opening.at > now + SKEW {
        return Err(AuthError::Bad(
            "the sealed credential was opened in the future; set the clock",
        ));
    }
    if opening.window > terms.window {
        return Err(AuthError::Bad("the sealed credential is opened for longer than it says"));
    }
    let reason = opening.reason.trim();
    let readable = !reason.is_empty() && !reason.chars().any(char::is_control);
    if !readable || reason.chars().count() > LONGEST_REASON {
        return Err(AuthError::Bad("the sealed credential was opened without a reason"));
    }
    Ok(())
}

/// INVARIANT: its id is a hash of what two keys signed. Nobody chooses one that is another grant's.
fn grant(terms: &SealedTerms, opening: &SealedOpening, hash: &[u8]) -> Grant {
    let starts_at = opening.at - SKEW;
    let bits = |skip: usize| {
        let bytes = hash.iter().skip(skip).take(10);
        bytes.fold(0_u128, |bits, byte| (bits << 8) | u128::from(*byte))
    };
    let millis = u128::try_from(opening.at.as_millisecond()).unwrap_or(0) << 80;
    Grant {
        id: GrantId::from_bits(millis | bits(0)),
        version: 0,
        access_request: AccessRequestId::from_bits(millis | bits(10)),
        principal: terms.holder.id.clone(),
        rule: terms.rule.clone(),
        kind: GrantKind::Emergency,
        reviews: 0,
        operation: OperationName::all_of(&terms.service),
        resource: Resource { service: terms.service.clone(), instance: None },
        incident: None,
        digest: None,
        starts_at,
        expires_at: (opening.at + opening.window.signed()).min(terms.expires_at),
        max_uses: None,
        uses: 0,
        idle: None,
        state: GrantState::InForce,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use portcullis_model::{Base64Url, Entropy, Group, SealedId, Window};

    use super::*;
    use crate::AuthMethod;

    #[derive(Debug)]
    pub(in super::super) struct Sevens;

    impl Entropy for Sevens {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }

    fn now() -> Timestamp {
        "2026-11-22T02:13:00Z".parse().unwrap()
    }

    fn terms(public_key: &Base64Url) -> SealedTerms {
        let person = |name: &str| PrincipalId::new(PrincipalKind::User, "corp", name);
        SealedTerms {
            id: SealedId::from_bits(1),
            service: "payments".parse().unwrap(),
            rule: "payments.emergency".parse().unwrap(),
            holder: Principal { id: person("ana"), ..Principal::anonymous() },
            window: Window::minutes(15),
            not_before: now() - SignedDuration::from_hours(24),
            expires_at: now() + SignedDuration::from_hours(24),
            public_key: public_key.clone(),
            proposed_by: person("lea"),
            sealed_by: person("leo"),
        }
    }

    fn opening() -> SealedOpening {
        SealedOpening {
            credential: SealedId::from_bits(1),
            reason: "the database is gone".to_owned(),
            at: now(),
            window: Window::minutes(10),
        }
    }

    struct Made {
        key: SealingKey,
        file: SealedFile,
        passphrase: Secret,
    }

    fn made() -> Made {
        let passphrase = Secret::new("correct horse battery staple");
        let (key, _) = SealingKey::generate(&Sevens).unwrap();
        let file = SealedFile::generate(&passphrase, &Sevens).unwrap();
        Made { key, file, passphrase }
    }

    impl Made {
        fn token(&mut self, terms: &SealedTerms, opening: &SealedOpening) -> String {
            self.file.signed = Some(self.key.seal(terms).unwrap());
            open(&self.file, &self.passphrase, opening).unwrap().expose().to_owned()
        }

        fn said(&mut self, terms: &SealedTerms, opening: &SealedOpening) -> Result<(), AuthError> {
            let token = self.token(terms, opening);
            authenticate(self.key.public(), &token, |_| None, now()).map(drop)
        }
    }

    #[test]
    fn e35_two_signatures_and_the_time_are_all_that_it_takes() {
        let mut made = made();
        let terms = terms(&made.file.public_key);
        let token = made.token(&terms, &opening());
        let (who, opened) = authenticate(made.key.public(), &token, |_| None, now()).unwrap();
        assert_eq!((who.method(), who.grant()), (AuthMethod::Sealed, Some(opened.grant.id)));
        assert_eq!(who.principal().id, terms.holder.id);
        assert_eq!(who.service(), Some(&terms.service));
        assert_eq!(who.ends_at(), now() + SignedDuration::from_mins(10));
        assert_eq!(opened.grant.kind, GrantKind::Emergency);
        assert!(opened.grant.operation.is_all());
        assert!(
            authenticate(made.key.public(), &token, |_| None, who.ends_at()).is_err(),
            "it is over"
        );
        assert!(super::opened(made.key.public(), &token, who.ends_at()).is_ok(), "and was one");
    }

    #[test]
    fn what_was_changed_or_made_by_others_opens_nothing() {
        let mut made = made();
        let terms = terms(&made.file.public_key);
        let token = made.token(&terms, &opening());
        let refused =
            |token: &str| authenticate(made.key.public(), token, |_| None, now()).is_err();
        for at in (TokenKind::Sealed.prefix().len()..token.len()).step_by(7) {
            let mut bent = token.clone().into_bytes();
            bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
            assert!(refused(&String::from_utf8(bent).unwrap()), "{at}");
        }
        let (other, _) = SealingKey::generate(&Eights).unwrap();
        assert!(authenticate(other.public(), &token, |_| None, now()).is_err(), "another control");
        // One credential's opening under another's terms, by the same holder's key.
        let wider = SealedTerms { rule: "other.emergency".parse().unwrap(), ..terms };
        let wider = made.key.seal(&wider).unwrap();
        let tail: Vec<&str> = token.rsplitn(3, '.').collect();
        assert!(refused(&format!("pc_sealed_{wider}.{}.{}", tail[1], tail[0])));
        for nothing in ["", "pc_sealed_", "pc_sealed_....", "pc_sign_x", &token.repeat(20)] {
            assert!(refused(nothing), "{nothing}");
        }
    }

    #[derive(Debug)]
    struct Eights;

    impl Entropy for Eights {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(8);
        }
    }

    #[test]
    fn what_no_gate_would_read_is_not_sealed() {
        let mut made = made();
        let mut long = terms(&made.file.public_key);
        let group = |n: usize| Group::from(format!("group-{n:03}"));
        let most = (0..1000).rev().find(|most| {
            long.holder.groups = (0..*most).map(group).collect();
            made.key.seal(&long).is_ok()
        });
        assert!((100..999).contains(&most.unwrap()), "{most:?}");
        let reason = "\u{1f525}".repeat(LONGEST_REASON);
        let opening = SealedOpening { reason, ..opening() };
        assert!(made.said(&long, &opening).is_ok(), "the longest of all is read");
    }

    #[test]
    fn another_passphrase_opens_nothing() {
        let mut made = made();
        let terms = terms(&made.file.public_key);
        made.file.signed = Some(made.key.seal(&terms).unwrap());
        let wrong = open(&made.file, &Secret::new("correct horse"), &opening());
        assert_eq!(wrong.unwrap_err(), CannotUnlock::WrongPassphrase);
        let text = serde_json::to_string(&made.file).unwrap();
        let greedy = text.replace("65536", "4294967295");
        let greedy: SealedFile = serde_json::from_str(&greedy).unwrap();
        let hurt = open(&greedy, &made.passphrase, &opening());
        assert_eq!(hurt.unwrap_err(), CannotUnlock::Damaged, "it takes no memory for that");
    }

    #[test]
    fn e30_it_is_good_for_its_time_its_window_and_with_a_reason() {
        let mut made = made();
        let good = terms(&made.file.public_key);
        let hour = SignedDuration::from_hours(1);
        assert!(made.said(&good, &opening()).is_ok());
        let over = SealedTerms { expires_at: now() - hour, ..good.clone() };
        let early = SealedTerms { not_before: now() + hour, ..good.clone() };
        for terms in [over, early] {
            assert!(made.said(&terms, &opening()).is_err(), "{terms:?}");
        }
        let at = |at| SealedOpening { at, ..opening() };
        for wrong in [
            SealedOpening { window: Window::minutes(16), ..opening() },
            SealedOpening { credential: SealedId::from_bits(2), ..opening() },
            SealedOpening { reason: " ".to_owned(), ..opening() },
            SealedOpening { reason: "a\u{1b}[2J".to_owned(), ..opening() },
            at(now() + SignedDuration::from_secs(31)),
            at(now() - SignedDuration::from_mins(10)),
        ] {
            assert!(made.said(&good, &wrong).is_err(), "{wrong:?}");
        }
        let ahead = at(now() + SignedDuration::from_secs(29));
        assert!(made.said(&good, &ahead).is_ok(), "clocks differ");
    }
}
