//! Files with the key of a tool.

use std::{fs, path::Path};

use portcullis_identity::dpop::ProofKey;
use portcullis_model::Thumbprint;
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::failure::Failure;

/// The private key in `file`, which signs proofs.
pub(super) fn private(file: &Path) -> Result<ProofKey, Failure> {
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::WrongUse(format!("the key {} cannot be used: {error}", file.display()))
    };
    let pem = fs::read(file).map_err(|error| wrong(&error))?;
    ProofKey::from_pem(&pem).map_err(|error| wrong(&error))
}

/// The thumbprint of the first certificate in `file`, which the gate will see as the leaf.
pub(super) fn certificate(file: &Path) -> Result<Thumbprint, Failure> {
    let leaf = CertificateDer::from_pem_file(file).map_err(|error| {
        let message = format!("no certificate can be read from {}: {error}", file.display());
        Failure::WrongUse(message)
    })?;
    Ok(Thumbprint::of(&leaf))
}
