//! Forms in parts: multipart/form-data (RFC 7578, RFC 2046 section 5.1.1).
//!
//! Readers of these forgive much, and each other things. What is read here is what browsers and common
//! clients write, and nothing that two readers could cut in two ways.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Beside, Left, check_name, decoded, inner_json, is_hexadecimal, malformed, not_representable,
    pairs, scalar,
};
use crate::{
    catalog::{
        InspectError,
        declared::Parts,
        media, schema,
        types::{Field, RecordType, Type},
    },
    context::{Record, Value},
};

/// Bytes of the head of one part.
const MAX_HEAD: usize = 4_096;

/// One part.
#[derive(Debug)]
struct Part<'a> {
    name: &'a str,
    filename: Option<&'a str>,
    /// Without parameters, in lower case.
    kind: Option<String>,
    content: &'a [u8],
}

/// The declared fields of the form `bytes`.
pub(super) fn record(
    declared: &Parts,
    content_type: &str,
    bytes: &[u8],
    beside: &Beside<'_>,
) -> Result<Record, InspectError> {
    let ty = &declared.ty;
    let boundary = boundary(content_type)?;
    let mut left = Left::new();
    pairs::check_beside(beside, ty.names(), &mut left)?;
    let mut found: BTreeMap<Arc<str>, Vec<Value>> = BTreeMap::new();
    for part in parts(boundary, bytes, &mut left)? {
        let Some((name, field)) = ty.fields.get_key_value(part.name) else {
            check_part(part.name, ty, beside)?;
            if part.filename.is_none() {
                let text = std::str::from_utf8(part.content).unwrap_or_default();
                pairs::check_own_charset(part.name, text)?;
            }
            continue;
        };
        let is_json = declared.json.contains(name);
        let (item, is_list) = match &field.ty {
            Type::Set(item) => (&**item, true),
            ty => (ty, false),
        };
        let values = found.entry(Arc::clone(name)).or_default();
        if !is_list && !values.is_empty() {
            return Err(malformed(&format!("`{name}` is there more than once")));
        }
        values.push(part.value(item, is_list, is_json)?);
    }
    let mut record = Record::new();
    for (name, Field { ty, required }) in &ty.fields {
        match (found.remove(name), ty) {
            (Some(values), Type::Set(_)) => {
                record.insert(Arc::clone(name), Value::Set(values));
            }
            (Some(mut values), _) => {
                record.extend(values.pop().map(|value| (Arc::clone(name), value)));
            }
            (None, _) if *required => {
                return Err(not_representable(name, "is required and missing"));
            }
            (None, _) => {}
        }
    }
    Ok(record)
}

/// Browsers encode three characters of names, and some readers decode them all.
fn check_part(name: &str, ty: &RecordType, beside: &Beside<'_>) -> Result<(), InspectError> {
    check_name(name, ty.names())?;
    beside.check_field(name)?;
    if name.contains('%')
        && let Ok(decoded) = decoded(name)
    {
        if ty.fields.contains_key(&*decoded) {
            return Err(malformed("the name of a part reads two ways"));
        }
        check_name(&decoded, ty.names())?;
        beside.check_field(&decoded)?;
    }
    Ok(())
}

impl Part<'_> {
    fn value(&self, ty: &Type, is_list: bool, is_json: bool) -> Result<Value, InspectError> {
        let name = self.name;
        if *ty == schema::file() {
            return self.file();
        }
        if self.filename.is_some() {
            return Err(malformed(&format!("`{name}` is no file, and comes as one")));
        }
        let text = std::str::from_utf8(self.content);
        let text = text.map_err(|_| malformed(&format!("`{name}` is not UTF-8")))?;
        // To one reader it is a mark, to another one a part of the text.
        if text.starts_with('\u{feff}') {
            return Err(malformed(&format!("`{name}` begins with a byte order mark")));
        }
        let sent_as_json = self.kind.as_deref().is_some_and(media::is_json);
        // Readers take a part for JSON if it is declared to be that, and not because its sender says so.
        if is_json || matches!(ty, Type::Record(_)) {
            if !sent_as_json {
                return Err(not_representable(name, "is not application/json"));
            }
            return inner_json(name, ty, text);
        }
        if !matches!(self.kind.as_deref(), None | Some("text/plain")) {
            return Err(not_representable(name, "is not text/plain"));
        }
        if is_list { pairs::item(name, ty, text) } else { scalar(name, ty, text) }
    }

    /// What policies read of a file. A path in its name is cut off by some readers, and decoded by others.
    fn file(&self) -> Result<Value, InspectError> {
        let name = self.name;
        let filename = self.filename.ok_or_else(|| not_representable(name, "is not a file"))?;
        if filename.is_empty() {
            return Err(not_representable(name, "has no file name"));
        }
        let is_encoded = filename.split('%').skip(1).any(is_hexadecimal);
        if is_encoded || filename.contains(['/', '\\']) {
            return Err(malformed(&format!("`{name}` has a file name that reads two ways")));
        }
        let size = i64::try_from(self.content.len()).unwrap_or(i64::MAX);
        let mut file = Record::from([
            (Arc::from("filename"), Value::String(filename.to_owned())),
            (Arc::from("size"), Value::Long(size)),
        ]);
        let kind = self.kind.clone().map(|kind| (Arc::from("type"), Value::String(kind)));
        file.extend(kind);
        Ok(Value::Record(file))
    }
}

/// The one boundary of a content type, in which nothing else is said.
fn boundary(content_type: &str) -> Result<&str, InspectError> {
    let params = content_type.split_once(';').map(|(_, params)| params.trim());
    let value = params.and_then(|params| {
        let (name, value) = params.split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then_some(value)
    });
    let quoted = value.and_then(|value| value.strip_prefix('"')?.strip_suffix('"'));
    let is_quoted = quoted.is_some();
    let found = quoted.or(value).filter(|text| {
        let fits = |byte: u8| {
            byte.is_ascii_alphanumeric()
                || b"'+_-.".contains(&byte)
                || is_quoted && b"(),/:=? ".contains(&byte)
        };
        (1..=70).contains(&text.len()) && !text.ends_with(' ') && text.bytes().all(fits)
    });
    found.ok_or_else(|| malformed("the form has no boundary, or one that reads two ways"))
}

/// Takes the form apart. Everything between two boundaries belongs to one part.
fn parts<'a>(
    boundary: &str,
    bytes: &'a [u8],
    left: &mut Left,
) -> Result<Vec<Part<'a>>, InspectError> {
    let delimiter = format!("\r\n--{boundary}");
    let (first, between) = (delimiter.get(2..).unwrap_or_default(), delimiter.as_bytes());
    let wrong = || malformed("the form is not cut by its boundary in one way");
    let mut rest = bytes.strip_prefix(first.as_bytes()).ok_or_else(wrong)?;
    let mut parts = Vec::new();
    loop {
        if let Some(end) = rest.strip_prefix(b"--") {
            return if end.is_empty() || end == b"\r\n" { Ok(parts) } else { Err(wrong()) };
        }
        left.spend(1)?;
        let inner = rest.strip_prefix(b"\r\n").ok_or_else(wrong)?;
        // The boundary stands nowhere but at the beginning of a line of its own.
        let at =
            find(inner, first.as_bytes()).and_then(|at| at.checked_sub(2)).ok_or_else(wrong)?;
        let (part, from) = inner.split_at_checked(at).ok_or_else(wrong)?;
        rest = from.strip_prefix(between).ok_or_else(wrong)?;
        parts.push(read(part)?);
    }
}

fn read(part: &[u8]) -> Result<Part<'_>, InspectError> {
    let wrong = || malformed("a part of the form has no head that reads one way");
    let head = part.get(..part.len().min(MAX_HEAD)).and_then(|head| find(head, b"\r\n\r\n"));
    let (head, content) = head.and_then(|at| part.split_at_checked(at)).ok_or_else(wrong)?;
    let content = content.get(4..).ok_or_else(wrong)?;
    let head = std::str::from_utf8(head).map_err(|_| wrong())?;
    let (mut names, mut kind) = (None, None);
    for line in head.split("\r\n") {
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        if value.chars().any(|c| c.is_control() && c != '\t') {
            return Err(wrong());
        }
        let value = value.trim_matches([' ', '\t']);
        match name.to_ascii_lowercase().as_str() {
            "content-disposition" if names.is_none() => names = Some(disposition(value)?),
            "content-type" if kind.is_none() => kind = Some(part_kind(value)?),
            "content-length" if value.parse() == Ok(content.len()) => {}
            "content-transfer-encoding"
                if ["7bit", "8bit", "binary"].iter().any(|k| k.eq_ignore_ascii_case(value)) => {}
            _ => return Err(wrong()),
        }
    }
    let (name, filename) = names.ok_or_else(wrong)?;
    Ok(Part { name, filename, kind, content })
}

/// The charset of a part is a reading of it too.
fn part_kind(value: &str) -> Result<String, InspectError> {
    let essence = media::essence(value);
    let is_text = essence == "text/plain" || media::is_json(&essence);
    if is_text {
        super::check_charset(value)?;
    }
    Ok(essence)
}

/// `form-data; name="a"; filename="b"`, and nothing beside it. A backslash, or a name in another coding
/// (`filename*`), is a second reading.
fn disposition(value: &str) -> Result<(&str, Option<&str>), InspectError> {
    let wrong = || malformed("a part of the form has no name that reads one way");
    let kind = value.get(..9).filter(|kind| kind.eq_ignore_ascii_case("form-data"));
    let mut rest = kind.and_then(|_| value.get(9..)).ok_or_else(wrong)?;
    let (mut name, mut filename) = (None, None);
    while !rest.is_empty() {
        let param = rest.trim_start_matches([' ', '\t']).strip_prefix(';').ok_or_else(wrong)?;
        let (key, value) =
            param.trim_start_matches([' ', '\t']).split_once('=').ok_or_else(wrong)?;
        let (text, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or_else(wrong)?,
            None => {
                value.split_at_checked(value.find(';').unwrap_or(value.len())).ok_or_else(wrong)?
            }
        };
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~%".contains(&byte);
        let is_quoted = value.starts_with('"');
        if text.contains('\\') || !is_quoted && (text.is_empty() || !text.bytes().all(is_token)) {
            return Err(wrong());
        }
        let slot = match key.to_ascii_lowercase().as_str() {
            "name" => &mut name,
            "filename" => &mut filename,
            _ => return Err(wrong()),
        };
        if slot.replace(text).is_some() {
            return Err(wrong());
        }
        rest = after;
    }
    Ok((name.ok_or_else(wrong)?, filename))
}

/// Where `wanted` first is in `bytes`.
fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut at = 0;
    loop {
        let rest = bytes.get(at..)?;
        at += rest.iter().position(|byte| *byte == first)?;
        if bytes.get(at..)?.starts_with(wanted) {
            return Some(at);
        }
        at += 1;
    }
}
