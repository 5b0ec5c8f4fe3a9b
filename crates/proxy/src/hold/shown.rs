//! What reviewers see of a request that waits, beside its operation, size and digest: the parameters
//! that its operation declares. Nothing of the body, nothing that is not declared.

use std::collections::BTreeMap;

use portcullis_model::{OperationName, Refusal};
use portcullis_policy::context::Value;

use crate::{canonical::Canonical, exchange::Exchange, inspect};

/// The most parameters that are shown, and characters of each.
const SHOWN: usize = 32;
const SHOWN_OF_EACH: usize = 200;

/// The declared parameters of `request`, as text. What is cut says so: nobody should believe that they saw
/// all of it. Their digest covers what is not shown.
pub(super) fn parameters(
    exchange: &Exchange,
    operation: &OperationName,
    request: &Canonical,
) -> Result<BTreeMap<String, String>, Refusal> {
    let catalog = exchange.snapshot.bundle().catalog();
    let service = exchange.service.as_ref().and_then(|name| catalog.service(name));
    let matched =
        service.and_then(|service| service.matching(request.method.as_str(), request.path()));
    let matched = matched.filter(|matched| matched.operation.name() == operation);
    let matched = matched.ok_or(Refusal::NotFound)?;
    let (path, query) = (&matched.path_params, request.target.query());
    let values = matched.operation.params(path, query, &request.headers);
    let values = values.map_err(inspect::refusal)?.unwrap_or_default();
    let shown = values.iter().take(SHOWN);
    let mut shown: BTreeMap<String, String> =
        shown.map(|(name, value)| (name.to_string(), cut(&text(value)))).collect();
    if values.len() > SHOWN {
        // No declared name: those are not empty of letters.
        shown.insert("…".to_owned(), format!("truncated: {} more", values.len() - SHOWN));
    }
    Ok(shown)
}

fn text(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Long(value) => value.to_string(),
        Value::String(text) | Value::Decimal(text) => text.clone(),
        Value::Set(values) => values.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Record(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name}: {}", text(value)));
            fields.collect::<Vec<_>>().join(", ")
        }
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_OF_EACH) {
        Some((end, _)) => {
            let (shown, all) = (text.get(..end).unwrap_or_default(), text.chars().count());
            format!("{shown}… (truncated: {SHOWN_OF_EACH} of {all} characters)")
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_text_and_cut() {
        let set = Value::Set(vec![Value::Long(1), Value::Bool(true), Value::Decimal("1.5".into())]);
        assert_eq!(text(&set), "1, true, 1.5");
        assert_eq!(cut("abc"), "abc");
        let long = format!("{}… (truncated: 200 of 300 characters)", "ü".repeat(200));
        assert_eq!(cut(&"ü".repeat(300)), long);
    }
}
