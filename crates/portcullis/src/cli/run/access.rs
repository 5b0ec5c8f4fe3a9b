//! Access for a job: asked for all at once, waited for, and said what came of it.

use std::time::Duration;

use portcullis_api::{
    access_requests::{AccessRequestBody, AskBody, AskQueryBody},
    grants::GrantBody,
    runs::NewRunBody,
};
use portcullis_model::OperationName;
use reqwest::Method;
use tokio::time::{Instant, timeout};

use super::{Run, whereabouts};
use crate::cli::{
    ask,
    client::{CallError, Client},
    failure::Failure,
    requests,
    session::Session,
    short_id, when,
};

const LOOK_EVERY: Duration = Duration::from_secs(2);
/// An answer comes sooner, or is asked for again.
const PATIENCE: Duration = Duration::from_secs(10);
/// So long a log stays silent while somebody is waited for.
const SILENCE: Duration = Duration::from_mins(1);
/// The longest reason that the server takes.
const LONGEST_REASON: usize = 1000;

/// Asks for each operation, and waits for all answers: what was granted.
pub(super) async fn get(
    asked: &Run,
    session: &mut Session<'_>,
    client: &Client,
    run: &NewRunBody,
) -> Result<Vec<GrantBody>, Failure> {
    let reason = reason(&asked.reason, whereabouts::known(|name| std::env::var(name).ok()));
    let mut requests = Vec::new();
    for operation in &asked.operations {
        requests.extend(ask(asked, operation, &reason, client, run).await?);
    }
    let until = asked.wait.map(|wait| Instant::now() + wait.get());
    let mut grants = Vec::new();
    for request in requests {
        let request = wait(session, request, until).await?;
        grants.extend(granted(session, &request).await?);
    }
    Ok(grants)
}

/// What reviewers read: why, and what the job is.
fn reason(why: &str, whereabouts: Option<String>) -> String {
    let whole = whereabouts.map_or_else(|| why.to_owned(), |known| format!("{why} ({known})"));
    whole.chars().take(LONGEST_REASON).collect()
}

/// The access request, or nothing where it is open without asking.
async fn ask(
    asked: &Run,
    operation: &OperationName,
    reason: &str,
    client: &Client,
    run: &NewRunBody,
) -> Result<Option<AccessRequestBody>, Failure> {
    let query =
        AskQueryBody { operation: operation.clone(), instance: None, reveal: None, rule: None };
    let body = AskBody {
        queries: Some(vec![query]),
        reason: reason.to_owned(),
        duration: asked.duration,
        ..AskBody::default()
    };
    let body = serde_json::to_value(body)
        .map_err(|error| Failure::local("the access request cannot be written", &error))?;
    let path = "/v1/access-requests";
    match client.call(Some(&run.token), Method::POST, path, Some(&body)).await {
        Ok(answer) => answer.read().map(Some),
        Err(CallError::Problem(problem)) if problem.status == 409 => Ok(None),
        Err(CallError::Problem(problem)) if [403, 404].contains(&problem.status) => {
            let what = problem.detail.as_deref().unwrap_or(&problem.title);
            Err(Failure::Refused(format!("{operation}: {what}")))
        }
        Err(error) => Err(error.into()),
    }
}

/// Waits until it is answered, until `until` at the most.
async fn wait(
    session: &mut Session<'_>,
    mut request: AccessRequestBody,
    until: Option<Instant>,
) -> Result<AccessRequestBody, Failure> {
    let (screen, path) = (session.screen, format!("/v1/access-requests/{}", request.id));
    let (mut given, mut said) = (usize::MAX, Instant::now());
    while request.state == "pending" {
        if given != request.reviews.len() || said.elapsed() >= SILENCE {
            (given, said) = (request.reviews.len(), Instant::now());
            let waiting = ask::waiting(&request, session.now());
            let page = format!("{}requests/{}", session.profile.url, request.id);
            screen.note(&format!("waiting for {waiting}"));
            screen.note(&format!("  {page}"));
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            let short = short_id::shown(&request.id);
            return Err(Failure::TimedOut(format!(
                "nobody has decided about access request {short} in time; --wait says how long to wait"
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
        if let Some(found) = look(session, &path).await? {
            request = found;
        }
    }
    let short = short_id::shown(&request.id);
    match request.state.as_str() {
        "approved" => Ok(request),
        "expired" => {
            Err(Failure::TimedOut(format!("nobody reviewed access request {short} in time")))
        }
        state => {
            let why = request.why.as_deref().unwrap_or("no reason given");
            Err(Failure::Refused(format!("access request {short} is {state}: {why}")))
        }
    }
}

/// The access request as it is now; nothing where the server cannot be reached. That says nothing about the
/// access request, and whether the run goes on is for its heartbeats.
async fn look(session: &mut Session<'_>, path: &str) -> Result<Option<AccessRequestBody>, Failure> {
    match timeout(PATIENCE, session.get(path)).await {
        Err(_) | Ok(Err(Failure::Unreachable(_))) => Ok(None),
        Ok(found) => found?.read().map(Some),
    }
}

/// Says what was granted, and what each request will still be checked for.
async fn granted(
    session: &mut Session<'_>,
    request: &AccessRequestBody,
) -> Result<Vec<GrantBody>, Failure> {
    let mut grants = Vec::new();
    for id in &request.grants {
        let grant: GrantBody = session.get(&format!("/v1/grants/{id}")).await?.read()?;
        let until = when::until(grant.expires_at, session.now());
        let (operation, short) = (&grant.operation, short_id::shown(id));
        session.screen.note(&format!("granted {operation}: {until} (grant {short})"));
        grants.push(grant);
    }
    for condition in requests::to_be_checked(request) {
        session.screen.note(&format!("still to be checked: {condition}"));
    }
    if request.grants.len() < request.queries.len() {
        return Err(Failure::Refused("the reviewers did not approve all of it".to_owned()));
    }
    Ok(grants)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_says_what_the_job_is_and_fits() {
        assert_eq!(reason("deploy", None), "deploy");
        assert_eq!(reason("deploy", Some("cart main@ab".to_owned())), "deploy (cart main@ab)");
        assert_eq!(reason(&"ä".repeat(990), Some("x".repeat(50))).chars().count(), 1000);
    }
}
