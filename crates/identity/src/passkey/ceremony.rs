//! The two ceremonies, in the order of the specification's steps.

use ciborium::Value;
use portcullis_model::{Base64Url, Passkey};
use sha2::{Digest, Sha256};

use super::{
    AuthenticationResponse, RegistrationResponse, Rejected, RelyingParty,
    authenticator_data::{AuthenticatorData, map},
    client_data::{self, Ceremony},
    cose::PublicKey,
};

const LONGEST_ATTESTATION: usize = 16 * 1024;

/// What there is to keep of a new credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The authenticator's name for it.
    pub credential: Base64Url,
    /// Its public key (`COSE_Key`).
    pub public_key: Base64Url,
    /// Signatures counted so far.
    pub counter: u32,
    /// Whether it may be copied between devices.
    pub backup_eligible: bool,
}

/// A signature that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assertion {
    /// The authenticator's count, to be remembered.
    pub counter: u32,
}

/// Registers a credential that was made for `challenge` (section 7.1).
pub fn register(
    party: &RelyingParty,
    challenge: &[u8],
    response: &RegistrationResponse,
) -> Result<Registered, Rejected> {
    if !response.is_public_key() {
        return Err(Rejected("this is no public key credential"));
    }
    let client_data = &response.response.client_data;
    client_data::check(&client_data.0, Ceremony::Create, challenge, party)?;
    let object = AttestationObject::parse(&response.response.attestation_object.0)?;
    let data = AuthenticatorData::parse(&object.authenticator_data)?;
    data.check(party)?;
    let credential = data.credential.as_ref().ok_or(Rejected("no credential was made"))?;
    if credential.id != response.raw_id.0 {
        return Err(Rejected("browser and authenticator name two different credentials"));
    }
    let key = PublicKey::parse(credential.public_key)?;
    object.check_statement(&key, &signed(&object.authenticator_data, &client_data.0))?;
    Ok(Registered {
        credential: Base64Url(credential.id.to_vec()),
        public_key: Base64Url(credential.public_key.to_vec()),
        counter: data.counter,
        backup_eligible: data.backup_eligible(),
    })
}

/// Checks a signature over `challenge` by `passkey` (section 7.2).
pub fn verify(
    party: &RelyingParty,
    challenge: &[u8],
    passkey: &Passkey,
    response: &AuthenticationResponse,
) -> Result<Assertion, Rejected> {
    if !response.is_public_key() || response.raw_id != passkey.credential {
        return Err(Rejected("another credential answered"));
    }
    let answer = &response.response;
    client_data::check(&answer.client_data.0, Ceremony::Get, challenge, party)?;
    let data = AuthenticatorData::parse(&answer.authenticator_data.0)?;
    data.check(party)?;
    if data.backup_eligible() != passkey.backup_eligible {
        return Err(Rejected("the passkey is not the kind that was registered"));
    }
    let message = signed(&answer.authenticator_data.0, &answer.client_data.0);
    PublicKey::parse(&passkey.public_key.0)?.verify(&message, &answer.signature.0)?;
    // Step 22. Whoever counts must go on counting: if not, somebody has a copy.
    let counts = data.counter != 0 || passkey.counter != 0;
    if counts && data.counter <= passkey.counter {
        return Err(Rejected(
            "the passkey's counter went back: there may be a copy of it; delete it and register anew",
        ));
    }
    Ok(Assertion { counter: data.counter })
}

/// What authenticators sign: their data, and the hash of the browser's.
fn signed(authenticator_data: &[u8], client_data: &[u8]) -> Vec<u8> {
    [authenticator_data, &Sha256::digest(client_data)].concat()
}

/// Section 6.5.4.
struct AttestationObject {
    format: String,
    statement: Vec<(Value, Value)>,
    authenticator_data: Vec<u8>,
}

impl AttestationObject {
    fn parse(bytes: &[u8]) -> Result<Self, Rejected> {
        const BAD: Rejected = Rejected("the attestation object lacks a member");
        if bytes.len() > LONGEST_ATTESTATION {
            return Err(Rejected("the attestation object is too long"));
        }
        let (mut format, mut statement, mut data) = (None, None, None);
        for (key, value) in map(bytes)? {
            match (key.as_text(), value) {
                (Some("fmt"), Value::Text(text)) => format = Some(text),
                (Some("attStmt"), Value::Map(entries)) => statement = Some(entries),
                (Some("authData"), Value::Bytes(bytes)) => data = Some(bytes),
                _ => {}
            }
        }
        Ok(Self {
            format: format.ok_or(BAD)?,
            statement: statement.ok_or(BAD)?,
            authenticator_data: data.ok_or(BAD)?,
        })
    }

    /// None was asked for, so none comes, or one that the credential signed itself (8.2, 8.7).
    fn check_statement(&self, key: &PublicKey, signed: &[u8]) -> Result<(), Rejected> {
        let member = |name: &str| {
            let found = self.statement.iter().find(|(key, _)| key.as_text() == Some(name));
            found.map(|(_, value)| value)
        };
        match self.format.as_str() {
            "none" if self.statement.is_empty() => Ok(()),
            "packed" if member("x5c").is_none() => {
                let signature = member("sig").and_then(Value::as_bytes);
                let signature = signature.ok_or(Rejected("the attestation has no signature"))?;
                key.verify(signed, signature)
            }
            _ => Err(Rejected("an attestation came that was not asked for")),
        }
    }
}
