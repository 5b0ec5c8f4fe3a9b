//! Whose certificates are believed.
//!
//! Chains are checked by rustls' own verifier, on the bundle of the trust domain that the leaf names
//! and on no other. What it says is made once and never changes: whoever rotates an authority makes
//! a new one, so that everything which hangs on the old one can tell.

use std::{collections::BTreeMap, fmt, sync::Arc};

use jiff::Timestamp;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::{Mesh, TrustDomain, certificate::Svid};
use crate::{AuthError, Authenticated};

/// A bundle that cannot vouch for anybody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the trust bundle of `{domain}` cannot be used: {why}")]
pub struct NoTrust {
    /// Whose.
    pub domain: TrustDomain,
    /// What is wrong with it.
    pub why: String,
}

/// The authorities of all trust domains that one listener believes.
pub struct ClientTrust {
    domains: BTreeMap<TrustDomain, Domain>,
    hints: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

struct Domain {
    mesh: Arc<Mesh>,
    verifier: Arc<dyn ClientCertVerifier>,
}

/// Why a certificate is refused, for the log; the other side gets an alert.
#[derive(Debug)]
struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// As rustls takes it.
pub(super) fn refused(why: String) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Refused(why)))))
}

impl ClientTrust {
    /// Believes each of `meshes` as far as its own authorities vouch.
    pub fn new(
        meshes: impl IntoIterator<Item = (Arc<Mesh>, Vec<CertificateDer<'static>>)>,
    ) -> Result<Self, NoTrust> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let (mut domains, mut hints) = (BTreeMap::new(), Vec::new());
        for (mesh, authorities) in meshes {
            let roots = roots(&mesh.domain, authorities)?;
            hints.extend(roots.subjects());
            let builder =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            let verifier = builder.build().map_err(|error| no_trust(&mesh.domain, &error))?;
            domains.insert(mesh.domain.clone(), Domain { mesh, verifier });
        }
        Ok(Self { domains, hints, provider })
    }

    /// Who presents `chain`, leaf first, at `now`, if all of it holds.
    pub fn authenticate(
        &self,
        chain: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<Authenticated, AuthError> {
        let (leaf, intermediates) =
            chain.split_first().ok_or(AuthError::Bad("there is no client certificate"))?;
        let (svid, domain) = self.read(leaf).map_err(AuthError::Bad)?;
        domain
            .verifier
            .verify_client_cert(leaf, intermediates, unix_time(now))
            .map_err(|_| AuthError::Bad("the client certificate is not valid, or no longer"))?;
        Ok(Authenticated::by_certificate(domain.mesh.principal(&svid.id), now, svid.ends_at))
    }

    fn read(&self, leaf: &CertificateDer<'_>) -> Result<(Svid, &Domain), &'static str> {
        let svid = Svid::read(leaf)?;
        let domain = self.domains.get(svid.id.domain());
        let domain = domain.ok_or("the client certificate's trust domain is not configured")?;
        Ok((svid, domain))
    }
}

pub(super) fn roots(
    domain: &TrustDomain,
    authorities: Vec<CertificateDer<'static>>,
) -> Result<RootCertStore, NoTrust> {
    if authorities.is_empty() {
        return Err(no_trust(domain, &"it holds no certificate"));
    }
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|error| no_trust(domain, &error))?;
    }
    Ok(roots)
}

fn no_trust(domain: &TrustDomain, why: &dyn fmt::Display) -> NoTrust {
    NoTrust { domain: domain.clone(), why: why.to_string() }
}

fn unix_time(at: Timestamp) -> UnixTime {
    let seconds = u64::try_from(at.as_second()).unwrap_or(0);
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}

impl fmt::Debug for ClientTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientTrust({:?})", self.domains.keys())
    }
}

impl ClientCertVerifier for ClientTrust {
    /// Who has none may present a token instead.
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let (_, domain) = self.read(leaf).map_err(|why| refused(why.to_owned()))?;
        domain.verifier.verify_client_cert(leaf, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
