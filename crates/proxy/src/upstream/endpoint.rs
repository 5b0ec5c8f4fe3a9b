//! One instance's address and its pooled connections.

use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use http::Uri;
use portcullis_model::{InstanceName, refusal::UpstreamTrouble};
use portcullis_policy::edge::UpstreamTls;

use super::{
    Channel, Connectors, Failure, Lane,
    connect::ConnectError,
    lane::{Age, Line, Sender, Shared},
    load::What,
    service::{Instance, Service},
    tls::HangsOn,
};

/// A pooled connection that was idle for so long may have been closed meanwhile.
const RESTED: Duration = Duration::from_secs(1);
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

/// Scheme, host and port of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) scheme: Scheme,
    /// Host and port as they are written.
    pub(crate) authority: String,
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// What a connection must be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Carry requests.
    Any,
    /// Carry a request that a pooled connection could not: made since then.
    Fresh,
    /// Carry a request that is not sent twice: made for it, and for no other.
    Once,
    /// Be handed over after a 101: HTTP/1.1, and never shared.
    Upgradable,
}

impl Place {
    /// Reads an instance's base URL: scheme, host and port, no path.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let (scheme, default_port) = match uri.scheme_str()? {
            // In clear or over TLS; that a service speaks something else inside is for others to know.
            "http" | "tcp" => (Scheme::Http, 80),
            "h2c" => (Scheme::H2c, 80),
            "https" | "tls" => (Scheme::Https, 443),
            _ => return None,
        };
        if !matches!(uri.path(), "" | "/") {
            return None;
        }
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(default_port);
        Some(Self { scheme, authority: uri.authority()?.to_string(), host, port })
    }

    /// The host, if it is an address.
    pub(crate) fn literal(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

/// One instance on one core: its address and its pooled connections.
#[derive(Debug)]
pub(crate) struct Endpoint {
    place: Place,
    service: Arc<Service>,
    instance: Arc<Instance>,
    /// Its place in the list of the service.
    at: usize,
    core: usize,
    idle: RefCell<Vec<(Line, Instant)>>,
    shared: RefCell<Option<(Shared, HangsOn)>>,
    /// When that was made.
    made: Cell<Option<Instant>>,
    /// Many requests that find no shared connection wait for one, and do not make many.
    connecting: tokio::sync::Mutex<()>,
    /// No request picks it any more: only those that are under way still hold it.
    retired: Cell<bool>,
    /// When connecting failed the last time, unless it has worked since.
    failed: Cell<Option<Instant>>,
    /// Something went wrong with an instance of the service a moment ago.
    wary: Cell<bool>,
    /// The time as it was told last: twice a second.
    now: Cell<Instant>,
}

/// One request's turn with an instance: counted for as long as this lives.
#[derive(Debug)]
pub(crate) struct Turn(Rc<Endpoint>);

impl Turn {
    pub(super) fn new(endpoint: &Rc<Endpoint>) -> Self {
        endpoint.instance.load.more(endpoint.core, What::Requests);
        endpoint.service.counts.load.more(endpoint.core, What::Requests);
        Self(Rc::clone(endpoint))
    }

    pub(crate) fn endpoint(&self) -> &Rc<Endpoint> {
        &self.0
    }

    /// A pooled or shared connection, if there is one that will do.
    pub(crate) fn pooled_for(self, kind: Kind) -> Result<Lane, Self> {
        if kind == Kind::Any { self.pooled() } else { Err(self) }
    }

    fn pooled(self) -> Result<Lane, Self> {
        match self.0.pooled() {
            Some((channel, age)) => Ok(Lane::new(self, channel, age)),
            None => Err(self),
        }
    }

    /// A new connection, or one that somebody else has made meanwhile.
    pub(super) async fn connect(
        self,
        connectors: &Connectors,
        kind: Kind,
    ) -> Result<Lane, UpstreamTrouble> {
        let endpoint = Rc::clone(&self.0);
        // HTTP/2 carries no upgrades here: known before anybody is dialled, and nothing against the instance.
        if kind == Kind::Upgradable && endpoint.place.scheme == Scheme::H2c {
            return Err(UpstreamTrouble::Unreachable);
        }
        let _waiting = Counted::waiting(&self.0)?;
        let own = matches!(kind, Kind::Once | Kind::Upgradable);
        if own || endpoint.place.scheme == Scheme::Http {
            let sender = endpoint.make(connectors, kind).await?;
            return Ok(self.new_lane(sender));
        }
        let asked = Instant::now();
        let _one_at_a_time = endpoint.connecting.lock().await;
        let found = match kind {
            // Of what there is, only what was made since: the rest may be what failed it.
            Kind::Fresh if endpoint.made.get().is_some_and(|made| made >= asked) => {
                endpoint.shared()
            }
            Kind::Fresh => None,
            Kind::Any | Kind::Once | Kind::Upgradable => endpoint.pooled(),
        };
        if let Some((channel, age)) = found {
            return Ok(Lane::new(self, channel, age));
        }
        // Whoever was before us in the line has just tried: the line does not try one by one.
        if endpoint.failed.get().is_some_and(|failed| failed >= asked) {
            return Err(UpstreamTrouble::Unreachable);
        }
        let sender = endpoint.make(connectors, kind).await?;
        if let Sender::Http2(shared, hangs_on) = &sender {
            *endpoint.shared.borrow_mut() = Some((shared.clone(), hangs_on.clone()));
            endpoint.made.set(Some(Instant::now()));
        }
        Ok(self.new_lane(sender))
    }

    pub(super) fn new_lane(self, sender: Sender) -> Lane {
        let channel = match sender {
            Sender::Http1(line) => Channel::Http1(line),
            Sender::Http2(shared, _) => Channel::Http2(shared),
        };
        Lane::new(self, channel, Age::Fresh)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.instance.load.less(self.0.core, What::Requests);
        self.0.service.counts.load.less(self.0.core, What::Requests);
        if self.0.retired.get() {
            // Whoever waited together with this one may have made it.
            self.0.shared.take();
        }
    }
}

/// A connection, or a request that waits for one, for as long as this lives. Stays on its core.
#[derive(Debug)]
pub(crate) struct Counted {
    service: Arc<Service>,
    instance: Arc<Instance>,
    core: usize,
    what: What,
}

impl Counted {
    pub(super) fn new(endpoint: &Endpoint, what: What) -> Result<Self, UpstreamTrouble> {
        let limits = &endpoint.service.settings;
        let (all, own) = match what {
            What::Requests => (limits.service_limits.requests, limits.instance_limits.requests),
            What::Connections => {
                (limits.service_limits.connections, limits.instance_limits.connections)
            }
            What::Pending => (limits.service_limits.pending, limits.instance_limits.pending),
        };
        let (service, instance, core) = (&endpoint.service, &endpoint.instance, endpoint.core);
        if !service.counts.load.has_room(core, what, all)
            || !instance.load.has_room(core, what, own)
        {
            service.counts.refuse(what);
            return Err(UpstreamTrouble::Overloaded);
        }
        Ok(Self::count(endpoint, what))
    }

    fn count(endpoint: &Endpoint, what: What) -> Self {
        let (service, instance) = (Arc::clone(&endpoint.service), Arc::clone(&endpoint.instance));
        service.counts.load.more(endpoint.core, what);
        instance.load.more(endpoint.core, what);
        Self { service, instance, core: endpoint.core, what }
    }

    /// One that is open already.
    pub(super) fn connection(endpoint: &Endpoint) -> Self {
        Self::count(endpoint, What::Connections)
    }

    pub(super) fn waiting(endpoint: &Endpoint) -> Result<Self, UpstreamTrouble> {
        Self::new(endpoint, What::Pending)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.service.counts.load.less(self.core, self.what);
        self.instance.load.less(self.core, self.what);
    }
}

impl Endpoint {
    /// The instance at `at` of `service`.
    pub(super) fn new(service: &Arc<Service>, at: usize, core: usize) -> Option<Self> {
        let instance = Arc::clone(service.instances.get(at)?);
        Some(Self {
            place: Place::parse(&instance.url)?,
            service: Arc::clone(service),
            instance,
            at,
            core,
            idle: RefCell::default(),
            shared: RefCell::default(),
            made: Cell::new(None),
            connecting: tokio::sync::Mutex::default(),
            retired: Cell::new(false),
            failed: Cell::new(None),
            wary: Cell::new(false),
            now: Cell::new(Instant::now()),
        })
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn name(&self) -> &InstanceName {
        &self.instance.name
    }

    pub(crate) fn instance(&self) -> &Instance {
        &self.instance
    }

    pub(crate) fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// What is wanted of it, if its service says so.
    pub(super) fn tls(&self) -> Option<&UpstreamTls> {
        self.service.tls.as_ref()
    }

    /// Whether it leads to the very same instance.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.instance, &other.instance)
    }

    /// Takes the idle connections of one that leads to the same instance.
    pub(super) fn take_over(&self, other: &Self) {
        self.idle.swap(&other.idle);
        self.shared.swap(&other.shared);
    }

    /// Closes what nobody will use, however long those that are under way still hold it.
    pub(super) fn retire(&self) {
        self.retired.set(true);
        self.idle.take();
        self.shared.take();
    }

    /// Requests of this core that are under way to it.
    pub(super) fn under_way(&self) -> u32 {
        self.instance.load.own(self.core, What::Requests)
    }

    pub(super) fn has_room(&self, what: What) -> bool {
        let limit = self.service.settings.instance_limits.requests;
        self.instance.load.has_room(self.core, what, limit)
    }

    pub(super) fn be_wary(&self, wary: bool) {
        self.wary.set(wary);
    }

    pub(crate) fn is_wary(&self) -> bool {
        self.wary.get()
    }

    /// A request to it went well.
    pub(super) fn succeeded(&self) {
        self.service.succeeded(self.at);
    }

    /// A request to it did not.
    pub(super) fn failed(&self) {
        self.service.failed(self.at, Failure::Failed);
    }

    async fn make(&self, connectors: &Connectors, kind: Kind) -> Result<Sender, UpstreamTrouble> {
        let counted = Counted::new(self, What::Connections)?;
        self.note(connectors.connect(self, kind, Some(counted)).await)
    }

    /// Remembers whether it was reached.
    pub(super) fn note<T>(&self, connected: Result<T, ConnectError>) -> Result<T, UpstreamTrouble> {
        self.failed.set(None);
        let error = match connected {
            Ok(connected) => return Ok(connected),
            Err(error) => error,
        };
        // It was reached. That it cannot do what a client asks for is no failure, or clients could have
        // it left out.
        if !matches!(error, ConnectError::NotUpgradable) {
            self.failed.set(Some(Instant::now()));
            // What the gate itself lacks is nothing to the instance: the next one would be no better.
            if !matches!(error, ConnectError::Certificates(_)) {
                self.service.failed(self.at, Failure::Unreachable);
            }
        }
        Err(UpstreamTrouble::Unreachable)
    }

    fn shared(&self) -> Option<(Channel, Age)> {
        let mut shared = self.shared.borrow_mut();
        match shared.as_ref() {
            Some((known, hangs_on)) if !known.sender.is_closed() && hangs_on.holds() => {
                return Some((Channel::Http2(known.clone()), Age::Busy));
            }
            Some(_) => *shared = None,
            None => {}
        }
        None
    }

    fn pooled(&self) -> Option<(Channel, Age)> {
        if let Some(shared) = self.shared() {
            return Some(shared);
        }
        let mut idle = self.idle.borrow_mut();
        while let Some((line, since)) = idle.pop() {
            if line.sender.is_ready() && line.hangs_on.holds() {
                let rested = self.now.get().saturating_duration_since(since) >= RESTED;
                let age = if rested { Age::Rested } else { Age::Busy };
                return Some((Channel::Http1(line), age));
            }
        }
        None
    }

    /// Keeps a connection that has answered for the next request.
    pub(super) fn keep(&self, line: Line) {
        if self.retired.get() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() < KEPT && !line.sender.is_closed() {
            idle.push((line, self.now.get()));
        }
    }

    /// Tells the time, which no request reads a clock for, and closes what was idle for too long.
    pub(super) fn forget_idle(&self, now: Instant) {
        self.now.set(now);
        let most = self.service.settings.timeouts.idle.get();
        self.idle.borrow_mut().retain(|(line, since)| {
            !line.sender.is_closed() && now.saturating_duration_since(*since) < most
        });
    }

    /// Whether a request of this core is under way, or a connection kept.
    pub(super) fn is_used(&self) -> bool {
        self.under_way() > 0 || !self.idle.borrow().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_scheme_host_and_port() {
        let parsed = |url: &str| Place::parse(url).map(|e| (e.scheme, e.host, e.port));
        assert_eq!(parsed("http://10.0.0.5:8080"), Some((Scheme::Http, "10.0.0.5".into(), 8080)));
        assert_eq!(parsed("https://p.test/"), Some((Scheme::Https, "p.test".into(), 443)));
        assert_eq!(parsed("h2c://[::1]:9"), Some((Scheme::H2c, "::1".into(), 9)));
        for refused in ["ftp://a", "10.0.0.5:80", "http://a/base", ""] {
            assert_eq!(parsed(refused), None, "{refused}");
        }
    }
}
