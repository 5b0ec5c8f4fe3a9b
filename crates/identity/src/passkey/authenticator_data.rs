//! What the authenticator says: authenticator data (Web Authentication Level 3, 6.1), and the CBOR in
//! and around it.

use ciborium::Value;
use sha2::{Digest, Sha256};

use super::{Rejected, RelyingParty};

const USER_PRESENT: u8 = 1;
const USER_VERIFIED: u8 = 1 << 2;
const BACKUP_ELIGIBLE: u8 = 1 << 3;
const BACKED_UP: u8 = 1 << 4;
const HAS_CREDENTIAL: u8 = 1 << 6;
const HAS_EXTENSIONS: u8 = 1 << 7;

const LONGEST: usize = 8192;
/// Section 7.1, step 26.
const LONGEST_CREDENTIAL: usize = 1023;
/// Deep enough for attestation objects and extensions.
const DEEPEST: usize = 8;

const CUT: Rejected = Rejected("the authenticator's data is cut short");

/// Read and in order; for whom and by whom is for the caller to check.
#[derive(Debug)]
pub(super) struct AuthenticatorData<'a> {
    relying_party: &'a [u8],
    flags: u8,
    pub(super) counter: u32,
    pub(super) credential: Option<AttestedCredential<'a>>,
}

/// A new credential.
#[derive(Debug)]
pub(super) struct AttestedCredential<'a> {
    pub(super) id: &'a [u8],
    /// The `COSE_Key`, byte for byte.
    pub(super) public_key: &'a [u8],
}

impl<'a> AuthenticatorData<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Rejected> {
        if bytes.len() > LONGEST {
            return Err(Rejected("the authenticator's data is too long"));
        }
        let (relying_party, rest) = bytes.split_at_checked(32).ok_or(CUT)?;
        let (flags, rest) = rest.split_first().ok_or(CUT)?;
        let (counter, mut rest) = rest.split_first_chunk().ok_or(CUT)?;
        let mut credential = None;
        if flags & HAS_CREDENTIAL != 0 {
            let (found, after) = attested(rest)?;
            (credential, rest) = (Some(found), after);
        }
        if flags & HAS_EXTENSIONS != 0 {
            let (extensions, after) = item(rest)?;
            if !extensions.is_map() {
                return Err(Rejected("the authenticator's extensions are no map"));
            }
            rest = after;
        }
        if !rest.is_empty() {
            return Err(Rejected("something follows the authenticator's data"));
        }
        let counter = u32::from_be_bytes(*counter);
        Ok(Self { relying_party, flags: *flags, counter, credential })
    }

    /// Steps 13 to 17 of registering and 15 to 18 of signing.
    pub(super) fn check(&self, party: &RelyingParty) -> Result<(), Rejected> {
        let ours: [u8; 32] = Sha256::digest(party.id().as_bytes()).into();
        if self.relying_party != ours {
            return Err(Rejected("the passkey signed for another relying party"));
        }
        if self.flags & USER_PRESENT == 0 || self.flags & USER_VERIFIED == 0 {
            return Err(Rejected(
                "the authenticator did not verify the user (PIN, finger or face)",
            ));
        }
        if self.flags & BACKED_UP != 0 && !self.backup_eligible() {
            return Err(Rejected("the authenticator says that it copied what cannot be copied"));
        }
        Ok(())
    }

    pub(super) const fn backup_eligible(&self) -> bool {
        self.flags & BACKUP_ELIGIBLE != 0
    }
}

fn attested(bytes: &[u8]) -> Result<(AttestedCredential<'_>, &[u8]), Rejected> {
    // The model of the authenticator, which attestation is about.
    let (_aaguid, rest) = bytes.split_at_checked(16).ok_or(CUT)?;
    let (length, rest) = rest.split_first_chunk().ok_or(CUT)?;
    let length = usize::from(u16::from_be_bytes(*length));
    if length == 0 || length > LONGEST_CREDENTIAL {
        return Err(Rejected("the credential's id has a length that is not allowed"));
    }
    let (id, from_key) = rest.split_at_checked(length).ok_or(CUT)?;
    let (_, rest) = item(from_key)?;
    let public_key = from_key.get(..from_key.len() - rest.len()).ok_or(CUT)?;
    Ok((AttestedCredential { id, public_key }, rest))
}

/// One CBOR item, and what follows it.
pub(super) fn item(bytes: &[u8]) -> Result<(Value, &[u8]), Rejected> {
    let mut rest = bytes;
    let read = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEEPEST);
    let value = read.map_err(|_| Rejected("the authenticator's CBOR cannot be read"))?;
    Ok((value, rest))
}

/// One CBOR map and nothing behind it, each key once.
pub(super) fn map(bytes: &[u8]) -> Result<Vec<(Value, Value)>, Rejected> {
    let (value, rest) = item(bytes)?;
    let Value::Map(entries) = value else {
        return Err(Rejected("the authenticator's CBOR is no map"));
    };
    let repeats =
        |at: usize, key: &Value| entries.iter().take(at).any(|(earlier, _)| earlier == key);
    if !rest.is_empty() || entries.iter().enumerate().any(|(at, (key, _))| repeats(at, key)) {
        return Err(Rejected("the authenticator's CBOR can be read in two ways"));
    }
    Ok(entries)
}
