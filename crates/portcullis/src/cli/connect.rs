//! `portcullis connect`: services at addresses of this machine, with my identity.
//!
//! HTTP and gRPC services are at a URL, TCP services at an address: each request and each connection there becomes
//! one through the gate. Nothing is listened to before it is clear that there is something to connect to; access
//! that has to be asked for is asked for first where it was named or is all that there is, and otherwise when a
//! tool needs it. A TCP connection that is refused or cut is reset, so that no tool takes what it got for all
//! there was; why is said here.

mod named;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::ExitCode,
};

use clap::Args;
use portcullis_api::services::{OperationBody, ReachBody, ServiceBody};
use portcullis_model::{InstanceName, OperationName, Window};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

use self::named::Named;
use super::{
    ask,
    failure::Failure,
    local::{self, Asking, Endpoints, Manner, Terms, Wanted},
    profile,
    session::Session,
    way_table,
};

/// A free port of this machine.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// The services, each with a port or an address of its own if that matters: payments, payments=8081,
    /// ledger-db=127.0.0.1:5433
    #[arg(required = true, value_name = "SERVICE[=PORT|ADDR]")]
    services: Vec<Named>,
    /// Where to listen, for a single service; a free port of this machine if absent
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Listen where others can connect too: whoever does is me
    #[arg(long)]
    expose: bool,
    /// To this instance, of a single service
    #[arg(long)]
    instance: Option<InstanceName>,
    /// Why: access that is needed is asked for, now or when a tool needs it
    #[arg(long)]
    reason: Option<String>,
    /// Ask for this operation first, like payments.createRefund
    #[arg(long = "ask", value_name = "OPERATION")]
    operations: Vec<OperationName>,
    /// Let requests that need an approval wait for it at the gate, like 2m
    #[arg(long, value_name = "DURATION")]
    wait: Option<Window>,
    /// Send a tool's own Authorization header on to the service; it is left out otherwise
    #[arg(long)]
    pass_authorization: bool,
    /// Answer to this host too, beside the local address: for tools that reach it by a name
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Where the gate is, as a URL, if the services' hosts are not in DNS
    #[arg(long, env = "PORTCULLIS_GATE", value_parser = profile::server)]
    gate: Option<Url>,
}

impl Connect {
    pub(crate) async fn run(self, mut session: Session<'_>) -> Result<ExitCode, Failure> {
        self.check_use()?;
        let all: Vec<_> = self.services.iter().map(|named| (named, self.address(named))).collect();
        for (_, address) in &all {
            self.check_address(&session, *address)?;
        }
        let mut wanted = Vec::new();
        for (named, listen) in all {
            let service = look(&mut session, named).await?;
            wanted.push(Wanted { service, instance: self.instance.clone(), listen });
        }
        self.check_operations(&wanted)?;
        for one in &wanted {
            self.get_access(&mut session, &one.service).await?;
        }
        let gate = self.gate.clone().or_else(|| session.profile.gate.clone());
        let terms = Terms {
            wait: self.wait,
            passes_authorization: self.pass_authorization,
            names: self.hosts.clone(),
        };
        let screen = session.screen;
        let mut endpoints =
            Endpoints::new(session, Asking::new(Manner::Person, self.reason.clone()));
        for one in &wanted {
            let address = endpoints.open(one, gate.as_ref(), &terms).await?;
            announce(&endpoints.session, &one.service, address);
        }
        let stopped = endpoints.serve(stopped()).await;
        if matches!(stopped, Ok(Stop::Key)) && screen.is_interactive() {
            // The terminal shows the key that was pressed, and no end of its line.
            screen.note("");
        }
        endpoints.close().await;
        stopped.map(|_| ExitCode::SUCCESS)
    }

    fn check_use(&self) -> Result<(), Failure> {
        if self.services.len() > 1 && (self.listen.is_some() || self.instance.is_some()) {
            return Err(Failure::WrongUse(
                "--listen and --instance are for a single service; say `payments=8081` where each listens"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    fn address(&self, named: &Named) -> SocketAddr {
        named.listen.or(self.listen).unwrap_or(ANY)
    }

    /// Whoever reaches the address is let in as its owner.
    fn check_address(&self, session: &Session<'_>, address: SocketAddr) -> Result<(), Failure> {
        if address.ip().is_loopback() {
            return Ok(());
        }
        if !self.expose {
            return Err(Failure::WrongUse(format!(
                "others can connect to {address}, and whoever does is you; if that is what you want, say --expose"
            )));
        }
        session.screen.note(&format!("whoever can reach {address} connects as you"));
        Ok(())
    }

    fn check_operations(&self, wanted: &[Wanted]) -> Result<(), Failure> {
        let known = |name: &OperationName| {
            let mut all = wanted.iter().flat_map(|one| &one.service.operations);
            all.any(|operation| operation.name == name.as_str())
        };
        match self.operations.iter().find(|name| !known(name)) {
            None => Ok(()),
            Some(name) => Err(Failure::WrongUse(format!(
                "--ask {name}: that is no operation of the services that you connect to; \
                 `portcullis services NAME` lists them"
            ))),
        }
    }

    /// Asks for what has to be asked for: what was named, and to connect where there is nothing else.
    async fn get_access(
        &self,
        session: &mut Session<'_>,
        service: &ServiceBody,
    ) -> Result<(), Failure> {
        let is_tcp = local::is_tcp(service);
        for operation in &service.operations {
            let is_named = self.operations.iter().any(|name| name.as_str() == operation.name);
            if is_tcp || is_named {
                self.get(session, operation).await?;
            }
        }
        Ok(())
    }

    /// Asks for `operation` if a reason is given or somebody is there to give one.
    async fn get(
        &self,
        session: &mut Session<'_>,
        operation: &OperationBody,
    ) -> Result<(), Failure> {
        let name = &operation.name;
        match operation.reach {
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
                for line in way_table::lines(&operation.ways) {
                    screen.note(&line);
                }
                screen.note(&format!("  {}", session.command(&format!("ask {name}"))));
                Ok(())
            }
        }
    }
}

async fn look(session: &mut Session<'_>, named: &Named) -> Result<ServiceBody, Failure> {
    let service = session.get(&format!("/v1/services/{}", named.service)).await;
    let hint = "`portcullis services` lists those that you can see";
    service.map_err(|failure| failure.or_try(hint))?.read()
}

/// Says where `service` is.
fn announce(session: &Session<'_>, service: &ServiceBody, address: SocketAddr) {
    let (screen, name) = (session.screen, &service.name);
    let url = (!local::is_tcp(service)).then(|| format!("http://{address}"));
    if screen.is_json() {
        let mut told = json!({"service": name, "address": address.to_string()});
        if let (Some(url), Some(told)) = (url, told.as_object_mut()) {
            told.insert("url".to_owned(), url.into());
        }
        screen.json_line(&told.to_string());
    } else {
        screen.line(&format!("{name} on {}", url.unwrap_or_else(|| address.to_string())));
    }
}

/// Who ended it.
enum Stop {
    Key,
    Manager,
}

async fn stopped() -> Result<Stop, Failure> {
    let failed = |error: std::io::Error| Failure::local("signals cannot be waited for", &error);
    let mut terminated = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::select! {
        _ = interrupted.recv() => Ok(Stop::Key),
        _ = terminated.recv() => Ok(Stop::Manager),
    }
}
