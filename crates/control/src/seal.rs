//! Seals a text so that only the holder of a token can read it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_identity::AuthError;
use portcullis_model::Secret;
use sha2::{Digest, Sha256};

use crate::ControlError;

/// Seals `text` under `token`.
pub(crate) fn seal(token: &Secret, text: &str) -> Result<String, ControlError> {
    let mut bytes = text.as_bytes().to_vec();
    let sealed = key(token)?.seal_in_place_append_tag(nonce(), Aad::empty(), &mut bytes);
    sealed.map_err(|error| ControlError::Internal(Box::new(error)))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Opens what [`seal`] made with the same token.
pub(crate) fn open(token: &Secret, sealed: &str) -> Result<Secret, ControlError> {
    const BAD: AuthError = AuthError::Bad("the device sign-in is damaged; begin a new one");
    let mut bytes = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| BAD)?;
    let opened = key(token)?.open_in_place(nonce(), Aad::empty(), &mut bytes).map_err(|_| BAD)?;
    Ok(Secret::new(String::from_utf8(opened.to_vec()).map_err(|_| BAD)?))
}

/// Not the hash that is stored: what leads to the key must not be in the store.
fn key(token: &Secret) -> Result<LessSafeKey, ControlError> {
    let digest = Sha256::new().chain_update(b"portcullis device code\0");
    let digest = digest.chain_update(token.expose().as_bytes()).finalize();
    let key = UnboundKey::new(&AES_256_GCM, &digest);
    key.map(LessSafeKey::new).map_err(|error| ControlError::Internal(Box::new(error)))
}

/// INVARIANT: a key seals one text ever, because its token is made for that text.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_token_opens_what_was_sealed() {
        let (mine, other) = (Secret::new("pc_device_a"), Secret::new("pc_device_b"));
        let sealed = seal(&mine, "device-code").unwrap();
        assert!(!sealed.contains("device-code"));
        assert_eq!(open(&mine, &sealed).unwrap().expose(), "device-code");
        assert!(open(&other, &sealed).is_err());
        assert!(open(&mine, "AAAA").is_err());
    }
}
