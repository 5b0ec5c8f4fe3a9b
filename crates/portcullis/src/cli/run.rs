//! `portcullis run OP… -- COMMAND`: access for exactly this command, in a CI job.
//!
//! Exchanges the job's token for a run, asks for the operations, and runs the command with the services at local
//! endpoints and the run's tokens in its environment. The run, and every grant of it, ends with the command,
//! however that ends; if this process is killed, heartbeats stop and the run ends by itself. Everything that it
//! says itself goes to standard error: standard output is the command's.

mod access;
mod command;
mod job_token;
mod whereabouts;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use portcullis_api::{runs::NewRunBody, services::ServiceBody, sign_ins::NewSignInBody};
use portcullis_model::{Clock, InvalidName, OperationName, ServiceName, Window};
use reqwest::Method;
use serde_json::json;
use tokio::{
    process::Command,
    time::{sleep, timeout},
};
use url::Url;

use self::command::{Running, Signals};
use super::{
    client::{CallError, Client},
    failure::Failure,
    local::{self, Asking, Endpoints, Manner, Terms, Wanted},
    profile,
    screen::Screen,
    session::Session,
};

/// So long it is tried to give everything back: a cancelled job does not have for ever.
const GIVE_BACK: Duration = Duration::from_secs(10);
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Operations to ask for, like payments.createRefund; none if policy opens what is needed
    #[arg(value_name = "OPERATION")]
    operations: Vec<OperationName>,
    /// Why; what the job is, its commit and its log are added where the environment tells them
    #[arg(long, default_value = "a CI job")]
    reason: String,
    /// For how long, like 30m; the way's longest if absent
    #[arg(long = "for", value_name = "DURATION")]
    duration: Option<Window>,
    /// How long to wait for reviewers, like 15m; as long as the access requests live if absent
    #[arg(long, value_name = "DURATION")]
    wait: Option<Window>,
    /// A local endpoint for this service too, beside those of the operations
    #[arg(long = "connect", value_name = "SERVICE")]
    services: Vec<ServiceName>,
    /// What the job's token is made for, where it is made now
    #[arg(long, env = "PORTCULLIS_AUDIENCE", default_value = "portcullis")]
    audience: String,
    /// Where the gate is, as a URL, if the services' hosts are not in DNS
    #[arg(long, env = "PORTCULLIS_GATE", value_parser = profile::server)]
    gate: Option<Url>,
    /// How long the command may take to end when the job is cancelled
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    grace: Window,
    /// Send the command's own Authorization header on to the services; it is left out otherwise
    #[arg(long)]
    pass_authorization: bool,
    /// The command; services are at `PORTCULLIS_<SERVICE>_URL` and `_ADDR`, its tokens in
    /// `PORTCULLIS_TOKEN` (control) and `PORTCULLIS_GATE_TOKEN`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Run {
    pub(crate) async fn run(self, screen: &Screen, clock: &dyn Clock) -> Result<ExitCode, Failure> {
        // Among the lines of the command, and of whatever runs the job.
        let screen = &screen.leading("portcullis: ");
        let url = std::env::var("PORTCULLIS_URL").ok().filter(|url| !url.is_empty());
        let url = url.ok_or_else(|| {
            Failure::WrongUse("set PORTCULLIS_URL to the control server's address".to_owned())
        })?;
        let url = profile::server(&url)
            .map_err(|error| Failure::WrongUse(format!("PORTCULLIS_URL: {error}")))?;
        let mut signals = Signals::listen()?;
        let token = tokio::select! {
            token = job_token::find(&self.audience) => token?,
            signal = signals.next() => return Ok(command::code_of_signal(signal)),
        };
        let client = Client::new(url.clone())?;
        // Once it is made it is given back, whatever comes.
        let made = client.call(Some(&token), Method::POST, "/v1/runs", None).await;
        let run: NewRunBody = made.map_err(|error| self.not_started(error))?.read()?;
        let session = Session::of_run(url, run.token.clone(), screen, clock)?;
        let ran = self.within(session, &client, &run, &mut signals).await;
        let path = format!("/v1/runs/{}", run.id);
        // It may have ended by itself.
        if let Err(why) = tell(&client, &run, Method::DELETE, &path, GIVE_BACK).await {
            let most = run.heartbeat;
            screen.note(&format!(
                "the run ends by itself, within {most} s, since the server was not told: {why}"
            ));
        }
        ran
    }

    /// Why there is no run. A job's log has no `portcullis login`.
    fn not_started(&self, error: CallError) -> Failure {
        match error {
            CallError::Problem(problem) if problem.status == 401 => {
                let what = problem.detail.as_deref().unwrap_or(&problem.title);
                Failure::Refused(format!(
                    "the job's token is not accepted: {what} (audience `{}`; the server's configuration says which \
                     jobs may come)",
                    self.audience
                ))
            }
            error => error.into(),
        }
    }

    /// What happens while the run lives. A command that outlives its run is ended.
    async fn within(
        &self,
        session: Session<'_>,
        client: &Client,
        run: &NewRunBody,
        signals: &mut Signals,
    ) -> Result<ExitCode, Failure> {
        let screen = session.screen;
        let over = || Err(Failure::Refused("the run has ended before the command".to_owned()));
        let mut beats = std::pin::pin!(heartbeats(client, run, screen));
        let (mut endpoints, command) = tokio::select! {
            ready = self.prepare(session, client, run) => ready?,
            () = &mut beats => return over(),
            signal = signals.next() => {
                screen.note("cancelled before the command began");
                return Ok(command::code_of_signal(signal));
            }
        };
        let mut running = Running::start(command, self.grace.get())?;
        let serving = async {
            tokio::select! {
                status = running.wait(signals, screen) => status.map(command::code_of),
                () = &mut beats => over(),
            }
        };
        let done = endpoints.serve(serving).await;
        if done.is_err() {
            running.end().await;
        }
        // What was signed in for the endpoints ends with the run.
        done
    }

    /// Access, endpoints, and the command as it is to be started.
    async fn prepare<'a>(
        &self,
        mut session: Session<'a>,
        client: &Client,
        run: &NewRunBody,
    ) -> Result<(Endpoints<'a>, Command), Failure> {
        let grants = access::get(self, &mut session, client, run).await?;
        let gate = json!({"audience": "gate"});
        let gate: NewSignInBody = session.post("/v1/sign-ins", Some(gate)).await?.read()?;
        let mut command = self.bare_command()?;
        command
            .env("PORTCULLIS_URL", client.url().as_str())
            .env("PORTCULLIS_TOKEN", run.token.expose())
            .env("PORTCULLIS_GATE_TOKEN", gate.token.expose());
        let mut endpoints = Endpoints::new(session, Asking::new(Manner::Job, None));
        for grant in &grants {
            endpoints.holds(grant);
        }
        let terms = Terms { passes_authorization: self.pass_authorization, ..Terms::default() };
        for name in self.services()? {
            let path = format!("/v1/services/{name}");
            let service: ServiceBody = endpoints.session.get(&path).await?.read()?;
            let is_tcp = local::is_tcp(&service);
            let wanted = Wanted { service, instance: None, listen: ANY };
            let address = endpoints.open(&wanted, self.gate.as_ref(), &terms).await?;
            let prefix = variable(&name);
            command.env(format!("{prefix}_ADDR"), address.to_string());
            if !is_tcp {
                command.env(format!("{prefix}_URL"), format!("http://{address}"));
            }
        }
        Ok((endpoints, command))
    }

    fn bare_command(&self) -> Result<Command, Failure> {
        let (program, arguments) = self
            .command
            .split_first()
            .ok_or_else(|| Failure::WrongUse("name a command after `--`".to_owned()))?;
        let mut command = Command::new(program);
        // It has been spent, and is nobody's business any more.
        command.args(arguments).env_remove(job_token::VARIABLE).env_remove(job_token::FILE);
        Ok(command)
    }

    /// Those of the operations, and those that were named.
    fn services(&self) -> Result<BTreeSet<ServiceName>, Failure> {
        let of = |operation: &OperationName| {
            let service = operation.service().parse();
            service.map_err(|error: InvalidName| Failure::WrongUse(error.to_string()))
        };
        let named = self.services.iter().cloned().map(Ok);
        self.operations.iter().map(of).chain(named).collect()
    }
}

/// `PORTCULLIS_ORDERS_DB` for `orders-db`.
fn variable(service: &ServiceName) -> String {
    format!("PORTCULLIS_{}", service.as_str().replace('-', "_").to_ascii_uppercase())
}

/// Tells the server something of the run, for so long at most. `false` if the run has ended there; an error if the
/// server was not told, and why.
async fn tell(
    client: &Client,
    run: &NewRunBody,
    method: Method,
    path: &str,
    most: Duration,
) -> Result<bool, String> {
    match timeout(most, client.call(Some(&run.token), method, path, None)).await {
        Ok(Ok(_)) => Ok(true),
        Ok(Err(CallError::Problem(problem))) if [401, 404].contains(&problem.status) => Ok(false),
        Ok(Err(error)) => Err(Failure::from(error).to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// Says that the run goes on, three times in each interval; returns when it does not. One that is not answered
/// in time is sent again on another connection: what is lost on the way must not end the run.
async fn heartbeats(client: &Client, run: &NewRunBody, screen: &Screen) {
    let every = Duration::from_millis(u64::from(run.heartbeat) * 1000 / 3);
    let path = format!("/v1/runs/{}/heartbeat", run.id);
    let mut is_lost = false;
    loop {
        sleep(if is_lost { every / 4 } else { every }).await;
        let why = match tell(client, run, Method::POST, &path, every / 2).await {
            Ok(true) => {
                if std::mem::take(&mut is_lost) {
                    screen.note("the server is there again; the run goes on");
                }
                continue;
            }
            Ok(false) => return,
            Err(why) => why,
        };
        // Once is enough: it may take hours.
        if !std::mem::replace(&mut is_lost, true) {
            let most = run.heartbeat;
            screen.note(&format!(
                "a heartbeat was not heard: {why}; the run, and its access, ends after {most} s without one"
            ));
        }
    }
}
