//! Control's sealing key: it signs terms, and reads what gates write down while nobody listens.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use portcullis_model::{Base64Url, Entropy};
use rustls::crypto::{
    aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256 as SUITE,
    hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey},
};
use serde::{Deserialize, Serialize};

/// Bytes of an X25519 public key, which an encapsulated secret is.
const ENCAPSULATED: usize = 32;
/// What letters are for, so that none is taken for anything else (RFC 9180, `info`).
const LETTER: &[u8] = b"portcullis sealed log";

/// Text that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no sealing key")]
pub struct NoKey;

/// What a gate has of control's sealing key. No secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealingPublicKey {
    /// Checks terms (Ed25519).
    verify: Base64Url,
    /// Writes letters that only control reads (X25519, RFC 9180).
    letters: Base64Url,
}

/// Control's sealing key.
pub struct SealingKey {
    signing: Ed25519KeyPair,
    letters: HpkePrivateKey,
    public: SealingPublicKey,
}

/// As it is kept.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    signing: Base64Url,
    letters: Base64Url,
    public: SealingPublicKey,
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealingKey").field("public", &self.public).finish_non_exhaustive()
    }
}

impl SealingPublicKey {
    /// Whether control signed `message` for this `purpose`.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        verifies(self.verify.as_ref(), message, signature)
    }

    /// Encrypts `text` to control (RFC 9180, base mode); `about` is what it belongs to.
    pub fn write_letter(&self, about: &[u8], text: &[u8]) -> Option<Vec<u8>> {
        let key = HpkePublicKey(self.letters.0.clone());
        let (secret, sealed) = SUITE.seal(LETTER, about, text, &key).ok()?;
        (secret.0.len() == ENCAPSULATED).then(|| [secret.0, sealed].concat())
    }
}

impl SealingKey {
    /// A new one.
    pub fn generate(entropy: &dyn Entropy) -> Result<(Self, String), NoKey> {
        let mut seed = zeroize::Zeroizing::new([0; 32]);
        entropy.fill(seed.as_mut());
        let signing = Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).map_err(|_| NoKey)?;
        let (letters, private) = SUITE.generate_key_pair().map_err(|_| NoKey)?;
        let verify = Base64Url(signing.public_key().as_ref().to_vec());
        let kept = Kept {
            signing: Base64Url(seed.to_vec()),
            letters: Base64Url(private.secret_bytes().to_vec()),
            public: SealingPublicKey { verify, letters: Base64Url(letters.0) },
        };
        let text = serde_json::to_string(&kept).map_err(|_| NoKey)?;
        Ok((Self::read(&text)?, text))
    }

    /// As it was kept.
    pub fn read(text: &str) -> Result<Self, NoKey> {
        let kept: Kept = serde_json::from_str(text).map_err(|_| NoKey)?;
        let seed = kept.signing.as_ref();
        let public = kept.public.verify.as_ref();
        let signing = Ed25519KeyPair::from_seed_and_public_key(seed, public).map_err(|_| NoKey)?;
        Ok(Self { signing, letters: HpkePrivateKey::from(kept.letters.0), public: kept.public })
    }

    /// What gates have of it.
    pub fn public(&self) -> &SealingPublicKey {
        &self.public
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.signing.sign(message).as_ref().to_vec()
    }

    /// Reads what a gate wrote; `None` if nobody wrote it about that to this key.
    pub fn read_letter(&self, about: &[u8], letter: &[u8]) -> Option<Vec<u8>> {
        let (secret, sealed) = letter.split_at_checked(ENCAPSULATED)?;
        let secret = EncapsulatedSecret(secret.to_vec());
        SUITE.open(&secret, LETTER, about, sealed, &self.letters).ok()
    }
}

/// Whether the holder of `public_key` signed `message` (Ed25519).
pub(super) fn verifies(public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key).verify(message, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::opening::tests::Sevens;
    use super::*;

    #[test]
    fn only_control_reads_letters_and_only_about_what_they_are() {
        let (key, text) = SealingKey::generate(&Sevens).unwrap();
        let (other, _) = SealingKey::generate(&Sevens).unwrap();
        let letter = key.public().write_letter(b"1", b"who, what, why").unwrap();
        assert!(!letter.windows(4).any(|window| window == b"what"));
        let read = SealingKey::read(&text).unwrap();
        assert_eq!(read.read_letter(b"1", &letter).unwrap(), b"who, what, why");
        assert_eq!(read.read_letter(b"2", &letter), None, "moved to another place");
        assert_eq!(other.read_letter(b"1", &letter), None, "another key");
        let mut bent = letter.clone();
        bent[40] ^= 1;
        assert_eq!(read.read_letter(b"1", &bent), None);
        assert_eq!(read.read_letter(b"1", &letter[..20]), None);
        assert!(
            SealingKey::read("{}").is_err() && SealingKey::read(&text.replace('"', "")).is_err()
        );
    }
}
