//! People and workloads in a column, so that they are recognised and not mixed up.

use portcullis_api::principal::NamedPrincipalBody;

/// `Ana Anders <ana@example.com>`. People may choose their names themselves: what tells two of the
/// same name apart is always there, an address or the id.
pub(super) fn shown(principal: &NamedPrincipalBody) -> String {
    match (&principal.name, &principal.email) {
        (Some(name), Some(email)) if name == email => email.clone(),
        (Some(name), Some(email)) => format!("{name} <{email}>"),
        (None, Some(email)) => email.clone(),
        (Some(name), None) if !principal.id.contains(name.as_str()) => {
            format!("{name} ({})", principal.id)
        }
        (_, None) => principal.id.clone(),
    }
}

#[cfg(test)]
mod tests {
    use portcullis_model::PrincipalKind;

    use super::*;

    #[test]
    fn whoever_has_the_same_name_is_told_apart() {
        let shown = |name: Option<&str>, email: Option<&str>| {
            super::shown(&NamedPrincipalBody {
                kind: PrincipalKind::User,
                id: "corp:4711".into(),
                name: name.map(str::to_owned),
                email: email.map(str::to_owned),
            })
        };
        let ana = "ana@example.com";
        assert_eq!(shown(Some("Ana Anders"), Some(ana)), "Ana Anders <ana@example.com>");
        assert_eq!(shown(Some(ana), Some(ana)), ana);
        assert_eq!(shown(None, Some(ana)), ana);
        assert_eq!(shown(Some("Ana Anders"), None), "Ana Anders (corp:4711)");
        assert_eq!(shown(Some("4711"), None), "corp:4711");
        assert_eq!(shown(None, None), "corp:4711");
    }
}
