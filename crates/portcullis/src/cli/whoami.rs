//! `portcullis whoami`.

use clap::Args;
use portcullis_api::whoami::{OriginsBody, WhoAmIBody};

use super::{failure::Failure, screen::Screen, session::Session, when};

#[derive(Debug, Args)]
pub(crate) struct WhoAmI {
    /// Says where it comes from: the scheme, the claims, and what gave each group
    #[arg(long)]
    explain: bool,
}

impl WhoAmI {
    pub(crate) async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        let path = if self.explain { "/v1/whoami?explain=true" } else { "/v1/whoami" };
        let fetched = session.get(path).await?;
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
        if let Some(origins) = &who.explain {
            explain(screen, origins);
        }
        Ok(())
    }
}

fn explain(screen: &Screen, origins: &OriginsBody) {
    screen.line(&format!("scheme     {}", origins.scheme));
    screen.line(&format!("issuer     {}", origins.issuer));
    screen.line(&format!("subject    {}", origins.subject));
    for (claim, value) in &origins.claims {
        let value = serde_json::to_string(value).unwrap_or_default();
        screen.line(&format!("claim      {claim} = {value}"));
    }
    for (group, from) in &origins.groups {
        screen.line(&format!("group      {group}, from {from}"));
    }
}
