//! What a TLS listener presents and whom it believes, both of which change while it is open.

use std::{cell::RefCell, fmt, sync::Arc};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use portcullis_identity::{AuthError, Authenticated, spiffe::ClientTrust};
use portcullis_model::Thumbprint;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::NoServerSessionStorage,
};

use crate::gate::GateError;

/// A certificate, its key and the authorities of clients: replaced as a whole, taken up by the next
/// handshake. Connections that are open stay open; what their certificates are worth is looked at
/// again.
#[derive(Default)]
pub struct LiveTls {
    current: ArcSwapOption<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    /// The same where no HTTP is spoken inside: no protocol is agreed on.
    bare: Arc<ServerConfig>,
    trust: Option<Arc<ClientTrust>>,
}

impl LiveTls {
    /// Puts a chain, leaf first, its key, and whose client certificates are believed in force.
    pub fn replace(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        trust: Option<Arc<ClientTrust>>,
    ) -> Result<(), GateError> {
        let config = server_config(chain, key, trust.clone())?;
        let mut bare = ServerConfig::clone(&config);
        bare.alpn_protocols = Vec::new();
        self.current.store(Some(Arc::new(Current { config, bare: Arc::new(bare), trust })));
        Ok(())
    }

    /// What the next handshake uses; `None` as long as there is no certificate.
    pub fn config(&self) -> Option<Arc<ServerConfig>> {
        self.current.load().as_ref().map(|current| Arc::clone(&current.config))
    }

    /// The same for a listener on which no HTTP is spoken.
    pub(crate) fn bare(&self) -> Option<Arc<ServerConfig>> {
        self.current.load().as_ref().map(|current| Arc::clone(&current.bare))
    }

    fn trust(&self) -> Option<Arc<ClientTrust>> {
        self.current.load().as_ref().and_then(|current| current.trust.clone())
    }
}

impl fmt::Debug for LiveTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LiveTls({})", if self.current.load().is_some() { "set" } else { "empty" })
    }
}

/// A server configuration with ALPN for both protocols.
fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    trust: Option<Arc<ClientTrust>>,
) -> Result<Arc<ServerConfig>, GateError> {
    let builder = ServerConfig::builder();
    let mut config = match trust {
        Some(trust) => {
            let mut config =
                builder.with_client_cert_verifier(trust).with_single_cert(chain, key)?;
            // A resumed session skips the certificate: it would carry an identity past a change of
            // the authorities that vouched for it.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            config
        }
        None => builder.with_no_client_auth().with_single_cert(chain, key)?,
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The certificate that a client proved to have the key of, and what it is worth.
pub(crate) struct ClientCertificate {
    chain: Vec<CertificateDer<'static>>,
    live: Arc<LiveTls>,
    checked: RefCell<Option<Checked>>,
}

struct Checked {
    trust: Arc<ClientTrust>,
    found: Result<Arc<Authenticated>, AuthError>,
}

impl ClientCertificate {
    /// The one that a client presented in its handshake, if it did.
    pub(crate) fn of(
        chain: Option<&[CertificateDer<'static>]>,
        live: &Arc<LiveTls>,
    ) -> Option<Self> {
        let chain = chain.filter(|chain| !chain.is_empty())?.to_vec();
        Some(Self { chain, live: Arc::clone(live), checked: RefCell::default() })
    }

    /// The thumbprint of the leaf, as long as the authorities of this moment vouch for it.
    pub(crate) fn thumbprint(&self, now: Timestamp) -> Option<Thumbprint> {
        self.authenticate(now).ok()?;
        self.chain.first().map(|leaf| Thumbprint::of(leaf))
    }

    /// Who it is, by the authorities of this moment: one that is believed no longer takes the
    /// identity away from connections that are open.
    pub(crate) fn authenticate(&self, now: Timestamp) -> Result<Arc<Authenticated>, AuthError> {
        let trust = self.live.trust();
        let trust = trust.ok_or(AuthError::Bad("client certificates are accepted no longer"))?;
        let mut checked = self.checked.borrow_mut();
        let known = checked.as_ref().filter(|known| Arc::ptr_eq(&known.trust, &trust));
        let found = if let Some(known) = known {
            known.found.clone()
        } else {
            let found = trust.authenticate(&self.chain, now).map(Arc::new);
            *checked = Some(Checked { trust, found: found.clone() });
            found
        };
        found.and_then(|authenticated| {
            let over = AuthError::Bad("the client certificate has expired");
            if now < authenticated.ends_at() { Ok(authenticated) } else { Err(over) }
        })
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientCertificate({} in the chain)", self.chain.len())
    }
}
