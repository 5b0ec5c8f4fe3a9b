//! One e-mail address, strictly.
//!
//! People of different providers are linked by it, so whatever two readers could take for
//! different addresses is none: comments, quotes, a second `@`, letters beyond ASCII.

/// The address in lower case, if `text` is exactly one plain address.
pub(super) fn parse(text: &str) -> Option<String> {
    let (local, domain) = text.split_once('@')?;
    let plain = is_local(local) && is_domain(domain) && text.len() <= 254;
    plain.then(|| text.to_ascii_lowercase())
}

/// A dot-atom (RFC 5322, 3.2.3).
fn is_local(local: &str) -> bool {
    let is_atom = |atom: &str| {
        let special = |byte| b"!#$%&'*+/=?^_`{|}~-".contains(&byte);
        !atom.is_empty() && atom.bytes().all(|byte| byte.is_ascii_alphanumeric() || special(byte))
    };
    local.len() <= 64 && local.split('.').all(is_atom)
}

/// Two or more host labels (RFC 1123, 2.1).
fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    domain.contains('.') && domain.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d19_only_one_plain_address_is_an_address() {
        for bad in [
            "",
            "ana",
            "@company.com",
            "ana@",
            "attacker@evil.com@company.com",
            "ana@company",
            "\"a b\"@company.com",
            "ana@company.com ",
            "<ana@company.com>",
            "ana@company.com,x@y.z",
            "ana@comp\u{430}ny.com",
            "an\u{e1}@company.com",
            "ana@-company.com",
            "a..b@company.com",
            "ana(x)@company.com",
            "ana@[127.0.0.1]",
            "ana@company..com",
            "ana@company.com\n",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse("Ana.B+x@Company.COM").unwrap(), "ana.b+x@company.com");
    }
}
