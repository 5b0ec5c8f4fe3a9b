//! `portcullis emergency`: opens a service at once, loudly, by a rule that is there for it.

use std::path::PathBuf;

use clap::Args;
use portcullis_api::access_requests::{AccessRequestBody, AskBody, AskQueryBody};
use portcullis_model::{
    Clock, IncidentId, OperationName, PolicyId, SealedOpening, ServiceName, Window,
};
use serde_json::json;

use super::{ask, failure::Failure, screen::Screen, sealed, session::Session, short_id, when};

#[derive(Debug, Args)]
pub(crate) struct Emergency {
    /// The service
    service: ServiceName,
    /// The emergency rule; the only one that there is for me if absent
    #[arg(long, value_name = "RULE")]
    rule: Option<PolicyId>,
    /// Why: everybody who may review sees it, and the record keeps it
    #[arg(long)]
    reason: Option<String>,
    /// For how long, like 10m; the rule's longest if absent
    #[arg(long = "for", value_name = "DURATION")]
    duration: Option<Window>,
    /// For this open incident
    #[arg(long)]
    incident: Option<IncidentId>,
    /// By a sealed credential: asks nobody, and prints what to present at the gate
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rule", "incident"])]
    sealed: Option<PathBuf>,
}

impl Emergency {
    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed.is_some()
    }

    /// Opens a sealed credential. Talks to nobody: there may be nobody.
    pub(crate) fn open(self, screen: &Screen, clock: &dyn Clock) -> Result<(), Failure> {
        let path = self.sealed.unwrap_or_default();
        let file = sealed::read(&path)?;
        let terms = file.terms().ok_or_else(|| {
            Failure::WrongUse(format!("{} is not complete: fetch it first", path.display()))
        })?;
        if terms.service != self.service {
            let (is, wanted) = (&terms.service, &self.service);
            return Err(Failure::WrongUse(format!("it is for `{is}`, not for `{wanted}`")));
        }
        if clock.now() >= terms.expires_at {
            return Err(Failure::Refused(format!("it ended at {}", terms.expires_at)));
        }
        let window = self.duration.unwrap_or(terms.window);
        if window > terms.window {
            let message = format!("it opens for {} at most", terms.window);
            return Err(Failure::WrongUse(message));
        }
        let reason = ask::reason(self.reason, screen)?;
        let passphrase = sealed::passphrase(screen)?;
        let now = clock.now();
        let opening = SealedOpening { credential: terms.id, reason, at: now, window };
        let token = portcullis_identity::sealed::open(&file, &passphrase, &opening);
        let token = token.map_err(|error| Failure::Refused(error.to_string()))?;
        let until = now + window.signed();
        if screen.is_json() {
            let body =
                json!({"token": token.expose(), "service": terms.service, "expires_at": until});
            screen.body(&body);
            return Ok(());
        }
        screen.line(token.expose());
        screen.note(&format!(
            "good for {} at the gate, {}: present it as `Portcullis-Authorization: Bearer …`",
            terms.service,
            when::until(until, now)
        ));
        screen.note(
            "the gate writes down that you did; somebody reviews it as soon as control is back",
        );
        Ok(())
    }

    pub(crate) async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        let reason = ask::reason(self.reason, session.screen)?;
        let operation = OperationName::all_of(&self.service);
        let query = AskQueryBody { operation, instance: None, reveal: None, rule: self.rule };
        let body = AskBody {
            queries: Some(vec![query]),
            reason,
            duration: self.duration,
            incident: self.incident,
            ..AskBody::default()
        };
        let body = serde_json::to_value(body)
            .map_err(|error| Failure::local("the emergency cannot be written", &error))?;
        let answer = session.post("/v1/access-requests", Some(body)).await?;
        let request: AccessRequestBody = answer.read()?;
        let id = short_id::shown(&request.id);
        ask::finish(&mut session, answer, request, false).await?;
        if !session.screen.is_json() {
            let words =
                format!("this is on record as {id}, and stays open until somebody reviews it");
            session.screen.line(&words);
        }
        Ok(())
    }
}
