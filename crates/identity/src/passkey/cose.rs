//! Public keys of credentials: `COSE_Key` (RFC 9052, section 7, and RFC 9053), of the three algorithms
//! that authenticators have: ES256, `EdDSA` on Ed25519, and RS256.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use ciborium::Value;

use super::{Rejected, authenticator_data::map};

/// The algorithms that are asked for, best first (IANA COSE Algorithms).
pub(super) const ALGORITHMS: [i64; 3] = [ES256, EDDSA, RS256];

const ES256: i64 = -7;
const EDDSA: i64 = -8;
const RS256: i64 = -257;

/// Labels of RFC 9052, table 4, and RFC 9053, tables 18 to 20. What a label means depends on the type.
const KEY_TYPE: i64 = 1;
const ALGORITHM: i64 = 3;
const CURVE: i64 = -1;
const X: i64 = -2;
const Y: i64 = -3;
const MODULUS: i64 = -1;
const EXPONENT: i64 = -2;

const OKP: i64 = 1;
const EC2: i64 = 2;
const RSA: i64 = 3;
const P256: i64 = 1;
const CURVE_ED25519: i64 = 6;

/// Bytes of the smallest and of the largest modulus.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

const NO_KEY: Rejected = Rejected("the passkey's public key is no key of its algorithm");

/// A public key with its algorithm: what verifies is told by the key, never by the signature.
#[derive(Debug)]
pub(super) enum PublicKey {
    /// An uncompressed point on P-256.
    Es256([u8; 65]),
    Ed25519([u8; 32]),
    Rs256 {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
}

impl PublicKey {
    pub(super) fn parse(cose: &[u8]) -> Result<Self, Rejected> {
        let entries = map(cose)?;
        let (kind, algorithm) = (number(&entries, KEY_TYPE), number(&entries, ALGORITHM));
        let key = match (algorithm, kind) {
            (Some(ES256), Some(EC2)) => Self::es256(&entries)?,
            (Some(EDDSA), Some(OKP)) if number(&entries, CURVE) == Some(CURVE_ED25519) => {
                Self::Ed25519(fixed(&entries, X)?)
            }
            (Some(RS256), Some(RSA)) => Self::rs256(&entries)?,
            (Some(ES256 | EDDSA | RS256), _) => return Err(NO_KEY),
            _ => return Err(Rejected("the passkey's algorithm is none of ES256, EdDSA and RS256")),
        };
        key.usable()
    }

    fn es256(entries: &[(Value, Value)]) -> Result<Self, Rejected> {
        if number(entries, CURVE) != Some(P256) {
            return Err(NO_KEY);
        }
        let (x, y): ([u8; 32], [u8; 32]) = (fixed(entries, X)?, fixed(entries, Y)?);
        let point = [&[4][..], &x, &y].concat();
        point.try_into().map(Self::Es256).map_err(|_| NO_KEY)
    }

    fn rs256(entries: &[(Value, Value)]) -> Result<Self, Rejected> {
        let modulus = bytes(entries, MODULUS)?.to_vec();
        let exponent = bytes(entries, EXPONENT)?.to_vec();
        let fits = MODULUS_BYTES.contains(&modulus.len()) && exponent.len() <= 8;
        if fits { Ok(Self::Rs256 { modulus, exponent }) } else { Err(NO_KEY) }
    }

    /// A point that is not on the curve is found when the passkey is registered, not when it is needed.
    fn usable(self) -> Result<Self, Rejected> {
        let parsed = match &self {
            Self::Es256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).parse(),
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).parse(),
            Self::Rs256 { modulus: n, exponent: e } => {
                RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
            }
        };
        parsed.map(|_| self).map_err(|_| NO_KEY)
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Rejected> {
        let verified = match self {
            Self::Es256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature)
            }
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
            Self::Rs256 { modulus: n, exponent: e } => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
        };
        verified.map_err(|_| Rejected("the signature is not the passkey's"))
    }
}

fn lookup(entries: &[(Value, Value)], label: i64) -> Option<&Value> {
    let is = |key: &Value| key.as_integer() == Some(label.into());
    entries.iter().find(|(key, _)| is(key)).map(|(_, value)| value)
}

fn number(entries: &[(Value, Value)], label: i64) -> Option<i64> {
    i64::try_from(lookup(entries, label)?.as_integer()?).ok()
}

fn bytes(entries: &[(Value, Value)], label: i64) -> Result<&[u8], Rejected> {
    let value = lookup(entries, label).and_then(Value::as_bytes);
    value.map(Vec::as_slice).ok_or(NO_KEY)
}

fn fixed<const N: usize>(entries: &[(Value, Value)], label: i64) -> Result<[u8; N], Rejected> {
    bytes(entries, label)?.try_into().map_err(|_| NO_KEY)
}
