//! `portcullis policy explain`: what would happen, and why.

use clap::Args;
use portcullis_api::{
    policy::{ExplainBody, ExplanationBody},
    principal::PrincipalBody,
};
use portcullis_model::{
    ClassName, InstanceName, InvalidName, OperationName, PrincipalId, PrincipalKind,
};

use super::{failure::Failure, screen::Screen, session::Session, way_table};

/// Says what would happen, and why.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The operation, like payments.createRefund
    operation: OperationName,
    /// Whether this class of sensitive data is seen in its answers, instead of the operation itself
    #[arg(long, value_name = "CLASS")]
    reveal: Option<ClassName>,
    /// For another principal, written as corp:ana or as policies do; needs the right to view the record
    #[arg(long = "as", value_name = "PRINCIPAL", value_parser = principal)]
    principal: Option<PrincipalBody>,
    /// On this addressed instance
    #[arg(long)]
    instance: Option<InstanceName>,
}

impl Explain {
    pub(crate) async fn run(self, mut session: Session<'_>) -> Result<(), Failure> {
        let operation = match &self.reveal {
            None => self.operation,
            Some(class) => {
                let service = self.operation.service().parse();
                let service =
                    service.map_err(|error: InvalidName| Failure::WrongUse(error.to_string()))?;
                OperationName::reveal(&service, class)
            }
        };
        let question =
            ExplainBody { principal: self.principal, operation, instance: self.instance };
        let question = serde_json::to_value(question)
            .map_err(|error| Failure::local("the question cannot be written", &error))?;
        let fetched = session.post("/v1/policy/explain", Some(question)).await?;
        if session.screen.is_json() {
            session.screen.body(&fetched.body);
        } else {
            show(session.screen, &fetched.read()?);
        }
        Ok(())
    }
}

fn show(screen: &Screen, explanation: &ExplanationBody) {
    screen.line(&format!("answer      {}", explanation.answer));
    screen.line(&format!("signed in   {}", explanation.auth_method));
    for policy in &explanation.policies {
        screen.line(&format!("decided by  {policy}"));
    }
    for condition in &explanation.to_be_checked {
        screen.line(&format!("to check    {condition}"));
    }
    if !explanation.ways.is_empty() {
        way_table::show(screen, &explanation.ways);
    }
    screen.line(&format!("bundle      {}", explanation.bundle));
}

/// `corp:ana` is a person; `User::"…"`, `Workload::"…"` and `Anonymous::"anonymous"` say it as
/// policies do.
fn principal(text: &str) -> Result<PrincipalBody, String> {
    if text == PrincipalId::anonymous().to_string() {
        return Ok((&PrincipalId::anonymous()).into());
    }
    let (kind, id) = match text.split_once("::") {
        Some(("User", id)) => (PrincipalKind::User, id.trim_matches('"')),
        Some(("Workload", id)) => (PrincipalKind::Workload, id.trim_matches('"')),
        _ => (PrincipalKind::User, text),
    };
    if id.split_once(':').is_none_or(|(issuer, subject)| issuer.is_empty() || subject.is_empty()) {
        return Err("write it like corp:ana, User::\"corp:ana\" or Workload::\"builds:ci\"".into());
    }
    Ok(PrincipalBody { kind, id: id.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_is_read_as_people_and_policies_write_it() {
        let read = |text| principal(text).unwrap();
        assert_eq!(read("corp:ana"), read("User::\"corp:ana\""));
        assert_eq!(read("Workload::\"builds:ci\"").kind, PrincipalKind::Workload);
        assert_eq!(read("Anonymous::\"anonymous\"").kind, PrincipalKind::Anonymous);
        assert!(principal("ana").is_err() && principal(":ana").is_err());
    }
}
