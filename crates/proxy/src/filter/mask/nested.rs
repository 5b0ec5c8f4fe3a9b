//! Documents that stand in strings: as text, or as text in base64.
//!
//! A string that holds a document is masked inside and written again; one in base64 that holds something
//! sensitive is masked whole, as what is around it may be a signature. Paths are followed twice, from the
//! document's own root and on from where the string stands. What began as a document and breaks off is hidden,
//! as others may read it. Prose that quotes a document is not looked into.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use portcullis_policy::{ClassSet, sensitive::automaton::At};

use super::{Framing, HIDDEN, Json, Rules, Trouble};

/// Texts in texts in texts: deeper ones are masked whole.
const MOST_LEVELS: u8 = 3;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const FOR_URLS: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// What may stand before a document.
const BLANKS: [char; 5] = [' ', '\t', '\n', '\r', '\u{feff}'];

/// Whether a string that begins with these bytes may hold a document. They may be too few to tell.
#[inline]
pub(super) fn may_begin(raw: &[u8]) -> bool {
    match raw {
        // A mark of the order of bytes, too.
        []
        | [b'{' | b'[' | b' ' | b'\\', ..]
        | [b'e' | b'W' | b'I' | b'C' | b'D' | b'7' | 0xef]
        | [0xef, 0xbb]
        | [0xef, 0xbb, 0xbf, ..] => true,
        [first, second, ..] => begins_base64(*first, *second),
        // An empty string, too.
        [_] => false,
    }
}

/// The first two characters in base64 of `{`, `[`, or of what may stand before them.
#[inline]
pub(super) fn begins_base64(first: u8, second: u8) -> bool {
    match first {
        b'e' | b'W' => {
            matches!(second, b'w'..=b'z' | b'0'..=b'9' | b'+' | b'/' | b'-' | b'_' | b'\\')
        }
        b'I' => matches!(second, b'A' | b'C' | b'F' | b'H' | b'O' | b'\\'),
        b'C' | b'D' => {
            matches!(
                second,
                b'Q' | b'S' | b'V' | b'X' | b'e' | b'g' | b'i' | b'l' | b'n' | b'u' | b'\\'
            )
        }
        b'7' => matches!(second, b'7' | b'\\'),
        _ => false,
    }
}

/// Whether the beginning of a string that is too long to be held says that it holds no document.
pub(super) fn cannot_be(raw: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=.\\".contains(byte);
    match raw {
        [0xef, ..] => !raw.starts_with(&[0xef, 0xbb, 0xbf]),
        [first, ..] => first.is_ascii_alphanumeric() && !raw.iter().all(is_base64),
        [] => false,
    }
}

/// What is met in `text`, and what stands in its place, ready to be put between quotes.
pub(super) fn masked(
    text: &str,
    rules: &Rules,
    within: At,
    level: u8,
) -> (ClassSet, Option<Vec<u8>>) {
    let trimmed = text.trim_start_matches(BLANKS);
    match trimmed.as_bytes() {
        [b'{' | b'[' | b'"', ..] => document(trimmed, rules, within, level),
        [first, second, ..] if begins_base64(*first, *second) && may_be_packed(trimmed) => {
            packed(trimmed, rules, within, level)
        }
        _ => (ClassSet::default(), None),
    }
}

/// Whether the first of it says that it may be a document in base64. Most words are none.
fn may_be_packed(text: &str) -> bool {
    let mut bytes = [0; 3];
    let unpacked = text.as_bytes().get(..4).map(|head| STANDARD.decode_slice(head, &mut bytes));
    let mut rest = bytes.iter().filter(|byte| !b" \t\n\r\xef\xbb\xbf".contains(byte));
    !matches!(unpacked, Some(Ok(3))) || rest.next().is_none_or(|byte| matches!(byte, b'{' | b'['))
}

fn hidden(classes: ClassSet) -> (ClassSet, Option<Vec<u8>>) {
    (classes, Some(HIDDEN.to_vec()))
}

fn document(text: &str, rules: &Rules, within: At, level: u8) -> (ClassSet, Option<Vec<u8>>) {
    if level >= MOST_LEVELS {
        let is_prose = is_quote(text);
        return if is_prose { (ClassSet::default(), None) } else { hidden(rules.classes) };
    }
    let mut json = Json::within(rules.clone(), Framing::Many, within, level + 1);
    let mut out = Vec::with_capacity(text.len());
    let read = json.push(text.as_bytes(), &mut out).and_then(|()| json.finish(&mut out));
    let met = json.met();
    match read {
        Ok(()) if met.is_empty() => (met, None),
        Ok(()) => (met, Some(quoted(&out))),
        // It only looked like one.
        Err(Trouble::NotJson) if met.is_empty() && !json.has_begun() && !has_names(text) => {
            (met, None)
        }
        // It began as a document, and others may read on.
        Err(_) => hidden(if met.is_empty() { rules.classes } else { met }),
    }
}

/// Whether it is a text in quotes in which no other can stand.
fn is_quote(text: &str) -> bool {
    let inner = text.strip_prefix('"').map(|inner| inner.trim_start_matches(BLANKS));
    let holds_none = |inner: &str| {
        inner.starts_with('"') || !may_begin(inner.as_bytes()) && !inner.contains(['{', '[', '\\'])
    };
    inner.is_some_and(holds_none)
}

/// Whether there is anything like a member in what is no JSON, but may be something that resembles it.
fn has_names(text: &str) -> bool {
    text.starts_with(['{', '['])
        && text.split(['"', '\'']).skip(1).any(|after| after.trim_start().starts_with(':'))
}

/// As it is written in a string.
fn quoted(text: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(text).ok();
    let quoted = text.and_then(|text| serde_json::to_vec(text).ok());
    let inner = quoted.as_deref().and_then(|quoted| quoted.get(1..quoted.len() - 1));
    inner.unwrap_or(HIDDEN).to_vec()
}

/// Base64 in either alphabet, in lines, or in parts as tokens have them.
fn packed(text: &str, rules: &Rules, within: At, level: u8) -> (ClassSet, Option<Vec<u8>>) {
    let mut met = ClassSet::default();
    for part in text.split('.') {
        let part: String = part.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let Some(inner) = unpacked(&part) else { continue };
        // Readers differ in what they make of bytes that are no text.
        let inner = String::from_utf8_lossy(&inner);
        let inner = inner.trim_start_matches(BLANKS);
        if inner.starts_with(['{', '[']) {
            met.0 |= document(inner, rules, within, level).0.0;
        }
    }
    if met.is_empty() { (met, None) } else { hidden(met) }
}

/// What base64 in either alphabet stands for.
pub(super) fn unpacked(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| FOR_URLS.decode(text)).ok()
}

#[cfg(test)]
#[path = "nested_tests.rs"]
mod tests;
