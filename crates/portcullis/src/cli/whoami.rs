//! `portcullis whoami`.

use portcullis_api::whoami::WhoAmIBody;

use super::{failure::Failure, session::Session, when};

pub(crate) async fn run(mut session: Session<'_>) -> Result<(), Failure> {
    let fetched = session.get("/v1/whoami").await?;
    if session.screen.is_json() {
        session.screen.body(&fetched.body);
        return Ok(());
    }
    let who: WhoAmIBody = fetched.read()?;
    let (screen, now) = (session.screen, session.now());
    let email = who.email.map(|email| format!(" <{email}>")).unwrap_or_default();
    screen.line(&format!("{}{email}", who.name));
    screen.line(&format!("principal  {:?} {}", who.principal.kind, who.principal.id));
    screen.line(&format!("groups     {}", who.groups.join(", ")));
    screen.line(&format!("signed in  {}", when::ago(who.authenticated_at, now)));
    screen.line(&format!("valid      {}", when::until(who.ends_at, now)));
    screen.line(&format!("server     {}", session.profile.url));
    Ok(())
}
