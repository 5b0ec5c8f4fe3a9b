//! Seals a text so that only the holder of a token can read it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_identity::AuthError;
use portcullis_model::{Entropy, Secret};
use sha2::{Digest, Sha256};

use crate::ControlError;

/// What is sealed: a text sealed for one purpose is no text for another.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// A provider's device code, under the token that the CLI polls with.
    Device,
    /// The state of a browser's sign-in, under what the browser holds.
    State,
    /// What a provider is asked with again, under the key beside the store.
    ProviderToken,
    /// The body of a refused request, as people see it, under the same key.
    Body,
    /// What `@record` keeps of a request, under a key of its own.
    Content,
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Device => b"portcullis device code\0",
            Self::State => b"portcullis sign-in state\0",
            Self::ProviderToken => b"portcullis provider token\0",
            Self::Body => b"portcullis shown body\0",
            Self::Content => b"portcullis record content\0",
        }
    }

    const fn damaged(self) -> AuthError {
        AuthError::Bad(match self {
            Self::Device => "the device sign-in is damaged; begin a new one",
            Self::State => "the sign-in was begun in another browser, or is damaged; begin again",
            Self::ProviderToken => "the provider's token cannot be read with the key of this store",
            Self::Body => "the body cannot be read with the key of this store",
            Self::Content => "what was kept of the request cannot be read with its key",
        })
    }
}

/// Seals `text` under `token`, which is made for that text alone.
pub(crate) fn seal(purpose: Purpose, token: &Secret, text: &str) -> Result<String, ControlError> {
    let mut bytes = text.as_bytes().to_vec();
    let key = key(purpose, token.expose().as_bytes(), b"")?;
    let sealed = key.seal_in_place_append_tag(nonce(), Aad::empty(), &mut bytes);
    sealed.map_err(|error| ControlError::Internal(Box::new(error)))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Opens what [`seal`] made with the same token.
pub(crate) fn open(purpose: Purpose, token: &Secret, sealed: &str) -> Result<Secret, ControlError> {
    opened(purpose, &key(purpose, token.expose().as_bytes(), b"")?, "", sealed)
}

/// Seals `text` under `token`, which may seal others too: each under a key of its own. It is read as what
/// belongs to `about` only.
pub(crate) fn seal_one_of(
    purpose: Purpose,
    token: &Secret,
    about: &str,
    text: &str,
    entropy: &dyn Entropy,
) -> Result<String, ControlError> {
    let mut salt = [0; 16];
    entropy.fill(&mut salt);
    let key = key(purpose, token.expose().as_bytes(), &salt)?;
    let mut bytes = text.as_bytes().to_vec();
    let sealed = key.seal_in_place_append_tag(nonce(), Aad::from(about.as_bytes()), &mut bytes);
    sealed.map_err(|error| ControlError::Internal(Box::new(error)))?;
    Ok(format!("{}.{}", URL_SAFE_NO_PAD.encode(salt), URL_SAFE_NO_PAD.encode(bytes)))
}

/// Opens what [`seal_one_of`] made with the same token.
pub(crate) fn open_one_of(
    purpose: Purpose,
    token: &Secret,
    about: &str,
    sealed: &str,
) -> Result<Secret, ControlError> {
    let (salt, sealed) = sealed.split_once('.').ok_or(purpose.damaged())?;
    let salt = URL_SAFE_NO_PAD.decode(salt).map_err(|_| purpose.damaged())?;
    opened(purpose, &key(purpose, token.expose().as_bytes(), &salt)?, about, sealed)
}

fn opened(
    purpose: Purpose,
    key: &LessSafeKey,
    about: &str,
    sealed: &str,
) -> Result<Secret, ControlError> {
    let mut bytes = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| purpose.damaged())?;
    let opened = key.open_in_place(nonce(), Aad::from(about.as_bytes()), &mut bytes);
    let opened = opened.map_err(|_| purpose.damaged())?;
    Ok(Secret::new(String::from_utf8(opened.to_vec()).map_err(|_| purpose.damaged())?))
}

/// Not the hash that is stored: what leads to the key must not be in the store.
fn key(purpose: Purpose, token: &[u8], salt: &[u8]) -> Result<LessSafeKey, ControlError> {
    let digest = Sha256::new().chain_update(purpose.label()).chain_update(token);
    // Tokens have one length and no zero byte in them: where they end is never in doubt.
    let digest =
        if salt.is_empty() { digest } else { digest.chain_update(b"\0").chain_update(salt) };
    let key = UnboundKey::new(&AES_256_GCM, &digest.finalize());
    key.map(LessSafeKey::new).map_err(|error| ControlError::Internal(Box::new(error)))
}

/// INVARIANT: a key seals one text ever, because its token or its salt is made for that text.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Sevens;

    impl Entropy for Sevens {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }

    #[test]
    fn only_the_same_token_opens_what_was_sealed() {
        let (mine, other) = (Secret::new("pc_device_a"), Secret::new("pc_device_b"));
        let sealed = seal(Purpose::Device, &mine, "device-code").unwrap();
        assert!(!sealed.contains("device-code"));
        assert_eq!(open(Purpose::Device, &mine, &sealed).unwrap().expose(), "device-code");
        assert!(open(Purpose::Device, &other, &sealed).is_err());
        assert!(open(Purpose::Device, &mine, "AAAA").is_err());
        assert!(open(Purpose::State, &mine, &sealed).is_err(), "for one purpose");
    }

    #[test]
    fn d15_another_browsers_state_is_nothing() {
        let (mine, other) = (Secret::new("pc_browser_a"), Secret::new("pc_browser_b"));
        let sealed = seal_one_of(Purpose::State, &mine, "", "state", &Sevens).unwrap();
        assert_eq!(open_one_of(Purpose::State, &mine, "", &sealed).unwrap().expose(), "state");
        assert!(open_one_of(Purpose::State, &other, "", &sealed).is_err());
        for damaged in ["", ".", "AAAA", &sealed.replace('.', ""), &format!("A{sealed}")] {
            assert!(open_one_of(Purpose::State, &mine, "", damaged).is_err(), "{damaged}");
        }
    }

    #[test]
    fn e15_a_body_that_is_put_to_another_refusal_is_read_by_nobody() {
        let key = Secret::new("the key beside the store");
        let sealed = seal_one_of(Purpose::Body, &key, "R-1 sha256:ab", "text", &Sevens).unwrap();
        let open = |about: &str| open_one_of(Purpose::Body, &key, about, &sealed);
        assert_eq!(open("R-1 sha256:ab").unwrap().expose(), "text");
        for other in ["R-2 sha256:ab", "R-1 sha256:ac", "R-1", ""] {
            assert!(open(other).is_err(), "{other}");
        }
    }
}
