//! `portcullis review`: approve or decline.

use clap::{Args, ValueEnum};
use portcullis_api::access_requests::{AccessRequestBody, GiveReviewBody, ScopeBody};
use portcullis_model::{Decision, InstanceName, OperationName, Window};

use super::{failure::Failure, screen::Screen, session::Session, short_id};

#[derive(Debug, Args)]
pub(crate) struct ReviewArguments {
    /// The access request; six characters of its id are enough
    id: String,
    /// The answer
    #[arg(value_enum)]
    answer: Answer,
    /// For a shorter time than was asked for, like 10m
    #[arg(long = "for", value_name = "DURATION")]
    duration: Option<Window>,
    /// Only this operation of what was asked for; may be given several times
    #[arg(long, value_name = "OPERATION")]
    only: Vec<OperationName>,
    /// Only on this instance
    #[arg(long)]
    instance: Option<InstanceName>,
    /// Why; declining needs it
    #[arg(long)]
    note: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Answer {
    Approve,
    Decline,
}

impl ReviewArguments {
    pub(crate) async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        let id = session.id(&self.id, short_id::Kind::ToReview).await?;
        let (decision, note) = match self.answer {
            Answer::Approve => (Decision::Approve, self.note),
            Answer::Decline => (Decision::Decline, Some(note(self.note, session.screen)?)),
        };
        let operations = (!self.only.is_empty()).then(|| self.only.into_iter().collect());
        let scope = ScopeBody { operations, instance: self.instance };
        let scope = (scope != ScopeBody::default()).then_some(scope);
        let duration = self.duration;
        let body = GiveReviewBody { decision, note, duration, scope, passkey: None };
        let body = serde_json::to_value(body)
            .map_err(|error| Failure::local("the review cannot be written", &error))?;
        let path = format!("/v1/access-requests/{id}/reviews");
        let answer = session.post(&path, Some(body)).await?;
        let request: AccessRequestBody = answer.read()?;
        if session.screen.is_json() {
            session.screen.body(&answer.body);
        }
        if decision == Decision::Approve && request.state == "declined" {
            // What was approved is decided again before it opens anything.
            let short = short_id::shown(&request.id);
            let why = request.why.as_deref().unwrap_or("policy has changed");
            return Err(Failure::Refused(format!("nothing was opened by {short}: {why}")));
        }
        if !session.screen.is_json() {
            session.screen.line(&outcome(&request));
        }
        Ok(())
    }
}

fn note(given: Option<String>, screen: &Screen) -> Result<String, Failure> {
    match given {
        Some(note) => Ok(note),
        None if screen.is_interactive() => inquire::Text::new("Why not:")
            .prompt()
            .map_err(|error| Failure::local("no note was given", &error)),
        None => Err(Failure::WrongUse("say why not, with --note".to_owned())),
    }
}

fn outcome(request: &AccessRequestBody) -> String {
    let who = &request.requester_name;
    let short = short_id::shown(&request.id);
    if request.afterwards.is_some() {
        let found = request.reviews.iter().any(|review| review.decision == Decision::Decline);
        let found = if found { "not in order, and over" } else { "in order" };
        return format!("the emergency {short} of {who} is reviewed: {found}");
    }
    match request.state.as_str() {
        "pending" => format!(
            "your review of {short} counts; {} of {} are given",
            request.reviews.len(),
            request.reviews_needed
        ),
        "approved" => format!("{short} is approved: {who} has it for {}", request.duration),
        state => format!("{short} is {state}"),
    }
}
