//! `portcullis review`: approve or decline.

use clap::{Args, ValueEnum};
use portcullis_api::access_requests::{AccessRequestBody, GiveReviewBody};
use portcullis_model::{Decision, Window};

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
        let body = GiveReviewBody { decision, note, duration: self.duration, passkey: None };
        let body = serde_json::to_value(body)
            .map_err(|error| Failure::local("the review cannot be written", &error))?;
        let path = format!("/v1/access-requests/{id}/reviews");
        let answer = session.post(&path, Some(body)).await?;
        if session.screen.is_json() {
            session.screen.body(&answer.body);
        } else {
            session.screen.line(&outcome(&answer.read()?));
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
