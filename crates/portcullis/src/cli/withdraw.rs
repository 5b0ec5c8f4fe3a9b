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
        let id = session.id(&self.id, short_id::Kind::Mine).await?;
        let answer = session.post(&format!("/v1/access-requests/{id}/withdraw"), None).await?;
        if session.screen.is_json() {
            session.screen.body(&answer.body);
        } else {
            session.screen.line(&format!("access request {} is withdrawn", short_id::shown(&id)));
        }
        Ok(())
    }
}
