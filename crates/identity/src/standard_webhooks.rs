//! Signatures of messages as Standard Webhooks 1.0.0 has them: `v1`, HMAC-SHA256 over id, time and body.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};
use portcullis_model::Secret;

use crate::codes::has_made;

const PREFIX: &str = "whsec_";
/// What the specification asks for: 192 to 512 bits.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// A sender that changes its secret signs with both; more are guesses.
const MOST_SIGNATURES: usize = 8;

/// Signs messages, and knows its own signatures.
#[derive(Clone)]
pub struct Signer(hmac::Key);

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(…)")
    }
}

/// A text that is no secret to sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is no signing secret: `whsec_` and 24 to 64 random bytes in Base64; make one with `echo whsec_$(openssl rand -base64 32)`"
)]
pub struct InvalidSecret;

impl Signer {
    /// From `whsec_…`.
    pub fn new(secret: &Secret) -> Result<Self, InvalidSecret> {
        let text = secret.expose().strip_prefix(PREFIX).ok_or(InvalidSecret)?;
        let bytes = STANDARD.decode(text).map_err(|_| InvalidSecret)?;
        if !LENGTHS.contains(&bytes.len()) {
            return Err(InvalidSecret);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The header `webhook-signature` of a message that is sent at `second`.
    pub fn sign(&self, id: &str, second: i64, body: &str) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts(id, &second.to_string(), body.as_bytes()) {
            context.update(part);
        }
        format!("v1,{}", STANDARD.encode(context.sign()))
    }

    /// Whether one of `signatures`, the header of a message that came, is this signer's.
    pub fn has_signed(&self, id: &str, timestamp: &str, signatures: &str, body: &[u8]) -> bool {
        let parts = parts(id, timestamp, body);
        has_made(&self.0, &parts, &codes(signatures.split(' ').take(MOST_SIGNATURES)))
    }
}

/// What is signed of a message: its id, its time and its body.
pub fn parts<'a>(id: &'a str, timestamp: &'a str, body: &'a [u8]) -> [&'a [u8]; 5] {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body]
}

/// Those of `signatures` that are of the version that is read here, as bytes.
pub fn codes<'a>(signatures: impl Iterator<Item = &'a str>) -> Vec<Vec<u8>> {
    signatures.filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_other_implementations_make_of_it() {
        // Computed with Python's `hmac`; the end-to-end tests verify with the library of the specification.
        let secret = Secret::new("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz");
        let signed = Signer::new(&secret).unwrap().sign("msg_1", 1_700_000_000, "{\"a\":1}");
        assert_eq!(signed, "v1,ZeeGpYq/E+LJmv4Rr+FiLPeUcCMR13nkh9N2DAygt4s=");
    }

    #[test]
    fn what_anybody_guesses_signs_nothing() {
        for text in ["", "whsec_", "whsec_c2hvcnQ=", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz", "whsec_!"]
        {
            assert_eq!(Signer::new(&Secret::new(text)).unwrap_err(), InvalidSecret, "{text}");
        }
    }
}
