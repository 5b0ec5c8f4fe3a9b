//! Sensitive data that is known by its looks, for fields that nobody declared.
//!
//! E-mail addresses, cards, account numbers and tokens are found anywhere in a string; a telephone number is one that
//! starts with `+`. What has a checksum must fit it, so that few other numbers are taken for it.

use portcullis_policy::{ClassSet, Sensitive, sensitive::Recogniser};

/// The classes among `of` that `text` looks like.
pub(super) fn recognised(text: &str, sensitive: &Sensitive, of: ClassSet) -> ClassSet {
    let looks = |recogniser: &Recogniser| match recogniser {
        Recogniser::Email => has_email(text),
        Recogniser::Card => has_card(text),
        Recogniser::Iban => has_iban(text),
        Recogniser::Phone => has_phone(text),
        Recogniser::Token => has_token(text),
    };
    let classes = sensitive.classes.iter().enumerate();
    let found = classes.filter(|(at, class)| of.contains(*at) && class.recognise.iter().any(looks));
    found.fold(ClassSet::default(), |found, (at, _)| found.with(at))
}

/// Whether `text` looks like data about somebody: what stands where no field can be declared.
pub(super) fn is_personal(text: &str) -> bool {
    has_email(text) || has_card(text) || has_iban(text) || has_phone(text)
}

fn has_email(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_local = |byte: &u8| {
        byte.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(byte) || *byte >= 0x80
    };
    let mut rest = bytes;
    let mut before = None;
    while let Some(at) = rest.iter().position(|byte| *byte == b'@') {
        let (local, domain) = rest.split_at_checked(at).unwrap_or_default();
        let domain = domain.get(1..).unwrap_or_default();
        before = local.last().copied().or(before.filter(|_| local.is_empty()));
        if before.is_some_and(|byte| is_local(&byte) || byte == b'"') && is_domain(domain) {
            return true;
        }
        rest = domain;
        before = None;
    }
    false
}

/// Whether these bytes begin with a name that has a dot in it.
fn is_domain(bytes: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte >= 0x80;
    let mut labels = bytes
        .split(|byte| *byte == b'.')
        .map(|label| label.iter().take_while(|byte| is_part(byte)).count());
    let (first, second) = (labels.next().unwrap_or(0), labels.next().unwrap_or(0));
    let dot = bytes.get(first) == Some(&b'.');
    first > 0 && dot && second > 1
}

/// Runs of digits, with single spaces and hyphens between them.
fn runs(text: &str) -> impl Iterator<Item = Vec<u8>> {
    let parts = text.split(|c: char| !(c.is_ascii_digit() || c == ' ' || c == '-'));
    parts.map(|part| part.bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0').collect())
}

fn has_card(text: &str) -> bool {
    const SHORTEST: usize = 13;
    const LONGEST: usize = 19;
    runs(text).any(|digits| {
        let lengths = SHORTEST..=LONGEST.min(digits.len());
        lengths
            .into_iter()
            .any(|length| digits.windows(length).any(|digits| is_issued(digits) && checks(digits)))
    })
}

/// ISO/IEC 7812: the first digits of the large issuers, and the lengths of their numbers.
fn is_issued(digits: &[u8]) -> bool {
    let start = |count: usize| {
        digits.iter().take(count).fold(0_u32, |number, digit| number * 10 + u32::from(*digit))
    };
    match digits.len() {
        15 => matches!(start(2), 34 | 37),
        14 => matches!(start(2), 36 | 38 | 39) || matches!(start(3), 300..=305),
        13 => start(1) == 4,
        16..=19 => {
            start(1) == 4
                || matches!(start(2), 50..=69)
                || matches!(start(4), 2200..=2204 | 2221..=2720 | 3528..=3589)
        }
        _ => false,
    }
}

/// The checksum of ISO/IEC 7812-1, annex B.
fn checks(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, u32::from(*digit) * 2) {
            (0, double) => double / 2,
            (_, double) => double / 10 + double % 10,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// ISO 13616: two letters, two digits, at most thirty more of either, in groups or not.
fn has_iban(text: &str) -> bool {
    let parts = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == ' ' || c == '-'));
    parts.into_iter().any(|part| {
        let words: Vec<&str> = part.split([' ', '-']).filter(|word| !word.is_empty()).collect();
        (0..words.len()).any(|from| {
            let mut joined = String::new();
            words.iter().skip(from).take(10).any(|word| {
                joined.push_str(word);
                is_iban(joined.as_bytes())
            })
        })
    })
}

fn is_iban(bytes: &[u8]) -> bool {
    let [c1, c2, d1, d2, rest @ ..] = bytes else { return false };
    let has_form = c1.is_ascii_alphabetic()
        && c2.is_ascii_alphabetic()
        && d1.is_ascii_digit()
        && d2.is_ascii_digit();
    if !has_form || !(11..=30).contains(&rest.len()) {
        return false;
    }
    let moved = rest.iter().chain([c1, c2, d1, d2]);
    let remainder = moved.fold(0_u32, |remainder, byte| {
        let digit = char::from(*byte).to_digit(36).unwrap_or(0);
        let shift = if digit > 9 { 100 } else { 10 };
        (remainder * shift + digit) % 97
    });
    remainder == 1
}

/// ITU-T E.164, in its international form.
fn has_phone(text: &str) -> bool {
    text.split('+').skip(1).any(|number| {
        let is_part = |c: &char| c.is_ascii_digit() || " -().\u{a0}".contains(*c);
        let digits = number.chars().take_while(is_part).filter(char::is_ascii_digit).count();
        (8..=15).contains(&digits) && !number.starts_with('0')
    })
}

/// Keys by the prefixes that their issuers give them, and signed tokens.
fn has_token(text: &str) -> bool {
    const PREFIXES: [&str; 16] = [
        "ghp_",
        "gho_",
        "ghs_",
        "ghu_",
        "github_pat_",
        "glpat-",
        "xoxb-",
        "xoxp-",
        "xoxa-",
        "sk_live_",
        "rk_live_",
        "pc_sign_",
        "pc_grant_",
        "pc_once_",
        "AKIA",
        "ASIA",
    ];
    const LONG: usize = 16;
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_-.~+/".contains(c);
    text.contains("PRIVATE KEY-----")
        || text.split(|c| !is_part(c)).any(|word| {
            let has_prefix = PREFIXES.iter().any(|prefix| word.starts_with(prefix));
            let is_signed = word.starts_with("eyJ") && word.split('.').count() == 3;
            word.len() >= LONG && (has_prefix || is_signed)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_it_is_found_and_its_neighbours_are_not() {
        type Looks = fn(&str) -> bool;
        let all: [(Looks, &[&str], &[&str]); 5] = [
            (
                has_email,
                &[
                    "ana@example.com",
                    "<ana.b+c@mail.example.org>",
                    "write to ana@example.co now",
                    "ü@bücher.example",
                ],
                &["@example.com", "a @ b.c", "ana@localhost", "v1@2", "a@b.c", ""],
            ),
            (
                has_card,
                &[
                    "4111111111111111",
                    "4111 1111 1111 1111",
                    "card 5555-5555-5555-4444.",
                    "378282246310005",
                    "004111111111111111",
                ],
                &["4111111111111112", "1700000000000", "411111111111", "order 12-34"],
            ),
            (
                has_iban,
                &[
                    "DE89370400440532013000",
                    "pay GB82 WEST 1234 5698 7654 32 today",
                    "de89370400440532013000",
                ],
                &["DE89370400440532013001", "GB82", "AB12 and so on", "deadbeefdeadbeef"],
            ),
            (
                has_phone,
                &["+351 912 345 678", "call +1 (202) 555-0143", "+4930901820"],
                &["2026-11-22", "+1", "1+1=2", "+0123456789"],
            ),
            (
                has_token,
                &[
                    "ghp_0123456789abcdefghij",
                    "key=AKIAIOSFODNN7EXAMPLE",
                    "eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl",
                    "-----BEGIN PRIVATE KEY-----",
                ],
                &["AKIA", "ghp_", "a.b.c", "eyJhbGciOiJIUzI1NiJ9", "sk_live_"],
            ),
        ];
        for (looks, alike, others) in all {
            for text in alike {
                assert!(looks(text), "{text}");
            }
            for text in others {
                assert!(!looks(text), "{text}");
            }
        }
    }
}
