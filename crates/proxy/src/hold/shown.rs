//! What people see of a request that waits or may be asked about, beside its operation, size and digest:
//! the parameters that its operation declares, its path, and its body, with what is sensitive masked.
//! Nothing that nobody could look into.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use http::header::CONTENT_TYPE;
use percent_encoding::percent_decode;
use portcullis_model::{OperationName, Refusal, ShownBody};
use portcullis_policy::context::Value;
use serde::de::IgnoredAny;

use crate::{
    canonical::Canonical,
    exchange::Exchange,
    filter::mask::{Framing, Rules, beside, mask_document},
    inspect, reveal,
};

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
    let rules = rules(exchange);
    let shown = values.iter().take(SHOWN).map(|(name, value)| {
        let value = match &rules {
            Some(rules) => text(&masked(name, value, rules)),
            None => text(value),
        };
        (name.to_string(), cut(&value))
    });
    let mut shown: BTreeMap<String, String> = shown.collect();
    if values.len() > SHOWN {
        // No declared name: those are not empty of letters.
        shown.insert("…".to_owned(), format!("truncated: {} more", values.len() - SHOWN));
    }
    Ok(shown)
}

/// Everything that is sensitive in the service, whoever looks.
pub(crate) fn rules(exchange: &Exchange) -> Option<Rules> {
    let (sensitive, _) = reveal::masked(exchange)?;
    let all = sensitive.all();
    Some(Rules::new(sensitive, all))
}

/// What stands under `name`, masked. A scalar is text from here on.
fn masked(name: &str, value: &Value, rules: &Rules) -> Value {
    match value {
        Value::Set(values) => {
            Value::Set(values.iter().map(|one| masked(&format!("{name}[]"), one, rules)).collect())
        }
        Value::Record(fields) => {
            let field = |(field, value): (&Arc<str>, &Value)| {
                (Arc::clone(field), masked(&format!("{name}[{field}]"), value, rules))
            };
            Value::Record(fields.iter().map(field).collect())
        }
        scalar => {
            let text = text(scalar);
            Value::String(beside::masked(name, &text, rules).unwrap_or(text))
        }
    }
}

/// Method and path, for people: segments are masked like the parameters that they are.
pub(crate) fn summary(exchange: &Exchange) -> String {
    let (method, path) = (&exchange.method, exchange.path());
    let Some(rules) = rules(exchange) else { return format!("{method} {path}") };
    let catalog = exchange.snapshot.bundle().catalog();
    let service = exchange.service.as_ref().and_then(|name| catalog.service(name));
    let matched = service.and_then(|service| service.matching(method.as_str(), path));
    let params = matched.map(|matched| matched.path_params).unwrap_or_default();
    let segments = path.split('/').map(|segment| {
        let text = percent_decode(segment.as_bytes()).decode_utf8_lossy();
        // Two parameters may have one value: what either of them hides is hidden.
        let names = params.iter().filter(|(_, value)| value == segment).map(|(name, _)| *name);
        let mut seen = names.chain([""]).filter_map(|name| beside::masked(name, &text, &rules));
        seen.next().map_or(Cow::Borrowed(segment), Cow::Owned)
    });
    format!("{method} {}", segments.collect::<Vec<_>>().join("/"))
}

/// A form with what is sensitive in it masked; `None` if it is not text.
fn form(bytes: &[u8], rules: &Rules) -> Option<Vec<u8>> {
    let decoded = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode(text.as_bytes()).decode_utf8().map(Cow::into_owned).ok()
    };
    let text = std::str::from_utf8(bytes).ok()?;
    let pairs = text.split('&').map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (own, read) = (decoded(name)?, decoded(value)?);
        // A name may say it all, where nobody wrote a value.
        let name = beside::masked("", &own, rules).map_or(Cow::Borrowed(name), Cow::Owned);
        Some(match beside::masked(&own, &read, rules) {
            Some(masked) => format!("{name}={masked}"),
            None if pair.contains('=') => format!("{name}={value}"),
            None => name.into_owned(),
        })
    });
    let pairs: Option<Vec<String>> = pairs.collect();
    Some(pairs?.join("&").into_bytes())
}

/// The largest body that is shown, and that is masked to be.
const LONGEST: usize = 64 * 1024;

/// The most bytes that a body of `length` bytes takes with what people see of it. A mask may be longer than
/// what it hides, but not as many times: the shortest text, of two quotes, becomes five bytes.
pub(super) fn and_body(length: u64) -> u64 {
    length.saturating_add(length.saturating_mul(3).min(LONGEST as u64))
}

const FORM: &str = "application/x-www-form-urlencoded";

/// `body` as people see it: all classes are masked, whoever looks. A body that cannot be looked into, or
/// that is too large, is not shown.
pub(crate) fn body(
    exchange: &Exchange,
    request: &Canonical,
    body: &[u8],
) -> Option<Box<ShownBody>> {
    if body.is_empty() || body.len() > LONGEST {
        return None;
    }
    let content_type = request.headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (text, masked) = if let Some((sensitive, _)) = reveal::masked(exchange) {
        let all = sensitive.all();
        let masked = if kind == FORM {
            form(body, &Rules::new(Arc::clone(&sensitive), all))?
        } else {
            mask_document(body, content_type, &sensitive, all).ok()?
        };
        (masked, sensitive.names(all).cloned().collect())
    } else {
        let is_json = Framing::of(&kind) == Some(Framing::One);
        let is_sound = is_json && serde_json::from_slice::<IgnoredAny>(body).is_ok();
        (is_sound || kind == FORM).then(|| (body.to_vec(), Vec::new()))?
    };
    let text = String::from_utf8(text).ok().filter(|text| text.len() <= LONGEST)?;
    Some(Box::new(ShownBody { content_type: kind, text, masked }))
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
