//! The API's own door: clear text on loopback, TLS elsewhere.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use axum::{
    Router,
    serve::{Listener, ListenerExt},
};
use portcullis_proxy::LiveTls;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// A handshake that takes longer is given up.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes that may be under way at the same time.
const UNDER_WAY: usize = 256;

/// Binds the API's address.
pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("control cannot use {address}; is another program using the port?")
    })
}

/// Serves `router` until `stopping` says true, and then what is under way.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<LiveTls>>,
    router: Router,
    mut stopping: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let stopped = async move {
        let _sender_gone = stopping.wait_for(|stop| *stop).await;
    };
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    match tls {
        None => axum::serve(listener, service).with_graceful_shutdown(stopped).await,
        Some(tls) => {
            // `tap_io` alone tells the address of a listener that is not axum's own.
            let listener = TlsListener::start(listener, tls)?.tap_io(|_| {});
            axum::serve(listener, service).with_graceful_shutdown(stopped).await
        }
    }
}

type Accepted = (TlsStream<TcpStream>, SocketAddr);

/// Hands out connections whose handshake is done, so that a slow client holds up nobody.
struct TlsListener {
    address: SocketAddr,
    accepted: mpsc::Receiver<Accepted>,
}

impl TlsListener {
    fn start(listener: TcpListener, tls: Arc<LiveTls>) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, accepted) = mpsc::channel(UNDER_WAY);
        tokio::spawn(accept_all(listener, tls, sender));
        Ok(Self { address, accepted })
    }
}

async fn accept_all(mut listener: TcpListener, tls: Arc<LiveTls>, sender: mpsc::Sender<Accepted>) {
    loop {
        let Ok(place) = sender.clone().reserve_owned().await else { return };
        let (stream, address) = Listener::accept(&mut listener).await;
        let Some(tls) = tls.config().map(TlsAcceptor::from) else { continue };
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                Ok(Ok(stream)) => drop(place.send((stream, address))),
                Ok(Err(error)) => tracing::debug!(%address, %error, "handshake failed"),
                Err(_) => tracing::debug!(%address, "handshake took too long"),
            }
        });
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Accepted {
        match self.accepted.recv().await {
            Some(accepted) => accepted,
            // The accepting task ends only with the runtime.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.address)
    }
}
