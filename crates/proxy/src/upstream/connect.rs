//! Makes connections to upstreams: TCP, TLS verified against the given roots, and the handshake of
//! the protocol.

use std::{sync::Arc, time::Duration};

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use portcullis_model::refusal::UpstreamTrouble;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{
    ClientTls, Endpoint, Kind,
    endpoint::Scheme,
    lane::{Line, Sender},
    tls::{self, HangsOn},
};
use crate::{detect::LocalExecutor, ports::UpstreamCertificates, serve::strict::Strict};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Heads of answers, as generous as those of requests.
const MAX_HEADERS: usize = 200;

/// How to reach upstreams over TLS.
#[derive(Debug)]
pub(crate) struct Connectors {
    usual: Arc<ClientTls>,
    certificates: Arc<dyn UpstreamCertificates>,
}

impl Connectors {
    pub(crate) fn new(
        roots: &rustls::RootCertStore,
        certificates: Arc<dyn UpstreamCertificates>,
    ) -> Self {
        Self { usual: Arc::new(ClientTls::usual(roots)), certificates }
    }

    /// Connects to `endpoint` within the time that a client should wait for it.
    pub(super) async fn connect(
        &self,
        endpoint: &Endpoint,
        kind: Kind,
    ) -> Result<Sender, UpstreamTrouble> {
        let connecting = self.connect_now(endpoint, kind);
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(sender)) => Ok(sender),
            Ok(Err(error)) => {
                tracing::warn!(upstream = endpoint.authority(), %error, "cannot connect");
                Err(UpstreamTrouble::Unreachable)
            }
            Err(_) => Err(UpstreamTrouble::Unreachable),
        }
    }

    async fn connect_now(&self, endpoint: &Endpoint, kind: Kind) -> Result<Sender, ConnectError> {
        if endpoint.scheme() != Scheme::Https && endpoint.tls().is_some() {
            return Err(ConnectError::ClearText);
        }
        loop {
            let stream = TcpStream::connect((endpoint.host(), endpoint.port())).await?;
            stream.set_nodelay(true)?;
            match (endpoint.scheme(), kind) {
                (Scheme::Http, _) => return handshake1(stream, HangsOn::default()).await,
                (Scheme::H2c, Kind::Upgradable) => return Err(ConnectError::NotUpgradable),
                (Scheme::H2c, Kind::Any | Kind::Fresh) => {
                    return handshake2(stream, HangsOn::default()).await;
                }
                (Scheme::Https, kind) => {
                    let (sender, tls) = self.shake_hands(endpoint, kind, stream).await?;
                    // What was replaced meanwhile vouches for nothing.
                    if tls.is_current() {
                        return Ok(sender);
                    }
                }
            }
        }
    }

    async fn shake_hands(
        &self,
        endpoint: &Endpoint,
        kind: Kind,
        stream: TcpStream,
    ) -> Result<(Sender, Arc<ClientTls>), ConnectError> {
        let (tls, hangs_on, name) = match endpoint.tls() {
            None => (Arc::clone(&self.usual), HangsOn::default(), None),
            Some(settings) => {
                let tls = self.certificates.in_force(settings).await;
                let tls = tls.map_err(ConnectError::Certificates)?;
                (Arc::clone(&tls), HangsOn(Some(tls)), settings.server_name.as_ref())
            }
        };
        let name = name.map_or_else(|| endpoint.host().to_owned(), String::clone);
        let name = ServerName::try_from(name).map_err(|_| ConnectError::NoServerName)?;
        let stream = tls.connector(kind).connect(name, stream).await;
        let stream = stream.map_err(|error| ConnectError::Tls(tls::why(&error)))?;
        let sender = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => handshake2(stream, hangs_on).await?,
            _ => handshake1(stream, hangs_on).await?,
        };
        Ok((sender, tls))
    }
}

#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Handshake(#[from] hyper::Error),
    #[error("{0}")]
    Tls(String),
    #[error("what the service's `tls` names cannot be used: {0}")]
    Certificates(String),
    #[error("its service wants TLS, and its URL has none")]
    ClearText,
    #[error("its host cannot be verified by a certificate")]
    NoServerName,
    #[error("it speaks HTTP/2 only, which carries no upgrades here")]
    NotUpgradable,
}

async fn handshake1<S>(stream: S, hangs_on: HangsOn) -> Result<Sender, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_headers(MAX_HEADERS);
    let verdict = Arc::default();
    let strict = Strict::of_answers(stream, Arc::clone(&verdict));
    let (sender, connection) = builder.handshake(TokioIo::new(strict)).await?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    Ok(Sender::Http1(Line { sender, verdict, hangs_on }))
}

async fn handshake2<S>(stream: S, hangs_on: HangsOn) -> Result<Sender, ConnectError>
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
        if let Err(error) = connection.await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    Ok(Sender::Http2(sender, hangs_on))
}
