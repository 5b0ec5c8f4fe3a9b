//! Certificates, keys and trust bundles from files.
//!
//! Reads; does not judge more than it must to know that the files could be served with. What is
//! read twice and differs is somebody replacing it: the next look finds it whole.

use std::path::Path;

use anyhow::{Context, Result, bail};
use portcullis_identity::spiffe::{self, TrustDomain};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::config::Tls;

/// A certificate chain, leaf first, and the leaf's key.
#[derive(Debug)]
pub(in crate::serve) struct Own {
    /// The chain.
    pub(in crate::serve) chain: Vec<CertificateDer<'static>>,
    /// The key. Prints as nothing.
    pub(in crate::serve) key: PrivateKeyDer<'static>,
}

impl Clone for Own {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl PartialEq for Own {
    fn eq(&self, other: &Self) -> bool {
        self.chain == other.chain && self.key == other.key
    }
}

/// The chain and key of `tls`, relative to `base`.
pub(in crate::serve) fn own(tls: &Tls, base: &Path) -> Result<Own> {
    let (chain, key) = (base.join(&tls.certificate), base.join(&tls.key));
    let chain = certificates(&chain)?;
    let key = PrivateKeyDer::from_pem_file(&key).with_context(|| unusable(&key))?;
    Ok(Own { chain, key })
}

/// The certificates in the PEM file at `path`; none is an error.
pub(in crate::serve) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| unusable(path))?;
    if found.is_empty() {
        bail!("{} holds no certificate", path.display());
    }
    Ok(found)
}

/// The key set of a trust domain.
pub(in crate::serve) fn key_set(path: &Path, domain: &TrustDomain) -> Result<Vec<u8>> {
    let json = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    if !spiffe::check_key_set(&json) {
        bail!("{} holds no key for tokens of {domain}; it must be a JWKS", path.display());
    }
    Ok(json)
}

fn unusable(path: &Path) -> String {
    format!("{} is not usable; it must be a readable PEM file", path.display())
}
