//! Sensitive data that is known by its looks, for fields that nobody declared.
//!
//! E-mail addresses, cards, account numbers and tokens are found anywhere in a string; a telephone number is one that
//! starts with `+`. What has a checksum must fit it, so that few other numbers are taken for it.

use portcullis_policy::{ClassSet, Sensitive, sensitive::Recogniser};

use super::Rules;

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

/// Whether `text` looks like data about somebody, or like any of the classes: what stands where no field
/// can be declared.
pub(super) fn is_personal(text: &str, rules: &Rules) -> bool {
    has_email(text)
        || has_card(text)
        || has_iban(text)
        || has_phone(text)
        || rules.recognises() && !recognised(text, &rules.sensitive, rules.classes).is_empty()
}

fn has_email(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_local = |byte: &u8| {
        byte.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-\"".contains(byte) || *byte >= 0x80
    };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == b'@') {
        let (local, domain) = rest.split_at_checked(at).unwrap_or_default();
        let domain = domain.get(1..).unwrap_or_default();
        if local.last().is_some_and(is_local) && is_domain(domain) {
            return true;
        }
        rest = domain;
    }
    false
}

/// Whether these bytes begin with a name that has a dot in it. Looks no further than to the next `@`.
fn is_domain(bytes: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte >= 0x80;
    let first = bytes.iter().take_while(|byte| is_part(byte)).count();
    let second = bytes.get(first..).and_then(|rest| rest.strip_prefix(b"."));
    first > 0
        && second
            .is_some_and(|second| second.iter().take(2).filter(|byte| is_part(byte)).count() == 2)
}

/// Digits, in groups with blanks and hyphens between them or not. What begins or ends within a group is a
/// part of another number.
fn has_card(text: &str) -> bool {
    if text.bytes().filter(u8::is_ascii_digit).count() < SHORTEST_CARD {
        return false;
    }
    let is_part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b' ' | b'-');
    text.as_bytes().split(|byte| !is_part(byte)).any(|part| {
        if part.len() < SHORTEST_CARD {
            return false;
        }
        let groups = part.split(|byte| !byte.is_ascii_digit()).filter(|group| !group.is_empty());
        let groups: Vec<&[u8]> = groups.collect();
        (0..groups.len()).any(|from| {
            let mut card = Card::default();
            let _ = groups.iter().skip(from).all(|group| card.push(group));
            card.is_one
        })
    })
}

pub(super) const SHORTEST_CARD: usize = 13;
const LONGEST_CARD: usize = 19;

/// What is read of groups that may be a card's number together.
#[derive(Default)]
struct Card {
    length: usize,
    /// The first four digits.
    head: u32,
    /// Of all digits, with every other one doubled: from the first on, or from the second on.
    sums: [u32; 2],
    is_one: bool,
}

impl Card {
    /// Whether it is worth while to read on.
    fn push(&mut self, group: &[u8]) -> bool {
        if self.length + group.len() > LONGEST_CARD {
            return false;
        }
        for digit in group.iter().map(|byte| u32::from(byte - b'0')) {
            if self.length < 4 {
                self.head = self.head * 10 + digit;
            }
            let double = digit * 2 / 10 + digit * 2 % 10;
            let [from_first, from_second] = &mut self.sums;
            let is_first = self.length.is_multiple_of(2);
            *from_first += if is_first { double } else { digit };
            *from_second += if is_first { digit } else { double };
            self.length += 1;
        }
        self.is_one = self.is_issued() && self.checks();
        !self.is_one
    }

    /// ISO/IEC 7812: the first digits of the large issuers, and the lengths of their numbers.
    fn is_issued(&self) -> bool {
        let (one, two, three) = (self.head / 1000, self.head / 100, self.head / 10);
        match self.length {
            15 => matches!(two, 34 | 37),
            14 => matches!(two, 36 | 38 | 39) || matches!(three, 300..=305),
            SHORTEST_CARD => one == 4,
            16..=LONGEST_CARD => {
                one == 4
                    || matches!(two, 50..=69)
                    || matches!(self.head, 2200..=2204 | 2221..=2720 | 3528..=3589)
            }
            _ => false,
        }
    }

    /// The checksum of ISO/IEC 7812-1, annex B: every other digit is doubled, but the last is not.
    fn checks(&self) -> bool {
        let [from_first, from_second] = self.sums;
        let sum = if self.length.is_multiple_of(2) { from_first } else { from_second };
        sum.is_multiple_of(10)
    }
}

/// ISO 13616: two letters, two digits, at most thirty more of either, in groups or not.
fn has_iban(text: &str) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'-');
    let parts = text.as_bytes().split(|byte| !is_part(byte));
    parts.filter(|part| part.len() >= SHORTEST_IBAN).any(|part| {
        let words = part.split(|byte| !byte.is_ascii_alphanumeric());
        let words: Vec<&[u8]> = words.filter(|word| !word.is_empty()).collect();
        (0..words.len()).any(|from| {
            let mut joined = Vec::new();
            words.iter().skip(from).take(10).any(|word| {
                joined.extend_from_slice(word);
                is_iban(&joined)
            })
        })
    })
}

pub(super) const SHORTEST_IBAN: usize = 15;

fn is_iban(bytes: &[u8]) -> bool {
    let [c1, c2, d1, d2, rest @ ..] = bytes else { return false };
    let has_form = c1.is_ascii_alphabetic()
        && c2.is_ascii_alphabetic()
        && d1.is_ascii_digit()
        && d2.is_ascii_digit();
    if !has_form || !(SHORTEST_IBAN..=34).contains(&bytes.len()) {
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

    const CARDS: &[&str] = &[
        "4111111111111111",
        "4111 1111 1111 1111",
        "card 5555-5555-5555-4444.",
        "378282246310005",
        "on 2026-11-22 4111 1111 1111 1111 12/29",
        "a4111111111111111b",
        "2223003122003222",
        "6304000000000000",
        "4222222222222",
        "36-227206271667",
    ];
    const NO_CARDS: &[&str] = &[
        "4111111111111112",
        "1700000000000",
        "411111111111",
        "order 12-34",
        "004111111111111111",
        "41111111111111110000",
        "14111 1111 1111 1111",
    ];

    /// The checksum as it is told.
    fn fits(number: &str) -> bool {
        let digits = number.bytes().rev().map(|digit| u32::from(digit - b'0'));
        let sum: u32 = digits
            .enumerate()
            .map(|(at, digit)| if at % 2 == 0 { digit } else { digit * 2 / 10 + digit * 2 % 10 })
            .sum();
        sum.is_multiple_of(10)
    }

    #[test]
    fn a_number_is_a_card_as_a_whole_only() {
        let mut cards = 0;
        for n in 0..2000_u64 {
            let id = (7_000_000_000_000_000_000 + n * 982_451_653_123).to_string();
            assert!(!has_card(&id), "{id}");
            let card = (4_000_000_000_000_000 + n * 982_451_653).to_string();
            assert_eq!(has_card(&card), fits(&card), "{card}");
            cards += usize::from(has_card(&card));
            let card = (4_000_000_000_000 + n * 982_453).to_string();
            assert_eq!(has_card(&card), fits(&card), "{card}");
        }
        assert!((150..250).contains(&cards), "{cards}");
    }

    /// In time that is square to the length, each of these would take hours.
    #[test]
    fn i12_looking_takes_no_longer_than_the_text_is_long() {
        for part in
            ["a@", "@", "a@b", "a@b-", "4", "4 ", "4-4 ", "+1", "+", "de", "DE89 ", "eyJ.", "ghp_"]
        {
            let text = part.repeat(1_000_000 / part.len());
            let looks: [fn(&str) -> bool; 5] =
                [has_email, has_card, has_iban, has_phone, has_token];
            for looks in looks {
                std::hint::black_box(looks(&text));
            }
        }
    }

    #[test]
    fn what_looks_like_it_is_found_and_its_neighbours_are_not() {
        type Looks = fn(&str) -> bool;
        let all: [(Looks, &[&str], &[&str]); 5] = [
            (has_card, CARDS, NO_CARDS),
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
