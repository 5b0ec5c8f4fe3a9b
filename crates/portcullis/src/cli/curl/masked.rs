//! What was masked in an answer, and what would reveal it.

use portcullis_api::services::{DataClassBody, ReachBody, ServicesBody};

use crate::cli::session::Session;

/// Says it below the answer.
pub(super) fn explain(
    session: &Session<'_>,
    services: &ServicesBody,
    service: &str,
    masked: &[String],
) {
    if masked.is_empty() {
        session.screen.note("nothing was masked");
        return;
    }
    let service = services.services.iter().find(|known| known.name == service);
    for name in masked {
        let mut classes = service.iter().flat_map(|service| &service.sensitive);
        let line = match classes.find(|class| class.class == *name) {
            Some(class) => told(class, |rest| session.command(rest)),
            None => format!("masked: {name}"),
        };
        session.screen.note(&line);
    }
}

fn told(class: &DataClassBody, command: impl Fn(&str) -> String) -> String {
    let DataClassBody { class, operation, reach, conditions, .. } = class;
    match reach {
        ReachBody::Requestable => {
            format!("masked: {class}; to see it: `{}`", command(&format!("ask {operation}")))
        }
        ReachBody::Conditional => {
            let conditions = conditions.join("; ");
            format!("masked: {class}; policy reveals it to you where {conditions}")
        }
        ReachBody::Closed => {
            format!("masked: {class}; nothing that you could ask for reveals it here")
        }
        // Policy may ask for more than who asks, or it was given a moment ago.
        ReachBody::Open => format!("masked: {class}; policy reveals it to you elsewhere"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_masked_comes_with_what_to_do() {
        let class = |reach| DataClassBody {
            class: "pci".to_owned(),
            operation: "payments.reveal:pci".to_owned(),
            reach,
            ways: Vec::new(),
            conditions: vec!["context.operation == \"payments.getOrder\"".to_owned()],
        };
        let said = |reach| told(&class(reach), |rest| format!("portcullis {rest}"));
        let asked = said(ReachBody::Requestable);
        assert_eq!(asked, "masked: pci; to see it: `portcullis ask payments.reveal:pci`");
        assert!(
            said(ReachBody::Conditional)
                .ends_with("where context.operation == \"payments.getOrder\"")
        );
        assert!(said(ReachBody::Closed).contains("nothing that you could ask for"));
        assert!(said(ReachBody::Open).contains("elsewhere"));
    }
}
