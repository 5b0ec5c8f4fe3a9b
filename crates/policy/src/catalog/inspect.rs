//! Inspection: parameters and bodies as the typed values that policies read.
//!
//! What cannot be read in exactly one way is malformed; what the declared type cannot hold is not
//! representable. Nothing is rounded, trimmed or guessed. What is undeclared stays out, whatever it is.

mod headers;
mod pairs;
mod parts;

use std::{borrow::Cow, sync::Arc};

use http::{HeaderMap, HeaderName, header};
use percent_encoding::percent_decode_str;

use super::{
    InspectError,
    declared::{Body, Carrier, Document, Holds, Media, Param},
    json::{self, Json},
    media,
    names::Names,
    types::{RecordType, Type},
};
use crate::context::{Record, Value};

/// How messages of gRPC are compressed.
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// Fractional digits of a Cedar decimal.
const DECIMAL_PLACES: usize = 4;

/// Names in a query and a form together. Several servers ignore what comes after the thousandth.
const MAX_NAMES: usize = 999;

/// How many more names there may be.
struct Left(usize);

/// What comes with a form, and may be merged with it: the raw query, and what is declared there.
pub(super) struct Beside<'a> {
    pub(super) query: &'a str,
    pub(super) names: &'a Names,
}

impl Left {
    const fn new() -> Self {
        Self(MAX_NAMES)
    }

    fn spend(&mut self, names: usize) -> Result<(), InspectError> {
        let too_many = || malformed(&format!("there are more than {MAX_NAMES} names in it"));
        self.0 = self.0.checked_sub(names).ok_or_else(too_many)?;
        Ok(())
    }
}

impl Beside<'_> {
    /// A field `name` that the form does not declare, and that may be read as a parameter.
    fn check_field(&self, name: &str) -> Result<(), InspectError> {
        let taken = self.names.owns(name) || self.names.taken_for(name).is_some();
        if taken { Err(malformed("a field may be read as a parameter")) } else { Ok(()) }
    }
}

/// Typed parameters. `path` holds raw values by name, `query` is the raw query.
pub(super) fn params(
    declared: &[Param],
    names: &Names,
    path: &[(&str, String)],
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Record, InspectError> {
    let pairs = pairs::read(query.unwrap_or_default(), names, &mut Left::new())?;
    let value = |param: &Param| match &param.carrier {
        Carrier::Path(written) => {
            let raw = path.iter().find(|(name, _)| **name == *param.name);
            raw.map(|(_, raw)| pairs::one(param, *written, raw)).transpose()
        }
        Carrier::Query(written) => pairs::value(param, *written, &pairs),
        Carrier::Header(name, written) => headers::value(param, name, *written, headers),
    };
    collected(declared, value)
}

/// The values of `declared`, and none of what they require is missing.
fn collected(
    declared: &[Param],
    value: impl Fn(&Param) -> Result<Option<Value>, InspectError>,
) -> Result<Record, InspectError> {
    let mut record = Record::new();
    for param in declared {
        match value(param)? {
            Some(value) => {
                record.insert(Arc::clone(&param.name), value);
            }
            None if param.field.required => {
                return Err(not_representable(&param.name, "is required and missing"));
            }
            None => {}
        }
    }
    Ok(record)
}

/// The declared body; `None` if it may be absent and is. Decoded, a message has at most `most` bytes.
pub(super) fn body(
    declared: &Body,
    headers: &HeaderMap,
    bytes: &[u8],
    most: u64,
    beside: &Beside<'_>,
) -> Result<Option<Record>, InspectError> {
    let content_type = only(headers, &header::CONTENT_TYPE)?;
    match declared {
        Body::Document(declared) => document(declared, content_type, bytes, beside),
        Body::Message(input) => {
            let coding = coding(headers)?;
            input.record(bytes, coding.as_deref(), most).map(Some)
        }
    }
}

/// How the messages of a call are packed that say so, if its headers say how. A call of anything but messages of
/// protobuf is undeclared.
pub(super) fn coding(headers: &HeaderMap) -> Result<Option<Box<[u8]>>, InspectError> {
    let content_type = only(headers, &header::CONTENT_TYPE)?;
    if !content_type.is_some_and(is_grpc) {
        return Err(undeclared(content_type, &["application/grpc"]));
    }
    Ok(only(headers, &GRPC_ENCODING)?.map(|coding| coding.as_bytes().into()))
}

fn document(
    declared: &Document,
    content_type: Option<&str>,
    bytes: &[u8],
    beside: &Beside<'_>,
) -> Result<Option<Record>, InspectError> {
    if bytes.is_empty() {
        let missing = InspectError::NotRepresentable("the body is required and missing".to_owned());
        return if declared.required { Err(missing) } else { Ok(None) };
    }
    let Some(kind) = content_type else { return Err(malformed("the body has no content type")) };
    let essence = media::bare(kind);
    let is_sent = |media: &&Media| media.essence.eq_ignore_ascii_case(essence);
    let Some(found) = declared.media.iter().find(is_sent) else {
        let known: Vec<&str> = declared.media.iter().map(|media| &*media.essence).collect();
        return Err(undeclared(content_type, &known));
    };
    let mut record = match &found.holds {
        Holds::Json(ty) => {
            check_charset(kind)?;
            json_body(ty, bytes)?
        }
        Holds::Form(form) => {
            check_charset(kind)?;
            pairs::form(form, text(bytes)?, beside)?
        }
        Holds::Parts(declared) => parts::record(declared, kind, bytes, beside)?,
        Holds::Opaque => {
            let what =
                format!("a policy reads this body, and `{}` has no fields to read", found.essence);
            return Err(InspectError::NotRepresentable(what));
        }
    };
    // What another content type has of another type is not in the type of the body.
    if declared.media.len() > 1 {
        record.retain(|name, _| declared.ty.fields.contains_key(name));
    }
    Ok(Some(record))
}

fn undeclared(content_type: Option<&str>, known: &[&str]) -> InspectError {
    let essence = content_type.map(media::essence).unwrap_or_default();
    let what = format!(
        "a policy reads this body, and its content type `{}` is none of {}",
        essence.escape_debug(),
        known.join(", ")
    );
    InspectError::NotRepresentable(what)
}

fn text(bytes: &[u8]) -> Result<&str, InspectError> {
    std::str::from_utf8(bytes).map_err(|_| malformed("the body is not UTF-8"))
}

fn json_body(ty: &RecordType, bytes: &[u8]) -> Result<Record, InspectError> {
    let value = json::parse(text(bytes)?)
        .map_err(|what| malformed(&format!("the body is not JSON: {what}")))?;
    let Json::Object(entries) = value else {
        return Err(InspectError::NotRepresentable("the body is not an object".to_owned()));
    };
    record("", ty, entries)
}

/// A value that is written as JSON inside of something else.
fn inner_json(at: &str, ty: &Type, text: &str) -> Result<Value, InspectError> {
    let json =
        json::parse(text).map_err(|what| malformed(&format!("`{at}` is not JSON: {what}")))?;
    value(at, ty, json)
}

/// The value of a header that says how a body is read: there is one, and it is text.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, InspectError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let text = value.to_str().map_err(|_| malformed(&format!("`{name}` is no text")))?;
            Ok(Some(text))
        }
        (Some(_), Some(_)) => Err(malformed(&format!("`{name}` is there twice"))),
    }
}

/// Messages of protobuf in frames; `application/grpc+json` has others.
fn is_grpc(content_type: &str) -> bool {
    let essence = media::bare(content_type);
    ["application/grpc", "application/grpc+proto"]
        .iter()
        .any(|known| essence.eq_ignore_ascii_case(known))
}

/// Another charset or an unknown parameter is another reading of the same bytes.
fn check_charset(content_type: &str) -> Result<(), InspectError> {
    let only_utf8 =
        content_type.split(';').skip(1).map(str::trim).filter(|text| !text.is_empty()).all(
            |text| {
                text.split_once('=').is_some_and(|(name, value)| {
                    name.eq_ignore_ascii_case("charset")
                        && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
                })
            },
        );
    if only_utf8 {
        Ok(())
    } else {
        Err(malformed("the content type has parameters other than charset=utf-8"))
    }
}

fn record(
    at: &str,
    ty: &RecordType,
    entries: Vec<(Cow<'_, str>, Json<'_>)>,
) -> Result<Record, InspectError> {
    let mut record = Record::new();
    for (key, json) in entries {
        let Some((name, field)) = ty.fields.get_key_value(&*key) else {
            if let Some(other) = ty.in_another_case(&key) {
                let key = key.escape_debug();
                return Err(malformed(&format!("`{key}` differs from `{other}` in case only")));
            }
            continue;
        };
        // Null where nothing is required is how most senders write absence.
        if json == Json::Null && !field.required {
            continue;
        }
        let value = value(&inside(at, name), &field.ty, json)?;
        record.insert(Arc::clone(name), value);
    }
    let missing =
        ty.fields.iter().find(|(name, field)| field.required && !record.contains_key(*name));
    match missing {
        Some((name, _)) => Err(not_representable(&inside(at, name), "is required and missing")),
        None => Ok(record),
    }
}

/// An undeclared `name` that a reader may take for a declared one has two meanings.
fn check_name(name: &str, names: &Names) -> Result<(), InspectError> {
    match names.taken_for(name) {
        Some(other) => {
            let name = name.escape_debug();
            Err(malformed(&format!("`{name}` may be read as `{other}`")))
        }
        None => Ok(()),
    }
}

fn inside(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

fn value(at: &str, ty: &Type, json: Json<'_>) -> Result<Value, InspectError> {
    match (ty, json) {
        (Type::Bool, Json::Bool(value)) => Ok(Value::Bool(value)),
        (Type::String, Json::Text(text)) => Ok(Value::String(text.into_owned())),
        (Type::Long, Json::Number(text)) => long(at, text),
        (Type::Decimal, Json::Number(text)) => decimal(at, text),
        (Type::Set(item), Json::List(items)) => {
            let at = format!("{at}[]");
            let values = items.into_iter().map(|json| value(&at, item, json));
            Ok(Value::Set(values.collect::<Result<_, _>>()?))
        }
        (Type::Record(ty), Json::Object(entries)) => record(at, ty, entries).map(Value::Record),
        (ty, _) => Err(not_representable(at, &format!("is not {}", in_words(ty)))),
    }
}

fn in_words(ty: &Type) -> &'static str {
    match ty {
        Type::Bool => "true or false",
        Type::Long => "a whole number of 64 bits",
        Type::String => "a string",
        Type::Decimal => "a decimal number with at most 4 fractional digits",
        Type::Set(_) => "a list",
        Type::Record(_) => "an object",
    }
}

fn scalar(at: &str, ty: &Type, text: &str) -> Result<Value, InspectError> {
    match (ty, text) {
        (Type::String, _) => Ok(Value::String(text.to_owned())),
        (Type::Bool, "true") => Ok(Value::Bool(true)),
        (Type::Bool, "false") => Ok(Value::Bool(false)),
        (Type::Long, _) => long(at, text),
        (Type::Decimal, _) => decimal(at, text),
        (Type::Bool | Type::Set(_) | Type::Record(_), _) => {
            Err(not_representable(at, &format!("is not {}", in_words(ty))))
        }
    }
}

fn long(at: &str, text: &str) -> Result<Value, InspectError> {
    let whole = json::is_number(text).then(|| text.parse::<i64>().ok()).flatten();
    whole.map(Value::Long).ok_or_else(|| not_representable(at, "is not a whole number of 64 bits"))
}

fn decimal(at: &str, text: &str) -> Result<Value, InspectError> {
    let exact = if json::is_number(text) { exact_decimal(text) } else { None };
    exact
        .map(Value::Decimal)
        .ok_or_else(|| not_representable(at, &format!("is not {}", in_words(&Type::Decimal))))
}

/// The number `text` of JSON as Cedar writes it, if a Cedar decimal holds it exactly.
fn exact_decimal(text: &str) -> Option<String> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let written = format!("{whole}{fraction}");
    let significant = written.trim_end_matches('0');
    let digits = significant.trim_start_matches('0');
    if digits.is_empty() {
        return Some("0.0".to_owned());
    }
    // The number is `digits` times ten to the `power`.
    let trimmed = i64::try_from(written.len() - significant.len()).ok()?;
    let power = exponent
        .parse::<i64>()
        .ok()?
        .checked_sub(i64::try_from(fraction.len()).ok()?)?
        .checked_add(trimmed)?;
    let shift = u32::try_from(power.checked_add(i64::try_from(DECIMAL_PLACES).ok()?)?).ok()?;
    let magnitude = digits.parse::<i128>().ok()?.checked_mul(10_i128.checked_pow(shift)?)?;
    let scaled = i64::try_from(if negative { -magnitude } else { magnitude }).ok()?;
    let unit = 10_u64.pow(u32::try_from(DECIMAL_PLACES).ok()?);
    let (whole, fraction) = (scaled.unsigned_abs() / unit, scaled.unsigned_abs() % unit);
    let fraction = format!("{fraction:04}");
    let fraction = match fraction.trim_end_matches('0') {
        "" => "0",
        fraction => fraction,
    };
    Some(format!("{}{whole}.{fraction}", if negative { "-" } else { "" }))
}

/// Decoded once; a percent sign without two hexadecimal digits means nothing (RFC 3986, 2.1).
fn decoded(raw: &str) -> Result<String, InspectError> {
    if !raw.split('%').skip(1).all(is_hexadecimal) {
        return Err(malformed("a percent sign does not encode anything"));
    }
    match percent_decode_str(raw).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(malformed("a percent-encoded value is not UTF-8")),
    }
}

/// Whether `rest` begins with two hexadecimal digits.
fn is_hexadecimal(rest: &str) -> bool {
    rest.as_bytes().get(..2).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
}

fn malformed(what: &str) -> InspectError {
    InspectError::Malformed(what.to_owned())
}

fn not_representable(at: &str, what: &str) -> InspectError {
    InspectError::NotRepresentable(format!("`{at}` {what}"))
}
