//! A body while it waits: encrypted with a key of this process, wiped when it is dropped.
//!
//! What is sealed here is the one copy that the gate keeps. What the connection's own buffers held
//! of it is overwritten by what comes next, and not wiped.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, Tag, UnboundKey};
use bytes::{Bytes, BytesMut};
use portcullis_model::Entropy;
use zeroize::{Zeroize, Zeroizing};

/// The key: made when the gate is, in memory only.
pub(crate) struct Key(Option<LessSafeKey>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// A sealed body.
#[derive(Debug)]
pub(super) struct Sealed {
    bytes: BytesMut,
    nonce: [u8; NONCE_LEN],
    tag: Tag,
}

impl Key {
    pub(super) fn new(entropy: &dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        entropy.fill(&mut *bytes);
        Self(UnboundKey::new(&AES_256_GCM, &*bytes).ok().map(LessSafeKey::new))
    }

    /// Seals `body` in its place, for the request with this digest. `None` if that cannot be done.
    pub(super) fn seal(&self, body: Bytes, digest: &str, nonce: [u8; NONCE_LEN]) -> Option<Sealed> {
        // Nobody else refers to what was read for this request alone.
        let mut bytes = body.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
        let key = self.0.as_ref()?;
        let aad = Aad::from(digest.as_bytes());
        let unique = Nonce::assume_unique_for_key(nonce);
        let tag = key.seal_in_place_separate_tag(unique, aad, &mut bytes);
        let Ok(tag) = tag else {
            bytes.zeroize();
            return None;
        };
        Some(Sealed { bytes, nonce, tag })
    }

    /// Opens what was sealed for this digest. The text is wiped when its last user drops it.
    pub(super) fn open(&self, sealed: &Sealed, digest: &str) -> Option<Bytes> {
        let mut text = Zeroizing::new(vec![0; sealed.bytes.len()]);
        let nonce = Nonce::assume_unique_for_key(sealed.nonce);
        let aad = Aad::from(digest.as_bytes());
        let key = self.0.as_ref()?;
        let tag = sealed.tag.as_ref();
        key.open_separate_gather(nonce, aad, &sealed.bytes, tag, &mut text).ok()?;
        Some(Bytes::from_owner(text))
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use portcullis_testkit::SeededEntropy;

    use super::*;

    #[test]
    fn a_sealed_body_is_read_with_its_key_and_for_its_request_only() {
        let (key, other) = (Key::new(&SeededEntropy::new(1)), Key::new(&SeededEntropy::new(2)));
        let body = Bytes::from(b"a canary in a coal mine".to_vec());
        let sealed = key.seal(body, "sha256:ab", [7; NONCE_LEN]).unwrap();
        assert!(!sealed.bytes.windows(6).any(|window| window == b"canary"), "{sealed:?}");
        assert_eq!(key.open(&sealed, "sha256:ab").unwrap(), "a canary in a coal mine");
        assert!(key.open(&sealed, "sha256:ac").is_none());
        assert!(other.open(&sealed, "sha256:ab").is_none());
        let empty = key.seal(Bytes::new(), "sha256:ab", [8; NONCE_LEN]).unwrap();
        assert_eq!(key.open(&empty, "sha256:ab").unwrap(), "");
    }
}
