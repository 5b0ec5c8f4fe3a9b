//! Passkeys: checks what browsers and authenticators answer (Web Authentication Level 3).
//!
//! The relying party's half of the two ceremonies, section 7.1 for registering and 7.2 for signing,
//! and nothing else: which challenge was given to whom, and what a signature is good for, is control's
//! matter. User verification is always required. Attestation is not asked for: whoever may register
//! says so by their sign-in, not by the make of their key.

mod authenticator_data;
mod ceremony;
mod client_data;
mod cose;
mod wire;

use url::{Host, Url};

pub use ceremony::{Assertion, Registered, register, verify};
pub use client_data::challenge_of;
pub use wire::{
    AuthenticationResponse, CreationOptions, CredentialDescriptor, RegistrationResponse,
    RequestOptions, User,
};

/// Why an answer does not count. Closed, because it can never count a little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Rejected(pub &'static str);

/// Who asks for signatures: no authenticator signs for one in the name of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelyingParty {
    id: String,
    origin: String,
}

impl RelyingParty {
    /// The relying party behind `url`: its host is the id, its origin the only one that counts.
    ///
    /// `None` where browsers offer no passkeys: an address instead of a name, or no secure context
    /// (`https`, or `localhost`).
    pub fn of(url: &Url) -> Option<Self> {
        let Some(Host::Domain(host)) = url.host() else { return None };
        let local = host == "localhost" || host.ends_with(".localhost");
        let secure = url.scheme() == "https" || url.scheme() == "http" && local;
        let (id, origin) = (host.to_owned(), url.origin().ascii_serialization());
        secure.then_some(Self { id, origin })
    }

    /// The relying party id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The origin of its pages.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

#[cfg(test)]
mod tests;
