//! `portcullis withdraw`.

use clap::Args;

use super::{failure::Failure, session::Session, short_id};

#[derive(Debug, Args)]
pub(crate) struct Withdraw {
    /// The access request; six characters of its id are enough
    id: String,
}

impl Withdraw {
    pub(crate) async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        let list = "/v1/access-requests?filter=mine";
        let id = session.id(&self.id, list, "access_requests", "access request").await?;
        let answer = session.post(&format!("/v1/access-requests/{id}/withdraw"), None).await?;
        if session.screen.is_json() {
            session.screen.body(&answer.body);
        } else {
            session.screen.line(&format!("{} is withdrawn", short_id::shown(&id)));
        }
        Ok(())
    }
}
