//! `portcullis logout`.

use super::{failure::Failure, session::Session};

pub(crate) async fn run(mut session: Session<'_>) -> Result<(), Failure> {
    if session.profile.token.is_none() {
        session.screen.line("there was no sign-in");
        return Ok(());
    }
    let ended = session.end_sign_in().await;
    // Whatever the server says, the token does not stay on this machine.
    session.forget()?;
    ended?;
    session.screen.line("signed out");
    Ok(())
}
