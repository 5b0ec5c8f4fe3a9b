//! Documents in strings that are broken, or begin in unusual ways.

use std::sync::Arc;

use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis_policy::{
    Sensitive,
    sensitive::{ClassSource, Mask, SensitiveSource},
};
use serde_json::json;

use super::*;

/// What becomes of this text in a document, in any pieces.
fn masked_in(text: &str) -> String {
    let raw = json!({ "x": text }).to_string();
    let read: serde_json::Value = serde_json::from_str(&masked_raw(&raw)).unwrap();
    read["x"].as_str().unwrap().to_owned()
}

fn masked_raw(raw: &str) -> String {
    let (name, paths) = ("pci".parse().unwrap(), vec!["$..pin".to_owned()]);
    let class = ClassSource { name, paths, mask: Mask::Full, recognise: Vec::new() };
    let sensitive = Arc::new(Sensitive::new(&SensitiveSource { classes: vec![class] }).unwrap());
    let all = sensitive.all();
    let mut outs = [1, 2, 5, usize::MAX].into_iter().map(|size| {
        let mut json = Json::new(Rules::new(Arc::clone(&sensitive), all), Framing::One);
        let mut out = Vec::new();
        for piece in raw.as_bytes().chunks(size) {
            json.push(piece, &mut out).unwrap();
        }
        json.finish(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    });
    let first = outs.next().unwrap();
    assert!(outs.all(|out| out == first), "{raw}");
    first
}

#[test]
fn g08_what_began_as_a_document_and_breaks_before_its_first_field_is_hidden() {
    let deep = format!("{}{}", "[".repeat(600), r#"{"pin":4111}"#);
    let long = format!(r#"{{"{}":1,"pin":4111}}"#, "n".repeat(70_000));
    for text in [
        r#"{"a":NaN,"pin":4111}"#,
        r#"[NaN,{"pin":4111}]"#,
        r#"{"a":"\ud800","pin":4111}"#,
        r#"{"a":1,}{"pin":4111}"#,
        r#"{"a":Infinity,"pin":4111}"#,
        r#"[1,2,x{"pin":4111}]"#,
        r"{'a':1,'pin':4111}",
        r#"{/* */"pin":4111}"#,
        &deep,
        &long,
    ] {
        assert_eq!(masked_in(text), "***", "{text}");
        assert_eq!(masked_in(&STANDARD.encode(text)), "***", "{text}");
    }
    for prose in ["[not a list", "{", "[1] see there", "[12:30] hello", "{name}", "[x] \"done\""] {
        assert_eq!(masked_in(prose), prose);
    }
}

#[test]
fn g08_a_document_is_found_behind_blanks_and_marks() {
    let inner = r#"{"pin":4111}"#;
    for before in
        ["", " ", "\n", "\t", "\r\n", "\u{feff}", "  ", " \u{feff}", "\n\u{feff}", "\u{feff} "]
    {
        let text = format!("{before}{inner}");
        assert!(!masked_in(&text).contains("4111"), "{before:?}");
        for packed in [STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
            assert_eq!(masked_in(&packed), "***", "{before:?}");
        }
    }
    let broken = [b"{\"a\":\"\xff\",", &inner.as_bytes()[1..]].concat();
    assert_eq!(masked_in(&STANDARD.encode(broken)), "***");
    for word in ["City", "Client", "Class", "ICE", "IF", "77", "Ce", "Dear", "7", "I", "C"] {
        assert_eq!(masked_in(word), word);
    }
}

#[test]
fn g08_the_last_level_holds_nothing_that_may_be_a_document() {
    let quoted = |text: &str| json!(text).to_string();
    let escaped = "\"\\u007b\\u0022pin\\u0022:4111}\"";
    for innermost in [escaped.to_owned(), quoted("eyJwaW4iOjQxMTF9"), quoted(r#"{"pin":4111}"#)] {
        let mut deep = innermost.clone();
        for _ in 0..5 {
            let masked = masked_in(&deep);
            assert!(!masked.contains("4111") && !masked.contains("eyJ"), "{deep}: {masked}");
            deep = quoted(&deep);
        }
    }
    let prose = quoted(&quoted(&quoted(&quoted("hello"))));
    assert_eq!(masked_in(&prose), prose);
}
