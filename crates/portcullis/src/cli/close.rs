//! `portcullis close`.

use clap::Args;

use super::{failure::Failure, session::Session, short_id};

#[derive(Debug, Args)]
pub(crate) struct Close {
    /// The connection; six characters of its id are enough
    id: String,
}

impl Close {
    pub(crate) async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        let id = session.id(&self.id, short_id::Kind::Connection).await?;
        session.post(&format!("/v1/connections/{id}/close"), None).await?;
        if !session.screen.is_json() {
            session.screen.line(&format!("connection {} is closed", short_id::shown(&id)));
        }
        Ok(())
    }
}
