//! Signing keys of the issuer, made on the spot.
//!
//! Signs with the cryptographic library directly and not with the JWT library that the product
//! uses, so that both do not share one misunderstanding.

use std::fmt;

use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

enum Pair {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// A key pair with its id and algorithm.
pub struct SigningKey {
    kid: String,
    alg: &'static str,
    pair: Pair,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} {})", self.alg, self.kid)
    }
}

impl SigningKey {
    /// A new key for `alg`: `ES256`, `ES384`, `EdDSA`, `RS256` or `PS256`.
    pub fn generate(kid: &str, alg: &'static str) -> Self {
        let pair = match alg {
            "ES256" => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
            "ES384" => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
            "EdDSA" => Pair::Ed(Ed25519KeyPair::generate().expect("an Ed25519 key")),
            _ => Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect("an RSA key")),
        };
        Self { kid: kid.to_owned(), alg, pair }
    }

    /// The key's id.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The algorithm it signs with.
    pub fn alg(&self) -> &'static str {
        self.alg
    }

    /// The public half as a JWK (RFC 7517).
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Ec(pair) => {
                let point = pair.public_key().as_ref().get(1..).expect("an uncompressed point");
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if self.alg == "ES256" { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": curve, "x": base64(x), "y": base64(y)})
            }
            Pair::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": base64(pair.public_key().as_ref())})
            }
            Pair::Rsa(pair) => {
                let public = pair.public_key();
                let modulus = public.modulus().big_endian_without_leading_zero();
                let exponent = public.exponent().big_endian_without_leading_zero();
                json!({"kty": "RSA", "n": base64(modulus), "e": base64(exponent)})
            }
        };
        for (name, value) in [("kid", self.kid.as_str()), ("alg", self.alg), ("use", "sig")] {
            jwk.as_object_mut().expect("an object").insert(name.to_owned(), value.into());
        }
        jwk
    }

    /// The public half as the bytes that an attacker of HMAC confusion would sign with.
    pub fn public_bytes(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Ec(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Rsa(pair) => {
                pair.public_key().as_der().expect("a public key has DER").as_ref().to_vec()
            }
        }
    }

    /// Signs `message`, in the form that JWS wants.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ec(pair) => pair.sign(&random, message).expect("a signature").as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let signed = if self.alg == "PS256" {
                    pair.sign(&RSA_PSS_SHA256, &random, message, &mut signature)
                } else {
                    pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                };
                signed.expect("a signature");
                signature
            }
        }
    }
}

fn ecdsa(algorithm: &'static aws_lc_rs::signature::EcdsaSigningAlgorithm) -> Pair {
    Pair::Ec(EcdsaKeyPair::generate(algorithm).expect("an elliptic curve key"))
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
