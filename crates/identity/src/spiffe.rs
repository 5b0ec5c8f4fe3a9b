//! Workloads that are named by SPIFFE: by a certificate (X509-SVID) or a token (JWT-SVID) of their
//! trust domain.
//!
//! A trust domain vouches for its own names only: which authorities and keys are asked depends on
//! the name, so no domain can speak for another. Both kinds of proof name one and the same workload.

mod certificate;
mod id;
mod mesh;
mod server;
mod tokens;
mod trust;

pub use certificate::{InvalidCertificates, certificates, expires_at};
pub use id::{InvalidSpiffeId, SpiffeId, TrustDomain};
pub use mesh::Mesh;
pub use server::{ServerTrust, Wanted};
pub use tokens::{SvidTokens, check_key_set};
pub use trust::{ClientTrust, NoTrust};

pub(crate) use tokens::TokenDomains;
