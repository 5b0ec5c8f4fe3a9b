//! Makes connections to upstreams: TCP, TLS verified against the given roots, and the handshake of
//! the protocol.

use std::{fmt, sync::Arc, time::Duration};

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use portcullis_model::refusal::UpstreamTrouble;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::{
    Endpoint, Kind, address,
    endpoint::{Counted, Scheme},
    lane::{Line, Sender},
};
use crate::{detect::LocalExecutor, serve::strict::Strict};

/// Heads of answers, as generous as those of requests.
const MAX_HEADERS: usize = 200;

/// How to reach upstreams over TLS.
pub(crate) struct Connectors {
    any: TlsConnector,
    http1: TlsConnector,
}

impl fmt::Debug for Connectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connectors")
    }
}

impl Connectors {
    pub(crate) fn new(roots: &rustls::RootCertStore) -> Self {
        let connector = |protocols: &[&[u8]]| {
            let config = rustls::ClientConfig::builder().with_root_certificates(roots.clone());
            let mut config = config.with_no_client_auth();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            TlsConnector::from(Arc::new(config))
        };
        Self { any: connector(&[b"h2", b"http/1.1"]), http1: connector(&[b"http/1.1"]) }
    }

    /// Connects to `endpoint` within the time that a client should wait for it. `counted` lives as long
    /// as the connection.
    pub(super) async fn connect(
        &self,
        endpoint: &Endpoint,
        kind: Kind,
        counted: Option<Counted>,
    ) -> Result<Sender, UpstreamTrouble> {
        let connecting = self.connect_now(endpoint, kind, counted);
        let most = endpoint.service().settings.timeouts.connect.get();
        match tokio::time::timeout(most, connecting).await {
            Ok(Ok(sender)) => Ok(sender),
            Ok(Err(error)) => {
                tracing::warn!(upstream = endpoint.place().authority, %error, "cannot connect");
                Err(UpstreamTrouble::Unreachable)
            }
            Err(_) => Err(UpstreamTrouble::Unreachable),
        }
    }

    async fn connect_now(
        &self,
        endpoint: &Endpoint,
        kind: Kind,
        counted: Option<Counted>,
    ) -> Result<Sender, ConnectError> {
        let stream = address::dial(endpoint).await?;
        stream.set_nodelay(true)?;
        match (endpoint.place().scheme, kind) {
            (Scheme::Http, _) => handshake1(stream, counted).await,
            (Scheme::H2c, Kind::Upgradable) => Err(ConnectError::NotUpgradable),
            (Scheme::H2c, Kind::Any | Kind::Fresh) => handshake2(stream, counted).await,
            (Scheme::Https, kind) => {
                let connector = match kind {
                    Kind::Any | Kind::Fresh => &self.any,
                    Kind::Upgradable => &self.http1,
                };
                let name = ServerName::try_from(endpoint.place().host.clone())
                    .map_err(|_| ConnectError::NoServerName)?;
                let stream = connector.connect(name, stream).await?;
                match stream.get_ref().1.alpn_protocol() {
                    Some(b"h2") => handshake2(stream, counted).await,
                    _ => handshake1(stream, counted).await,
                }
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Address(#[from] address::DialError),
    #[error("{0}")]
    Handshake(#[from] hyper::Error),
    #[error("its host cannot be verified by a certificate")]
    NoServerName,
    #[error("it speaks HTTP/2 only, which carries no upgrades here")]
    NotUpgradable,
}

async fn handshake1<S>(stream: S, counted: Option<Counted>) -> Result<Sender, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_headers(MAX_HEADERS);
    let verdict = Arc::default();
    let strict = Strict::of_answers(stream, Arc::clone(&verdict));
    let (sender, connection) = builder.handshake(TokioIo::new(strict)).await?;
    tokio::task::spawn_local(async move {
        let _counted = counted;
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    Ok(Sender::Http1(Line { sender, verdict }))
}

async fn handshake2<S>(stream: S, counted: Option<Counted>) -> Result<Sender, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(async move {
        let _counted = counted;
        if let Err(error) = connection.await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    Ok(Sender::Http2(sender))
}
