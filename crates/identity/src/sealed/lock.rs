//! The holder's private key under a passphrase: Argon2id (RFC 9106) for the key, AES-256-GCM for the
//! lock.

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use portcullis_model::{Base64Url, Entropy, Secret};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// 64 MiB and three passes: RFC 9106, section 4, second recommended option.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
/// A file that asks for more than this wants to hurt whoever opens it.
const MOST_MEMORY_KIB: u32 = 1024 * 1024;
const MOST_PASSES: u32 = 16;

/// Why a key stays locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CannotUnlock {
    /// It is another passphrase, or the file was changed.
    #[error("the passphrase does not open it")]
    WrongPassphrase,
    /// The file says nonsense.
    #[error("the file is damaged")]
    Damaged,
}

/// A private key that a passphrase opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    memory_kib: u32,
    passes: u32,
    salt: Base64Url,
    sealed: Base64Url,
}

impl Locked {
    /// Locks `seed`, whose public half is `public_key`.
    pub fn lock(
        seed: &[u8; 32],
        public_key: &[u8],
        passphrase: &Secret,
        entropy: &dyn Entropy,
    ) -> Result<Self, CannotUnlock> {
        let mut salt = vec![0; 16];
        entropy.fill(&mut salt);
        let mut locked = Self {
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            salt: Base64Url(salt),
            sealed: Base64Url::default(),
        };
        let key = locked.key(passphrase)?;
        let mut bytes = seed.to_vec();
        let done = key.seal_in_place_append_tag(nonce(), Aad::from(public_key), &mut bytes);
        done.map_err(|_| CannotUnlock::Damaged)?;
        locked.sealed = Base64Url(bytes);
        Ok(locked)
    }

    /// Opens it.
    pub fn unlock(
        &self,
        public_key: &[u8],
        passphrase: &Secret,
    ) -> Result<Zeroizing<[u8; 32]>, CannotUnlock> {
        let key = self.key(passphrase)?;
        let mut bytes = Zeroizing::new(self.sealed.0.clone());
        let opened = key.open_in_place(nonce(), Aad::from(public_key), &mut bytes);
        let opened = opened.map_err(|_| CannotUnlock::WrongPassphrase)?;
        <[u8; 32]>::try_from(&*opened).map(Zeroizing::new).map_err(|_| CannotUnlock::Damaged)
    }

    fn key(&self, passphrase: &Secret) -> Result<LessSafeKey, CannotUnlock> {
        let sound = self.memory_kib <= MOST_MEMORY_KIB && self.passes <= MOST_PASSES;
        let params = Params::new(self.memory_kib, self.passes, 1, Some(32));
        let params = params.ok().filter(|_| sound).ok_or(CannotUnlock::Damaged)?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(passphrase.expose().as_bytes(), self.salt.as_ref(), key.as_mut())
            .map_err(|_| CannotUnlock::Damaged)?;
        let key = UnboundKey::new(&AES_256_GCM, key.as_ref());
        key.map(LessSafeKey::new).map_err(|_| CannotUnlock::Damaged)
    }
}

/// INVARIANT: a key locks one text ever, because its salt is made for that text.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}
