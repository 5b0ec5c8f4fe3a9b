//! `portcullis token`: a gate sign-in for one service, for tools that set their own header; or a
//! one-time token for one grant, for a tool or a host that cannot sign in.

use clap::Args;
use portcullis_api::{sign_ins::NewSignInBody, tokens::NewOneTimeTokenBody};
use portcullis_model::ServiceName;
use serde_json::json;

use super::{failure::Failure, session::Session, short_id, when};

#[derive(Debug, Args)]
pub(crate) struct Token {
    /// The only service that it opens; or a grant of mine, for a token to be redeemed elsewhere. Six
    /// characters of a grant's id are enough, as they are shown
    #[arg(value_name = "SERVICE|GRANT")]
    of: String,
}

impl Token {
    pub(crate) async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        // Names of services are in lower case, and ids of grants are shown in upper case.
        let service = self.of.parse::<ServiceName>().is_ok() && short_id::whole(&self.of).is_none();
        if service {
            self.of_service(session).await
        } else {
            of_grant(&mut session, &self.of).await
        }
    }

    async fn of_service(self, mut session: Session<'_>) -> Result<(), Failure> {
        let (made, body) = make(&mut session, &self.of).await?;
        if session.screen.is_json() {
            session.screen.body(&body);
            return Ok(());
        }
        session.screen.line(made.token.expose());
        if session.screen.is_terminal() {
            let until = when::until(made.sign_in.expires_at, session.now());
            session.screen.note(&format!("for {} only, {until}", self.of));
        }
        Ok(())
    }
}

async fn of_grant(session: &mut Session<'_>, grant: &str) -> Result<(), Failure> {
    let id = session.id(grant, short_id::Kind::Grant).await?;
    let fetched = session.post(&format!("/v1/grants/{id}/tokens"), None).await?;
    if session.screen.is_json() {
        session.screen.body(&fetched.body);
        return Ok(());
    }
    let made: NewOneTimeTokenBody = fetched.read()?;
    session.screen.line(made.token.expose());
    let (now, opens) = (session.now(), &made.opens);
    let lives = made.expires_at.duration_since(now).as_secs().max(0);
    // Beside the token, so that a script that takes it is told nothing that it did not ask for.
    session.screen.note(&format!(
        "good once, for {lives} s: whoever redeems it first can use {} in your name, {}",
        opens.operation,
        when::until(opens.expires_at, now)
    ));
    session
        .screen
        .note(&format!("redeem it there with: portcullis redeem {}", session.profile.url));
    Ok(())
}

/// Makes a gate sign-in for `service`.
pub(crate) async fn make(
    session: &mut Session<'_>,
    service: &str,
) -> Result<(NewSignInBody, serde_json::Value), Failure> {
    let body = json!({"audience": "gate", "service": service});
    let fetched = session.post("/v1/sign-ins", Some(body)).await;
    let fetched = fetched.map_err(|failure| {
        failure.or_try("`portcullis services` lists yours, and `portcullis grants` your grants")
    })?;
    Ok((fetched.read()?, fetched.body))
}
