//! `portcullis ask`: from a refusal, or by name, to a grant.

mod again;
mod target;

use std::{collections::BTreeSet, process::ExitCode, time::Duration};

use clap::Args;
use jiff::Timestamp;
use portcullis_api::{
    access_requests::{AccessRequestBody, AskBody, AskQueryBody},
    grants::GrantBody,
    way::WayBody,
};
use portcullis_model::{ClassName, GrantKind, IncidentId, InstanceName, PolicyId, Window};

use self::{again::Again, target::Target};
use super::{
    client::Fetched, failure::Failure, requests, screen::Screen, session::Session, short_id,
    way_table, when,
};

const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(crate) struct Ask {
    /// The code of a refusal, like 7K2M, or operations of one service, like payments.createRefund
    #[arg(required = true, value_name = "REFUSAL|OPERATION")]
    targets: Vec<String>,
    /// The way to take, by its rule: one for all operations, or one for each in their order; the first
    /// ones if absent
    #[arg(long = "rule", value_name = "RULE")]
    rules: Vec<PolicyId>,
    /// For how long, like 30m; the way's longest if absent
    #[arg(long = "for", value_name = "DURATION")]
    duration: Option<Window>,
    /// Why
    #[arg(long)]
    reason: Option<String>,
    /// On this addressed instance only
    #[arg(long)]
    instance: Option<InstanceName>,
    /// See this class of sensitive data in the answers; what is open to you already is not asked for
    #[arg(long, value_name = "CLASS")]
    reveal: Vec<ClassName>,
    /// For this open incident
    #[arg(long)]
    incident: Option<IncidentId>,
    /// Wait until it is answered
    #[arg(long)]
    wait: bool,
    /// Once it is granted, send the request that was refused again, without asking; `portcullis curl`
    /// must have sent it within the hour. Its answer and exit code pass through
    #[arg(long)]
    again: bool,
}

impl Ask {
    pub(crate) async fn run(self, mut session: Session<'_>) -> Result<ExitCode, Failure> {
        let target = Target::read(&self.targets, self.instance.as_ref())?;
        let target = target.revealing(&self.reveal)?;
        let again = Again::of(&target, self.again, &session)?;
        let waits = self.wait || self.again;
        let (answer, request) = self.ask(&mut session, target).await?;
        let request = finish(&mut session, answer, request, waits).await?;
        if request.state == "approved" {
            return again.offer(session).await;
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn ask(
        self,
        session: &mut Session<'_>,
        target: Target,
    ) -> Result<(Fetched, AccessRequestBody), Failure> {
        let hint = target.hint();
        let named = !self.rules.is_empty() || self.incident.is_some();
        let (rules, incident) = if named || !session.screen.is_interactive() {
            (self.rules.into_iter().map(Some).collect(), self.incident)
        } else {
            choose(session, &target).await?
        };
        let reason = reason(self.reason, session.screen)?;
        let body = AskBody { incident, ..body(target, rules, reason, self.duration)? };
        let body = serde_json::to_value(body)
            .map_err(|error| Failure::local("the access request cannot be written", &error))?;
        let answer = session.post("/v1/access-requests", Some(body)).await;
        let answer = answer.map_err(|failure| failure.or_try(hint))?;
        let request: AccessRequestBody = answer.read()?;
        Ok((answer, request))
    }
}

/// Asks for one operation and waits until it is granted, which goes without saying. Anything else is a failure.
pub(super) async fn access(
    session: &mut Session<'_>,
    operation: &str,
    instance: Option<InstanceName>,
    reason: Option<String>,
) -> Result<(), Failure> {
    let targets = vec![operation.to_owned()];
    let target = Target::read(&targets, instance.as_ref())?;
    let (rules, duration, incident) = (Vec::new(), None, None);
    let ask = Ask {
        targets,
        rules,
        duration,
        reason,
        instance,
        incident,
        reveal: Vec::new(),
        wait: true,
        again: false,
    };
    let (mut answer, mut request) = ask.ask(session, target).await?;
    if request.state == "pending" {
        (answer, request) = wait(session, &request).await?;
    }
    if request.state == "approved" { Ok(()) } else { conclude(session, &answer, &request).await }
}

/// Waits for the answer if somebody is there to wait, and says what came of it.
pub(super) async fn finish(
    session: &mut Session<'_>,
    mut answer: Fetched,
    mut request: AccessRequestBody,
    waits: bool,
) -> Result<AccessRequestBody, Failure> {
    if request.state == "pending" && (waits || session.screen.is_interactive()) {
        (answer, request) = wait(session, &request).await?;
    }
    conclude(session, &answer, &request).await?;
    Ok(request)
}

/// Shows the ways to each part and asks for one.
async fn choose(
    session: &mut Session<'_>,
    target: &Target,
) -> Result<(Vec<Option<PolicyId>>, Option<IncidentId>), Failure> {
    let (mut rules, mut incidents) = (Vec::new(), BTreeSet::new());
    for (title, ways) in target.ways(session).await? {
        // Beside what there is to see, the operation itself may be open.
        if ways.is_empty() && target.is_to_see() {
            rules.push(None);
            continue;
        }
        let Some(first) = ways.first() else {
            let nothing = format!("{title}: nothing that you could ask for opens it");
            return Err(Failure::Refused(nothing));
        };
        session.screen.line(&format!("{title}: you can get this"));
        way_table::show(session.screen, &ways);
        let way = if ways.len() == 1 && !is_emergency(first) { first } else { pick(&ways)? };
        let rule = way.rule.parse();
        rules.push(Some(rule.map_err(|error| Failure::local("the server's rule", &error))?));
        let incident = way.incident.as_ref().map(|id| id.parse()).transpose();
        let incident = incident.map_err(|error| Failure::local("the server's incident", &error))?;
        incidents.extend(incident);
    }
    let incident: Option<IncidentId> = incidents.pop_first();
    if rules.iter().all(Option::is_none) {
        return Err(Failure::Refused("there is nothing of it to ask for".to_owned()));
    }
    if incidents.is_empty() {
        return Ok((rules, incident));
    }
    let several = "one access request is for one incident; ask for the others by themselves";
    Err(Failure::WrongUse(several.to_owned()))
}

fn is_emergency(way: &WayBody) -> bool {
    way.kind == GrantKind::Emergency.as_str()
}

/// Nobody takes an emergency by pressing return.
fn pick(ways: &[WayBody]) -> Result<&WayBody, Failure> {
    let question = inquire::Text::new("Way:");
    let is_usual = ways.first().is_some_and(|first| !is_emergency(first));
    let question = if is_usual { question.with_default("1") } else { question };
    let answer = question.prompt();
    let answer = answer.map_err(|error| Failure::local("nothing was chosen", &error))?;
    let number = answer.trim().parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    number.and_then(|index| ways.get(index)).ok_or_else(|| {
        Failure::WrongUse(format!(
            "there is no way `{answer}`; give its number, 1 to {}",
            ways.len()
        ))
    })
}

pub(super) fn reason(given: Option<String>, screen: &Screen) -> Result<String, Failure> {
    match given {
        Some(reason) => Ok(reason),
        None if screen.is_interactive() => inquire::Text::new("Reason:")
            .prompt()
            .map_err(|error| Failure::local("no reason was given", &error)),
        None => Err(Failure::WrongUse(
            "say why, with --reason: reviewers and the record see it".to_owned(),
        )),
    }
}

fn body(
    target: Target,
    rules: Vec<Option<PolicyId>>,
    reason: String,
    duration: Option<Window>,
) -> Result<AskBody, Failure> {
    let mut ask = AskBody { reason, duration, ..AskBody::default() };
    let mut rules = rules.into_iter();
    let wanted = match target {
        Target::Refusal(refusal) => {
            ask.refusal = Some(refusal);
            1
        }
        Target::Operations(operations) => {
            let each = operations.len();
            // One rule for all of several is said once.
            let own = each > 1 && rules.len() == each;
            let query = |(operation, instance)| {
                let rule = if own { rules.next().flatten() } else { None };
                AskQueryBody { operation, instance, reveal: None, rule }
            };
            ask.queries = Some(operations.into_iter().map(query).collect());
            each
        }
    };
    ask.rule = rules.next().flatten();
    match rules.next() {
        None => Ok(ask),
        Some(_) => Err(Failure::WrongUse(match wanted {
            1 => "one thing is asked for: give --rule once".to_owned(),
            each => format!("give --rule once for all, or {each} times, one for each operation"),
        })),
    }
}

/// Looks until it is answered, in either way.
async fn wait(
    session: &mut Session<'_>,
    request: &AccessRequestBody,
) -> Result<(Fetched, AccessRequestBody), Failure> {
    session.screen.note(&waiting(request, session.now()));
    session.screen.note("waiting; Ctrl-C stops waiting, the access request stays");
    let path = format!("/v1/access-requests/{}", request.id);
    let mut given = request.reviews.len();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let fetched = session.get(&path).await?;
        let now: AccessRequestBody = fetched.read()?;
        if now.state != "pending" {
            return Ok((fetched, now));
        }
        if now.reviews.len() > given {
            given = now.reviews.len();
            session.screen.note(&waiting(&now, session.now()));
        }
    }
}

/// How far an access request has come.
pub(super) fn waiting(request: &AccessRequestBody, now: Timestamp) -> String {
    let given = request.reviews.len();
    let by = match request.reviewers.as_slice() {
        [] => String::new(),
        names => format!(" by {}", names.join(", ")),
    };
    let until = when::until(request.expires_at, now);
    format!(
        "access request {}: {given} of {} reviews{by}, {until}",
        short_id::shown(&request.id),
        request.reviews_needed
    )
}

async fn conclude(
    session: &mut Session<'_>,
    answer: &Fetched,
    request: &AccessRequestBody,
) -> Result<(), Failure> {
    if session.screen.is_json() {
        session.screen.body(&answer.body);
    }
    let short = short_id::shown(&request.id);
    match request.state.as_str() {
        "approved" if session.screen.is_json() => Ok(()),
        "approved" => granted(session, request).await,
        "pending" => {
            if !session.screen.is_json() {
                session.screen.line(&waiting(request, session.now()));
                for condition in requests::to_be_checked(request) {
                    session.screen.line(&format!("still to be checked: {condition}"));
                }
                let command = session.command("requests --mine");
                session.screen.line(&format!("`{command}` shows where it stands"));
            }
            Ok(())
        }
        "declined" => {
            let why = request.why.as_deref().unwrap_or("no reason given");
            Err(Failure::Refused(format!("access request {short} was declined: {why}")))
        }
        "expired" => {
            Err(Failure::TimedOut(format!("nobody answered access request {short} in time")))
        }
        other => Err(Failure::Refused(format!("access request {short} is {other}"))),
    }
}

async fn granted(session: &mut Session<'_>, request: &AccessRequestBody) -> Result<(), Failure> {
    for id in &request.grants {
        let grant: GrantBody = session.get(&format!("/v1/grants/{id}")).await?.read()?;
        let until = when::until(grant.expires_at, session.now());
        let uses = match grant.max_uses {
            None => String::new(),
            Some(1) => ", for one request".to_owned(),
            Some(max) => format!(", for {max} requests"),
        };
        let short = short_id::shown(id);
        let on = grant.instance.map_or_else(String::new, |instance| format!(" on {instance}"));
        let word = if request.extends.is_some() { "extended" } else { "granted" };
        let line = format!("{word} {}{on}: {until}{uses} (grant {short})", grant.operation);
        session.screen.line(&line);
    }
    let conditions: Vec<_> = requests::to_be_checked(request).collect();
    for condition in conditions {
        session.screen.line(&format!("still to be checked: {condition}"));
    }
    if request.grants.len() < request.queries.len() {
        session.screen.line("the reviewers did not approve the rest");
    }
    Ok(())
}

/// For tests of the wire: what would be posted.
#[cfg(test)]
pub(crate) fn wire(
    targets: &[&str],
    rules: &[&str],
    reason: &str,
) -> Result<serde_json::Value, Failure> {
    let targets: Vec<_> = targets.iter().map(|&target| target.to_owned()).collect();
    let target = Target::read(&targets, None)?;
    let rules = rules.iter().map(|rule| Some(rule.parse().unwrap())).collect();
    Ok(serde_json::to_value(body(target, rules, reason.to_owned(), None)?).unwrap())
}
