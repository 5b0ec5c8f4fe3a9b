//! Where traffic enters: bind, accept, TLS, limits, and an orderly end.

mod pace;

use std::{
    cell::Cell,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use http::HeaderValue;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{Notify, watch},
};
use tokio_rustls::TlsAcceptor;

pub(crate) use pace::{Pace, Serving};

use self::pace::Paced;
use crate::{
    canonical::Sni,
    core::Core,
    detect::{self, Detected},
    gate::{GateError, ListenerConfig},
    serve::serve,
};

/// How long a client may take to send its first byte.
const FIRST_BYTE: Duration = Duration::from_secs(75);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEAD: usize = 64 * 1024;
const MAX_STREAMS: u32 = 100;

/// A client connection, as its requests see it.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) ip: IpAddr,
    /// The address as a header value.
    pub(crate) address: HeaderValue,
    /// The start of a `Forwarded` header: `for=…;proto=…`.
    pub(crate) forwarded: String,
    /// The server name, if the connection has TLS.
    pub(crate) tls: Option<Sni>,
    /// Breaks the connection off, whatever it is doing.
    pub(crate) abort: Notify,
    /// How long the connection may take its time.
    pub(crate) pace: Arc<Pace>,
}

impl Peer {
    fn new(ip: IpAddr, tls: Option<Sni>) -> Self {
        let ip = ip.to_canonical();
        let node = if ip.is_ipv6() { format!("\"[{ip}]\"") } else { ip.to_string() };
        let scheme = crate::filter::request::scheme(tls.is_some());
        let address = HeaderValue::from_str(&ip.to_string());
        Self {
            ip,
            address: address.unwrap_or_else(|_| HeaderValue::from_static("unknown")),
            forwarded: format!("for={node};proto={scheme}"),
            tls,
            abort: Notify::new(),
            pace: Pace::new(),
        }
    }
}

/// A server configuration with ALPN for both protocols, from a certificate chain and its key.
pub fn tls_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<rustls::ServerConfig>, GateError> {
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let mut config = config.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Finds out whether `address` is free, and which port it is. With `SO_REUSEPORT` alone a second
/// process would share the port and nobody would know.
pub(crate) fn reserve(address: SocketAddr) -> io::Result<SocketAddr> {
    let probe = socket(address)?;
    probe.bind(&address.into())?;
    probe.local_addr()?.as_socket().ok_or_else(|| io::Error::other("not an IP address"))
}

/// One core's own socket on `address`; the kernel spreads connections over all of them.
pub(crate) fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Accepts until `closed`.
pub(crate) async fn accept(
    core: Rc<Core>,
    config: ListenerConfig,
    socket: std::net::TcpListener,
    mut closed: watch::Receiver<bool>,
) {
    let listener = match tokio::net::TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(listener = config.name, %error, "cannot accept"),
    };
    let tls = config.tls.map(TlsAcceptor::from);
    let closing = closed.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closed.wait_for(|closed| *closed) => return,
        };
        match accepted {
            Ok((stream, from)) if core.open.get() < core.config.max_connections => {
                let open = Open::count(&core);
                let driven =
                    drive(Rc::clone(&core), stream, from.ip(), tls.clone(), closing.clone());
                tokio::task::spawn_local(async move {
                    driven.await;
                    drop(open);
                });
            }
            Ok(_) => core.metrics.connection_refused(),
            Err(error) => {
                // Out of file descriptors: wait for some to come back instead of spinning.
                tracing::warn!(listener = config.name, %error, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Counts one open connection for as long as it lives.
struct Open(Rc<Core>);

impl Open {
    fn count(core: &Rc<Core>) -> Self {
        core.open.set(core.open.get() + 1);
        core.metrics.connection_opened();
        Self(Rc::clone(core))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
        self.0.metrics.connection_closed();
    }
}

/// Serves one client connection to its end.
async fn drive(
    core: Rc<Core>,
    stream: TcpStream,
    ip: IpAddr,
    tls: Option<TlsAcceptor>,
    closed: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = tls else {
        let detected = tokio::time::timeout(FIRST_BYTE, detect::detect(&stream)).await;
        let Ok(Some(detected)) = detected else { return };
        return exchange(core, stream, Peer::new(ip, None), detected, closed).await;
    };
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
    let Ok(Ok(stream)) = handshake.await else { return };
    let session = stream.get_ref().1;
    let detected = match session.alpn_protocol() {
        Some(b"h2") => Detected::Http2,
        _ => Detected::Http1,
    };
    let sni = Sni(session.server_name().map(str::to_ascii_lowercase));
    exchange(core, stream, Peer::new(ip, Some(sni)), detected, closed).await;
}

/// Speaks HTTP with one client until it leaves, somebody breaks it off, or the gate closes.
async fn exchange<S>(
    core: Rc<Core>,
    stream: S,
    peer: Peer,
    detected: Detected,
    mut closed: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = Rc::new(peer);
    let shared = Rc::clone(&peer);
    let service = service_fn(move |request| {
        let (core, peer) = (Rc::clone(&core), Rc::clone(&shared));
        async move { Ok::<_, std::convert::Infallible>(serve(core, peer, request).await) }
    });
    let closing = Cell::new(false);
    macro_rules! drive {
        ($connection:expr, $exceeded:expr) => {{
            let mut connection = pin!($connection);
            let mut exceeded = pin!($exceeded);
            loop {
                tokio::select! {
                    biased;
                    result = connection.as_mut() => {
                        if let Err(error) = result {
                            tracing::debug!(%error, "client connection ended");
                        }
                        return;
                    }
                    () = peer.abort.notified() => return,
                    () = exceeded.as_mut() => return,
                    _ = closed.wait_for(|closed| *closed), if !closing.get() => {
                        closing.set(true);
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        }};
    }
    match detected {
        Detected::Http1 => {
            let io = TokioIo::new(Paced::new(stream, Arc::clone(&peer.pace)));
            let connection = http1().serve_connection(io, service).with_upgrades();
            drive!(connection, peer.pace.exceeded());
        }
        // Pings find out whether the other side is still there.
        Detected::Http2 => {
            let connection = http2().serve_connection(TokioIo::new(stream), service);
            drive!(connection, std::future::pending::<()>());
        }
    }
}

fn http1() -> hyper::server::conn::http1::Builder {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        // Timed by its pace.
        .header_read_timeout(None)
        // More than hyper's own hundred headers, which is the limit here too, would cost an
        // allocation per request.
        .max_header_size(MAX_HEAD);
    builder
}

fn http2() -> hyper::server::conn::http2::Builder<detect::LocalExecutor> {
    let mut builder = hyper::server::conn::http2::Builder::new(detect::LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}
