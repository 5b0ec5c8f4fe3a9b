//! Documents that stand in strings: as text, or as text in base64.
//!
//! A string that holds a document is masked inside and written again; one in base64 that holds something
//! sensitive is masked whole, as what is around it may be a signature. Paths are followed twice, from the
//! document's own root and on from where the string stands. Prose that quotes a document is not looked
//! into.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use portcullis_policy::{ClassSet, sensitive::automaton::At};

use super::{Framing, HIDDEN, Json, Rules};

/// Texts in texts in texts: deeper ones are masked whole.
const MOST_LEVELS: u8 = 3;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const FOR_URLS: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Whether a string that begins with these bytes may hold a document. They may be too few to tell.
#[inline]
pub(super) fn may_begin(raw: &[u8]) -> bool {
    match raw {
        [] | [b'e' | b'W'] | [b'{' | b'[' | b' ' | b'\\', ..] => true,
        [b'e' | b'W', second, ..] => begins_base64(*second),
        // An empty string, too.
        [_, ..] => false,
    }
}

/// What follows the first character of `{` or `[` in base64: six bits, of which the first two are set.
fn begins_base64(second: u8) -> bool {
    matches!(second, b'w'..=b'z' | b'0'..=b'9' | b'+' | b'/' | b'-' | b'_' | b'\\')
}

/// Whether the beginning of a string that is too long to be held says that it holds no document.
pub(super) fn cannot_be(raw: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=.\\".contains(byte);
    matches!(raw, [b'e' | b'W', ..]) && !raw.iter().all(is_base64)
}

/// What is met in `text`, and what stands in its place, ready to be put between quotes.
pub(super) fn masked(
    text: &str,
    rules: &Rules,
    within: At,
    level: u8,
) -> (ClassSet, Option<Vec<u8>>) {
    let trimmed = text.trim_start_matches([' ', '\t', '\n', '\r', '\u{feff}']);
    match trimmed.as_bytes() {
        [b'{' | b'[' | b'"', ..] => document(trimmed, rules, within, level),
        [b'e' | b'W', second, ..] if begins_base64(*second) => {
            packed(trimmed, rules, within, level)
        }
        _ => (ClassSet::default(), None),
    }
}

fn hidden(classes: ClassSet) -> (ClassSet, Option<Vec<u8>>) {
    (classes, Some(HIDDEN.to_vec()))
}

fn document(text: &str, rules: &Rules, within: At, level: u8) -> (ClassSet, Option<Vec<u8>>) {
    if level >= MOST_LEVELS {
        let is_quote = text.starts_with('"') && !text.contains(['{', '[']);
        return if is_quote { (ClassSet::default(), None) } else { hidden(rules.classes) };
    }
    let mut json = Json::within(rules.clone(), Framing::Many, within, level + 1);
    let mut out = Vec::with_capacity(text.len());
    let read = json.push(text.as_bytes(), &mut out).and_then(|()| json.finish(&mut out));
    let met = json.met();
    match (read, met.is_empty()) {
        (_, true) => (met, None),
        (Ok(()), false) => (met, Some(quoted(&out))),
        // It began as a document, and had something to hide.
        (Err(_), false) => hidden(met),
    }
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
        let unpacked = STANDARD.decode(&part).or_else(|_| FOR_URLS.decode(&part));
        let Some(inner) = unpacked.ok().and_then(|bytes| String::from_utf8(bytes).ok()) else {
            continue;
        };
        if inner.trim_start().starts_with(['{', '[']) {
            met.0 |= document(inner.trim_start(), rules, within, level).0.0;
        }
    }
    if met.is_empty() { (met, None) } else { hidden(met) }
}
