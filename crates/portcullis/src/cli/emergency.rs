//! `portcullis emergency`: opens a service at once, loudly, by a rule that is there for it.

use clap::Args;
use portcullis_api::access_requests::{AccessRequestBody, AskBody, AskQueryBody};
use portcullis_model::{IncidentId, OperationName, PolicyId, ServiceName, Window};

use super::{ask, failure::Failure, session::Session, short_id};

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
}

impl Emergency {
    pub(crate) async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        let reason = ask::reason(self.reason, session.screen)?;
        let operation = OperationName::all_of(&self.service);
        let query = AskQueryBody { operation, instance: None, rule: self.rule };
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
