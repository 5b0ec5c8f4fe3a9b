//! Connections to upstreams that speak no HTTP: TCP, or TLS verified against the given roots, and nothing said
//! on them yet.

use std::{fmt, rc::Rc, sync::Arc, time::Duration};

use portcullis_model::refusal::UpstreamTrouble;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{Endpoint, endpoint::Scheme};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Both directions of a connection.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin {
    /// What still comes of it is cut short: the other side is reset, and takes nothing for an end.
    fn reset(&self);
}

impl Duplex for TcpStream {
    fn reset(&self) {
        let _ = self.set_zero_linger();
    }
}

impl Duplex for tokio_rustls::client::TlsStream<TcpStream> {
    fn reset(&self) {
        self.get_ref().0.reset();
    }
}

impl Duplex for tokio_rustls::server::TlsStream<TcpStream> {
    fn reset(&self) {
        self.get_ref().0.reset();
    }
}

/// How to reach upstreams over TLS. What they speak inside is theirs to know, so no protocol is offered.
pub(crate) struct Raw(TlsConnector);

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Raw")
    }
}

impl Raw {
    pub(crate) fn new(roots: &rustls::RootCertStore) -> Self {
        let config = rustls::ClientConfig::builder().with_root_certificates(roots.clone());
        Self(TlsConnector::from(Arc::new(config.with_no_client_auth())))
    }

    /// Connects to `endpoint` within the time that a client should wait for it.
    pub(crate) async fn connect(
        &self,
        endpoint: &Rc<Endpoint>,
    ) -> Result<Box<dyn Duplex>, UpstreamTrouble> {
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, self.connect_now(endpoint)).await;
        let connected = connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        endpoint.note(connected.map_err(|error| {
            tracing::warn!(upstream = endpoint.authority(), %error, "cannot connect");
            UpstreamTrouble::Unreachable
        }))
    }

    async fn connect_now(&self, endpoint: &Endpoint) -> std::io::Result<Box<dyn Duplex>> {
        let stream = TcpStream::connect((endpoint.host(), endpoint.port())).await?;
        stream.set_nodelay(true)?;
        if endpoint.scheme() != Scheme::Https {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(endpoint.host().to_owned());
        let name = name.map_err(|_| std::io::Error::other("no certificate can name its host"))?;
        Ok(Box::new(self.0.connect(name, stream).await?))
    }
}
