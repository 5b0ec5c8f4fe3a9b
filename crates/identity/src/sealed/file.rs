//! What a holder keeps: the locked private key, and the terms once two people agreed to them.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_model::{Base64Url, Entropy, SealedId, SealedTerms, Secret};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::lock::{CannotUnlock, Locked};

/// A sealed credential in a file. Of no use without its passphrase, nor before it is sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedFile {
    /// The credential's id, once it is proposed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<SealedId>,
    /// The public half of what opens it.
    pub public_key: Base64Url,
    /// The private half.
    key: Locked,
    /// The terms and control's signature, once it is sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
}

impl SealedFile {
    /// With a new key.
    pub fn generate(passphrase: &Secret, entropy: &dyn Entropy) -> Result<Self, CannotUnlock> {
        let mut seed = Zeroizing::new([0; 32]);
        entropy.fill(seed.as_mut());
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_ref());
        let pair = pair.map_err(|_| CannotUnlock::Damaged)?;
        let public_key = Base64Url(pair.public_key().as_ref().to_vec());
        let key = Locked::lock(&seed, public_key.as_ref(), passphrase, entropy)?;
        Ok(Self { id: None, public_key, key, signed: None })
    }

    /// The same, proposed under this id.
    #[must_use]
    pub fn with_id(self, id: SealedId) -> Self {
        Self { id: Some(id), ..self }
    }

    /// The same, with what control signed.
    #[must_use]
    pub fn with_signed(self, signed: String) -> Self {
        Self { signed: Some(signed), ..self }
    }

    /// What two people agreed to, as the file says; the gate checks it.
    pub fn terms(&self) -> Option<SealedTerms> {
        let (terms, _) = self.signed.as_deref()?.split_once('.')?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(terms).ok()?).ok()
    }

    /// The key that opens it.
    pub(super) fn unlock(&self, passphrase: &Secret) -> Result<Ed25519KeyPair, CannotUnlock> {
        let public = self.public_key.as_ref();
        let seed = self.key.unlock(public, passphrase)?;
        let pair = Ed25519KeyPair::from_seed_and_public_key(seed.as_ref(), public);
        pair.map_err(|_| CannotUnlock::Damaged)
    }
}
