//! Local endpoints: services at addresses of this machine, with somebody's identity.
//!
//! `portcullis connect` and `portcullis run` share them. What comes to an address goes to the gate with a sign-in
//! for that one service, which is made when it is needed, never given away, and ended with the endpoints. All
//! that there is to say passes through one place, so that it is said once and in order. Who may reach an address
//! is for those to say who open it.

mod asking;
mod dial;
mod door;
mod gate;
mod grants;
mod head;
mod refusal;
mod said;
mod web;

use std::{
    collections::BTreeMap, convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use portcullis_api::{grants::GrantBody, services::ServiceBody, sign_ins::NewSignInBody};
use portcullis_model::{InstanceName, Secret, ServiceName};
use reqwest::Method;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use url::Url;

pub(super) use self::{
    asking::{Asking, Manner},
    web::Terms,
};
use self::{dial::Place, door::Door, gate::Gate, grants::Grants, refusal::Refused, web::Web};
use super::{failure::Failure, session::Session};

/// A sign-in with less left is made anew before it is used.
const NEARLY_OVER: SignedDuration = SignedDuration::from_secs(5);
/// So long nothing is accepted where accepting fails.
const REST: Duration = Duration::from_millis(50);

/// A service, and where it is wanted.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) service: ServiceBody,
    pub(super) instance: Option<InstanceName>,
    pub(super) listen: SocketAddr,
}

/// What there is to tell of a connection or a request.
#[derive(Debug)]
enum Event {
    /// It is open, by this grant if by one.
    Opened(Option<String>),
    /// The gate said no to whoever came with this token.
    Refused { refused: Box<Refused>, token: Secret },
    /// There was no answer, or none of a gate.
    Unreachable(String),
    /// It was cut, and why.
    Cut(String),
    /// It waits at the gate for an approval.
    Waits,
    /// The tool had credentials of its own, which were not passed on.
    Withheld,
}

/// What a connection wants of those who serve it.
#[derive(Debug)]
enum Wish {
    /// A sign-in's token; its service's name if there is none to be had.
    Token(oneshot::Sender<Result<Secret, ServiceName>>),
    /// To be heard.
    Hear(Event),
}

/// Speaks for the connections of one endpoint.
#[derive(Debug, Clone)]
struct Teller {
    number: usize,
    told: mpsc::UnboundedSender<(usize, Wish)>,
}

impl Teller {
    fn tell(&self, event: Event) {
        // Nobody hears it where everything is over.
        let _ = self.told.send((self.number, Wish::Hear(event)));
    }

    /// `None` where everything is over.
    async fn token(&self) -> Option<Result<Secret, ServiceName>> {
        let (reply, token) = oneshot::channel();
        let _ = self.told.send((self.number, Wish::Token(reply)));
        token.await.ok()
    }
}

/// One local address.
struct Endpoint {
    service: ServiceName,
    behind: Behind,
    sign_in: Option<NewSignInBody>,
    /// What was last said of a refusal.
    refused: Option<String>,
}

/// What is behind an address.
#[derive(Clone)]
enum Behind {
    Web(Arc<Web>),
    Tcp(Gate),
}

/// Whether `service` is spoken to in bytes, and not in HTTP.
pub(super) fn is_tcp(service: &ServiceBody) -> bool {
    let connect = format!("{}.connect", service.name);
    matches!(service.operations.as_slice(), [only] if only.name == connect)
}

type Accepted = (usize, io::Result<TcpStream>);

/// All local addresses, and what their connections share.
pub(super) struct Endpoints<'a> {
    pub(super) session: Session<'a>,
    all: BTreeMap<usize, Endpoint>,
    accepting: mpsc::Sender<Accepted>,
    accepted: mpsc::Receiver<Accepted>,
    told: mpsc::UnboundedSender<(usize, Wish)>,
    heard: mpsc::UnboundedReceiver<(usize, Wish)>,
    open: JoinSet<()>,
    grants: Grants,
    asking: Asking,
}

impl<'a> Endpoints<'a> {
    /// None yet.
    pub(super) fn new(session: Session<'a>, asking: Asking) -> Self {
        let (accepting, accepted) = mpsc::channel(1);
        let (told, heard) = mpsc::unbounded_channel();
        let (all, open, grants) = (BTreeMap::new(), JoinSet::new(), Grants::default());
        Self { session, all, accepting, accepted, told, heard, open, grants, asking }
    }

    /// It is known that `grant` was given, and said.
    pub(super) fn holds(&mut self, grant: &GrantBody) {
        self.grants.holds(grant);
    }

    /// Opens one more, and says where.
    pub(super) async fn open(
        &mut self,
        wanted: &Wanted,
        gate: Option<&Url>,
        terms: &Terms,
    ) -> Result<SocketAddr, Failure> {
        let service = &wanted.service;
        let name = service.name.parse();
        let name = name.map_err(|error| Failure::local("the server's service", &error))?;
        let teller = Teller { number: self.all.len(), told: self.told.clone() };
        // Nothing is listened to before it is clear where it leads.
        let tcp = if is_tcp(service) {
            Some(Gate::find(service, wanted.instance.as_ref(), gate).await?)
        } else {
            None
        };
        let failed = |error| Failure::local(&format!("cannot listen on {}", wanted.listen), &error);
        let listener = TcpListener::bind(wanted.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let number = teller.number;
        let behind = if let Some(gate) = tcp {
            Behind::Tcp(gate)
        } else {
            let door = Door::new(address, &terms.names);
            let place = Place::of(service, gate)?;
            let web = Web::new(teller, place, wanted.instance.as_ref(), terms, door)?;
            Behind::Web(Arc::new(web))
        };
        self.all.insert(number, Endpoint { service: name, behind, sign_in: None, refused: None });
        self.open.spawn(accept(number, listener, self.accepting.clone()));
        Ok(address)
    }

    /// Serves them all until `until` comes to an end, whatever is under way then.
    pub(super) async fn serve<T>(&mut self, until: impl Future<Output = T>) -> T {
        // It must not have to wait for control, which may take its time.
        tokio::select! {
            biased;
            ended = until => ended,
            never = self.attend() => match never {},
        }
    }

    /// Does what connections wish, one after the other.
    async fn attend(&mut self) -> Infallible {
        loop {
            self.session.screen.put_again();
            let next = self.grants.until_next(self.session.now()).min(self.asking.until_next());
            tokio::select! {
                Some((number, stream)) = self.accepted.recv() => self.connect(number, stream),
                Some(_) = self.open.join_next() => {}
                Some((number, wish)) = self.heard.recv() => self.grant(number, wish).await,
                reason = self.asking.answered() => {
                    self.asking.go_on(&mut self.session, &mut self.grants, reason).await;
                }
                () = tokio::time::sleep(next) => {
                    self.grants.announce(&mut self.session, self.asking.manner()).await;
                    self.asking.look(&mut self.session, &mut self.grants).await;
                }
            }
        }
    }

    /// Ends all connections, and then what was made for them: it is us who leave, and not a sign-in that ends.
    pub(super) async fn close(mut self) {
        self.open.shutdown().await;
        let sign_ins = std::mem::take(&mut self.all).into_values();
        for made in sign_ins.filter_map(|endpoint| endpoint.sign_in) {
            self.sign_out(&made).await;
        }
    }

    fn connect(&mut self, number: usize, stream: io::Result<TcpStream>) {
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                return self.session.screen.note(&format!("a connection was lost: {error}"));
            }
        };
        let Some(endpoint) = self.all.get(&number) else { return };
        match endpoint.behind.clone() {
            Behind::Web(web) => drop(self.open.spawn(web.serve(stream))),
            Behind::Tcp(gate) => {
                let teller = Teller { number, told: self.told.clone() };
                self.open.spawn(gate.serve(stream, teller));
            }
        }
    }

    async fn grant(&mut self, number: usize, wish: Wish) {
        match wish {
            Wish::Hear(event) => self.hear(number, event).await,
            Wish::Token(reply) => {
                let Some(endpoint) = self.all.get(&number) else { return };
                let (service, is_tcp) =
                    (endpoint.service.clone(), matches!(endpoint.behind, Behind::Tcp(_)));
                let token = self.token(number, &service).await.map_err(|failure| {
                    let what = if is_tcp { "connection" } else { "request" };
                    self.session.screen.note(&format!(
                        "a {what} was refused, as no sign-in could be made for it: {failure}"
                    ));
                    service
                });
                let _ = reply.send(token);
            }
        }
    }

    /// Of a sign-in that is good for a while yet.
    async fn token(&mut self, number: usize, service: &ServiceName) -> Result<Secret, Failure> {
        let now = self.session.now();
        let endpoint = self.all.get(&number);
        if let Some(made) = endpoint.and_then(|endpoint| endpoint.sign_in.as_ref())
            && is_good(made.sign_in.expires_at, now)
        {
            return Ok(made.token.clone());
        }
        let body = json!({"audience": "gate", "service": service, "lasting": true});
        let made: NewSignInBody = self.session.post("/v1/sign-ins", Some(body)).await?.read()?;
        let token = made.token.clone();
        if let Some(endpoint) = self.all.get_mut(&number) {
            endpoint.sign_in = Some(made);
        }
        Ok(token)
    }

    async fn hear(&mut self, number: usize, event: Event) {
        let Some(endpoint) = self.all.get_mut(&number) else { return };
        let (screen, name) = (self.session.screen, endpoint.service.clone());
        match event {
            Event::Opened(None) => {}
            Event::Opened(Some(grant)) => self.grants.used(&mut self.session, grant).await,
            Event::Refused { refused, token } => self.refused(number, &refused, &token).await,
            Event::Unreachable(why) => screen.note(&why),
            Event::Cut(why) => screen.note(&format!("connection closed: {why}")),
            Event::Waits => screen.note(&format!(
                "{name}: no answer yet; the request waits for an approval, see `{}`",
                self.session.command("requests --mine")
            )),
            Event::Withheld => screen.note(&format!(
                "{name}: the tool sends credentials of its own (Authorization), which are left out: the gate gets \
                 yours; --pass-authorization sends them on to the service"
            )),
        }
    }

    async fn refused(&mut self, number: usize, refused: &Refused, token: &Secret) {
        let Some(endpoint) = self.all.get_mut(&number) else { return };
        let service = endpoint.service.clone();
        if refused.mark.wants_credentials() {
            // The next one is made with another, unless this was late and another has been made since.
            let over = endpoint.sign_in.take_if(|made| made.token == *token);
            if let Some(over) = over {
                self.sign_out(&over).await;
            }
        }
        let (session, grants) = (&mut self.session, &mut self.grants);
        if self.asking.refused(session, grants, &service, refused).await {
            return;
        }
        let Some(endpoint) = self.all.get_mut(&number) else { return };
        let (what, status) = (refused.words(), &refused.status);
        let line = match &endpoint.behind {
            Behind::Tcp(_) => format!("connection refused: {what} ({status})"),
            Behind::Web(_) => {
                let of = refused.problem.operation.as_deref();
                format!("{} refused: {what} ({status})", of.unwrap_or(endpoint.service.as_str()))
            }
        };
        // A tool that tries again and again is told each time; who looks on, once.
        let is_new = endpoint.refused.as_ref() != Some(&line);
        if is_new || matches!(endpoint.behind, Behind::Tcp(_)) {
            self.session.screen.note(&line);
        }
        endpoint.refused = Some(line);
    }

    /// What was made for here is of no use afterwards. If it cannot be ended, it ends with its parent.
    async fn sign_out(&mut self, made: &NewSignInBody) {
        let path = format!("/v1/sign-ins/{}", made.sign_in.id);
        match self.session.send(Method::DELETE, &path, None).await {
            Ok(_) | Err(Failure::NotFound(_)) => {}
            Err(failure) => {
                let what = "the sign-in at the gate ends with yours only";
                self.session.screen.note(&format!("{what}: {failure}"));
            }
        }
    }
}

async fn accept(number: usize, listener: TcpListener, accepting: mpsc::Sender<Accepted>) {
    loop {
        let took = listener.accept().await.map(|(stream, _)| stream);
        let failed = took.is_err();
        if accepting.send((number, took)).await.is_err() {
            return;
        }
        if failed {
            tokio::time::sleep(REST).await;
        }
    }
}

fn is_good(ends: Timestamp, now: Timestamp) -> bool {
    ends.duration_since(now) > NEARLY_OVER
}
