//! Makes connections to upstreams: TCP, TLS verified against the given roots, and the handshake of
//! the protocol.

use std::{cell::RefCell, future::poll_fn, io, pin::Pin, rc::Rc, sync::Arc, time::Duration};

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{
    ClientTls, Duplex, Endpoint, Kind, address,
    carriers::Carriers,
    counted::Counted,
    endpoint::Scheme,
    lane::{Line, Sender},
    shared::{Most, Shared},
    tls::{self, HangsOn},
};
use crate::{
    ports::UpstreamCertificates,
    serve::strict::{Strict, interim::Interim},
};

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

    /// Connects to `endpoint` within the time that a client should wait for it. `counted` lives as long
    /// as the connection.
    pub(super) async fn connect(
        &self,
        endpoint: &Endpoint,
        kind: Kind,
        counted: Option<Counted>,
    ) -> Result<Sender, ConnectError> {
        let connecting = self.connect_now(endpoint, kind, counted);
        let most = endpoint.service().settings.timeouts.connect.get();
        let Ok(connected) = tokio::time::timeout(most, connecting).await else {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        };
        connected.inspect_err(|error| {
            tracing::warn!(upstream = endpoint.place().authority, %error, "cannot connect");
        })
    }

    async fn connect_now(
        &self,
        endpoint: &Endpoint,
        kind: Kind,
        counted: Option<Counted>,
    ) -> Result<Sender, ConnectError> {
        let counted = counted.map(Rc::new);
        if endpoint.place().scheme != Scheme::Https && endpoint.tls().is_some() {
            return Err(ConnectError::ClearText);
        }
        loop {
            let stream = address::dial(endpoint).await?;
            stream.set_nodelay(true)?;
            let hangs_on = HangsOn::default();
            match (endpoint.place().scheme, kind) {
                (Scheme::Http, _) => return handshake1(stream, hangs_on, counted).await,
                (Scheme::H2c, Kind::Upgradable) => return Err(ConnectError::NotUpgradable),
                (Scheme::H2c, Kind::Any | Kind::Fresh | Kind::Once) => {
                    return handshake2(stream, hangs_on, counted).await;
                }
                (Scheme::Https, kind) => {
                    let shaking = self.shake_hands(endpoint, kind, stream, counted.clone());
                    let (sender, tls) = shaking.await?;
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
        counted: Option<Rc<Counted>>,
    ) -> Result<(Sender, Arc<ClientTls>), ConnectError> {
        let (tls, hangs_on, name) = self.tls_of(endpoint).await?;
        let stream = tls.connector(kind).connect(name, stream).await;
        let stream = stream.map_err(|error| match kind {
            Kind::Upgradable if tls::is_of_protocol(&error) => ConnectError::NotUpgradable,
            _ => ConnectError::Tls(tls::why(&error)),
        })?;
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        if kind != Kind::Upgradable {
            endpoint.chose(!is_http2);
        }
        let sender = if is_http2 {
            handshake2(stream, hangs_on, counted).await?
        } else {
            handshake1(stream, hangs_on, counted).await?
        };
        Ok((sender, tls))
    }

    /// Connects to an upstream that speaks no HTTP.
    pub(super) async fn connect_bare(
        &self,
        endpoint: &Endpoint,
    ) -> Result<Box<dyn Duplex>, ConnectError> {
        if endpoint.place().scheme != Scheme::Https && endpoint.tls().is_some() {
            return Err(ConnectError::ClearText);
        }
        loop {
            let stream = address::dial(endpoint).await?;
            stream.set_nodelay(true)?;
            if endpoint.place().scheme != Scheme::Https {
                return Ok(Box::new(stream));
            }
            let (tls, _, name) = self.tls_of(endpoint).await?;
            let stream = tls.bare().connect(name, stream).await;
            let stream = stream.map_err(|error| ConnectError::Tls(tls::why(&error)))?;
            if tls.is_current() {
                return Ok(Box::new(stream));
            }
        }
    }

    /// What TLS to `endpoint` is made with, and the name to ask for.
    async fn tls_of(
        &self,
        endpoint: &Endpoint,
    ) -> Result<(Arc<ClientTls>, HangsOn, ServerName<'static>), ConnectError> {
        let (tls, hangs_on, name) = match endpoint.tls() {
            None => (Arc::clone(&self.usual), HangsOn::default(), None),
            Some(settings) => {
                // Before the time for connecting is over: that they are late is nothing to the instance.
                let most = endpoint.service().settings.timeouts.connect.get() / 2;
                let tls = tokio::time::timeout(most, self.certificates.in_force(settings)).await;
                let late = |_| Err("they are not there yet".to_owned());
                let tls = tls.unwrap_or_else(late).map_err(ConnectError::Certificates)?;
                (Arc::clone(&tls), HangsOn(Some(tls)), settings.server_name.as_ref())
            }
        };
        let name = name.map_or_else(|| endpoint.place().host.clone(), String::clone);
        let name = ServerName::try_from(name).map_err(|_| ConnectError::NoServerName)?;
        Ok((tls, hangs_on, name))
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Address(#[from] address::DialError),
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

async fn handshake1<S>(
    stream: S,
    hangs_on: HangsOn,
    counted: Option<Rc<Counted>>,
) -> Result<Sender, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_headers(MAX_HEADERS);
    let verdict = Arc::default();
    let strict = Strict::of_answers(stream, Arc::clone(&verdict));
    let (sender, connection) = builder.handshake(TokioIo::new(strict)).await?;
    let counts = counted.as_ref().map(Rc::downgrade).unwrap_or_default();
    let carrier = tokio::task::spawn_local(async move {
        let _counted = counted;
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    let carrier = carrier.abort_handle();
    Ok(Sender::Http1(Line { sender, carrier, verdict, hangs_on, counted: counts }))
}

async fn handshake2<S>(
    stream: S,
    hangs_on: HangsOn,
    counted: Option<Rc<Counted>>,
) -> Result<Sender, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let carriers = Carriers::default();
    let mut builder = http2::Builder::new(carriers.clone());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    let (sender, connection) = builder.handshake(TokioIo::new(Interim::new(stream))).await?;
    let connection = Rc::new(RefCell::new(connection));
    let most: Rc<RefCell<dyn Most>> = connection.clone();
    let shared = Shared::new(sender, carriers, hangs_on, counted.as_ref(), Rc::downgrade(&most));
    tokio::task::spawn_local(async move {
        let _counted = counted;
        let carried = poll_fn(|cx| Pin::new(&mut *connection.borrow_mut()).poll(cx));
        if let Err(error) = carried.await {
            tracing::debug!(%error, "upstream connection ended");
        }
    });
    Ok(Sender::Http2(shared))
}
