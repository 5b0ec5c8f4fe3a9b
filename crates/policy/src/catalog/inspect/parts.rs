//! Forms in parts: multipart/form-data (RFC 7578, RFC 2046 section 5.1.1).
//!
//! Readers of these forgive much, and each other things. What is read here is what browsers and common
//! clients write, and nothing that two readers could cut in two ways.

use std::{collections::BTreeMap, sync::Arc};

use super::{check_case, decoded, inner_json, malformed, not_representable, pairs, scalar};
use crate::{
    catalog::{
        InspectError, media, schema,
        types::{Field, RecordType, Type},
    },
    context::{Record, Value},
};

/// Parts of one form.
const MAX_PARTS: usize = 1_000;

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
    ty: &RecordType,
    content_type: &str,
    bytes: &[u8],
) -> Result<Record, InspectError> {
    let boundary = boundary(content_type)?;
    let mut found: BTreeMap<Arc<str>, Vec<Value>> = BTreeMap::new();
    for part in parts(boundary, bytes)? {
        let Some((name, field)) = ty.fields.get_key_value(part.name) else {
            check_name(part.name, ty)?;
            if part.filename.is_none() {
                let text = std::str::from_utf8(part.content).unwrap_or_default();
                pairs::check_own_charset(part.name, text)?;
            }
            continue;
        };
        let (item, is_list) = match &field.ty {
            Type::Set(item) => (&**item, true),
            ty => (ty, false),
        };
        let values = found.entry(Arc::clone(name)).or_default();
        if !is_list && !values.is_empty() {
            return Err(malformed(&format!("`{name}` is there more than once")));
        }
        values.push(part.value(item)?);
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
fn check_name(name: &str, ty: &RecordType) -> Result<(), InspectError> {
    check_case(name, ty.fields.keys())?;
    pairs::check_list(name, ty.fields.keys())?;
    if name.contains('%')
        && let Ok(decoded) = decoded(name)
    {
        check_case(&decoded, ty.fields.keys())?;
        if ty.fields.contains_key(&*decoded) {
            return Err(malformed("the name of a part reads two ways"));
        }
    }
    Ok(())
}

impl Part<'_> {
    fn value(&self, ty: &Type) -> Result<Value, InspectError> {
        let name = self.name;
        if *ty == schema::file() {
            let filename =
                self.filename.ok_or_else(|| not_representable(name, "is not a file"))?.to_owned();
            let size = i64::try_from(self.content.len()).unwrap_or(i64::MAX);
            let mut file = Record::from([
                (Arc::from("filename"), Value::String(filename)),
                (Arc::from("size"), Value::Long(size)),
            ]);
            let kind = self.kind.clone().map(|kind| (Arc::from("type"), Value::String(kind)));
            file.extend(kind);
            return Ok(Value::Record(file));
        }
        if self.filename.is_some() {
            return Err(malformed(&format!("`{name}` is no file, and comes as one")));
        }
        let text = std::str::from_utf8(self.content);
        let text = text.map_err(|_| malformed(&format!("`{name}` is not UTF-8")))?;
        match (self.kind.as_deref(), ty) {
            (Some(kind), _) if media::is_json(kind) => inner_json(name, ty, text),
            (None | Some("text/plain"), ty) if !matches!(ty, Type::Record(_)) => {
                scalar(name, ty, text)
            }
            (_, Type::Record(_)) => Err(not_representable(name, "is not application/json")),
            _ => Err(not_representable(name, "is neither text/plain nor application/json")),
        }
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
fn parts<'a>(boundary: &str, bytes: &'a [u8]) -> Result<Vec<Part<'a>>, InspectError> {
    let delimiter = format!("\r\n--{boundary}");
    let (first, between) = (delimiter.get(2..).unwrap_or_default(), delimiter.as_bytes());
    let wrong = || malformed("the form is not cut by its boundary in one way");
    let mut rest = bytes.strip_prefix(first.as_bytes()).ok_or_else(wrong)?;
    let mut parts = Vec::new();
    loop {
        if let Some(end) = rest.strip_prefix(b"--") {
            return if end.is_empty() || end == b"\r\n" { Ok(parts) } else { Err(wrong()) };
        }
        if parts.len() == MAX_PARTS {
            return Err(malformed(&format!("the form has more than {MAX_PARTS} parts")));
        }
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
