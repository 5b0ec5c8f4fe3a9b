//! A passkey in software, with a browser around it: answers as an honest one would, until a test turns
//! one of its knobs.

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// User present, user verified.
pub const VERIFIED: u8 = 0x05;
const HAS_CREDENTIAL: u8 = 0x40;

/// One credential of one authenticator (ES256), in one browser.
#[derive(Debug)]
pub struct SoftPasskey {
    /// Where the browser is.
    pub origin: String,
    /// For whom the authenticator signs.
    pub relying_party: String,
    /// The authenticator's name for it.
    pub credential: Vec<u8>,
    /// The flags of its data, without those that tell what follows.
    pub flags: u8,
    /// How many signatures it has made; goes up by one with each.
    pub counter: u32,
    /// The algorithm that it claims, as one byte of CBOR: 0x26 is -7.
    pub algorithm: u8,
    key: EcdsaKeyPair,
}

impl SoftPasskey {
    /// A new one, for the relying party at `origin`.
    pub fn new(origin: &str, relying_party: &str, name: u8) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
        Self {
            origin: origin.to_owned(),
            relying_party: relying_party.to_owned(),
            credential: vec![name; 16],
            flags: VERIFIED,
            counter: 0,
            algorithm: 0x26,
            key,
        }
    }

    /// Its public key, as `COSE_Key`.
    pub fn public_key(&self) -> Vec<u8> {
        let point = self.key.public_key().as_ref();
        let (x, y) = point.get(1..).expect("a point").split_at(32);
        let head = [0xa5, 1, 2, 3, self.algorithm, 0x20, 1, 0x21, 0x58, 32];
        [&head[..], x, &[0x22, 0x58, 32], y].concat()
    }

    /// `RegistrationResponseJSON` for a challenge in base64url.
    pub fn register(&self, challenge: &str) -> Value {
        self.register_with(challenge, &self.public_key())
    }

    /// The same with any bytes for a public key.
    pub fn register_with(&self, challenge: &str, public_key: &[u8]) -> Value {
        let length = u16::try_from(self.credential.len()).expect("a short id").to_be_bytes();
        let credential = [&[0; 16][..], &length, &self.credential, public_key].concat();
        let data = [self.data(self.flags | HAS_CREDENTIAL), credential].concat();
        let length = u16::try_from(data.len()).expect("short data").to_be_bytes();
        let head = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59";
        let object = [&head[..], &length, &data].concat();
        self.answer(&json!({
            "clientDataJSON": encode(self.client_data("webauthn.create", challenge).as_bytes()),
            "attestationObject": encode(&object),
            "transports": ["internal"],
        }))
    }

    /// `AuthenticationResponseJSON` for a challenge in base64url.
    pub fn sign(&mut self, challenge: &str) -> Value {
        let client_data = self.client_data("webauthn.get", challenge);
        self.sign_client_data(&client_data)
    }

    /// The same over any client data.
    pub fn sign_client_data(&mut self, client_data: &str) -> Value {
        self.counter = self.counter.wrapping_add(1);
        let data = self.data(self.flags);
        let hash = digest(&SHA256, client_data.as_bytes());
        let message = [data.as_slice(), hash.as_ref()].concat();
        let signature = self.key.sign(&SystemRandom::new(), &message).expect("a signature");
        self.answer(&json!({
            "clientDataJSON": encode(client_data.as_bytes()),
            "authenticatorData": encode(&data),
            "signature": encode(signature.as_ref()),
            "userHandle": null,
        }))
    }

    /// What the browser says of a ceremony.
    pub fn client_data(&self, kind: &str, challenge: &str) -> String {
        let origin = &self.origin;
        json!({"type": kind, "challenge": challenge, "origin": origin, "crossOrigin": false})
            .to_string()
    }

    fn data(&self, flags: u8) -> Vec<u8> {
        let party = digest(&SHA256, self.relying_party.as_bytes());
        [party.as_ref(), &[flags], &self.counter.to_be_bytes()].concat()
    }

    fn answer(&self, response: &Value) -> Value {
        let id = encode(&self.credential);
        json!({
            "id": id, "rawId": id, "type": "public-key", "response": response,
            "clientExtensionResults": {}, "authenticatorAttachment": "platform",
        })
    }
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
