//! Short values outside of bodies, as of headers: they are not masked, but pass or do not.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use portcullis_policy::sensitive::automaton::Automaton;

use super::{
    Rules, nested,
    recognise::{SHORTEST_CARD, SHORTEST_IBAN, is_personal},
};

/// How often a value is looked at behind percent signs. One that still has some is not passed.
const MOST_DECODED: usize = 3;

/// Whether anything sensitive stands in `value`, however it is encoded.
pub(crate) fn tells(value: &[u8], rules: &Rules) -> bool {
    if is_common(value) {
        return false;
    }
    let is_flat = is_flat(value);
    if is_flat && is_mute(value, rules) {
        return false;
    }
    let value = String::from_utf8_lossy(value);
    if is_flat {
        return is_personal(&value, rules) || packs_personal(&value, rules);
    }
    tells_within(&value, rules)
}

/// Whether a value is one that most answers have, and that tells nothing: what follows would say so, too.
fn is_common(value: &[u8]) -> bool {
    let is_known = matches!(
        value,
        b"application/json"
            | b"application/json; charset=utf-8"
            | b"application/problem+json"
            | b"application/x-ndjson"
            | b"application/grpc"
            | b"text/event-stream"
            | b"keep-alive"
            | b"close"
            | b"no-cache"
            | b"no-store"
    );
    is_known || is_date(value)
}

/// RFC 9110 section 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn is_date(value: &[u8]) -> bool {
    const FORM: &[u8; 29] = b"Aaa, 00 Aaa 0000 00:00:00 GMT";
    let fits = |(byte, form): (&u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        b'A' => byte.is_ascii_uppercase(),
        b'a' => byte.is_ascii_lowercase(),
        form => byte == form,
    };
    value.len() == FORM.len() && value.iter().zip(FORM).all(fits)
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

/// Whether a flat value has too little in it to tell anything about anybody, whatever is looked for: most are dates,
/// types and single words.
fn is_mute(value: &[u8], rules: &Rules) -> bool {
    /// Without a word of this length there is no token.
    const TOKEN: usize = 16;
    if rules.recognises() && value.len() >= TOKEN {
        return false;
    }
    let (mut run, mut part, mut digits) = (Run::default(), Part::default(), 0);
    for byte in value {
        match byte {
            b'a'..=b'z' => run.length += 1,
            b'A'..=b'Z' => run.add_other(),
            b'0'..=b'9' => {
                run.add_other();
                part.digits += 1;
                digits += 1;
            }
            // Without one there is no address.
            b'@' => return false,
            _ => {
                if !run.is_mute() {
                    return false;
                }
                part.length += run.length;
                run = Run::default();
                if !matches!(byte, b' ' | b'-') {
                    if !part.is_mute() {
                        return false;
                    }
                    part = Part::default();
                }
            }
        }
    }
    part.length += run.length;
    run.is_mute() && part.is_mute() && digits < SHORTEST_CARD
}

/// Letters and digits in a row.
#[derive(Default)]
struct Run {
    length: usize,
    /// Not all of them are small letters.
    has_others: bool,
}

impl Run {
    fn add_other(&mut self) {
        self.length += 1;
        self.has_others = true;
    }

    /// Whether it is base64 of nothing that is looked for. What small letters stand for has no `@`, every third byte is
    /// no digit and no blank, and an account number is longer.
    fn is_mute(&self) -> bool {
        self.length < SHORTEST_PACKED || !self.has_others && self.length < SHORTEST_IBAN * 4 / 3
    }
}

/// Letters and digits with blanks and hyphens between them or not.
#[derive(Default)]
struct Part {
    length: usize,
    digits: usize,
}

impl Part {
    /// Whether it is no account number.
    fn is_mute(&self) -> bool {
        self.length < SHORTEST_IBAN || self.digits < 2
    }
}

/// What is packed in less cannot be read.
const SHORTEST_PACKED: usize = 8;

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
    text.split(|c: char| !c.is_ascii_alphanumeric()).any(|part| {
        part.len() >= SHORTEST_PACKED
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

    const ALL: [Recogniser; 5] = [
        Recogniser::Email,
        Recogniser::Card,
        Recogniser::Iban,
        Recogniser::Phone,
        Recogniser::Token,
    ];

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

    #[test]
    fn g12_what_is_too_little_to_tell_anything_is_not_looked_into() {
        let rules = rules(&[]);
        for value in [
            "nginx/1.22.1",
            "Mon, 23 Nov 2026 00:00:00 GMT",
            "application/json; charset=utf-8",
            "application/json",
            "application/problem+json",
            "application/x-ndjson",
            "application/grpc",
            "text/event-stream",
            "keep-alive",
            "close",
            "no-cache",
            "no-store",
            "no-cache, must-revalidate, max-age=0",
            "",
        ] {
            let bytes = value.as_bytes();
            assert!(is_common(bytes) || is_mute(bytes, &rules), "{value}");
            assert!(!tells_within(value, &self::rules(&ALL)), "{value}");
        }
        for value in [
            "4111 1111 1111 1111",
            "YW5hQGV4YW1wbGUuY29t",
            "NDExMTExMTExMTExMTExMQ",
            "DE89 3704 0044 0532 0130 00",
            "ana@example.com",
        ] {
            assert!(
                !is_mute(value.as_bytes(), &rules) && tells(value.as_bytes(), &rules),
                "{value}"
            );
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2000))]

        #[test]
        fn a_date_tells_nothing(
            date in "[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT",
        ) {
            proptest::prop_assert!(is_date(date.as_bytes()));
            proptest::prop_assert!(!tells_within(&date, &rules(&ALL)));
        }

        /// Whatever is packed: each of these in base64, small letters of it, and in pieces.
        #[test]
        fn what_is_mute_tells_nothing(
            text in "[ -~]{0,24}|[0-9 -]{0,24}|[a-z]{2}[0-9]{2}[a-z0-9]{0,20}|[+][0-9 ]{8,12}|[a-z]{0,3}@[a-z]{1,4}[.][a-z]{2}",
            cut in 0_usize..30, is_packed: bool, is_lower: bool,
        ) {
            let text = if is_packed { URL_SAFE_NO_PAD.encode(text) } else { text };
            let text = if is_lower { text.to_ascii_lowercase() } else { text };
            let mut chars: Vec<char> = text.chars().collect();
            if cut < chars.len() {
                chars.insert(cut, ['-', ' ', '/', '='][cut % 4]);
            }
            let value: String = chars.into_iter().collect();
            proptest::prop_assert!(!is_common(value.as_bytes()));
            for rules in [rules(&[]), rules(&[Recogniser::Token, Recogniser::Iban])] {
                if is_flat(value.as_bytes()) && is_mute(value.as_bytes(), &rules) {
                    proptest::prop_assert!(!tells_within(&value, &rules), "{}", value);
                }
            }
        }

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
