//! Short values outside of bodies, as of headers: they are not masked, but pass or do not.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use portcullis_policy::sensitive::automaton::Automaton;

use super::{Rules, nested, recognise::is_personal};

/// How often a value is looked at behind percent signs. One that still has some is not passed.
const MOST_DECODED: usize = 3;

/// Whether anything sensitive stands in `value`, however it is encoded.
pub(crate) fn tells(value: &[u8], rules: &Rules) -> bool {
    let value = String::from_utf8_lossy(value);
    let ends = |c: char| matches!(c, ';' | '&' | '?' | '=' | '#' | '/') || c.is_whitespace();
    let named = value.split([';', '&', '?']).filter_map(|part| Some(part.split_once('=')?.1));
    is_told(&value, rules, is_personal)
        || std::iter::once(&*value)
            .chain(named)
            .chain(value.split(ends))
            .any(|part| is_told(part, rules, holds_document))
        || value.split(ends).any(|part| is_told(part, rules, packs_personal))
}

/// Whether it is base64 of a text that looks like data about somebody.
fn packs_personal(text: &str, rules: &Rules) -> bool {
    /// Of what is shorter, no address and no number can be read.
    const SHORTEST: usize = 8;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte);
    let text = text.trim_matches(|c: char| matches!(c, '"' | '<' | '>' | ','));
    text.split('.').any(|part| {
        part.len() >= SHORTEST
            && part.bytes().all(is_part)
            && nested::unpacked(part)
                .and_then(|bytes| {
                    // UTF-16 has every other byte empty.
                    let bytes = bytes.into_iter().filter(|byte| *byte != 0).collect();
                    String::from_utf8(bytes).ok()
                })
                .is_some_and(|text| is_personal(&text, rules))
    })
}

/// Whether this is so of a text, decoded or not.
fn is_told(text: &str, rules: &Rules, is: fn(&str, &Rules) -> bool) -> bool {
    let mut text = Cow::Borrowed(text);
    for _ in 0..=MOST_DECODED {
        if is(&text, rules) || text.contains('+') && is(&text.replace('+', " "), rules) {
            return true;
        }
        let decoded = percent_decode_str(&text).decode_utf8_lossy();
        if decoded == text {
            return false;
        }
        text = Cow::Owned(decoded.into_owned());
    }
    true
}

/// Whether it is a document with something to mask.
fn holds_document(text: &str, rules: &Rules) -> bool {
    let text = text.trim().trim_matches('"');
    let start = text.find(['{', '[']).and_then(|at| text.get(at..));
    [Some(text), start].into_iter().flatten().any(|text| {
        let (met, replaced) = nested::masked(text, rules, Automaton::root(), 0);
        !met.is_empty() || replaced.is_some()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use portcullis_policy::{
        Sensitive,
        sensitive::{ClassSource, Mask, Recogniser, SensitiveSource},
    };

    use super::*;

    fn rules(recognise: &[Recogniser]) -> Rules {
        let (name, paths) = ("pci".parse().unwrap(), vec!["$..pin".to_owned()]);
        let class = ClassSource { name, paths, mask: Mask::Full, recognise: recognise.to_vec() };
        let sensitive = Sensitive::new(&SensitiveSource { classes: vec![class] }).unwrap();
        let all = sensitive.all();
        Rules::new(Arc::new(sensitive), all)
    }

    #[test]
    fn g12_values_are_looked_at_as_strings_are() {
        let encoded = |text: &str| {
            let all = percent_encoding::NON_ALPHANUMERIC;
            percent_encoding::utf8_percent_encode(text, all).to_string()
        };
        let inner = r#"{"a":[{"pin":"4111"}]}"#;
        let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(inner));
        let rules = rules(&[Recogniser::Token]);
        for value in [
            "session=ghp_0123456789abcdefghij; Path=/",
            "/people?email=ana%40example.com",
            "/people?email=ana%2540example.com",
            "/people?email=ana%25252540example.com",
            "/people?card=4111+1111+1111+1111",
            &format!("data={inner}; Path=/"),
            &format!("data={}", encoded(inner)),
            &format!("data=\"{}\"", encoded(&encoded(inner))),
            &format!("/a?x=1&b={}#c", encoded(inner)),
            &format!("/orders/{token}"),
            &format!("session={token}; HttpOnly"),
            &format!("failed: {inner}"),
            &encoded(inner),
            &token,
            "session=YW5hQGV4YW1wbGUuY29t; HttpOnly",
            "/people/YW5hQGV4YW1wbGUuY29t?a=b",
            "</cards/NDExMTExMTExMTExMTExMQ==>; rel=next",
            "/cards?number=NDExMTExMTExMTExMTExMQ%3D%3D",
        ] {
            assert!(tells(value.as_bytes(), &rules), "{value}");
        }
        for value in [
            "session=abc; Path=/; HttpOnly",
            "/orders/7?a=%20b&c=100%25",
            "session=e30.eyJzdWIiOjd9.c2ln",
            "default-src 'self'; img-src *",
            "Sun, 22 Nov 2026 00:00:00 GMT",
            "no such order",
            "session=bm8gc3VjaCBvcmRlcg==",
            "01M80HCTWDDVXCE0XJ6CN35225",
            "",
        ] {
            assert!(!tells(value.as_bytes(), &rules), "{value}");
        }
        assert!(!tells(b"session=ghp_0123456789abcdefghij", &self::rules(&[])));
    }
}
