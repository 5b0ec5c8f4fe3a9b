//! `portcullis token SERVICE`: a gate sign-in for one service, for tools that set their own header.

use clap::Args;
use portcullis_api::sign_ins::NewSignInBody;
use serde_json::json;

use super::{failure::Failure, session::Session, when};

#[derive(Debug, Args)]
pub(crate) struct Token {
    /// The only service that it opens
    service: String,
}

impl Token {
    pub(crate) async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        let (made, body) = make(&mut session, &self.service).await?;
        if session.screen.is_json() {
            session.screen.body(&body);
            return Ok(());
        }
        session.screen.line(made.token.expose());
        if session.screen.is_terminal() {
            let until = when::until(made.sign_in.expires_at, session.now());
            session.screen.note(&format!("for {} only, {until}", self.service));
        }
        Ok(())
    }
}

/// Makes a gate sign-in for `service`.
pub(crate) async fn make(
    session: &mut Session<'_>,
    service: &str,
) -> Result<(NewSignInBody, serde_json::Value), Failure> {
    let body = json!({"audience": "gate", "service": service});
    let fetched = session.post("/v1/sign-ins", Some(body)).await;
    let fetched = fetched.map_err(|failure| failure.or_try("`portcullis services` lists yours"))?;
    Ok((fetched.read()?, fetched.body))
}
