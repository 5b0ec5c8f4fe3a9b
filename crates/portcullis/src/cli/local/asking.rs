//! Asks for what a tool turned out to need: with the reason that was given, or by asking for one.
//!
//! A tool tries again when it likes; it is told that it may. An emergency is never taken here.

use std::time::Duration;

use portcullis_api::{
    access_requests::{AccessRequestBody, AskBody},
    refusals::RefusalBody,
    way::WayBody,
};
use portcullis_model::{RefusalId, ServiceName};
use tokio::{sync::mpsc, time::Instant};

use super::{grants::Grants, refusal::Refused, said::Said};
use crate::cli::{
    ask, curl::refusal, failure::Failure, requests, screen::Screen, session::Session, short_id,
    way_table,
};

/// How often it is looked whether it was answered.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Control says so soon what would open the gate, or it is not waited for: tokens are.
const SOON: Duration = Duration::from_secs(3);
/// So long it is left alone where it did not.
const SILENT: Duration = Duration::from_secs(10);
/// Nothing is asked for.
const NOTHING: Duration = Duration::from_hours(1);

/// What is said of a refusal, and done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Manner {
    /// Asked for, or said how to.
    Person,
    /// A job names beforehand what it needs.
    Job,
}

/// What is asked for at the moment.
#[derive(Debug)]
pub(in crate::cli) struct Asking {
    manner: Manner,
    reason: Option<String>,
    pending: Vec<Pending>,
    /// When it was last looked whether they were answered.
    looked: Instant,
    said: Said,
    /// Until when control is not asked what would open the gate.
    silent_until: Option<Instant>,
    /// A question that somebody is about to answer.
    question: Option<Question>,
    answers: (mpsc::Sender<String>, mpsc::Receiver<String>),
}

#[derive(Debug)]
struct Pending {
    operation: String,
    id: String,
    /// Reviews that have come.
    given: usize,
}

#[derive(Debug)]
struct Question {
    code: RefusalId,
    operation: String,
}

impl Asking {
    pub(in crate::cli) fn new(manner: Manner, reason: Option<String>) -> Self {
        let (pending, answers, looked) = (Vec::new(), mpsc::channel(1), Instant::now());
        let (said, silent_until, question) = (Said::default(), None, None);
        Self { manner, reason, pending, looked, said, silent_until, question, answers }
    }

    /// For whom.
    pub(super) fn manner(&self) -> Manner {
        self.manner
    }

    /// How long until it is to be looked at.
    pub(super) fn until_next(&self) -> Duration {
        let due = || LOOK_EVERY.saturating_sub(self.looked.elapsed());
        if self.pending.is_empty() { NOTHING } else { due() }
    }

    /// The reason that somebody gave.
    pub(super) async fn answered(&mut self) -> String {
        match self.answers.1.recv().await {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    /// Whether it can be asked about; then it is, or it is said how, unless it was just now.
    pub(super) async fn refused(
        &mut self,
        session: &mut Session<'_>,
        grants: &mut Grants,
        service: &ServiceName,
        refused: &Refused,
    ) -> bool {
        let Some(code) = refused.mark.requestable() else { return false };
        let named = refused.problem.operation.as_deref();
        if named.is_some_and(|operation| self.knows(operation))
            || !self.said.is_due(named.unwrap_or(service.as_str()), Instant::now())
        {
            return true;
        }
        let (operation, what, ways) = self.described(session, refused, code).await;
        let is_said = named.is_none() && !self.said.is_due(&operation, Instant::now());
        if is_said || self.knows(&operation) {
            return true;
        }
        if self.manner == Manner::Job {
            say_to_job(session.screen, &what, &ways, &operation);
            return true;
        }
        refusal::say(session, &what, &ways, code);
        // A connection asked for what it needs when it was opened.
        if operation.ends_with(".connect") {
            return true;
        }
        let question = Question { code: code.clone(), operation };
        if let Some(reason) = self.reason.clone() {
            self.ask(session, grants, question, reason).await;
        } else if session.screen.is_interactive() && self.question.is_none() {
            self.question = Some(question);
            session.screen.put("ask for it now? say why, or press return for later:");
            listen(self.answers.0.clone());
        }
        true
    }

    /// Whether `operation` is being asked for, or it is asked whether it is to be.
    fn knows(&self, operation: &str) -> bool {
        let asked = self.pending.iter().map(|pending| &pending.operation);
        asked
            .chain(self.question.iter().map(|question| &question.operation))
            .any(|o| o == operation)
    }

    /// Somebody said why, or nothing.
    pub(super) async fn go_on(
        &mut self,
        session: &mut Session<'_>,
        grants: &mut Grants,
        reason: String,
    ) {
        session.screen.answered();
        let Some(question) = self.question.take() else { return };
        if !reason.is_empty() {
            self.ask(session, grants, question, reason).await;
        }
    }

    async fn ask(
        &mut self,
        session: &mut Session<'_>,
        grants: &mut Grants,
        question: Question,
        reason: String,
    ) {
        let Question { code, operation } = question;
        let body = AskBody { refusal: Some(code), reason, ..AskBody::default() };
        let asked = match serde_json::to_value(body) {
            Ok(body) => session.post("/v1/access-requests", Some(body)).await,
            Err(error) => Err(Failure::local("the access request cannot be written", &error)),
        };
        let request: Result<AccessRequestBody, Failure> = asked.and_then(|asked| asked.read());
        match request {
            Ok(request) => {
                let pending = Pending { operation, id: request.id.clone(), given: usize::MAX };
                self.forget(&pending, &request);
                self.pending.extend(follow(session, grants, pending, &request).await);
            }
            Err(failure) => {
                session.screen.note(&format!("{operation} was not asked for: {failure}"));
            }
        }
    }

    /// Looks whether what is pending was answered.
    pub(super) async fn look(&mut self, session: &mut Session<'_>, grants: &mut Grants) {
        if !self.until_next().is_zero() {
            return;
        }
        self.looked = Instant::now();
        for pending in std::mem::take(&mut self.pending) {
            let path = format!("/v1/access-requests/{}", pending.id);
            let fetched = session.get(&path).await;
            let request: Result<AccessRequestBody, Failure> =
                fetched.and_then(|fetched| fetched.read());
            match request {
                Ok(request) => {
                    self.forget(&pending, &request);
                    self.pending.extend(follow(session, grants, pending, &request).await);
                }
                Err(failure) => {
                    session.screen.note(&format!("{} is not known: {failure}", pending.operation));
                    self.pending.extend(
                        // It is there still, and heard of again when control is.
                        matches!(failure, Failure::Unreachable(_)).then_some(pending),
                    );
                }
            }
        }
    }

    /// What was granted may be refused anew, which is then said.
    fn forget(&mut self, pending: &Pending, request: &AccessRequestBody) {
        if request.state == "approved" {
            self.said.forget(&pending.operation);
        }
    }

    /// What is refused, by name and in words, and what would open it. Calls of gRPC and pages do not say all
    /// of that.
    async fn described(
        &mut self,
        session: &Session<'_>,
        refused: &Refused,
        code: &RefusalId,
    ) -> (String, String, Vec<WayBody>) {
        let problem = &refused.problem;
        let ways: Vec<_> = problem.ways.iter().cloned().map(WayBody::from).collect();
        let asks = ways.is_empty() || problem.operation.is_none();
        if asks && let Some(known) = self.known(session, code).await {
            return (known.operation.clone(), refusal::what(&known), known.ways);
        }
        let operation = problem.operation.clone().unwrap_or_else(|| code.to_string());
        (operation, refused.words().to_owned(), ways)
    }

    /// What control knows of it, if it says so soon: whoever wants a token waits behind this.
    async fn known(&mut self, session: &Session<'_>, code: &RefusalId) -> Option<RefusalBody> {
        let asked = Instant::now();
        if self.silent_until.is_some_and(|until| asked < until) {
            return None;
        }
        let known = refusal::known_within(session, code, SOON).await;
        let is_silent = asked.elapsed() >= SOON;
        self.silent_until = is_silent.then(|| Instant::now() + SILENT);
        known
    }
}

/// Says how an access request stands; what is left to wait for.
async fn follow(
    session: &mut Session<'_>,
    grants: &mut Grants,
    pending: Pending,
    request: &AccessRequestBody,
) -> Option<Pending> {
    let (screen, operation) = (session.screen, &pending.operation);
    let short = short_id::shown(&request.id);
    match request.state.as_str() {
        "pending" => {
            let given = request.reviews.len();
            if pending.given != given {
                screen.note(&ask::waiting(request, session.now()));
            }
            return Some(Pending { given, ..pending });
        }
        "approved" => {
            for grant in &request.grants {
                grants.used(session, grant.clone()).await;
            }
            for condition in requests::to_be_checked(request) {
                screen.note(&format!("still to be checked: {condition}"));
            }
            screen.note(&format!("{operation}: now send the same request again"));
        }
        state => {
            let why = request.why.as_deref().unwrap_or("no reason given");
            screen.note(&format!("{operation}: access request {short} is {state}: {why}"));
        }
    }
    None
}

/// Waits for a line of the terminal, while everything else goes on. Nothing comes of one that has ended.
fn listen(answers: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        let mut answer = String::new();
        let _ = std::io::stdin().read_line(&mut answer);
        let _ = answers.blocking_send(answer.trim().to_owned());
    });
}

fn say_to_job(screen: &Screen, what: &str, ways: &[WayBody], operation: &str) {
    screen.note(&format!("{what} (403); these would open it:"));
    for line in way_table::lines(ways) {
        screen.note(&line);
    }
    screen.note(&format!("  name it beforehand: portcullis run {operation} -- …"));
}
