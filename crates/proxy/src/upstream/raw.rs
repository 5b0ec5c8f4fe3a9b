//! Connections to upstreams that speak no HTTP: TCP, or TLS verified against the given roots, and nothing said
//! on them yet.

use std::{fmt, rc::Rc, sync::Arc};

use portcullis_model::refusal::UpstreamTrouble;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{
    Endpoint, Tunnelled, Turn, address,
    endpoint::{Counted, Scheme},
};

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

    /// Connects to the instance of `turn` within the time that a client should wait for it.
    pub(crate) async fn connect(
        &self,
        turn: Turn,
    ) -> Result<(Box<dyn Duplex>, Tunnelled), UpstreamTrouble> {
        let endpoint = Rc::clone(turn.endpoint());
        let tunnelled = Tunnelled::new(turn)?;
        let _waiting = Counted::waiting(&endpoint)?;
        let most = endpoint.service().settings.timeouts.connect.get();
        let connected = tokio::time::timeout(most, self.connect_now(&endpoint)).await;
        let connected = connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        let stream = endpoint.note(connected.map_err(|error| {
            tracing::warn!(upstream = endpoint.place().authority, %error, "cannot connect");
            UpstreamTrouble::Unreachable
        }))?;
        // What is said on it is nobody's business here: that it was reached is all that is known.
        endpoint.succeeded();
        Ok((stream, tunnelled))
    }

    async fn connect_now(&self, endpoint: &Endpoint) -> std::io::Result<Box<dyn Duplex>> {
        let stream = address::dial(endpoint).await.map_err(std::io::Error::other)?;
        stream.set_nodelay(true)?;
        if endpoint.place().scheme != Scheme::Https {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(endpoint.place().host.clone());
        let name = name.map_err(|_| std::io::Error::other("no certificate can name its host"))?;
        Ok(Box::new(self.0.connect(name, stream).await?))
    }
}
