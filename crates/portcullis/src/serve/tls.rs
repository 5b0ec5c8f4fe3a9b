//! Certificates and keys from PEM files, and whom upstreams must be certified by.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result, bail};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::config::Tls;

/// The chain and key of `tls`, relative to `base`.
pub(super) fn read(
    tls: &Tls,
    base: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let (certificate, key) = (base.join(&tls.certificate), base.join(&tls.key));
    let unusable =
        |path: &Path| format!("{} is not usable; it must be a readable PEM file", path.display());
    let chain = CertificateDer::pem_file_iter(&certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| unusable(&certificate))?;
    if chain.is_empty() {
        bail!("{} holds no certificate", certificate.display());
    }
    let key = PrivateKeyDer::from_pem_file(&key).with_context(|| unusable(&key))?;
    Ok((chain, key))
}

/// A server's TLS settings, speaking `protocols`.
pub(super) fn server(tls: &Tls, base: &Path, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>> {
    let (chain, key) = read(tls, base)?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    let certificate = tls.certificate.display();
    let mut config = config.with_context(|| {
        format!("certificate {certificate} and key {} do not belong together", tls.key.display())
    })?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}
