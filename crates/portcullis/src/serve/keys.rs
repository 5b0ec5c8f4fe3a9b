//! The key that signs what upstreams are told about a caller.
//!
//! Made at every start and never written anywhere: assertions live two minutes, and upstreams that see
//! an unknown key id fetch the keys again.

use anyhow::{Context, Result};
use portcullis_proxy::AssertionSigner;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};

/// A new signer for the server that is called `url`.
pub(super) fn assertion_signer(url: &str) -> Result<AssertionSigner> {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
    let pair = pair.context("no assertion key can be made")?;
    Ok(AssertionSigner::new(&pair.serialize_der(), url)?)
}
