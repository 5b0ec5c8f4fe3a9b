//! The keys of the process itself.
//!
//! The one that signs what upstreams are told about a caller is made at every start and never written
//! anywhere: assertions live two minutes, and upstreams that see an unknown key id fetch the keys again.
//! The one that seals providers' tokens stays in a file beside the store, so that a copy of the store
//! alone opens none of them.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_model::{Entropy, Secret};
use portcullis_proxy::AssertionSigner;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};

/// A new signer for the server that is called `url`.
pub(super) fn assertion_signer(url: &str) -> Result<AssertionSigner> {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
    let pair = pair.context("no assertion key can be made")?;
    Ok(AssertionSigner::new(&pair.serialize_der(), url)?)
}

/// The key beside the store at `store`; a new one if there is none.
pub(super) fn store_key(store: &Path, entropy: &dyn Entropy) -> Result<Secret> {
    let mut name = store.as_os_str().to_owned();
    name.push(".key");
    let path = Path::new(&name);
    match fs::read_to_string(path) {
        Ok(text) => checked(path, text.trim()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut bits = [0; 32];
            entropy.fill(&mut bits);
            let text = URL_SAFE_NO_PAD.encode(bits);
            let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let mut file =
                made.with_context(|| format!("the key {} cannot be made", path.display()))?;
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all())?;
            Ok(Secret::new(text))
        }
        Err(error) => {
            Err(error).with_context(|| format!("the key {} cannot be read", path.display()))
        }
    }
}

/// A file that was cut short would seal with a key that anybody can guess.
fn checked(path: &Path, text: &str) -> Result<Secret> {
    let whole = URL_SAFE_NO_PAD.decode(text).is_ok_and(|bits| bits.len() == 32);
    if !whole {
        bail!(
            "{} is not a key; restore it, or remove it so that everybody signs in again",
            path.display()
        );
    }
    Ok(Secret::new(text))
}
