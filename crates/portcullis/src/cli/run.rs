//! `portcullis run OP… -- COMMAND`: access for exactly this command, in a CI job.
//!
//! Exchanges the job's token for a run, asks for the operations, runs the command with the run's
//! tokens in its environment and keeps the run alive meanwhile. The run, and every grant of it, ends
//! with the command; if this process is killed, heartbeats stop and the run ends by itself.

use std::{
    process::{ExitCode, ExitStatus},
    time::Duration,
};

use clap::Args;
use portcullis_api::{
    access_requests::{AccessRequestBody, AskBody, AskQueryBody},
    runs::NewRunBody,
    sign_ins::NewSignInBody,
};
use portcullis_model::{OperationName, Secret, Window};
use reqwest::Method;
use serde_json::json;
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};

use super::{
    client::{CallError, Client},
    failure::{Failure, WRAPPER},
    profile,
    screen::Screen,
};

/// Where the job's token is.
const JOB_TOKEN: &str = "PORTCULLIS_JOB_TOKEN";
const LOOK_EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Operations to ask for, like payments.createRefund; none if policy opens what is needed
    #[arg(value_name = "OPERATION")]
    operations: Vec<OperationName>,
    /// Why
    #[arg(long, default_value = "a CI job")]
    reason: String,
    /// For how long, like 30m; the way's longest if absent
    #[arg(long = "for", value_name = "DURATION")]
    duration: Option<Window>,
    /// The command; its tokens are in `PORTCULLIS_TOKEN` (control) and `PORTCULLIS_GATE_TOKEN`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Run {
    pub(crate) async fn run(self, screen: &Screen) -> Result<ExitCode, Failure> {
        let url = given("PORTCULLIS_URL", "the control server's address")?;
        let url = profile::server(&url)
            .map_err(|error| Failure::WrongUse(format!("PORTCULLIS_URL: {error}")))?;
        let token = Secret::new(given(JOB_TOKEN, "the job's OpenID Connect token")?);
        let client = Client::new(url)?;
        let made = client.call(Some(&token), Method::POST, "/v1/runs", None).await?;
        let run: NewRunBody = made.read()?;
        let ran = self.within(&client, &run, screen).await;
        let path = format!("/v1/runs/{}", run.id);
        if let Err(error) = client.call(Some(&run.token), Method::DELETE, &path, None).await {
            let failure = Failure::from(error);
            screen.note(&format!("portcullis: the run ends by itself only: {failure}"));
        }
        ran
    }

    /// What happens while the run lives. A command that outlives its run is ended.
    async fn within(
        &self,
        client: &Client,
        run: &NewRunBody,
        screen: &Screen,
    ) -> Result<ExitCode, Failure> {
        let working = async {
            self.ask(client, run, screen).await?;
            let gate = json!({"audience": "gate"});
            let made = client.call(Some(&run.token), Method::POST, "/v1/sign-ins", Some(&gate));
            let gate: NewSignInBody = made.await?.read()?;
            wait(self.spawn(client, run, &gate.token)?).await
        };
        tokio::select! {
            done = working => done.map(exit_code),
            () = heartbeats(client, run, screen) => {
                Err(Failure::Refused("the run has ended before the command".to_owned()))
            }
        }
    }

    /// Asks for each operation, and waits for the answer.
    async fn ask(&self, client: &Client, run: &NewRunBody, screen: &Screen) -> Result<(), Failure> {
        for operation in &self.operations {
            let query = AskQueryBody {
                operation: operation.clone(),
                instance: None,
                reveal: None,
                rule: None,
            };
            let body = AskBody {
                refusal: None,
                queries: Some(vec![query]),
                rule: None,
                incident: None,
                reason: self.reason.clone(),
                duration: self.duration,
            };
            let body = serde_json::to_value(body)
                .map_err(|error| Failure::local("the access request cannot be written", &error))?;
            let path = "/v1/access-requests";
            match client.call(Some(&run.token), Method::POST, path, Some(&body)).await {
                Ok(answer) => answered(client, run, answer.read()?, screen).await?,
                // It is open without asking.
                Err(CallError::Problem(problem)) if problem.status == 409 => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn spawn(&self, client: &Client, run: &NewRunBody, gate: &Secret) -> Result<Child, Failure> {
        let (program, arguments) = self
            .command
            .split_first()
            .ok_or_else(|| Failure::WrongUse("name a command after `--`".to_owned()))?;
        Command::new(program)
            .args(arguments)
            // It has been spent, and is nobody's business any more.
            .env_remove(JOB_TOKEN)
            .env("PORTCULLIS_URL", client.url().as_str())
            .env("PORTCULLIS_TOKEN", run.token.expose())
            .env("PORTCULLIS_GATE_TOKEN", gate.expose())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Failure::local(&format!("`{program}` cannot be run"), &error))
    }
}

fn given(name: &str, what: &str) -> Result<String, Failure> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    value.ok_or_else(|| Failure::WrongUse(format!("set {name} to {what}")))
}

async fn answered(
    client: &Client,
    run: &NewRunBody,
    mut request: AccessRequestBody,
    screen: &Screen,
) -> Result<(), Failure> {
    if request.state == "pending" {
        screen.note(&format!(
            "portcullis: access request {} waits for a review by {}",
            request.id,
            if request.reviewers.is_empty() {
                "somebody".to_owned()
            } else {
                request.reviewers.join(", ")
            }
        ));
    }
    let path = format!("/v1/access-requests/{}", request.id);
    while request.state == "pending" {
        tokio::time::sleep(LOOK_EVERY).await;
        request = client.call(Some(&run.token), Method::GET, &path, None).await?.read()?;
    }
    match request.state.as_str() {
        "approved" => Ok(()),
        "expired" => Err(Failure::TimedOut("nobody reviewed the access request in time".into())),
        state => {
            let why = request.why.as_deref().unwrap_or("no reason given");
            Err(Failure::Refused(format!("the access request is {state}: {why}")))
        }
    }
}

/// Says that the run goes on, three times in each interval; returns when it does not.
async fn heartbeats(client: &Client, run: &NewRunBody, screen: &Screen) {
    let every = Duration::from_millis(u64::from(run.heartbeat) * 1000 / 3);
    let path = format!("/v1/runs/{}/heartbeat", run.id);
    loop {
        tokio::time::sleep(every).await;
        match client.call(Some(&run.token), Method::POST, &path, None).await {
            Ok(_) => {}
            Err(CallError::Problem(problem)) if [401, 404].contains(&problem.status) => return,
            Err(error) => {
                let failure = Failure::from(error);
                screen.note(&format!("portcullis: a heartbeat was not heard: {failure}"));
            }
        }
    }
}

/// Waits for the command. Signals are the command's to answer: it gets those that are for us.
async fn wait(mut child: Child) -> Result<ExitStatus, Failure> {
    let failed = |error: std::io::Error| Failure::local("the command cannot be waited for", &error);
    let mut terminated = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(failed)?;
    loop {
        tokio::select! {
            status = child.wait() => return status.map_err(failed),
            // A terminal sends it to the command as well.
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {
                if let Some(id) = child.id() {
                    let sent = Command::new("kill").arg(id.to_string()).status().await;
                    sent.map_err(failed)?;
                }
            }
        }
    }
}

/// The child's own code; 128 and the signal's number where it had none, as shells say it.
fn exit_code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(WRAPPER))
}
