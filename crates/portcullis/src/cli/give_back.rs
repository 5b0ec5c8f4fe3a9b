//! `portcullis give-back`: without an id, the only grant that I hold.

use clap::Args;
use portcullis_api::{grants::GrantBody, whoami::WhoAmIBody};

use super::{
    failure::Failure,
    session::{Listed, Session},
    short_id,
};

#[derive(Debug, Args)]
pub(crate) struct GiveBack {
    /// The grant; six characters of its id are enough
    id: Option<String>,
}

impl GiveBack {
    pub(crate) async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        let id = match &self.id {
            Some(id) => session.id(id, short_id::Kind::Grant).await?,
            None => only(&mut session).await?,
        };
        let answer = session.post(&format!("/v1/grants/{id}/give-back"), None).await?;
        if session.screen.is_json() {
            session.screen.body(&answer.body);
        } else {
            session.screen.line(&format!("grant {} is given back", short_id::shown(&id)));
        }
        Ok(())
    }
}

async fn only(session: &mut Session<'_>) -> Result<String, Failure> {
    let who: WhoAmIBody = session.get("/v1/whoami").await?.read()?;
    let listed: Listed<GrantBody> = session.list("/v1/grants", "grants").await?;
    let mine = |grant: &&GrantBody| grant.in_force && grant.principal.is(&who.principal);
    let mine: Vec<_> = listed.items.iter().filter(mine).collect();
    match mine.as_slice() {
        [grant] => Ok(grant.id.clone()),
        [] => Err(Failure::WrongUse("you hold no grant; nothing is to be given back".to_owned())),
        several => {
            let ids: Vec<_> = several.iter().map(|grant| short_id::shown(&grant.id)).collect();
            Err(Failure::WrongUse(format!(
                "you hold several grants, name one of: {}",
                ids.join(", ")
            )))
        }
    }
}
