//! One instance as one core reaches it: its address, and what is connected to it.

use std::{
    cell::{Cell, OnceCell},
    net::IpAddr,
    rc::{Rc, Weak},
    sync::Arc,
    time::Instant,
};

use http::Uri;
use portcullis_model::{InstanceName, refusal::UpstreamTrouble};
use portcullis_policy::edge::UpstreamTls;

use super::{
    Channel, Connectors, Failure, Lane,
    connect::ConnectError,
    counted::{self, Counted, Full},
    lane::{Age, Line, Sender},
    load::What,
    pool::{Pool, RESTED},
    service::{Instance, Service},
};

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
    /// Cloned for every request: in memory of this core.
    name: InstanceName,
    instance: Arc<Instance>,
    /// Its place in the list of the service.
    at: usize,
    core: usize,
    pool: Pool,
    /// Those of the same service on this core, this one among them.
    all: OnceCell<Weak<[Rc<Endpoint>]>>,
    /// Many requests that find no shared connection wait for one, and do not make many.
    connecting: tokio::sync::Mutex<()>,
    /// It had the choice, and chose HTTP/1.1: there will be nothing to share.
    chose_http1: Cell<bool>,
    /// No request picks it any more: only those that are under way still hold it.
    retired: Cell<bool>,
    /// When connecting failed the last time, unless it has worked since.
    failed: Cell<Option<Instant>>,
}

/// One request's turn with an instance: counted for as long as this lives.
#[derive(Debug)]
pub(crate) struct Turn {
    endpoint: Rc<Endpoint>,
    /// Something went wrong with an instance of the service a moment ago.
    wary: bool,
}

impl Turn {
    pub(super) fn new(endpoint: &Rc<Endpoint>) -> Self {
        endpoint.instance.load.more(endpoint.core, What::Requests);
        endpoint.service.counts.load.more(endpoint.core, What::Requests);
        Self { endpoint: Rc::clone(endpoint), wary: false }
    }

    /// The same, of a service where something went wrong a moment ago, or nothing did.
    pub(super) fn wary(mut self, wary: bool) -> Self {
        self.wary = wary;
        self
    }

    pub(super) fn is_wary(&self) -> bool {
        self.wary
    }

    pub(crate) fn endpoint(&self) -> &Rc<Endpoint> {
        &self.endpoint
    }

    /// A pooled or shared connection, if there is one that will do.
    pub(crate) fn pooled_for(self, kind: Kind) -> Result<Lane, Self> {
        if kind != Kind::Any {
            return Err(self);
        }
        match self.endpoint.pool.pick() {
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
        let endpoint = Rc::clone(&self.endpoint);
        // HTTP/2 carries no upgrades here: known before anybody is dialled, and nothing against the instance.
        if kind == Kind::Upgradable && endpoint.place.scheme == Scheme::H2c {
            return Err(UpstreamTrouble::Unreachable);
        }
        let _waiting = Counted::waiting(&endpoint)?;
        if matches!(kind, Kind::Once | Kind::Upgradable) {
            let sender = endpoint.make(connectors, kind).await?;
            return Ok(self.new_lane(sender));
        }
        let mut one_at_a_time = None;
        if endpoint.may_share() {
            let asked = Instant::now();
            one_at_a_time = Some(endpoint.stand_in_line().await?);
            let found = match kind {
                // Of what there is, only what was made since: the rest may be what failed it.
                Kind::Fresh => endpoint.pool.pick_shared(Some(asked)),
                Kind::Any | Kind::Once | Kind::Upgradable => endpoint.pool.pick(),
            };
            if let Some((channel, age)) = found {
                return Ok(Lane::new(self, channel, age));
            }
            // Whoever was before us in the line has just tried: the line does not try one by one.
            if endpoint.failed.get().is_some_and(|failed| failed >= asked) {
                return Err(UpstreamTrouble::Unreachable);
            }
        }
        // Or has found that nobody has to wait for anybody.
        let _one_at_a_time = one_at_a_time.filter(|_| endpoint.may_share());
        let sender = endpoint.make(connectors, kind).await?;
        Ok(self.lane_to_share(sender))
    }

    /// Over a connection of its own.
    pub(super) fn new_lane(self, sender: Sender) -> Lane {
        let channel = match sender {
            Sender::Http1(line) => Channel::Http1(line),
            Sender::Http2(shared) => Channel::Http2(shared.stream()),
        };
        Lane::new(self, channel, Age::Fresh)
    }

    /// Over a connection that others may have as well, if that is possible.
    fn lane_to_share(self, sender: Sender) -> Lane {
        let channel = match sender {
            Sender::Http1(line) => Channel::Http1(line),
            Sender::Http2(shared) => {
                let stream = shared.stream();
                self.endpoint.pool.share(shared);
                Channel::Http2(stream)
            }
        };
        Lane::new(self, channel, Age::Fresh)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.endpoint.instance.load.less(self.endpoint.core, What::Requests);
        self.endpoint.service.counts.load.less(self.endpoint.core, What::Requests);
        if self.endpoint.retired.get() {
            // Whoever waited together with this one may have made it.
            self.endpoint.pool.clear();
        }
    }
}

impl Endpoint {
    /// The instance at `at` of `service`.
    pub(super) fn new(service: &Arc<Service>, at: usize, core: usize) -> Option<Self> {
        let instance = Arc::clone(service.instances.get(at)?);
        let (one, all) = (&service.settings.instance_limits, &service.settings.service_limits);
        let connections = one.connections.min(all.connections);
        Some(Self {
            place: Place::parse(&instance.url)?,
            pool: Pool::new(connections, instance.load.cores()),
            service: Arc::clone(service),
            name: instance.name.detached(),
            instance,
            at,
            core,
            all: OnceCell::new(),
            connecting: tokio::sync::Mutex::default(),
            chose_http1: Cell::new(false),
            retired: Cell::new(false),
            failed: Cell::new(None),
        })
    }

    /// One of `all` that its core has of its service.
    pub(super) fn is_among(&self, all: &Rc<[Rc<Self>]>) {
        let _ = self.all.set(Rc::downgrade(all));
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn name(&self) -> &InstanceName {
        &self.name
    }

    pub(crate) fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    pub(super) fn core(&self) -> usize {
        self.core
    }

    /// The time as it was told last.
    pub(super) fn now(&self) -> Instant {
        self.pool.now()
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
        self.pool.swap(&other.pool);
        self.chose_http1.swap(&other.chose_http1);
    }

    /// Closes what nobody will use, however long those that are under way still hold it.
    pub(super) fn retire(&self) {
        self.retired.set(true);
        self.pool.clear();
    }

    /// Requests of this core that are under way to it.
    pub(super) fn under_way(&self) -> u32 {
        self.instance.load.own(self.core, What::Requests)
    }

    pub(super) fn has_room(&self, what: What) -> bool {
        let limit = self.service.settings.instance_limits.requests;
        self.instance.load.has_room(self.core, what, limit)
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
        let counted = Counted::room(self)?;
        self.note(connectors.connect(self, kind, Some(counted)).await)
    }

    /// Whether a connection to it may be one for many requests.
    fn may_share(&self) -> bool {
        match self.place.scheme {
            Scheme::Http => false,
            Scheme::H2c => true,
            Scheme::Https => !self.chose_http1.get(),
        }
    }

    /// It was offered both protocols, and chose this one.
    pub(super) fn chose(&self, http1: bool) {
        self.chose_http1.set(http1);
    }

    /// Until nobody else is connecting: as long as that may take. Whoever does so notes what comes of it.
    async fn stand_in_line(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, UpstreamTrouble> {
        let most = self.service.settings.timeouts.connect.get();
        let in_line = tokio::time::timeout(most, self.connecting.lock()).await;
        in_line.map_err(|_| UpstreamTrouble::Unreachable)
    }

    /// Closes a connection that carries nothing, so that there is room for another where it was `full`.
    pub(super) fn close_resting(&self, full: Full) -> bool {
        let all = self.all.get().and_then(Weak::upgrade).filter(|_| full == Full::Service);
        let Some(all) = all else { return self.pool.close_one() };
        let resting = all.iter().filter_map(|it| Some((it.pool.resting()?, it)));
        resting.min_by_key(|(since, _)| *since).is_some_and(|(_, it)| it.pool.close_one())
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

    /// Keeps a connection that has answered for the next request.
    pub(super) fn keep(&self, line: Line) {
        if !self.retired.get() {
            self.pool.keep(line);
        }
    }

    /// Tells the time, which no request reads a clock for, and closes what has rested for too long: not very long, where
    /// connections are `wanted` by whom there is no room for.
    pub(super) fn forget_idle(&self, now: Instant, wanted: bool) {
        let usual = self.service.settings.timeouts.idle.get();
        let short = wanted && counted::full(self, What::Connections).is_some();
        self.pool.forget(now, if short { usual.min(RESTED) } else { usual });
    }

    /// Whether a request of this core is under way, or a connection kept.
    pub(super) fn is_used(&self) -> bool {
        self.under_way() > 0 || !self.pool.is_empty()
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
