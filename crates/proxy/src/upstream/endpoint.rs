//! One instance's address and its pooled connections.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use http::Uri;
use hyper::client::conn::http2;
use portcullis_model::refusal::UpstreamTrouble;
use portcullis_policy::edge::UpstreamTls;

use super::{
    Channel, Connectors, Lane,
    lane::{Line, Sender},
    tls::HangsOn,
};
use crate::body::UpBody;

/// A pooled connection is not reused after that: most servers close idle ones after a minute.
const IDLE: Duration = Duration::from_secs(50);
/// So long after a failed attempt to connect, others are preferred.
const RECOVERY: Duration = Duration::from_secs(5);
/// Idle connections that one core keeps to one instance.
const KEPT: usize = 512;

/// How an instance is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// HTTP/1.1 in clear text.
    Http,
    /// HTTP/2 in clear text, with prior knowledge.
    H2c,
    /// TLS; ALPN picks the protocol.
    Https,
}

/// What a connection must be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Carry requests.
    Any,
    /// Carry a request that a pooled connection could not.
    Fresh,
    /// Be handed over after a 101: HTTP/1.1, and never shared.
    Upgradable,
}

/// One instance's address and its pooled connections.
#[derive(Debug)]
pub(crate) struct Endpoint {
    scheme: Scheme,
    authority: String,
    host: String,
    port: u16,
    tls: Option<UpstreamTls>,
    idle: RefCell<Vec<(Line, Instant)>>,
    shared: RefCell<Option<(http2::SendRequest<UpBody>, HangsOn)>>,
    /// Many requests that find no shared connection wait for one, and do not make many.
    connecting: tokio::sync::Mutex<()>,
    /// When connecting failed the last time, unless it has worked since.
    failed: Cell<Option<Instant>>,
    /// The time as it was told last: twice a second.
    now: Cell<Instant>,
}

impl Endpoint {
    /// Reads an instance's base URL: scheme, host and port, no path.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let (scheme, default_port) = match uri.scheme_str()? {
            "http" => (Scheme::Http, 80),
            "h2c" => (Scheme::H2c, 80),
            "https" => (Scheme::Https, 443),
            _ => return None,
        };
        if !matches!(uri.path(), "" | "/") {
            return None;
        }
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Self {
            scheme,
            authority: uri.authority()?.to_string(),
            host,
            port: uri.port_u16().unwrap_or(default_port),
            tls: None,
            idle: RefCell::default(),
            shared: RefCell::default(),
            connecting: tokio::sync::Mutex::default(),
            failed: Cell::new(None),
            now: Cell::new(Instant::now()),
        })
    }

    /// The same, of a service with settings of its own.
    pub(super) fn secured_by(self, tls: UpstreamTls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    pub(super) fn tls(&self) -> Option<&UpstreamTls> {
        self.tls.as_ref()
    }

    pub(crate) fn scheme(&self) -> Scheme {
        self.scheme
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A pooled or shared connection, if there is one that will do.
    pub(crate) fn pooled_for(self: &Rc<Self>, kind: Kind) -> Option<Lane> {
        if kind == Kind::Any { self.pooled() } else { None }
    }

    /// A new connection, or one that somebody else has made meanwhile.
    pub(super) async fn connect(
        self: &Rc<Self>,
        connectors: &Connectors,
        kind: Kind,
    ) -> Result<Lane, UpstreamTrouble> {
        if kind == Kind::Upgradable || self.scheme == Scheme::Http {
            let sender = self.note(connectors.connect(self, kind).await)?;
            return Ok(self.new_lane(sender));
        }
        let asked = Instant::now();
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(lane) = self.pooled() {
            return Ok(lane);
        }
        // Whoever was before us in the line has just tried: the line does not try one by one.
        if self.failed.get().is_some_and(|failed| failed >= asked) {
            return Err(UpstreamTrouble::Unreachable);
        }
        let sender = self.note(connectors.connect(self, kind).await)?;
        if let Sender::Http2(sender, hangs_on) = &sender {
            *self.shared.borrow_mut() = Some((sender.clone(), hangs_on.clone()));
        }
        Ok(self.new_lane(sender))
    }

    /// Whether connecting failed a moment ago.
    pub(super) fn has_just_failed(&self) -> bool {
        self.failed.get().is_some_and(|failed| failed.elapsed() < RECOVERY)
    }

    fn note(&self, connected: Result<Sender, UpstreamTrouble>) -> Result<Sender, UpstreamTrouble> {
        self.failed.set(connected.is_err().then(Instant::now));
        connected
    }

    fn new_lane(self: &Rc<Self>, sender: Sender) -> Lane {
        let channel = match sender {
            Sender::Http1(line) => Channel::Http1 { line, reused: false },
            Sender::Http2(sender, _) => Channel::Http2(sender),
        };
        Lane::new(Rc::clone(self), channel)
    }

    fn pooled(self: &Rc<Self>) -> Option<Lane> {
        {
            let mut shared = self.shared.borrow_mut();
            match shared.as_ref() {
                Some((sender, hangs_on)) if !sender.is_closed() && hangs_on.holds() => {
                    let channel = Channel::Http2(sender.clone());
                    return Some(Lane::new(Rc::clone(self), channel));
                }
                Some(_) => *shared = None,
                None => {}
            }
        }
        let mut idle = self.idle.borrow_mut();
        while let Some((line, _)) = idle.pop() {
            if line.sender.is_ready() && line.hangs_on.holds() {
                let channel = Channel::Http1 { line, reused: true };
                return Some(Lane::new(Rc::clone(self), channel));
            }
        }
        None
    }

    /// Keeps a connection that has answered for the next request.
    pub(super) fn keep(&self, line: Line) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < KEPT && !line.sender.is_closed() {
            idle.push((line, self.now.get()));
        }
    }

    /// Tells the time, which no request reads a clock for, and closes what was idle for too long.
    pub(super) fn forget_idle(&self, now: Instant) {
        self.now.set(now);
        self.idle.borrow_mut().retain(|(line, since)| {
            !line.sender.is_closed() && now.saturating_duration_since(*since) < IDLE
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_scheme_host_and_port() {
        let parsed = |url: &str| Endpoint::parse(url).map(|e| (e.scheme, e.host, e.port));
        assert_eq!(parsed("http://10.0.0.5:8080"), Some((Scheme::Http, "10.0.0.5".into(), 8080)));
        assert_eq!(parsed("https://p.test/"), Some((Scheme::Https, "p.test".into(), 443)));
        assert_eq!(parsed("h2c://[::1]:9"), Some((Scheme::H2c, "::1".into(), 9)));
        for refused in ["ftp://a", "10.0.0.5:80", "http://a/base", ""] {
            assert_eq!(parsed(refused), None, "{refused}");
        }
    }
}
