//! In how many ways a secret can be written down, and whether one of them is in some bytes.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::super::CANARY;

/// Values of JSON that say the canary.
pub(super) fn values() -> Vec<String> {
    let codes = || CANARY.bytes().map(|digit| format!("{digit:02x}"));
    let escaped: String = codes().map(|code| ["\\u00", &code].concat()).collect();
    let spaced = "4111 1111-1111 1111";
    let utf16: Vec<u8> = CANARY.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let hex = codes().collect::<String>();
    vec![
        format!("\"{CANARY}\""),
        CANARY.to_owned(),
        format!("\"{escaped}\""),
        format!("\"{}\\u0031{}\"", &CANARY[..4], &CANARY[5..]),
        format!("\"{spaced}\""),
        format!("\"{}\"", STANDARD.encode(CANARY)),
        format!("\"{}\"", STANDARD.encode(format!("no. {CANARY}"))),
        format!("\"{}\"", STANDARD.encode(utf16)),
        format!("\"{hex}\""),
        format!("{CANARY}.0"),
        format!("[[\"{CANARY}\"],{{\"a\":{CANARY}}}]"),
    ]
}

/// Whether the canary can be read in these bytes, in any of those ways.
pub(super) fn is_in(bytes: &[u8]) -> bool {
    let packed = unpacked(bytes);
    let once: Vec<Vec<u8>> = [bytes.to_vec()].into_iter().chain(packed).collect();
    once.iter().any(|bytes| is_plain(bytes) || unpacked(bytes).iter().any(|more| is_plain(more)))
}

/// As digits, whatever stands between them that means nothing, in any width; or as a number of protobuf.
fn is_plain(bytes: &[u8]) -> bool {
    let number: u64 = CANARY.parse().unwrap();
    let mut varint = Vec::new();
    let mut rest = number;
    while rest > 0 {
        let more = if rest > 0x7f { 0x80 } else { 0 };
        varint.push(u8::try_from(rest & 0x7f).unwrap() | more);
        rest >>= 7;
    }
    let digits = |bytes: &[u8]| -> Vec<u8> {
        bytes.iter().copied().filter(|byte| !b" -\0".contains(byte)).collect()
    };
    let text = unescaped(bytes);
    holds(&digits(&text), CANARY.as_bytes())
        || holds(bytes, &varint)
        || holds(bytes, &number.to_le_bytes())
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Without the escapes of JSON and of URLs.
fn unescaped(bytes: &[u8]) -> Vec<u8> {
    let (mut rest, mut out) = (bytes, Vec::with_capacity(bytes.len()));
    while let [first, after @ ..] = rest {
        let (digits, skip) = match rest {
            [b'\\', b'u', a, b, c, d, ..] => (Some([*a, *b, *c, *d].to_vec()), 6),
            [b'%', a, b, ..] => (Some([*a, *b].to_vec()), 3),
            _ => (None, 1),
        };
        let code = digits.and_then(|digits| String::from_utf8(digits).ok());
        let code =
            code.and_then(|digits| u8::from_str_radix(digits.trim_start_matches('0'), 16).ok());
        if let Some(code) = code {
            out.push(code);
            rest = &rest[skip..];
        } else {
            out.push(*first);
            rest = after;
        }
    }
    out
}

/// What runs of base64 and of hexadecimal digits in it stand for, from wherever they begin.
fn unpacked(bytes: &[u8]) -> Vec<Vec<u8>> {
    let text = unescaped(bytes);
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
    let mut found = Vec::new();
    for run in text.split(|byte| !is_part(byte)).filter(|run| run.len() >= CANARY.len()) {
        let run: Vec<u8> = run
            .iter()
            .map(|byte| match byte {
                b'-' => b'+',
                b'_' => b'/',
                b => *b,
            })
            .collect();
        for from in 0..4 {
            let run = &run[from..];
            found.extend(STANDARD.decode(&run[..run.len() / 4 * 4]).ok());
            // What a last group of two or three says.
            let tail = [
                &run[..run.len() / 4 * 4],
                &run[run.len() / 4 * 4..],
                &b"AAA"[..(4 - run.len() % 4) % 4],
            ]
            .concat();
            found.extend(STANDARD.decode(tail).ok());
        }
        for from in 0..2 {
            let pairs = run[from..]
                .chunks_exact(2)
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).ok());
            found.extend(pairs.collect::<Option<Vec<u8>>>());
        }
    }
    found
}

#[test]
fn every_spelling_is_found_and_nothing_else() {
    for value in values() {
        assert!(is_in(format!("{{\"a\":{value}}}").as_bytes()), "{value}");
    }
    let utf16: Vec<u8> = CANARY.encode_utf16().flat_map(u16::to_be_bytes).collect();
    assert!(is_in(&utf16) && is_in(b"\x08\xc7\xe3\xa3\xab\x8a\xe1\xa6\x07"));
    for fine in ["{\"a\":\"***\",\"b\":411111111111111}", "NDExMQ==", "aGVsbG8gd29ybGQsIGhlbGxv"] {
        assert!(!is_in(fine.as_bytes()), "{fine}");
    }
}
