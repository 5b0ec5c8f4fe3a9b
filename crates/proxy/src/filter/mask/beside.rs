//! What people see of a request beside a document: its parameters, the segments of its path, the pairs of a
//! form.
//!
//! Each value is looked at as the member of a document that has its name: `$.email` and `$..email` find the
//! parameter `email`, `$.card.number` finds `card[number]` and `card.number`, and recognisers find what
//! looks like their data under any name.

use serde_json::{Value, json};

use super::{HIDDEN, Rules, mask_message};

/// `text`, which stands under `name`, as people see it; `None` if nothing of it is masked.
pub(crate) fn masked(name: &str, text: &str, rules: &Rules) -> Option<String> {
    let is_part = |c: char| matches!(c, '[' | ']' | '.');
    let flat = seen(&[name], text, rules);
    if flat != text || !name.contains(is_part) {
        return Some(flat).filter(|flat| flat != text);
    }
    // `items[]`, `items[0][name]` and `card.number`, as forms write them.
    let parts: Vec<&str> = name.split('[').flat_map(|part| part.split('.')).collect();
    let parts: Vec<&str> = parts.iter().map(|part| part.trim_end_matches(']')).collect();
    Some(seen(&parts, text, rules)).filter(|nested| nested != text)
}

fn seen(names: &[&str], text: &str, rules: &Rules) -> String {
    let is_index = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    let document = names.iter().enumerate().rev().fold(json!(text), |inner, (at, name)| {
        if at > 0 && is_index(name) { json!([inner]) } else { json!({ *name: inner }) }
    });
    let masked = mask_message(document.to_string().as_bytes(), rules).ok();
    let masked = masked.and_then(|(masked, _)| serde_json::from_slice::<Value>(&masked).ok());
    let found = masked.as_ref().and_then(innermost);
    // What cannot be looked into is hidden.
    found.map_or_else(|| String::from_utf8_lossy(HIDDEN).into_owned(), str::to_owned)
}

fn innermost(value: &Value) -> Option<&str> {
    match value {
        Value::Object(members) => innermost(members.values().next()?),
        Value::Array(elements) => innermost(elements.first()?),
        value => value.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use portcullis_policy::{
        Sensitive,
        sensitive::{ClassSource, Mask, Recogniser, SensitiveSource},
    };

    use super::*;

    fn rules(mask: Mask) -> Rules {
        let paths = ["$.email", "$..pin", "$.card.number", "$.items[*].name"];
        let class = ClassSource {
            name: "pii".parse().unwrap(),
            paths: paths.map(str::to_owned).to_vec(),
            mask,
            recognise: vec![Recogniser::Card, Recogniser::Email],
        };
        let sensitive = Sensitive::new(&SensitiveSource { classes: vec![class] }).unwrap();
        let all = sensitive.all();
        Rules::new(Arc::new(sensitive), all)
    }

    #[test]
    fn values_are_masked_by_their_names_and_by_their_looks() {
        let rules = rules(Mask::Full);
        let hidden = [
            ("email", "anything"),
            ("Email", "anything"),
            ("pin", "1234"),
            ("card[number]", "12"),
            ("card.number", "12"),
            ("items[][name]", "Ana"),
            ("items[3][name]", "Ana"),
            ("user[pin]", "1234"),
            ("note", "card 4111 1111 1111 1111"),
            ("note", "4111111111111111"),
            ("", "sue@customers.example"),
            ("filter", r#"{"card":{"number":"12"}}"#),
        ];
        for (name, text) in hidden {
            let seen = masked(name, text, &rules).unwrap_or_else(|| panic!("{name}={text}"));
            assert!(seen.contains("***") && !seen.contains(text), "{name}: {seen}");
        }
        for (name, text) in
            [("id", "o-1"), ("number", "12"), ("a]b[", "\"\\"), ("", ""), ("..", "x")]
        {
            assert_eq!(masked(name, text, &rules), None, "{name}={text}");
        }
    }

    #[test]
    fn the_end_of_a_value_is_shown_where_its_class_shows_it() {
        let seen = masked("email", "4111111111111111", &rules(Mask::LastFour));
        assert_eq!(seen.as_deref(), Some("***1111"));
    }
}
