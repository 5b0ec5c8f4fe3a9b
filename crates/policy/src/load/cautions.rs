//! What a policy opens that its author most likely did not think of. Nothing here keeps a bundle out.

use cedar_policy::{ActionConstraint, EntityTypeName, PrincipalConstraint, ResourceConstraint};

use crate::{entities::TYPES, policy::Policy};

/// Whether a permit lets people review by chat without naming an action anywhere.
///
/// Beside the right to review it makes buttons in a chat count, where nobody signed in with a second factor or a
/// passkey. Who names actions, in the head or in a clause, has thought about which.
pub(super) fn opens_chat(policy: &Policy) -> bool {
    let head = &policy.head;
    let is_person = |ty: &EntityTypeName| [&TYPES.user, &TYPES.group].contains(&ty);
    let of_people = match &head.principal {
        PrincipalConstraint::Any => true,
        PrincipalConstraint::In(uid) | PrincipalConstraint::Eq(uid) => is_person(uid.type_name()),
        PrincipalConstraint::Is(ty) | PrincipalConstraint::IsIn(ty, _) => is_person(ty),
    };
    let of_access_requests = match &head.resource {
        ResourceConstraint::Any => true,
        ResourceConstraint::Is(ty) => *ty == TYPES.access_request,
        ResourceConstraint::In(_) | ResourceConstraint::Eq(_) | ResourceConstraint::IsIn(..) => {
            false
        }
    };
    let names_action = policy.literals.iter().any(|uid| *uid.type_name() == TYPES.action);
    !policy.is_forbid()
        // What needs a grant is about requests at the gate.
        && policy.terms.is_none()
        && matches!(head.action, ActionConstraint::Any)
        && of_people
        && of_access_requests
        && !names_action
}

#[cfg(test)]
mod tests {
    use crate::{Bundle, fixture::source};

    /// The lines at which it is said that people may review by chat.
    fn said(policies: &str, chat: bool) -> Vec<usize> {
        let mut source = source(policies);
        source.receivers.extend(chat.then(|| "slack".to_owned()));
        let bundle = Bundle::load(&source).unwrap();
        let warnings = bundle.warnings().iter();
        warnings
            .map(|warning| {
                assert!(warning.message.contains("review by chat"), "{warning}");
                assert!(warning.help.as_ref().unwrap().contains("reviewByChat"), "{warning}");
                warning.line.unwrap()
            })
            .collect()
    }

    #[test]
    fn a_permit_that_names_no_action_is_said_to_open_reviews_by_chat() {
        for head in [
            "permit (principal, action, resource is AccessRequest)",
            "permit (principal in Group::\"leads\", action, resource is AccessRequest)",
            "permit (principal is User, action, resource is AccessRequest)",
            "@all_services(\"true\") permit (principal, action, resource)",
        ] {
            let policies = format!("@id(\"wide\")\n{head};");
            assert_eq!(said(&policies, true), [2], "{head}");
            assert_eq!(said(&policies, false), [0_usize; 0], "there is no chat: {head}");
        }
    }

    #[test]
    fn who_names_actions_has_meant_it() {
        for policy in [
            "permit (principal, action == Action::\"review\", resource is AccessRequest);",
            "permit (principal, action in [Action::\"review\", Action::\"reviewByChat\"], resource is AccessRequest);",
            "permit (principal, action, resource is AccessRequest) unless { action == Action::\"reviewByChat\" };",
            "permit (principal, action, resource in Service::\"payments\");",
            "@all_services(\"true\") permit (principal, action, resource) when { context has grant };",
            "@all_services(\"true\") permit (principal is Workload, action, resource);",
            "forbid (principal, action, resource);",
        ] {
            assert_eq!(said(&format!("@id(\"p\") {policy}"), true), [0_usize; 0], "{policy}");
        }
    }
}
