//! `portcullis alerts`: what somebody is called for, and what they last were.

use clap::{Args, Subcommand};
use portcullis_api::exports::{AlertRuleBody, AlertRulesBody};

use super::{
    exports::{segment, sent},
    failure::Failure,
    session::Session,
    when,
};

#[derive(Debug, Args)]
pub(crate) struct Alerts {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Sends a signed test alert to a webhook
    Test(Named),
}

#[derive(Debug, Args)]
struct Named {
    /// The webhook, by its name under `alerts.webhooks`
    webhook: String,
}

impl Alerts {
    pub(crate) async fn run(self, session: Session<'_>) -> Result<(), Failure> {
        match self.what {
            None => list(session).await,
            Some(What::Test(Named { webhook })) => {
                sent(session, &format!("/v1/alerts/{}/test", segment(&webhook)), &webhook).await
            }
        }
    }
}

async fn list(mut session: Session<'_>) -> Result<(), Failure> {
    let fetched = session.get("/v1/alerts").await?;
    if session.screen.is_json() {
        session.screen.body(&fetched.body);
        return Ok(());
    }
    let all: AlertRulesBody = fetched.read()?;
    let now = session.now();
    let row = |rule: &AlertRuleBody| {
        let last = rule.firings.first().map_or("never".to_owned(), |one| {
            let more = match one.suppressed {
                0 => String::new(),
                more => format!(", and {more} more since"),
            };
            format!("{} for {}{more}", when::ago(one.at, now), one.about)
        });
        vec![rule.name.clone(), rule.kind.clone(), rule.to.join(", "), last]
    };
    let rows = all.rules.iter().map(row).collect();
    let heads = ["rule", "looks for", "calls", "last fired"];
    session.screen.table(
        "there are no alert rules; `alerts` in the configuration has them",
        &heads,
        rows,
    );
    Ok(())
}
