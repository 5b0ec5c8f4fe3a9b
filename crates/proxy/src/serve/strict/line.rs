//! The lines that heads, chunks and trailers consist of: read whole or not at all.
//!
//! Each reader gets bytes that begin where a line does, and says how long it is, that more must come, or
//! what is wrong with it. What is wrong is said as soon as it is seen, whole line or not.

use super::defect::Defect;

/// A line was read; `None` if its end is still to come.
pub(super) type Read<T> = Result<Option<T>, Defect>;

/// A field, or the empty line behind the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field<'a> {
    Named { name: &'a [u8], value: &'a [u8], length: usize },
    End { length: usize },
}

const NAME: u8 = 1;
const PATH: u8 = 2;
const QUERY: u8 = 4;
const HOST: u8 = 8;

/// What each byte may be a part of.
const KINDS: [u8; 256] = kinds();

const fn kinds() -> [u8; 256] {
    let mut kinds = [0; 256];
    let mut byte = 0_u8;
    while byte < 0x7f {
        let mut kind = 0;
        // RFC 9110 section 5.6.2.
        if byte.is_ascii_alphanumeric() || is_one_of(byte, b"!#$%&'*+-.^_`|~") {
            kind |= NAME;
        }
        // Visible, and nothing that a reader below would refuse or take for the beginning of a fragment.
        if byte > b' ' && !is_one_of(byte, b"#<>`?") {
            kind |= PATH;
        }
        if byte > b' ' && !is_one_of(byte, b"#<>\"") {
            kind |= QUERY;
        }
        if byte.is_ascii_alphanumeric() || is_one_of(byte, b"-._") {
            kind |= HOST;
        }
        // The lint is about panics; this is evaluated when it is compiled.
        #[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
        {
            kinds[byte as usize] = kind;
        }
        byte += 1;
    }
    kinds
}

const fn is_one_of(byte: u8, these: &[u8]) -> bool {
    let mut rest = these;
    while let [first, others @ ..] = rest {
        if *first == byte {
            return true;
        }
        rest = others;
    }
    false
}

fn is(byte: u8, kind: u8) -> bool {
    KINDS.get(usize::from(byte)).is_some_and(|kinds| kinds & kind != 0)
}

/// How many of the first bytes are of that kind.
fn run(bytes: &[u8], kind: u8) -> usize {
    bytes.iter().position(|byte| !is(*byte, kind)).unwrap_or(bytes.len())
}

/// The first line of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RequestLine<'a> {
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
    pub(super) is_old: bool,
    pub(super) length: usize,
}

/// `METHOD SP target SP HTTP/1.x CRLF`, and nothing that resembles it.
pub(super) fn request_line(bytes: &[u8]) -> Read<RequestLine<'_>> {
    let end = run(bytes, NAME);
    let (method, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
    // The gate's own requests begin with a hyphen.
    if !method.first().is_none_or(u8::is_ascii_alphabetic) {
        return Err(Defect::Method);
    }
    let Some((space, rest)) = rest.split_first() else { return Ok(None) };
    if *space != b' ' || method.is_empty() {
        return Err(Defect::Method);
    }
    let mut end = run(rest, PATH);
    if rest.get(end) == Some(&b'?') {
        end += 1 + run(rest.get(end + 1..).unwrap_or_default(), QUERY);
    }
    let (target, rest) = rest.split_at_checked(end).unwrap_or((rest, &[]));
    let Some((space, version)) = rest.split_first() else { return Ok(None) };
    if *space != b' ' || !is_target(method, target) {
        return Err(Defect::Target);
    }
    let is_old = match version.first_chunk() {
        Some(b"HTTP/1.1\r\n") => false,
        Some(b"HTTP/1.0\r\n") => true,
        None if may_become(version, &[b"HTTP/1.1\r\n", b"HTTP/1.0\r\n"]) => return Ok(None),
        Some(_) | None => return Err(Defect::Version),
    };
    Ok(Some(RequestLine { method, target, is_old, length: method.len() + target.len() + 12 }))
}

/// Whether `bytes`, of which more may come, are the beginning of one of `these`.
fn may_become(bytes: &[u8], these: &[&[u8]]) -> bool {
    these.iter().any(|whole| whole.starts_with(bytes))
}

/// A target in the one form that its method has it in: a path, a whole URL, `*`, or a host and port.
fn is_target(method: &[u8], target: &[u8]) -> bool {
    match target {
        _ if method == b"CONNECT" => is_host(target) && target.contains(&b':'),
        [b'/', ..] => true,
        b"*" => method == b"OPTIONS",
        _ => absolute(target).is_some_and(is_host),
    }
}

/// The authority of a whole URL.
fn absolute(target: &[u8]) -> Option<&[u8]> {
    let scheme = |name: &[u8]| {
        let (scheme, rest) = target.split_at_checked(name.len())?;
        scheme.eq_ignore_ascii_case(name).then_some(rest)
    };
    let rest = scheme(b"http://").or_else(|| scheme(b"https://"))?;
    rest.split(|byte| matches!(byte, b'/' | b'?')).next()
}

/// A name or address with or without a port: no user, no list, no path.
pub(super) fn is_host(text: &[u8]) -> bool {
    let rest = if text.first() == Some(&b'[') {
        let Some(end) = text.iter().position(|byte| *byte == b']') else { return false };
        let inside = text.get(1..end).unwrap_or_default();
        if inside.is_empty()
            || !inside.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'))
        {
            return false;
        }
        text.get(end + 1..).unwrap_or_default()
    } else {
        let end = run(text, HOST);
        if end == 0 {
            return false;
        }
        text.get(end..).unwrap_or_default()
    };
    match rest {
        [] => true,
        [b':', port @ ..] => matches!(port.len(), 1..=5) && port.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// The first line of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StatusLine {
    pub(super) status: u16,
    pub(super) is_old: bool,
    pub(super) length: usize,
}

/// `HTTP/1.x SP 3DIGIT [SP reason] CRLF`. The space before a reason that is not there may be missing:
/// everybody leaves it out.
pub(super) fn status_line(bytes: &[u8]) -> Read<StatusLine> {
    let Some((version, rest)) = bytes.split_first_chunk::<9>() else {
        let may = may_become(bytes, &[b"HTTP/1.1 ", b"HTTP/1.0 "]);
        return if may { Ok(None) } else { Err(Defect::Status) };
    };
    let is_old = match version {
        b"HTTP/1.1 " => false,
        b"HTTP/1.0 " => true,
        _ => return Err(Defect::Status),
    };
    let Some((digits, rest)) = rest.split_first_chunk::<3>() else { return Ok(None) };
    if !digits.iter().all(u8::is_ascii_digit) || digits.first() == Some(&b'0') {
        return Err(Defect::Status);
    }
    let status = digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
    if !matches!(rest.first(), None | Some(b' ' | b'\r')) {
        return Err(Defect::Status);
    }
    let Some(end) = line_end(rest, Defect::Status)? else { return Ok(None) };
    Ok(Some(StatusLine { status, is_old, length: 12 + end + 2 }))
}

/// One field, up to and with its CR LF; or the empty line.
pub(super) fn field(bytes: &[u8]) -> Read<Field<'_>> {
    match bytes {
        [] | [b'\r'] => return Ok(None),
        [b'\r', b'\n', ..] => return Ok(Some(Field::End { length: 2 })),
        [b'\r' | b'\n', ..] => return Err(Defect::LineEnd),
        _ => {}
    }
    let end = run(bytes, NAME);
    let (name, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
    let Some((colon, rest)) = rest.split_first() else { return Ok(None) };
    // A line that begins with white space goes on with the one before it, for some readers.
    if *colon != b':' || name.is_empty() {
        return Err(Defect::Name);
    }
    let Some(end) = line_end(rest, Defect::Value)? else { return Ok(None) };
    let value = trim(rest.get(..end).unwrap_or_default());
    Ok(Some(Field::Named { name, value, length: name.len() + 1 + end + 2 }))
}

/// Where the CR LF is that ends a line of text. `otherwise` is what any other control character is.
fn line_end(bytes: &[u8], otherwise: Defect) -> Read<usize> {
    let end = text(bytes);
    match bytes.get(end..) {
        Some([b'\r', b'\n', ..]) => Ok(Some(end)),
        None | Some([] | [b'\r']) => Ok(None),
        Some([b'\r' | b'\n', ..]) => Err(Defect::LineEnd),
        Some(_) => Err(otherwise),
    }
}

/// How many of the first bytes are no control characters but tabs. Eight at a time: this is where most of
/// a head is.
fn text(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    let mut at = 0;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word);
        let delete = word ^ (ONES * 0x7f);
        // The lowest bit that is set is right: borrows go upwards.
        let mut found = ((word.wrapping_sub(ONES * 0x20) & !word)
            | (delete.wrapping_sub(ONES) & !delete))
            & (ONES * 0x80);
        if found == 0 {
            at += 8;
            continue;
        }
        while found != 0 {
            let place = found.trailing_zeros() / 8;
            let byte = word.to_le_bytes().get(place as usize).copied().unwrap_or_default();
            if is_control(byte) {
                return at + place as usize;
            }
            found &= found - 1;
        }
        at += 8;
    }
    at + rest.iter().position(|byte| is_control(*byte)).unwrap_or(rest.len())
}

const fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The line before a chunk: its size, and how long the line and its extension are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkLine {
    pub(super) size: u64,
    pub(super) extension: usize,
    pub(super) length: usize,
}

/// `1*16HEXDIG [; extension] CRLF`.
pub(super) fn chunk_line(bytes: &[u8], most: usize) -> Read<ChunkLine> {
    let digits = bytes.iter().take(17).position(|byte| !byte.is_ascii_hexdigit());
    let digits = match digits {
        Some(0) => return Err(Defect::ChunkSize),
        Some(digits) => digits,
        None if bytes.len() > 16 => return Err(Defect::ChunkSize),
        None => return Ok(None),
    };
    let (number, rest) = bytes.split_at_checked(digits).unwrap_or((bytes, &[]));
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default();
    let size = number.iter().fold(0, |size, byte| (size << 4) | u64::from(digit(*byte)));
    if !matches!(rest.first(), None | Some(b';' | b'\r')) {
        return Err(Defect::ChunkSize);
    }
    let end = line_end(rest, Defect::ChunkExtension)?;
    let extension = end.unwrap_or(rest.len());
    if extension > most {
        return Err(Defect::ChunkExtension);
    }
    Ok(end.map(|end| ChunkLine { size, extension, length: digits + end + 2 }))
}

/// A length in plain decimal digits, one way to write it.
pub(super) fn length(value: &[u8]) -> Option<u64> {
    let plain = match value {
        [b'0'] => true,
        [b'1'..=b'9', ..] => value.len() <= 19 && value.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    plain.then(|| value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}
