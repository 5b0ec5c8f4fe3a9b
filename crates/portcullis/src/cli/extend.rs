//! `portcullis extend`: more of a grant that I hold, while what it opened lives on.

use clap::Args;
use portcullis_api::{access_requests::AccessRequestBody, grants::ExtendBody};
use portcullis_model::Window;

use super::{ask, failure::Failure, session::Session, short_id};

#[derive(Debug, Args)]
pub(crate) struct Extend {
    /// The grant; six characters of its id are enough
    id: String,
    /// Until when, counted from approval, like 30m; the way's longest if absent
    #[arg(long = "for", value_name = "DURATION")]
    duration: Option<Window>,
    /// Why
    #[arg(long)]
    reason: Option<String>,
    /// Wait until it is answered
    #[arg(long)]
    wait: bool,
}

impl Extend {
    pub(crate) async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        let id = session.id(&self.id, short_id::Kind::Grant).await?;
        let reason = ask::reason(self.reason, session.screen)?;
        let body = serde_json::to_value(ExtendBody { reason, duration: self.duration })
            .map_err(|error| Failure::local("the access request cannot be written", &error))?;
        let answer = session.post(&format!("/v1/grants/{id}/extend"), Some(body)).await?;
        let request: AccessRequestBody = answer.read()?;
        ask::finish(&mut session, answer, request, self.wait).await.map(drop)
    }
}
