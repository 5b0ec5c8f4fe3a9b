//! Codes that prove who sent a message: HMAC-SHA256, over the bytes as they came.

use aws_lc_rs::{constant_time, hmac};
use portcullis_model::Secret;

/// Codes of one message that are looked at: one for each key while one takes another's place.
const MOST_CODES: usize = 8;

/// Keys that a message may be signed with: several while one takes another's place.
#[derive(Clone)]
pub struct Keys(Vec<hmac::Key>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

impl Keys {
    /// The texts themselves, as bytes.
    pub fn of_texts(secrets: &[Secret]) -> Self {
        Self::of_bytes(secrets.iter().map(|secret| secret.expose().as_bytes().to_vec()))
    }

    /// These bytes.
    pub fn of_bytes(all: impl Iterator<Item = Vec<u8>>) -> Self {
        // An empty key would be everybody's.
        let keys = all.filter(|bytes| !bytes.is_empty());
        Self(keys.map(|bytes| hmac::Key::new(hmac::HMAC_SHA256, &bytes)).collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the first few of `codes` is one of these keys' over `parts`, compared in constant time.
    pub fn sign(&self, parts: &[&[u8]], codes: &[Vec<u8>]) -> bool {
        self.0.iter().any(|key| has_made(key, parts, codes))
    }
}

/// Whether `key` has made one of the first few of `codes` over `parts`. The message is gone through once, however many
/// codes a stranger writes.
pub(crate) fn has_made(key: &hmac::Key, parts: &[&[u8]], codes: &[Vec<u8>]) -> bool {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    let code = context.sign();
    let is_it =
        |given: &Vec<u8>| constant_time::verify_slices_are_equal(code.as_ref(), given).is_ok();
    codes.iter().take(MOST_CODES).any(is_it)
}

/// Bytes of hexadecimal digits, small or big.
pub fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| u8::try_from(c.to_digit(16)?).ok()).collect();
    let digits = digits.filter(|digits: &Vec<u8>| digits.len().is_multiple_of(2))?;
    let byte = |pair: &[u8]| Some(pair.first()? * 16 + pair.get(1)?);
    digits.chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each would cost a stranger nothing and us the whole body.
    #[test]
    fn only_the_first_few_codes_are_looked_at() {
        let keys = Keys::of_texts(&[Secret::new("key")]);
        let right = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"key"), b"body");
        let mut codes = vec![Vec::new(); MOST_CODES - 1];
        codes.push(right.as_ref().to_vec());
        assert!(keys.sign(&[b"bo", b"dy"], &codes));
        codes.insert(0, Vec::new());
        assert!(!keys.sign(&[b"body"], &codes));
    }

    #[test]
    fn only_hexadecimal_digits_in_pairs_are_bytes() {
        assert_eq!(hex("00fFa1"), Some(vec![0, 255, 161]));
        for text in ["0", "0g", "é0", " 00"] {
            assert_eq!(hex(text), None, "{text}");
        }
    }

    #[test]
    fn a_key_of_nothing_signs_nothing() {
        let keys = Keys::of_texts(&[Secret::new("")]);
        assert!(keys.is_empty());
        let code = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b""), b"x").as_ref().to_vec();
        assert!(!keys.sign(&[b"x"], &[code]));
    }
}
