//! The engine on documents of every shape, in every encoding and piece.

use std::fmt::Write as _;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use portcullis_policy::sensitive::{ClassSource, Mask, Recogniser, SensitiveSource};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn class(name: &str, paths: &[&str], mask: Mask, recognise: &[Recogniser]) -> ClassSource {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    ClassSource { name: name.parse().unwrap(), paths, mask, recognise: recognise.to_vec() }
}

fn sensitive(classes: Vec<ClassSource>) -> Arc<Sensitive> {
    Arc::new(Sensitive::new(&SensitiveSource { classes }).unwrap())
}

fn usual() -> Arc<Sensitive> {
    sensitive(vec![
        class("pci", &["$.card.number", "$..pin", "$.items[*].secret", "$.whole"], Mask::Full, &[]),
        class("shown", &["$..pan"], Mask::LastFour, &[]),
    ])
}

fn in_pieces(
    bytes: &[u8],
    size: usize,
    framing: Framing,
    of: &Arc<Sensitive>,
) -> Result<String, Trouble> {
    let mut json = Json::new(Rules::new(Arc::clone(of), of.all()), framing);
    let mut out = Vec::new();
    for piece in bytes.chunks(size) {
        json.push(piece, &mut out)?;
    }
    json.finish(&mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

/// The same in any pieces.
fn masked_by(text: &str, of: &Arc<Sensitive>) -> Result<String, Trouble> {
    let whole = in_pieces(text.as_bytes(), usize::MAX, Framing::One, of);
    for size in [1, 2, 3, 7, 16] {
        assert_eq!(in_pieces(text.as_bytes(), size, Framing::One, of), whole, "{text} by {size}");
    }
    whole
}

fn masked(text: &str) -> Result<String, Trouble> {
    masked_by(text, &usual())
}

#[test]
fn g03_g08_names_in_any_spelling_are_found_and_all_of_them() {
    for (text, expected) in [
        (r#"{"card":{"number":"4111111111111111"}}"#, r#"{"card":{"number":"***"}}"#),
        (r#"{"c\u0061rd":{"numb\u0065r":"4111"}}"#, r#"{"c\u0061rd":{"numb\u0065r":"***"}}"#),
        (r#"{"Card":{"NUMBER":"4111"}}"#, r#"{"Card":{"NUMBER":"***"}}"#),
        (
            r#"{"card":{"number":"41","number":{"a":["4111"]}},"card":{"number":7}}"#,
            r#"{"card":{"number":"***","number":{"a":["***"]}},"card":{"number":0}}"#,
        ),
        (
            " {\t\"whole\" : [ -1.5e3 , true , null , \"a\\\"b\", {\"x\":false}] }\r\n",
            " {\t\"whole\" : [ 0 , false , null , \"***\", {\"x\":false}] }\r\n",
        ),
        (
            r#"{"items":[{"secret":"a"},{"secret":1,"n":2}]}"#,
            r#"{"items":[{"secret":"***"},{"secret":0,"n":2}]}"#,
        ),
        (r#"[{"a":{"pin":1234}},{"PIN":"x"}]"#, r#"[{"a":{"pin":0}},{"PIN":"***"}]"#),
        (
            r#"{"number":"4111","card":[{"number":1}]}"#,
            r#"{"number":"4111","card":[{"number":1}]}"#,
        ),
        ("", ""),
        (" 12.50 ", " 12.50 "),
        ("0", "0"),
        (r#""x""#, r#""x""#),
    ] {
        assert_eq!(masked(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn masks_keep_the_type_and_show_no_more_than_they_say() {
    for (text, expected) in [
        (r#"{"pan":"4111 1111 1111 1234"}"#, r#"{"pan":"***1234"}"#),
        (r#"{"pan":"DE89370400440532013000"}"#, r#"{"pan":"***3000"}"#),
        (r#"{"pan":"4111\u0031111\u0031111 1234"}"#, r#"{"pan":"***1234"}"#),
        (r#"{"pan":"12345678901"}"#, r#"{"pan":"***"}"#),
        (r#"{"pan":"a secret: very long"}"#, r#"{"pan":"***"}"#),
        (r#"{"pan":4111111111111111}"#, r#"{"pan":0}"#),
        (r#"{"pan":{"pin":"4111111111111111"}}"#, r#"{"pan":{"pin":"***"}}"#),
    ] {
        assert_eq!(masked(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn g06_g08_what_readers_differ_about_ends_the_answer() {
    for text in [
        "{",
        "[1,]",
        "{\"a\":1,}",
        "{'a':1}",
        "[1 2]",
        "{\"a\" 1}",
        "nul",
        "nulL",
        "01",
        "1.",
        "-",
        "1e",
        "+1",
        "NaN",
        "{\"a\":1}}",
        "{} {}",
        "[1}",
        "\"a",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"a\nb\"",
        "// x\n{}",
        "\u{feff}{}",
        "{a:1}",
        "tru",
        "]",
        ",",
    ] {
        assert_eq!(masked(text), Err(Trouble::NotJson), "{text}");
    }
    let utf16: Vec<u8> = "{\"pin\":1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in
        [&utf16[..], b"\xff\xfe{\0}\0", b"\"\xff\"", b"{\"\xc3\":1}", b"\"\xed\xa0\x80\"", b"\0{}"]
    {
        assert_eq!(in_pieces(bytes, 3, Framing::One, &usual()), Err(Trouble::NotJson), "{bytes:?}");
    }
}

#[test]
fn i12_depth_and_names_are_bounded() {
    let deep = "[".repeat(100_000);
    assert_eq!(in_pieces(deep.as_bytes(), 999, Framing::One, &usual()), Err(Trouble::TooDeep));
    let name = format!("{{\"{}\":1}}", "x".repeat(70_000));
    assert_eq!(in_pieces(name.as_bytes(), 999, Framing::One, &usual()), Err(Trouble::LongName));
    let long = format!("{{\"pin\":\"{}\"}}", "x".repeat(9_000_000));
    let masked = in_pieces(long.as_bytes(), 4096, Framing::One, &usual());
    assert_eq!(masked.as_deref(), Ok("{\"pin\":\"***\"}"));
}

#[test]
fn g08_documents_in_strings_are_masked_inside() {
    let inner = r#"{"card":{"number":"4111"},"n":1}"#;
    let hidden = r#"{"card":{"number":"***"},"n":1}"#;
    let text = |inner: &str| json!({ "payload": inner }).to_string();
    assert_eq!(masked(&text(inner)), Ok(text(hidden)));
    assert_eq!(masked(&text(&format!("\n {inner} "))), Ok(text(&format!("{hidden} "))));
    // All escaped, in another string, and on from where it stands.
    let mut escaped = String::new();
    for c in inner.chars() {
        write!(escaped, "\\u{:04x}", u32::from(c)).unwrap();
    }
    assert_eq!(masked(&format!(r#"["{escaped}"]"#)), Ok(json!([hidden]).to_string()));
    assert_eq!(masked(&text(&text(inner))), Ok(text(&text(hidden))));
    assert_eq!(
        masked(&json!({"card": r#"{"number":1}"#}).to_string()),
        Ok(json!({"card": r#"{"number":0}"#}).to_string())
    );
    // What goes on behind it, breaks off, or is too deep.
    assert_eq!(masked(&text(&format!("{{}}\n{inner}"))), Ok(text(&format!("{{}}\n{hidden}"))));
    assert_eq!(masked(&text(r#"{"card":{"number":"4111"#)), Ok(text("***")));
    let deep = (0..6).fold(inner.to_owned(), |inner, _| text(&inner));
    assert!(!masked(&deep).unwrap().contains("4111"));
    // In base64, with either alphabet, and in a token.
    for packed in [
        STANDARD.encode(inner),
        URL_SAFE_NO_PAD.encode(inner),
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(inner)),
    ] {
        assert_eq!(masked(&text(&packed)), Ok(text("***")), "{packed}");
    }
    for same in
        ["[not a list", "{\"n\":1}", "example", "e30", "W10=", "[1,2]", "{", "\"", "Wow!", ""]
    {
        assert_eq!(masked(&text(same)), Ok(text(same)), "{same}");
    }
}

#[test]
fn strings_too_long_to_be_held_pass_only_if_they_cannot_be_documents() {
    let prose = format!("{{\"a\":\"ex {}\"}}", "ample ".repeat(400_000));
    assert!(in_pieces(prose.as_bytes(), 65_536, Framing::One, &usual()).unwrap() == prose);
    let packed = format!("{{\"a\":\"eyJ{}\"}}", "abcd".repeat(400_000));
    let masked = in_pieces(packed.as_bytes(), 65_536, Framing::One, &usual());
    assert_eq!(masked.as_deref(), Ok("{\"a\":\"***\"}"));
}

#[test]
fn recognisers_find_what_nobody_declared() {
    let all = [Recogniser::Card, Recogniser::Email];
    let of = sensitive(vec![class("pii", &["$.name"], Mask::LastFour, &all)]);
    let text = r#"{"note":"write to ana@example.com","n":4111111111111111,"t":1700000000000,"pan":"4111 1111 1111 1111","x":"y"}"#;
    let expected = r#"{"note":"***","n":0,"t":1700000000000,"pan":"***1111","x":"y"}"#;
    assert_eq!(masked_by(text, &of).as_deref(), Ok(expected));
}

#[test]
fn g09_lines_and_records_are_documents_of_their_own() {
    let usual = usual();
    for size in [1, 5, 1000] {
        let lines = "{\"pin\":1}\r\n\n{\"pin\":\"x\"}\n[1]";
        let masked = in_pieces(lines.as_bytes(), size, Framing::Lines, &usual);
        assert_eq!(masked.as_deref(), Ok("{\"pin\":0}\r\n\n{\"pin\":\"***\"}\n[1]"));
        // A reader of lines sees a document in the second one.
        let across = "[\n{\"card\":{\"number\":1}}\n]";
        assert_eq!(
            in_pieces(across.as_bytes(), size, Framing::Lines, &usual),
            Err(Trouble::NotJson)
        );
        let records = "\u{1e}{\"pin\":\n1}\n\u{1e}{\"pin\":2}\n";
        let masked = in_pieces(records.as_bytes(), size, Framing::Sequence, &usual);
        assert_eq!(masked.as_deref(), Ok("\u{1e}{\"pin\":\n0}\n\u{1e}{\"pin\":0}\n"));
        assert_eq!(
            in_pieces(b"{\"pin\":1}", size, Framing::Sequence, &usual),
            Err(Trouble::NotJson)
        );
    }
}

#[test]
fn what_is_not_asked_for_stays() {
    let of = usual();
    let mut json = Json::new(Rules::new(Arc::clone(&of), ClassSet(0b10)), Framing::One);
    let mut out = Vec::new();
    json.push(br#"{"pin":"1234","pan":"x"}"#, &mut out).unwrap();
    assert_eq!(out, br#"{"pin":"1234","pan":"***"}"#);
    assert_eq!(json.met(), ClassSet(0b10));
}

/// Every value as others read it, with what is sensitive replaced.
fn expected(value: &Value, name: &str, is_hidden: bool) -> Value {
    let is_hidden = is_hidden || name == "pin";
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), expected(value, name, is_hidden)))
            .collect(),
        Value::Array(elements) => {
            elements.iter().map(|value| expected(value, "", is_hidden)).collect()
        }
        Value::Null => Value::Null,
        _ if !is_hidden => value.clone(),
        Value::String(_) => json!("***"),
        Value::Number(_) => json!(0),
        Value::Bool(_) => json!(false),
    }
}

fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|n| json!(n)),
        any::<bool>().prop_map(|b| json!(b)),
        Just(json!(null)),
        // What begins like a document is masked whole where it breaks off: `nested` has tests of that.
        prop_oneof!["\\PC{0,20}", "[\\x00-\\x7f]{0,40}"]
            .prop_filter("a text", |text| {
                !text
                    .trim_start_matches([' ', '\t', '\n', '\r', '\u{feff}'])
                    .starts_with(['{', '[', '"'])
            })
            .prop_map(|text| json!(text)),
    ];
    let name = prop_oneof![3 => Just("pin".to_owned()), 2 => "[a-e]", 1 => "\\PC{0,9}"];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(name.clone(), inner, 0..6)
                .prop_map(|members| json!(members)),
        ]
    })
}

/// The same text, with blanks and escapes wherever there may be some.
fn written(value: &Value, noise: &mut impl Iterator<Item = u8>) -> String {
    let mut blank =
        || [" ", "", "\n", "", "\t", ""][usize::from(noise.next().unwrap_or(1)) % 6].to_owned();
    let (before, after) = (blank(), blank());
    let inner = match value {
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| {
                let name = written(&json!(name), noise);
                format!("{name}:{}", written(value, noise))
            });
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        Value::Array(elements) => {
            let elements: Vec<_> = elements.iter().map(|value| written(value, noise)).collect();
            format!("[{}]", elements.join(","))
        }
        Value::String(text) => {
            let mut units = Vec::new();
            for c in text.chars() {
                if noise.next().unwrap_or(0).is_multiple_of(3) {
                    let mut pair = [0; 2];
                    let pair = c.encode_utf16(&mut pair);
                    units.extend(pair.iter().map(|unit| format!("\\u{unit:04X}")));
                } else {
                    let quoted = json!(c.to_string()).to_string();
                    units.extend(quoted.get(1..quoted.len() - 1).map(str::to_owned));
                }
            }
            let units = units.concat();
            format!("\"{units}\"")
        }
        other => other.to_string(),
    };
    format!("{before}{inner}{after}")
}

proptest! {
    /// However a document is written and cut, what is sensitive is gone, and the rest is equal.
    #[test]
    fn whatever_is_written_however_what_is_sensitive_is_gone(
        value in document(), noise in prop::collection::vec(any::<u8>(), 1..300), size in 1_usize..40,
    ) {
        let of = sensitive(vec![class("pci", &["$..pin"], Mask::Full, &[])]);
        let text = written(&value, &mut noise.into_iter().cycle().take(20_000));
        prop_assert_eq!(&serde_json::from_str::<Value>(&text).unwrap(), &value);
        let masked = in_pieces(text.as_bytes(), size, Framing::One, &of).unwrap();
        let read: Value = serde_json::from_str(&masked).unwrap();
        prop_assert_eq!(read, expected(&value, "", false));
    }

    /// Any bytes: what comes out is what others can read, and nothing comes out of what they cannot.
    #[test]
    fn any_bytes_are_masked_or_refused(
        parts in prop::collection::vec(prop::sample::select(&[
            "{", "}", "[", "]", ",", ":", "\"pin\"", "\"a\"", "1", "-0.5", "true", "null", " ", "\"\\u0070in\"", "\"{\\\"pin\\\":1}\"", "x",
        ][..]), 0..14),
        size in 1_usize..8,
    ) {
        let text = parts.concat();
        let masked = in_pieces(text.as_bytes(), size, Framing::One, &usual());
        let is_json = text.trim().is_empty() || serde_json::from_str::<Value>(&text).is_ok();
        prop_assert_eq!(masked.is_ok(), is_json, "{}", text);
    }
}
