//! Connections to the gate for HTTP: one pool for each version, since what a tool speaks is what the gate hears.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Uri, uri::Authority};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{
        self,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use portcullis_api::services::ServiceBody;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use url::Url;

use crate::cli::failure::Failure;

/// The gate is there, or it is not.
const CONNECT: Duration = Duration::from_secs(10);
/// So long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(50);

/// Sends requests to the gate.
pub(super) type HttpClient = legacy::Client<Dialer, Incoming>;

/// Where a service is reached.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Whether by TLS.
    pub(super) secure: bool,
    /// What requests are for.
    pub(super) authority: Authority,
    /// The service's host, which the gate is certified for.
    host: String,
    /// What is connected to.
    at: (String, u16),
}

impl Place {
    /// Of `service`: where `gate` says, or else at the service's own host.
    pub(super) fn of(service: &ServiceBody, gate: Option<&Url>) -> Result<Self, Failure> {
        let host = service.hosts.first().cloned().unwrap_or_default();
        let (secure, at) = match gate {
            None => (true, (host.clone(), 443)),
            Some(gate) => {
                let name = gate.host_str().unwrap_or_default().trim_matches(['[', ']']);
                let port = gate.port_or_known_default().unwrap_or(443);
                (gate.scheme() == "https", (name.to_owned(), port))
            }
        };
        let usual = if secure { 443 } else { 80 };
        let port = if at.1 == usual { String::new() } else { format!(":{}", at.1) };
        let authority = format!("{host}{port}").parse();
        let authority = authority
            .map_err(|error| Failure::local(&format!("the host of {}", service.name), &error))?;
        Ok(Self { secure, authority, host, at })
    }

    /// Connections that carry HTTP/2 if `two`, and HTTP/1.1 if not.
    pub(super) fn client(&self, two: bool) -> Result<HttpClient, Failure> {
        let tls = self.secure.then(|| self.tls(two)).transpose()?;
        let dialer = Dialer { at: self.at.clone(), tls, two };
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder.timer(TokioTimer::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE);
        Ok(builder.http2_only(two).build(dialer))
    }

    fn tls(&self, two: bool) -> Result<(TlsConnector, ServerName<'static>), Failure> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let config = ClientConfig::builder().with_root_certificates(roots);
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = vec![if two { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let name = ServerName::try_from(self.host.clone());
        let name = name.map_err(|error| {
            Failure::local(&format!("`{}` has no certificate", self.host), &error)
        })?;
        Ok((TlsConnector::from(Arc::new(config)), name))
    }
}

/// Connects to the gate, whatever a request names.
#[derive(Clone)]
pub(super) struct Dialer {
    at: (String, u16),
    tls: Option<(TlsConnector, ServerName<'static>)>,
    two: bool,
}

impl Dialer {
    async fn dial(self) -> io::Result<TokioIo<Wire>> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
        let stream = TcpStream::connect((self.at.0.as_str(), self.at.1));
        let stream = timeout(CONNECT, stream).await.map_err(late)??;
        stream.set_nodelay(true)?;
        let Some((tls, name)) = self.tls else { return Ok(TokioIo::new(Wire(Box::new(stream)))) };
        let stream = timeout(CONNECT, tls.connect(name, stream)).await.map_err(late)??;
        if self.two && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::other("what stands there speaks no HTTP/2, which gRPC needs"));
        }
        Ok(TokioIo::new(Wire(Box::new(stream))))
    }
}

impl tower::Service<Uri> for Dialer {
    type Response = TokioIo<Wire>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Wire>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().dial())
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// In clear or not.
pub(super) struct Wire(Box<dyn Io>);

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(hosts: &[&str], gate: Option<&str>) -> Place {
        let hosts = hosts.iter().map(|&host| host.to_owned()).collect();
        let service = ServiceBody {
            name: "payments".to_owned(),
            hosts,
            instances: Vec::new(),
            health: None,
            operations: Vec::new(),
            sensitive: Vec::new(),
        };
        let gate = gate.map(|gate| Url::parse(gate).unwrap());
        Place::of(&service, gate.as_ref()).unwrap()
    }

    #[test]
    fn requests_are_for_the_service_wherever_the_gate_is() {
        let place = self::place(&["pay.example.com"], None);
        assert_eq!((place.secure, place.authority.as_str()), (true, "pay.example.com"));
        assert_eq!(place.at, ("pay.example.com".to_owned(), 443));
        let place = self::place(&["pay.example.com"], Some("http://[::1]:8080"));
        assert_eq!((place.secure, place.authority.as_str()), (false, "pay.example.com:8080"));
        assert_eq!(place.at, ("::1".to_owned(), 8080));
    }
}
