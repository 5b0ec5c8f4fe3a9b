//! What goes to browsers and what comes back, in the JSON forms of Web Authentication Level 3:
//! `parseCreationOptionsFromJSON`, `parseRequestOptionsFromJSON` and `toJSON` (5.1.8 to 5.1.10) of
//! every current browser read and write exactly these.

use portcullis_model::{Base64Url, Passkey};
use serde::{Deserialize, Serialize};

use super::{RelyingParty, cose::ALGORITHMS};

const TYPE: &str = "public-key";
const VERIFICATION: &str = "required";
/// Passkeys that one person needs; the browser shows no more.
const MOST_TRANSPORTS: usize = 8;

/// `PublicKeyCredentialCreationOptionsJSON`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CreationOptions {
    rp: Party,
    user: User,
    challenge: Base64Url,
    pub_key_cred_params: Vec<Parameter>,
    timeout: u64,
    exclude_credentials: Vec<CredentialDescriptor>,
    authenticator_selection: Selection,
    attestation: &'static str,
}

/// `PublicKeyCredentialRequestOptionsJSON`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestOptions {
    challenge: Base64Url,
    timeout: u64,
    rp_id: String,
    allow_credentials: Vec<CredentialDescriptor>,
    user_verification: &'static str,
}

#[derive(Debug, Clone, Serialize)]
struct Party {
    id: String,
    name: &'static str,
}

/// Who registers, as the authenticator may show them.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Says nothing about them.
    pub id: Base64Url,
    /// For example an e-mail address.
    pub name: String,
    /// What to call them.
    pub display_name: String,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Parameter {
    #[serde(rename = "type")]
    kind: &'static str,
    alg: i64,
}

/// A credential by name.
#[derive(Debug, Clone, Serialize)]
pub struct CredentialDescriptor {
    #[serde(rename = "type")]
    kind: &'static str,
    id: Base64Url,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    transports: Vec<String>,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct Selection {
    resident_key: &'static str,
    require_resident_key: bool,
    user_verification: &'static str,
}

impl CreationOptions {
    /// Asks for a new credential of `user`, beside those that they have, within `milliseconds`.
    pub fn new(
        party: &RelyingParty,
        user: User,
        challenge: Base64Url,
        known: &[Passkey],
        milliseconds: u64,
    ) -> Self {
        Self {
            rp: Party { id: party.id().to_owned(), name: "Portcullis" },
            user,
            challenge,
            pub_key_cred_params: ALGORITHMS.map(|alg| Parameter { kind: TYPE, alg }).to_vec(),
            timeout: milliseconds,
            exclude_credentials: known.iter().map(CredentialDescriptor::of).collect(),
            authenticator_selection: Selection {
                resident_key: "discouraged",
                require_resident_key: false,
                user_verification: VERIFICATION,
            },
            attestation: "none",
        }
    }
}

impl RequestOptions {
    /// Asks for a signature over `challenge` by one of `passkeys`, within `milliseconds`.
    pub fn new(
        party: &RelyingParty,
        challenge: Base64Url,
        passkeys: &[Passkey],
        milliseconds: u64,
    ) -> Self {
        Self {
            challenge,
            timeout: milliseconds,
            rp_id: party.id().to_owned(),
            allow_credentials: passkeys.iter().map(CredentialDescriptor::of).collect(),
            user_verification: VERIFICATION,
        }
    }
}

impl CredentialDescriptor {
    fn of(passkey: &Passkey) -> Self {
        let (id, transports) = (passkey.credential.clone(), passkey.transports.clone());
        Self { kind: TYPE, id, transports }
    }
}

/// `RegistrationResponseJSON`, as far as it counts. Browsers add members as they like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistrationResponse {
    /// The credential's id.
    pub raw_id: Base64Url,
    /// Always `public-key`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The answer itself.
    pub response: AttestationResponse,
}

/// `AuthenticatorAttestationResponseJSON`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestationResponse {
    /// What the browser says.
    #[serde(rename = "clientDataJSON")]
    pub client_data: Base64Url,
    /// What the authenticator says, in CBOR.
    #[serde(rename = "attestationObject")]
    pub attestation_object: Base64Url,
    /// How to reach it next time.
    #[serde(default)]
    pub transports: Vec<String>,
}

/// `AuthenticationResponseJSON`, as far as it counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthenticationResponse {
    /// The credential's id.
    pub raw_id: Base64Url,
    /// Always `public-key`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The answer itself.
    pub response: AssertionResponse,
}

/// `AuthenticatorAssertionResponseJSON`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssertionResponse {
    /// What the browser says.
    #[serde(rename = "clientDataJSON")]
    pub client_data: Base64Url,
    /// What the authenticator says.
    #[serde(rename = "authenticatorData")]
    pub authenticator_data: Base64Url,
    /// The signature over both.
    pub signature: Base64Url,
}

impl RegistrationResponse {
    pub(super) fn is_public_key(&self) -> bool {
        self.kind == TYPE
    }

    /// As many as there can be, each a short word (5.8.4): they go back to browsers only.
    pub fn transports(&self) -> Vec<String> {
        let word = |text: &&String| {
            (1..=16).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
        };
        self.response.transports.iter().filter(word).take(MOST_TRANSPORTS).cloned().collect()
    }
}

impl AuthenticationResponse {
    pub(super) fn is_public_key(&self) -> bool {
        self.kind == TYPE
    }
}
