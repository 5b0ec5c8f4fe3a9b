//! Where traffic enters: bind, accept, TLS, limits, and an orderly end.

mod balance;
mod pace;
mod peer;
pub(crate) mod proxy_protocol;
mod sources;
mod tls;
mod unsent;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use hyper::{
    server::conn::{
        http1::{self, UpgradeableConnection},
        http2,
    },
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use ipnet::IpNet;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{mpsc, watch},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

pub(crate) use balance::{Arrival, Seats, seats};
pub(crate) use peer::{Peer, Peers, Turn};
pub(crate) use sources::Sources;
pub use tls::LiveTls;
pub(crate) use unsent::Waiting;

use self::{balance::Seat, pace::Paced, sources::Guest, tls::ClientCertificate};
use crate::{
    canonical::Sni,
    core::Core,
    detect::{self, Detected},
    gate::{Direct, ListenerConfig},
    metrics::{Counted, TurnedAway},
    serve::{
        direct, serve,
        strict::{MAX_HEAD, Strict, frames::Framed},
    },
};

/// How long a client may take to send its first byte once the gate is closing.
const LAST_BYTE: Duration = Duration::from_secs(1);
/// Whoever says nothing for so long is asked whether it is still there,
const SILENCE: Duration = Duration::from_mins(1);
/// and so much later again, as often as the system does that.
const PROBES: Duration = Duration::from_secs(15);
const MAX_STREAMS: u32 = 100;
/// What a client may send ahead over HTTP/2, in all and on one stream: one whose service takes nothing leaves
/// room for others.
const CONNECTION_WINDOW: u32 = 1 << 20;
const STREAM_WINDOW: u32 = CONNECTION_WINDOW / 4;

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
    let socket = socket.into();
    find_out_who_is_gone(&socket)?;
    Ok(socket)
}

/// Connections that `socket` accepts end some minutes after their other side is gone without a word.
pub(crate) fn find_out_who_is_gone(socket: &std::net::TcpListener) -> io::Result<()> {
    let probes = TcpKeepalive::new().with_time(SILENCE).with_interval(PROBES);
    SockRef::from(socket).set_tcp_keepalive(&probes)
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// One listener as one core has it.
pub(crate) struct Entrance {
    name: String,
    /// Its place among the listeners, the same on every core.
    number: usize,
    tls: Option<Arc<LiveTls>>,
    /// Who says whose connections they pass on.
    proxies: Vec<IpNet>,
    /// No HTTP is spoken here, and connections lead there.
    direct: Option<Rc<Direct>>,
}

impl Entrance {
    pub(crate) fn new(number: usize, config: ListenerConfig) -> Self {
        let ListenerConfig { name, tls, proxies, direct, .. } = config;
        Self { name, number, tls, proxies, direct: direct.map(Rc::new) }
    }
}

/// Accepts until `closed`.
pub(crate) async fn accept(
    core: Rc<Core>,
    entrance: Rc<Entrance>,
    socket: std::net::TcpListener,
    mut closed: watch::Receiver<bool>,
) {
    let listener = match tokio::net::TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(listener = entrance.name, %error, "cannot accept"),
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closed.wait_for(|closed| *closed) => return,
        };
        match accepted {
            Ok((stream, from)) => seat(&core, &entrance, stream, from.ip()),
            Err(error) => {
                // Out of file descriptors: wait for some to come back instead of spinning.
                tracing::warn!(listener = entrance.name, %error, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Takes over connections that other cores accepted, until `closed`.
pub(crate) async fn take_over(
    core: Rc<Core>,
    entrances: Vec<Rc<Entrance>>,
    mut arrivals: mpsc::UnboundedReceiver<Arrival>,
    mut closed: watch::Receiver<bool>,
) {
    loop {
        let arrival = tokio::select! {
            arrival = arrivals.recv() => arrival,
            _ = closed.wait_for(|closed| *closed) => break,
        };
        let Some(arrival) = arrival else { return };
        settle(&core, &entrances, arrival);
    }
    // Who was accepted is served: what is on its way is not lost, and no more is sent here.
    arrivals.close();
    while let Ok(arrival) = arrivals.try_recv() {
        settle(&core, &entrances, arrival);
    }
}

fn settle(core: &Rc<Core>, entrances: &[Rc<Entrance>], arrival: Arrival) {
    let Arrival { listener, stream, ip, seat } = arrival;
    let entrance = entrances.iter().find(|entrance| entrance.number == listener);
    if let (Some(entrance), Ok(stream)) = (entrance, TcpStream::from_std(stream)) {
        serve_on(core, entrance, stream, ip, seat);
    }
}

/// Finds the core for a new connection: this one, if the others have about as many.
fn seat(core: &Rc<Core>, entrance: &Entrance, stream: TcpStream, ip: IpAddr) {
    let Some(seat) = core.seats.elsewhere() else {
        return serve_on(core, entrance, stream, ip, core.seats.take());
    };
    let Ok(stream) = stream.into_std() else { return };
    let arrival = Arrival { listener: entrance.number, stream, ip, seat };
    if let Err(unsent) = Seats::hand_over(arrival)
        && let Ok(stream) = TcpStream::from_std(unsent.stream)
    {
        serve_on(core, entrance, stream, ip, core.seats.take());
    }
}

fn serve_on(core: &Rc<Core>, entrance: &Entrance, stream: TcpStream, ip: IpAddr, seat: Seat) {
    if core.seats.taken() > core.config.bounds.connections {
        return core.metrics.turned_away(TurnedAway::Limit);
    }
    // Without TLS it is told why, for next to nothing.
    if entrance.tls.is_some() && core.lateness.is_too_much() {
        return core.metrics.turned_away(TurnedAway::Late);
    }
    // Of a proxy, it is those whose connections it passes on who are counted.
    let is_proxied = proxy_protocol::believes(&entrance.proxies, ip);
    let guest = if is_proxied { None } else { core.sources.come(ip) };
    if guest.is_none() && !is_proxied {
        return core.metrics.turned_away(TurnedAway::Source);
    }
    let open = Open { _counted: core.metrics.connection_opened(), _seat: seat };
    let core = Rc::clone(core);
    let (tls, direct) = (entrance.tls.clone(), entrance.direct.clone());
    tokio::task::spawn_local(drive(core, stream, ip, (open, guest), tls, direct));
}

/// One open connection, for as long as it, or what became of it, lives.
#[derive(Debug)]
struct Open {
    _counted: Counted,
    _seat: Seat,
}

/// What a connection takes of the gate, as a tunnel too.
#[derive(Debug)]
struct Place {
    guest: Guest,
    _open: Open,
}

/// Serves one client connection to its end.
async fn drive(
    core: Rc<Core>,
    mut stream: TcpStream,
    mut ip: IpAddr,
    (open, guest): (Open, Option<Guest>),
    tls: Option<Arc<LiveTls>>,
    direct: Option<Rc<Direct>>,
) {
    let _ = stream.set_nodelay(true);
    let guest = if let Some(guest) = guest {
        guest
    } else {
        // Boxed, so that other connections do not reserve room for it.
        let Some((client, guest)) = Box::pin(passed_on(&core, &mut stream, ip)).await else {
            return;
        };
        ip = client;
        guest
    };
    let place = Place { guest, _open: open };
    match (tls, direct) {
        // Without TLS nobody would be known: configuration does not load.
        (None, Some(_)) => {}
        (None, None) => {
            let detected = tokio::select! {
                detected = detect::detect(&stream) => detected,
                () = took_too_long(&core) => None,
            };
            let Some(detected) = detected else { return };
            let peer = Peer::new(ip, None, place, core.config.bounds.answer);
            exchange(core, stream, peer, detected).await;
        }
        // Boxed, so that a connection without TLS does not reserve room for it.
        (Some(live), None) => Box::pin(drive_tls(core, stream, ip, place, live)).await,
        (Some(live), Some(direct)) => {
            Box::pin(drive_direct(core, stream, ip, place, (live, direct))).await;
        }
    }
}

/// Whose connection a proxy passes on, if it says so and they may have one more.
async fn passed_on(core: &Core, stream: &mut TcpStream, ip: IpAddr) -> Option<(IpAddr, Guest)> {
    match proxy_protocol::read(stream, ip).await {
        Ok(client) => {
            let guest = core.sources.come(client);
            if guest.is_none() {
                core.metrics.turned_away(TurnedAway::Source);
            }
            Some((client, guest?))
        }
        Err(defect) => {
            core.metrics.turned_away(TurnedAway::ProxyProtocol);
            tracing::warn!(%ip, %defect, "connection closed: whose it is, is unknown");
            None
        }
    }
}

/// Resolves when a client has had its time for a first byte: little once the gate is closing, as browsers
/// open connections that they may never use.
async fn took_too_long(core: &Core) {
    let mut closing = core.closing.subscribe();
    let closed = closing.wait_for(|closing| *closing);
    if tokio::time::timeout(core.config.bounds.idle, closed).await.is_ok() {
        tokio::time::sleep(LAST_BYTE).await;
    }
}

/// Serves one connection to a TCP service, with what its handshake says and nothing else.
async fn drive_direct(
    core: Rc<Core>,
    stream: TcpStream,
    ip: IpAddr,
    place: Place,
    (live, direct): (Arc<LiveTls>, Rc<Direct>),
) {
    let Some(config) = live.bare() else { return };
    let Some((stream, peer)) = handshake(&core, stream, ip, place, (config, &live)).await else {
        return;
    };
    let peer = core.peers.add(peer);
    let serving = pin!(direct::serve(Rc::clone(&core), Rc::clone(&peer), &direct, stream));
    tokio::select! {
        () = serving => {}
        () = std::future::poll_fn(|cx| peer.poll_aborted(cx)) => {}
    }
    core.peers.remove(&peer);
}

/// What a TLS handshake leaves: who the other side is, as far as that says it.
async fn handshake(
    core: &Core,
    stream: TcpStream,
    ip: IpAddr,
    mut place: Place,
    (config, live): (Arc<rustls::ServerConfig>, &Arc<LiveTls>),
) -> Option<(TlsStream<TcpStream>, Peer)> {
    if !place.guest.begin_handshake() {
        core.metrics.turned_away(TurnedAway::Handshakes);
        return None;
    }
    let bounds = &core.config.bounds;
    let handshake = TlsAcceptor::from(config).accept(stream);
    let stream = match Box::pin(tokio::time::timeout(bounds.handshake, handshake)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%ip, %error, "handshake failed");
            return None;
        }
        Err(_) => {
            tracing::debug!(%ip, "handshake took too long");
            return None;
        }
    };
    place.guest.end_handshake();
    let session = stream.get_ref().1;
    let sni = Sni(session.server_name().map(str::to_ascii_lowercase));
    let mut peer = Peer::new(ip, Some(sni), place, bounds.answer);
    peer.certificate = ClientCertificate::of(session.peer_certificates(), live);
    Some((stream, peer))
}

async fn drive_tls(
    core: Rc<Core>,
    stream: TcpStream,
    ip: IpAddr,
    place: Place,
    live: Arc<LiveTls>,
) {
    // Without a certificate there is no answer, and never one in clear text.
    let Some(config) = live.config() else { return };
    let Some((stream, peer)) = handshake(&core, stream, ip, place, (config, &live)).await else {
        return;
    };
    let detected = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Detected::Http2,
        _ => Detected::Http1,
    };
    exchange(core, stream, peer, detected).await;
}

/// Speaks HTTP with one client until it leaves, somebody breaks it off, or the gate closes.
async fn exchange<S>(core: Rc<Core>, stream: S, peer: Peer, detected: Detected)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = core.peers.add(peer);
    let serving = (Rc::clone(&core), Rc::clone(&peer));
    let service = service_fn(move |request| {
        let (core, peer) = (Rc::clone(&serving.0), Rc::clone(&serving.1));
        // On the heap while it is served: an idle connection would reserve room for it all the time.
        Box::pin(async move { Ok::<_, std::convert::Infallible>(serve(core, peer, request).await) })
    });
    match detected {
        Detected::Http1 => {
            let paced = Paced::new(stream, peer.take_pace());
            let io = TokioIo::new(Strict::of_requests(paced, Arc::clone(&peer.verdict)));
            let connection = pin!(http1().serve_connection(io, service).with_upgrades());
            drive_to_end(connection, &peer, UpgradeableConnection::graceful_shutdown).await;
        }
        // Pings find out whether the other side is still there.
        Detected::Http2 => {
            let paced = Paced::of_http2(stream, peer.pace());
            let io = TokioIo::new(Framed::new(paced, Arc::clone(&peer.window)));
            let mut connection = Box::pin(http2().serve_connection(io, service));
            drive_to_end(connection.as_mut(), &peer, http2::Connection::graceful_shutdown).await;
        }
    }
    core.peers.remove(&peer);
}

/// Polls a connection to its end; what interrupts it is looked at on the way, for next to nothing.
async fn drive_to_end<C>(mut connection: Pin<&mut C>, peer: &Peer, close: impl Fn(Pin<&mut C>))
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut told = false;
    let mut last: Option<Pin<Box<tokio::time::Sleep>>> = None;
    std::future::poll_fn(|cx| {
        peer.window.polled();
        loop {
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                if let Err(error) = result {
                    tracing::debug!(%error, "client connection ended");
                }
                return Poll::Ready(());
            }
            if told || !peer.is_closing() {
                return peer.poll_aborted(cx);
            }
            // hyper would drop whoever has just connected, with a request on its way.
            if !peer.has_asked() {
                let last = last.get_or_insert_with(|| Box::pin(tokio::time::sleep(LAST_BYTE)));
                if last.as_mut().poll(cx).is_pending() {
                    return peer.poll_aborted(cx);
                }
            }
            told = true;
            close(connection.as_mut());
        }
    })
    .await;
}

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // Timed by its pace.
        .header_read_timeout(None)
        // More than hyper's own hundred headers, which is the limit here too, would cost an
        // allocation per request.
        .max_header_size(MAX_HEAD);
    builder
}

fn http2() -> http2::Builder<detect::LocalExecutor> {
    let mut builder = http2::Builder::new(detect::LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i01_clients_that_are_gone_without_a_word_are_found_out() {
        let own = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let handed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        find_out_who_is_gone(&handed).unwrap();
        for listener in [own, handed] {
            listener.set_nonblocking(false).unwrap();
            let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            let accepted = SockRef::from(&accepted);
            assert!(accepted.keepalive().unwrap());
            assert_eq!(accepted.tcp_keepalive_time().unwrap(), SILENCE);
            assert_eq!(accepted.tcp_keepalive_interval().unwrap(), PROBES);
        }
    }
}
