//! `portcullis revoke`.

use clap::Args;
use portcullis_api::grants::GrantBody;

use super::{failure::Failure, session::Session, short_id};

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The grant; six characters of its id are enough
    id: String,
}

impl Revoke {
    pub(crate) async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        let id = session.id(&self.id, short_id::Kind::Grant).await?;
        let answer = session.post(&format!("/v1/grants/{id}/revoke"), None).await?;
        if session.screen.is_json() {
            session.screen.body(&answer.body);
            return Ok(());
        }
        let grant: GrantBody = answer.read()?;
        let (short, holder) = (short_id::shown(&id), &grant.principal.id);
        session
            .screen
            .line(&format!("grant {short} is revoked: {holder} no longer has {}", grant.operation));
        Ok(())
    }
}
