//! Passkeys: what a reviewer signs with, and what the record keeps of each signature.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{PasskeyId, PrincipalId, base64url::Base64Url};

/// A reviewer's registered credential (Web Authentication Level 3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passkey {
    /// Its id here, which is no secret.
    pub id: PasskeyId,
    /// Whose. Good for nobody else, whatever else links two principals.
    pub principal: PrincipalId,
    /// What its owner calls it.
    pub name: String,
    /// The authenticator's name for it.
    pub credential: Base64Url,
    /// Its public key, as the authenticator wrote it: `COSE_Key` (RFC 9052, section 7).
    pub public_key: Base64Url,
    /// The signatures that it has made, as it counted them; 0 for one that does not count.
    pub counter: u32,
    /// Whether it may be copied between devices. Never changes.
    pub backup_eligible: bool,
    /// How the browser reaches it, as it said: `internal`, `usb`, `hybrid`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transports: Vec<String>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it last signed something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
}

/// One signature by a passkey, with everything that it takes to check it again without us: the
/// challenge in `client_data` is SHA-256 over the text `portcullis review by passkey`, a zero byte,
/// `nonce` and `statement`; `signature` is over `authenticator_data` and the SHA-256 of
/// `client_data` (Web Authentication Level 3, section 7.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasskeyProof {
    /// The passkey.
    pub passkey: PasskeyId,
    /// The authenticator's name for it.
    pub credential: Base64Url,
    /// Its public key (`COSE_Key`).
    pub public_key: Base64Url,
    /// The relying party id: the host of control's URL.
    pub relying_party: String,
    /// The origin of the page on which it happened.
    pub origin: String,
    /// What was answered, as canonical JSON text.
    pub statement: String,
    /// The random half of the challenge.
    pub nonce: Base64Url,
    /// The authenticator's word: for whom, user verified, counter.
    pub authenticator_data: Base64Url,
    /// The browser's word: challenge and origin.
    pub client_data: Base64Url,
    /// The signature.
    pub signature: Base64Url,
}
