//! `portcullis revoke`.

use std::process::ExitCode;

use clap::Args;
use portcullis_api::grants::{CutBody, GrantBody, RevokedBody};
use portcullis_model::Window;

use super::{failure::Failure, grants, session::Session, short_id};

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The grant; six characters of its id are enough
    id: String,
    /// Wait until every connection that it opened is gone, for 30s or as long as `--wait=50s` says, and
    /// say what became of each; exit code 4 if one is not known to be gone by then
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "30s")]
    wait: Option<Window>,
}

impl Revoke {
    pub(crate) async fn run(self, mut session: Session<'_>) -> Result<ExitCode, Failure> {
        let id = session.id(&self.id, short_id::Kind::Grant).await?;
        let wait = self.wait.map_or_else(String::new, |wait| format!("?wait={wait}"));
        let answer = session.post(&format!("/v1/grants/{id}/revoke{wait}"), None).await?;
        let revoked: RevokedBody = answer.read()?;
        if session.screen.is_json() {
            session.screen.body(&answer.body);
        } else {
            session.screen.line(&ended(&session, &revoked.grant));
        }
        let Some(connections) = &revoked.connections else { return Ok(ExitCode::SUCCESS) };
        if !session.screen.is_json() {
            for connection in connections {
                session.screen.line(&fate(connection));
            }
            if connections.is_empty() && revoked.all_gone == Some(true) {
                session.screen.line("no connection of it was open");
            }
        }
        match revoked.all_gone {
            Some(true) => Ok(ExitCode::SUCCESS),
            _ => Err(Failure::TimedOut(not_gone(&session, &revoked, connections))),
        }
    }
}

fn ended(session: &Session<'_>, grant: &GrantBody) -> String {
    let (short, holder) = (short_id::shown(&grant.id), &grant.principal.id);
    let own = [portcullis_model::GrantEnd::Revoked, portcullis_model::GrantEnd::GivenBack];
    match grant.end {
        Some(end) if !own.contains(&end) => {
            format!("grant {short} was over already: {}", grants::state(grant, session.now()))
        }
        _ => format!("grant {short} is revoked: {holder} no longer has {}", grant.operation),
    }
}

/// `connection 3KJ4ABCD, websocket on p-1: grant_ended, 512 bytes up, 90 down`.
fn fate(connection: &CutBody) -> String {
    let CutBody { id, operation, instance, protocol, ended, bytes_up, bytes_down } = connection;
    let what = format!("{operation} by {protocol} on {instance}");
    let short = short_id::shown(id);
    match ended {
        None => format!("connection {short}, {what}: NOT KNOWN TO BE GONE"),
        Some(why) => {
            let (up, down) = (bytes_up.unwrap_or(0), bytes_down.unwrap_or(0));
            let why = why.replace('_', " ");
            format!("connection {short}, {what}: gone, {why}, {up} bytes up, {down} down")
        }
    }
}

fn not_gone(session: &Session<'_>, revoked: &RevokedBody, connections: &[CutBody]) -> String {
    let open = connections.iter().filter(|connection| connection.ended.is_none()).count();
    let mut parts = Vec::new();
    if open > 0 {
        parts.push(format!("{open} of {} connections are not known to be gone", connections.len()));
    }
    if !revoked.silent_cores.is_empty() {
        let cores: Vec<_> = revoked.silent_cores.iter().map(ToString::to_string).collect();
        parts.push(format!("core {} of the gate has not answered", cores.join(", ")));
    }
    let again = session.command(&format!("revoke {} --wait", short_id::shown(&revoked.grant.id)));
    format!("{}; `{again}` looks again", parts.join(", and "))
}
