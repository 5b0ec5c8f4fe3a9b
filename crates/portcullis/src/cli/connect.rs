//! `portcullis connect`: a TCP service at an address of this machine, with my identity.
//!
//! Each connection that is accepted there becomes one through the gate. Nothing is listened to before it is clear
//! that there is something to connect to; access that has to be asked for is asked for first where a reason was
//! given or somebody is there to ask. A connection that is refused or cut is reset, so that no tool takes what
//! it got for all there was; why is said here.

mod gate;
mod grants;

use std::{net::SocketAddr, process::ExitCode};

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use portcullis_api::{
    services::{OperationBody, ReachBody, ServiceBody},
    sign_ins::NewSignInBody,
};
use portcullis_model::{InstanceName, Secret, ServiceName};
use reqwest::Method;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::JoinSet,
};
use url::Url;

use self::{
    gate::{Event, Gate},
    grants::Grants,
};
use super::{ask, curl::refusal, failure::Failure, profile, session::Session, way_table};

/// A sign-in with less left is made anew before somebody is connected with it.
const NEARLY_OVER: SignedDuration = SignedDuration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// The TCP service
    service: ServiceName,
    /// Where to listen; a free port of this machine if absent
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Listen where others can connect too: whoever does is me
    #[arg(long)]
    expose: bool,
    /// To this instance
    #[arg(long)]
    instance: Option<InstanceName>,
    /// Ask for access first, if it is needed, and say why
    #[arg(long)]
    reason: Option<String>,
    /// Where the gate is, as a URL, if the services' hosts are not in DNS
    #[arg(long, env = "PORTCULLIS_GATE", value_parser = profile::server)]
    gate: Option<Url>,
}

impl Connect {
    pub(crate) async fn run(self, mut session: Session<'_>) -> Result<ExitCode, Failure> {
        self.check_address(&session)?;
        let path = format!("/v1/services/{}", self.service);
        let service = session.get(&path).await;
        let service = service.map_err(|failure| {
            failure.or_try("`portcullis services` lists those that you can see")
        })?;
        let service: ServiceBody = service.read()?;
        let connect = connect_of(&service)?;
        self.get_access(&mut session, connect).await?;
        let gate = self.gate.clone().or_else(|| session.profile.gate.clone());
        let gate = Gate::find(&service, self.instance.as_ref(), gate.as_ref()).await?;
        let listener = TcpListener::bind(self.listen).await.map_err(|error| {
            Failure::local(&format!("cannot listen on {}", self.listen), &error)
        })?;
        let address = listener.local_addr();
        let address = address.map_err(|error| Failure::local("no local address", &error))?;
        if session.screen.is_json() {
            let service = self.service.as_str();
            let told = json!({"service": service, "address": address.to_string()});
            session.screen.json_line(&told.to_string());
        } else {
            session.screen.line(&format!("{} on {address}", self.service));
        }
        let (events, heard) = mpsc::unbounded_channel();
        let (service, open) = (self.service, JoinSet::new());
        let mut endpoint = Endpoint { session, service, gate, events, sign_in: None, open };
        let ended = endpoint.serve(listener, heard).await;
        // First the connections: it is us who leave, and not the sign-in that ends.
        endpoint.open.shutdown().await;
        endpoint.sign_out().await;
        ended.map(|()| ExitCode::SUCCESS)
    }

    /// Whoever reaches the address is let in as its owner.
    fn check_address(&self, session: &Session<'_>) -> Result<(), Failure> {
        if self.listen.ip().is_loopback() {
            return Ok(());
        }
        let address = self.listen;
        if !self.expose {
            return Err(Failure::WrongUse(format!(
                "others can connect to {address}, and whoever does is you; if that is what you want, say --expose"
            )));
        }
        session.screen.note(&format!("whoever can reach {address} connects as you"));
        Ok(())
    }

    /// Asks for what has to be asked for, if a reason is given or somebody is there to give one.
    async fn get_access(
        &self,
        session: &mut Session<'_>,
        connect: &OperationBody,
    ) -> Result<(), Failure> {
        let name = &connect.name;
        match connect.reach {
            ReachBody::Open | ReachBody::Conditional => Ok(()),
            ReachBody::Closed => {
                Err(Failure::Refused(format!("{name} is not permitted, and cannot be asked for")))
            }
            ReachBody::Requestable if self.reason.is_some() || session.screen.is_interactive() => {
                ask::access(session, name, self.instance.clone(), self.reason.clone()).await
            }
            ReachBody::Requestable => {
                let screen = session.screen;
                screen.note(&format!("{name} needs a grant: you can get this"));
                for line in way_table::lines(&connect.ways) {
                    screen.note(&line);
                }
                screen.note(&format!("  {}", session.command(&format!("ask {name}"))));
                Ok(())
            }
        }
    }
}

/// What it is to connect to `service`.
fn connect_of(service: &ServiceBody) -> Result<&OperationBody, Failure> {
    let name = format!("{}.connect", service.name);
    let only = service.operations.as_slice();
    match only {
        [connect] if connect.name == name => Ok(connect),
        _ => Err(Failure::WrongUse(format!(
            "{} speaks HTTP; use `portcullis curl`, or `portcullis token {0}` with a tool of yours",
            service.name
        ))),
    }
}

/// The local address, and everything that connections there share.
struct Endpoint<'a> {
    session: Session<'a>,
    service: ServiceName,
    gate: Gate,
    events: mpsc::UnboundedSender<Event>,
    sign_in: Option<NewSignInBody>,
    open: JoinSet<()>,
}

impl Endpoint<'_> {
    /// Serves until it is told to stop.
    async fn serve(
        &mut self,
        listener: TcpListener,
        mut heard: mpsc::UnboundedReceiver<Event>,
    ) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::local("signals cannot be waited for", &error);
        let mut terminated = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupted = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut grants = Grants::default();
        loop {
            let next_end = grants.until_next(self.session.now());
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.connect(stream).await,
                    Err(error) => {
                        self.session.screen.note(&format!("a connection was lost: {error}"));
                        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    }
                },
                Some(_) = self.open.join_next() => {}
                Some(event) = heard.recv() => self.tell(event, &mut grants).await,
                () = tokio::time::sleep(next_end) => grants.announce(&mut self.session).await,
                _ = interrupted.recv() => {
                    if self.session.screen.is_interactive() {
                        // The terminal shows the key that was pressed, and no end of its line.
                        self.session.screen.note("");
                    }
                    return Ok(());
                }
                _ = terminated.recv() => return Ok(()),
            }
        }
    }

    /// Takes `stream` to the gate. Without a sign-in for it that one is lost, and no other.
    async fn connect(&mut self, stream: TcpStream) {
        let token = match self.token().await {
            Ok(token) => token,
            Err(failure) => {
                gate::reset(&stream);
                let what = "a connection was refused, as no sign-in could be made for it";
                return self.session.screen.note(&format!("{what}: {failure}"));
            }
        };
        let (gate, events) = (self.gate.clone(), self.events.clone());
        self.open.spawn(async move { gate.serve(stream, token, events).await });
    }

    /// Of a sign-in that is good for a while yet.
    async fn token(&mut self) -> Result<Secret, Failure> {
        let now = self.session.now();
        if let Some(made) = &self.sign_in
            && is_good(made.sign_in.expires_at, now)
        {
            return Ok(made.token.clone());
        }
        let body = json!({"audience": "gate", "service": self.service, "lasting": true});
        let made: NewSignInBody = self.session.post("/v1/sign-ins", Some(body)).await?.read()?;
        let token = made.token.clone();
        self.sign_in = Some(made);
        Ok(token)
    }

    async fn tell(&mut self, event: Event, grants: &mut Grants) {
        match event {
            Event::Opened(None) => {}
            Event::Opened(Some(grant)) => grants.used(&mut self.session, grant).await,
            Event::Refused(problem) => {
                if refusal::say(&self.session, &problem).is_none() {
                    let what = problem.detail.as_deref().unwrap_or(&problem.title);
                    let status = problem.status;
                    self.session.screen.note(&format!("connection refused: {what} ({status})"));
                }
                if problem.status == 401 {
                    // The next one is made with another.
                    self.sign_in = None;
                }
            }
            Event::Unreachable(why) => self.session.screen.note(&why),
            Event::Cut(why) => self.session.screen.note(&format!("connection closed: {why}")),
        }
    }

    /// What was made for here is of no use afterwards. If it cannot be ended, it ends with its parent.
    async fn sign_out(&mut self) {
        if let Some(made) = self.sign_in.take() {
            let path = format!("/v1/sign-ins/{}", made.sign_in.id);
            if let Err(failure) = self.session.send(Method::DELETE, &path, None).await {
                let what = "the sign-in at the gate ends with yours only";
                self.session.screen.note(&format!("{what}: {failure}"));
            }
        }
    }
}

fn is_good(ends: Timestamp, now: Timestamp) -> bool {
    ends.duration_since(now) > NEARLY_OVER
}
