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
    if is_flat(value.as_bytes()) {
        return is_personal(&value, rules) || packs_personal(&value, rules);
    }
    tells_within(&value, rules)
}

/// Whether a value is all that it says: nothing in it decodes to anything else, or may begin a document in
/// base64. Most headers are like this.
fn is_flat(value: &[u8]) -> bool {
    let is_packed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_/.=".contains(byte);
    // Behind an equals sign, as at the beginning, there may be blanks in what is packed.
    let mut before = b'=';
    value.iter().enumerate().all(|(at, byte)| {
        match byte {
            b'%' | b'+' | b'{' | b'[' | b'"' | b'\\' | 0x80.. => return false,
            b' ' | b'\t' if before == b'=' => return true,
            _ => {}
        }
        let is_inside = before.is_ascii_alphanumeric() || matches!(before, b'-' | b'_');
        let is_loose = before == b'=';
        before = *byte;
        let rest = value.get(at..).unwrap_or_default();
        match rest {
            [first, second, ..] if !is_inside && nested::begins_base64(*first, *second) => {
                !is_loose && !rest.get(..4).is_some_and(|begin| begin.iter().all(is_packed))
            }
            _ => true,
        }
    })
}

/// The same for any value.
fn tells_within(value: &str, rules: &Rules) -> bool {
    let ends = |c: char| matches!(c, ';' | '&' | '?' | '=' | '#' | '/') || c.is_whitespace();
    let named = value.split([';', '&', '?']).filter_map(|part| Some(part.split_once('=')?.1));
    is_told(value, rules, is_personal)
        || std::iter::once(value)
            .chain(named)
            .chain(value.split(ends))
            .any(|part| is_told(part, rules, holds_document))
        || is_told(value, rules, packs_personal)
}

/// Whether some of it is base64 of a text that looks like data about somebody. No address and no number has a
/// character of which base64 makes anything but letters and digits.
fn packs_personal(text: &str, rules: &Rules) -> bool {
    /// Of what is shorter, none can be read.
    const SHORTEST: usize = 8;
    text.split(|c: char| !c.is_ascii_alphanumeric()).any(|part| {
        part.len() >= SHORTEST
            && may_pack_text(part.as_bytes())
            && nested::unpacked(part)
                .and_then(|bytes| {
                    // UTF-16 has every other byte empty.
                    let bytes = bytes.into_iter().filter(|byte| *byte != 0).collect();
                    String::from_utf8(bytes).ok()
                })
                .is_some_and(|text| is_personal(&text, rules))
    })
}

/// Whether the first two characters, in base64, stand for the beginning of something printable.
fn may_pack_text(part: &[u8]) -> bool {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        _ => byte.wrapping_sub(b'0').wrapping_add(52),
    };
    let [first, second, ..] = part else { return false };
    // The upper bits of the first byte, and of the second.
    matches!(value(*first), 0 | 8..=31) && matches!(value(*second) & 0x0f, 0 | 2..=7)
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

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2000))]

        #[test]
        fn what_is_flat_tells_nothing_else_by_being_looked_into(
            value in proptest::prop_oneof![
                "[ -~]{0,40}",
                "([a-zA-Z0-9]{1,6}|YW5hQGV4YW1wbGUuY29t|NDExMTExMTExMTExMTExMQ|eyJwaW4iOjF9|eyJw aW4iOjF9|W3sicGluIjoxfV0|[-/.,;:= _])*",
            ]
        ) {
            let rules = rules(&[Recogniser::Token]);
            proptest::prop_assert_eq!(tells(value.as_bytes(), &rules), tells_within(&value, &rules));
        }
    }
}
