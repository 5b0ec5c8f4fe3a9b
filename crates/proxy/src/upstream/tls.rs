//! TLS to upstreams: whom they must be certified by, and what the gate presents to them.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use portcullis_identity::spiffe::ServerTrust;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, PeerMisbehaved, RootCertStore,
    client::Resumption,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio_rustls::TlsConnector;

use super::Kind;
use crate::gate::GateError;

/// Whom an upstream must be certified by.
#[derive(Debug, Clone)]
pub enum ServerAuthorities {
    /// One of these, for the name that it is asked for by.
    Roots(Arc<RootCertStore>),
    /// The authorities of a trust domain, for the workload that it must be.
    Spiffe(Arc<ServerTrust>),
}

/// What connections to upstreams use. Made once; whoever replaces it ends it, and connections that
/// were made with it carry no further requests.
pub struct ClientTls {
    any: TlsConnector,
    http1: TlsConnector,
    /// For what is no HTTP: what is spoken inside is theirs to know, so no protocol is offered.
    bare: TlsConnector,
    over: AtomicBool,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientTls({})", if self.is_current() { "current" } else { "over" })
    }
}

impl ClientTls {
    /// Upstreams as `authorities` certify them; `own` is a chain, leaf first, and its key.
    pub fn new(
        authorities: ServerAuthorities,
        own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> Result<Self, GateError> {
        let builder = ClientConfig::builder();
        let builder = match authorities {
            ServerAuthorities::Roots(roots) => builder.with_root_certificates(roots),
            ServerAuthorities::Spiffe(trust) => {
                builder.dangerous().with_custom_certificate_verifier(trust)
            }
        };
        let mut config = match own {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
            None => builder.with_no_client_auth(),
        };
        // A resumed session skips the certificates, and so what they say by now.
        config.resumption = Resumption::disabled();
        Ok(Self::of(&config))
    }

    /// Upstreams of services that say nothing about it.
    pub(super) fn usual(roots: &RootCertStore) -> Self {
        let config = ClientConfig::builder().with_root_certificates(roots.clone());
        Self::of(&config.with_no_client_auth())
    }

    fn of(config: &ClientConfig) -> Self {
        let speaking = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            TlsConnector::from(Arc::new(config))
        };
        let (any, http1) = (speaking(&[b"h2", b"http/1.1"]), speaking(&[b"http/1.1"]));
        Self { any, http1, bare: speaking(&[]), over: AtomicBool::new(false) }
    }

    /// Something else has taken its place.
    pub fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    pub(super) fn is_current(&self) -> bool {
        !self.over.load(Ordering::Acquire)
    }

    pub(super) fn bare(&self) -> &TlsConnector {
        &self.bare
    }

    pub(super) fn connector(&self, kind: Kind) -> &TlsConnector {
        match kind {
            Kind::Any | Kind::Fresh | Kind::Once => &self.any,
            Kind::Upgradable => &self.http1,
        }
    }
}

/// What a connection hangs on beside itself: nothing, or settings that may be replaced.
#[derive(Debug, Clone, Default)]
pub(super) struct HangsOn(pub(super) Option<Arc<ClientTls>>);

impl HangsOn {
    /// Whether further requests may be sent.
    pub(super) fn holds(&self) -> bool {
        self.0.as_ref().is_none_or(|tls| tls.is_current())
    }
}

/// Whether a handshake failed as there is no protocol that both sides speak.
pub(super) fn is_of_protocol(error: &io::Error) -> bool {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    matches!(
        tls,
        Some(
            Error::AlertReceived(AlertDescription::NoApplicationProtocol)
                | Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedApplicationProtocol)
        )
    )
}

/// Why a handshake failed, for operators.
pub(super) fn why(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(Error::InvalidCertificate(defect)) => {
            format!("its certificate: {}", defect_of(defect))
        }
        Some(Error::AlertReceived(alert)) => match alert {
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied => {
                format!("it does not accept what the gate presents ({alert:?})")
            }
            _ => format!("it broke off the handshake ({alert:?})"),
        },
        Some(other) => other.to_string(),
        None => error.to_string(),
    }
}

fn defect_of(defect: &CertificateError) -> String {
    match defect {
        CertificateError::UnknownIssuer => "none of the configured authorities issued it".into(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet".into()
        }
        CertificateError::Other(other) => other.0.to_string(),
        other => other.to_string(),
    }
}
