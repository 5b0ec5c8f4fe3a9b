//! Which servers are believed to be the workload that is wanted.
//!
//! A server of a trust domain is who its SPIFFE ID says, wherever it runs: the chain must lead to the
//! domain's own authorities, and the ID takes the place of the host's name, which proves nothing here.

use std::{fmt, str::FromStr, sync::Arc};

use rustls::{
    DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use super::{
    InvalidSpiffeId, NoTrust, SpiffeId, TrustDomain,
    certificate::Svid,
    trust::{refused, roots},
};

/// Whom a server must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// This workload.
    Workload(SpiffeId),
    /// Any workload of this trust domain.
    AnyOf(TrustDomain),
}

impl Wanted {
    /// The domain that vouches for it.
    pub fn domain(&self) -> &TrustDomain {
        match self {
            Self::Workload(id) => id.domain(),
            Self::AnyOf(domain) => domain,
        }
    }

    fn is(&self, id: &SpiffeId) -> bool {
        match self {
            Self::Workload(wanted) => wanted == id,
            Self::AnyOf(domain) => domain == id.domain(),
        }
    }
}

impl FromStr for Wanted {
    type Err = InvalidSpiffeId;

    /// `spiffe://prod.example.com/ns/shop/sa/api`, or `spiffe://prod.example.com` for any of it.
    fn from_str(text: &str) -> Result<Self, InvalidSpiffeId> {
        match text.strip_prefix("spiffe://") {
            Some(domain) if !domain.contains('/') => Ok(Self::AnyOf(domain.parse()?)),
            Some(_) | None => Ok(Self::Workload(text.parse()?)),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(id) => id.fmt(f),
            Self::AnyOf(domain) => write!(f, "a workload of {domain}"),
        }
    }
}

/// Believes servers that are who is wanted, as far as the authorities of the trust domain vouch.
pub struct ServerTrust {
    wanted: Wanted,
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
}

impl ServerTrust {
    /// Believes `authorities`, which must be those of the domain of `wanted`.
    pub fn new(wanted: Wanted, authorities: Vec<CertificateDer<'static>>) -> Result<Self, NoTrust> {
        let roots = roots(wanted.domain(), authorities)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Ok(Self { wanted, roots, provider })
    }
}

impl fmt::Debug for ServerTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerTrust({})", self.wanted)
    }
}

impl ServerCertVerifier for ServerTrust {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        let known = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, known)?;
        let svid = Svid::read(leaf).map_err(|why| refused(why.to_owned()))?;
        if !self.wanted.is(&svid.id) {
            return Err(refused(format!("it is {}, and not {}", svid.id, self.wanted)));
        }
        Ok(ServerCertVerified::assertion())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_wanted_by_its_id_or_by_its_domain() {
        let api: SpiffeId = "spiffe://prod.example.com/ns/shop/sa/api".parse().unwrap();
        let below: SpiffeId = "spiffe://prod.example.com/ns/shop/sa/api/b".parse().unwrap();
        let other: SpiffeId = "spiffe://dev.example.com/ns/shop/sa/api".parse().unwrap();
        let by = |text: &str| text.parse::<Wanted>().unwrap();
        assert!(by("spiffe://prod.example.com/ns/shop/sa/api").is(&api));
        assert!(!by("spiffe://prod.example.com/ns/shop/sa/api").is(&below));
        assert!(by("spiffe://prod.example.com").is(&below));
        assert!(!by("spiffe://prod.example.com").is(&other));
        for bad in ["prod.example.com", "spiffe://", "spiffe://a/", "spiffe://A", "https://a/b"] {
            assert!(bad.parse::<Wanted>().is_err(), "{bad}");
        }
    }
}
