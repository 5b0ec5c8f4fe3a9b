//! Connections to upstreams that speak no HTTP: TCP, or TLS verified as the service says, and nothing said on
//! them yet.

use std::rc::Rc;

use portcullis_model::refusal::UpstreamTrouble;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{Tunnelled, Turn, Upstreams, counted::Counted};

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

impl Upstreams {
    /// Connects to the instance of `turn` within the time that a client should wait for it.
    pub(crate) async fn connect_bare(
        &self,
        turn: Turn,
    ) -> Result<(Box<dyn Duplex>, Tunnelled), UpstreamTrouble> {
        let endpoint = Rc::clone(turn.endpoint());
        let tunnelled = Tunnelled::new(turn)?;
        let _waiting = Counted::waiting(&endpoint)?;
        let most = endpoint.service().settings.timeouts.connect.get();
        let connecting = self.connectors.connect_bare(&endpoint);
        let connected = match tokio::time::timeout(most, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        };
        let stream = endpoint.note(connected.inspect_err(|error| {
            tracing::warn!(upstream = endpoint.place().authority, %error, "cannot connect");
        }))?;
        // What is said on it is nobody's business here: that it was reached is all that is known.
        endpoint.succeeded();
        Ok((stream, tunnelled))
    }
}
