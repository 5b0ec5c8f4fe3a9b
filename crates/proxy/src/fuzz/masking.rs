//! Masking: whatever a document is written in, what others read of it holds nothing sensitive, and is
//! equal otherwise.

use std::{fmt::Write as _, sync::Arc};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use portcullis_policy::{
    Sensitive,
    sensitive::{ClassSource, Mask, SensitiveSource},
};
use serde_json::{Value, json};

use crate::filter::mask::{Framing, Json, Rules};

thread_local! {
    static SENSITIVE: Arc<Sensitive> = Arc::new(sensitive());
}

fn sensitive() -> Sensitive {
    let (name, paths) = ("pci".parse().expect("a name"), vec!["$..pin".to_owned()]);
    let class = ClassSource { name, paths, mask: Mask::Full, recognise: Vec::new() };
    Sensitive::new(&SensitiveSource { classes: vec![class] }).expect("a class")
}

/// The first byte says how the others are cut.
pub fn masking(bytes: &[u8]) {
    let Some((cut, text)) = bytes.split_first() else { return };
    let whole = masked(text, usize::MAX);
    assert_eq!(masked(text, usize::from(*cut).max(1)), whole, "in pieces of {cut}");
    let read = serde_json::from_slice::<Value>(text);
    let Ok(value) = read else {
        // Numbers beyond a float and depth are all that others refuse and we do not.
        return;
    };
    let masked = whole.expect("what others read is read");
    let masked: Value = serde_json::from_slice(&masked).expect("what is written can be read");
    compare(&value, &masked, false);
    respelled(&value, usize::from(*cut).max(1));
}

/// The same document in other spellings: escaped throughout, in capitals, with blanks, as a line and as a string.
fn respelled(value: &Value, size: usize) {
    for is_loud in [false, true] {
        let mut text = String::new();
        spell(value, is_loud, &mut text);
        if text.len() > MOST_SPELLED {
            return;
        }
        let is_read = |text: &[u8]| serde_json::from_slice::<Value>(text).ok();
        // Numbers that a float does not hold as they were written, and depth, are the others' affair.
        let Some(spelled) = is_read(text.as_bytes()) else { return };
        let other = masked(text.as_bytes(), size).expect("what others read is read");
        compare(&spelled, &is_read(&other).expect("a document stays one"), false);
        let line = masked_as(Framing::Lines, format!("{text}\n").as_bytes(), size);
        assert_eq!(line.expect("a line"), [&other[..], b"\n"].concat());
    }
    // In a string, a document is masked inside or hidden; below three of them, it is hidden in any case.
    let quoted = json!({"a": value.to_string()});
    let other = masked(quoted.to_string().as_bytes(), size).expect("what others read is read");
    compare(&quoted, &serde_json::from_slice(&other).expect("a document stays one"), false);
}

/// What takes longer to be spelled than it teaches.
const MOST_SPELLED: usize = 256 * 1024;

/// Writes `value` with blanks wherever they may stand, and what a string holds in escapes, or else in capitals where
/// only names are.
fn spell(value: &Value, is_loud: bool, out: &mut String) {
    let escaped = |text: &str, out: &mut String| {
        out.push('"');
        for unit in text.encode_utf16() {
            let _ = write!(out, "\\u{unit:04X}");
        }
        out.push('"');
    };
    match value {
        Value::Object(members) => {
            out.push_str("{ ");
            for (at, (name, value)) in members.iter().enumerate() {
                out.push_str(if at == 0 { "\t" } else { " ,\t" });
                let name = if is_loud { name.to_ascii_uppercase() } else { name.clone() };
                escaped(&name, out);
                out.push_str(" : ");
                spell(value, is_loud, out);
            }
            out.push_str(" }");
        }
        Value::Array(elements) => {
            out.push('[');
            for (at, value) in elements.iter().enumerate() {
                out.push_str(if at == 0 { " " } else { " , " });
                spell(value, is_loud, out);
            }
            out.push(']');
        }
        Value::String(text) if !is_loud => escaped(text, out),
        value => out.push_str(&value.to_string()),
    }
}

fn masked(text: &[u8], size: usize) -> Option<Vec<u8>> {
    masked_as(Framing::One, text, size)
}

fn masked_as(framing: Framing, text: &[u8], size: usize) -> Option<Vec<u8>> {
    let of = SENSITIVE.with(Arc::clone);
    let all = of.all();
    let (mut json, mut out) = (Json::new(Rules::new(of, all), framing), Vec::new());
    for piece in text.chunks(size) {
        json.push(piece, &mut out).ok()?;
    }
    json.finish(&mut out).ok()?;
    Some(out)
}

/// `masked` is `value`, and what is below a sensitive name is masks.
fn compare(value: &Value, masked: &Value, is_sensitive: bool) {
    match (value, masked) {
        (Value::Object(members), Value::Object(others)) => {
            assert!(members.keys().eq(others.keys()));
            for (name, value) in members {
                let is_sensitive = is_sensitive || name.eq_ignore_ascii_case("pin");
                compare(value, &others[name], is_sensitive);
            }
        }
        (Value::Array(elements), Value::Array(others)) => {
            assert_eq!(elements.len(), others.len());
            for (value, other) in elements.iter().zip(others) {
                compare(value, other, is_sensitive);
            }
        }
        (Value::Null, other) => assert_eq!(other, &Value::Null),
        (Value::String(_), other) if is_sensitive => assert_eq!(other, &json!("***")),
        (Value::Number(_), other) if is_sensitive => assert_eq!(other, &json!(0)),
        (Value::Bool(_), other) if is_sensitive => assert_eq!(other, &json!(false)),
        (Value::String(text), Value::String(other)) => compare_text(text, other),
        (value, other) => assert_eq!(value, other),
    }
}

/// What a string holds, as others read it, is masked in it, or the string is masked whole.
fn compare_text(text: &str, other: &str) {
    if other == "***" {
        return;
    }
    match documents(text) {
        Some(Ok(values)) => {
            let others = documents(other).and_then(Result::ok).expect("a document stays one");
            assert_eq!(values.len(), others.len(), "{text:?} became {other:?}");
            for (value, other) in values.iter().zip(&others) {
                compare(value, other, false);
            }
        }
        // These others refuse, and we do not.
        Some(Err(error)) if error.contains("out of range") || error.contains("recursion") => {}
        // Where others give up, they have read so much of it.
        Some(Err(_)) if text != other => {
            let (values, others) = (begun(text), begun(other));
            assert_eq!(values.len(), others.len(), "{text:?} became {other:?}");
            for (value, other) in values.iter().zip(&others) {
                compare(value, other, false);
            }
        }
        _ => {
            assert_eq!(text, other, "what holds no document stays");
            hides_nothing(text);
        }
    }
}

/// Nothing sensitive stands in a text in base64 that stayed as it is.
fn hides_nothing(text: &str) {
    let text: String = text.trim_start_matches(BLANKS).split_ascii_whitespace().collect();
    for (at, part) in text.split('.').enumerate() {
        let engines = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD];
        let Some(inner) = engines.iter().find_map(|engine| engine.decode(part).ok()) else {
            return;
        };
        let inner = String::from_utf8_lossy(&inner).into_owned();
        let start = inner.trim_start_matches(BLANKS);
        if at == 0 && !start.is_empty() && !start.starts_with(['{', '[']) {
            return;
        }
        if start.starts_with(['{', '[']) {
            for value in documents(&inner).and_then(Result::ok).unwrap_or_default() {
                // Only what holds nothing sensitive is what it has to become.
                compare(&value, &value, false);
            }
        }
    }
}

const BLANKS: [char; 5] = [' ', '\t', '\n', '\r', '\u{feff}'];

/// What a text is, one after the other, if it looks like any.
fn documents(text: &str) -> Option<Result<Vec<Value>, String>> {
    let text = text.trim_start_matches(BLANKS);
    let values = serde_json::Deserializer::from_str(text).into_iter();
    let read = || values.collect::<Result<_, _>>().map_err(|error| error.to_string());
    text.starts_with(['{', '[', '"']).then(read)
}

/// The documents that a text begins with.
fn begun(text: &str) -> Vec<Value> {
    let text = text.trim_start_matches(BLANKS);
    serde_json::Deserializer::from_str(text).into_iter().map_while(Result::ok).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_document_is_masked(
            parts in prop::collection::vec(prop::sample::select(&[
                "{", "}", "[", "]", ",", ":", "\"pin\":", "\"PIN\":", "\"\\u0070in\":", "\"a\":", "\"4111\"", "4111", "-1.5e3", "true", "null",
                " ", "\n", "\"{\\\"pin\\\":1}\"", "\"eyJwaW4iOjF9\"", "\"\\ud83d\\ude00\"", "\"\\ud83d\"", "{\"pin\":[1,{\"x\":\"4111\"}]}",
                "\"[{\\\"a\\\":\\\"{}\\\"},{\\\"pin\\\":\\\"4111\\\"}]\"", "\"{\\\"a\\\":NaN,\\\"pin\\\":1}\"", "\"IHsicGluIjoxfQ==\"", "\"W3sicGluIjoxfV0=.e30\"",
                "\"{\\\"pin\\\":2}3{\\\"pin\\\":3}007e3\"",
            ][..]), 0..20),
            cut in any::<u8>(),
        ) {
            super::masking(&[&[cut][..], parts.concat().as_bytes()].concat());
        }
    }
}
