//! Names and values as queries and forms have them (WHATWG URL, application/x-www-form-urlencoded).

use std::sync::Arc;

use super::{
    Beside, Left, check_name, collected, decoded, inner_json, inside, malformed, not_representable,
    scalar,
};
use crate::{
    catalog::{
        InspectError,
        declared::{Carrier, Form, Param, Written},
        names::Names,
        types::{RecordType, Type},
    },
    context::{Record, Value},
};

/// A decoded name, and a value as it is written.
pub(super) type Pair<'a> = (String, &'a str);

/// The pairs of `text`. A name that may be read as one of `names`, and is not, is malformed.
pub(super) fn read<'a>(
    text: &'a str,
    names: &Names,
    left: &mut Left,
) -> Result<Vec<Pair<'a>>, InspectError> {
    let mut pairs = Vec::new();
    for pair in text.split('&') {
        // Some readers take semicolons for ampersands, and some count what is empty.
        left.spend(pair.split(';').count())?;
        if pair.is_empty() {
            continue;
        }
        let name = name(pair)?;
        let is_declared = names.owns(&name);
        if !is_declared {
            check_name(&name, names)?;
        }
        if pair.contains(';') {
            if is_declared {
                return Err(malformed(&format!("`{}` has a semicolon", name.escape_debug())));
            }
            for piece in pair.split(';') {
                let name = self::name(piece)?;
                if names.owns(&name) {
                    return Err(malformed(&format!(
                        "`{}` follows a semicolon",
                        name.escape_debug()
                    )));
                }
                check_name(&name, names)?;
            }
        }
        pairs.push((name, value_of(pair)));
    }
    Ok(pairs)
}

/// The name of a pair, decoded.
fn name(pair: &str) -> Result<String, InspectError> {
    plain(pair.split_once('=').map_or(pair, |(name, _)| name))
}

fn value_of(pair: &str) -> &str {
    pair.split_once('=').map_or("", |(_, value)| value)
}

/// Refuses a query that an upstream may merge with a form of the fields `own`: what it does not declare
/// must not be read as one of them.
pub(super) fn check_beside(
    beside: &Beside<'_>,
    own: &Names,
    left: &mut Left,
) -> Result<(), InspectError> {
    for pair in beside.query.split(['&', ';']) {
        left.spend(1)?;
        let name = name(pair)?;
        if beside.names.owns(&name) {
            continue;
        }
        if own.owns(&name) {
            let name = name.escape_debug();
            return Err(malformed(&format!("`{name}` is in the query and a field of the form")));
        }
        check_name(&name, own)?;
    }
    Ok(())
}

/// A whole form.
pub(super) fn form(
    declared: &Form,
    text: &str,
    beside: &Beside<'_>,
) -> Result<Record, InspectError> {
    let mut left = Left::new();
    check_beside(beside, &declared.names, &mut left)?;
    let pairs = read(text, &declared.names, &mut left)?;
    for pair in text.split(['&', ';']) {
        let name = name(pair)?;
        if !declared.names.owns(&name) {
            beside.check_field(&name)?;
        }
    }
    for (name, raw) in &pairs {
        check_own_charset(name, &plain(raw)?)?;
    }
    collected(&declared.params, |param| match param.carrier {
        Carrier::Query(written) => value(param, written, &pairs),
        Carrier::Path(_) | Carrier::Header(..) => Ok(None),
    })
}

/// A form can say in a field of its own how its text is coded.
pub(super) fn check_own_charset(name: &str, value: &str) -> Result<(), InspectError> {
    if name == "_charset_" && !value.eq_ignore_ascii_case("utf-8") {
        return Err(malformed("the form says that it is not in UTF-8"));
    }
    Ok(())
}

/// The value of `param` among `pairs`, if it is there.
pub(super) fn value(
    param: &Param,
    written: Written,
    pairs: &[Pair<'_>],
) -> Result<Option<Value>, InspectError> {
    if let (Type::Record(ty), Written::Deep) = (&param.field.ty, written) {
        return deep(&param.name, ty, pairs);
    }
    let found: Vec<&str> =
        pairs.iter().filter(|(name, _)| **name == *param.name).map(|(_, raw)| *raw).collect();
    match (&param.field.ty, written, found.as_slice()) {
        (_, _, []) => Ok(None),
        (Type::Set(item), Written::Repeated, all) => {
            let values = all.iter().map(|raw| self::item(&param.name, item, &plain(raw)?));
            Ok(Some(Value::Set(values.collect::<Result<_, _>>()?)))
        }
        (_, _, [one]) => self::one(param, written, &one.replace('+', "%20")).map(Some),
        (_, _, [_, _, ..]) => Err(malformed(&format!("`{}` is there more than once", param.name))),
    }
}

/// An item that stands on its own. Some readers cut it at commas, also at those that were encoded.
pub(super) fn item(at: &str, ty: &Type, text: &str) -> Result<Value, InspectError> {
    if text.contains(',') {
        return Err(malformed(&format!("`{at}` has a comma in an item of its list")));
    }
    scalar(at, ty, text)
}

/// The value that `raw` is, percent-encoded.
pub(super) fn one(param: &Param, written: Written, raw: &str) -> Result<Value, InspectError> {
    let name = &param.name;
    let raw = match written {
        Written::Label => raw
            .strip_prefix('.')
            .ok_or_else(|| malformed(&format!("`{name}` does not begin with a dot")))?,
        _ => raw,
    };
    match (&param.field.ty, written) {
        (ty, Written::Json) => inner_json(name, ty, &decoded(raw)?),
        (Type::Set(item), _) => {
            let values =
                items(name, written, raw)?.into_iter().map(|text| scalar(name, item, &text));
            Ok(Value::Set(values.collect::<Result<_, _>>()?))
        }
        (ty, _) => scalar(name, ty, &decoded(raw)?),
    }
}

/// The items of a list, decoded. An empty text is no item to some readers, and one to others.
fn items(at: &str, written: Written, raw: &str) -> Result<Vec<String>, InspectError> {
    let whole = decoded(raw)?;
    let separator = match written {
        Written::Spaces => ' ',
        Written::Bars => '|',
        Written::Commas | Written::Label | Written::Repeated | Written::Deep | Written::Json => {
            // One that is encoded separates nothing, or everything, as the reader likes it.
            if whole.matches(',').count() != raw.matches(',').count() {
                return Err(malformed(&format!("`{at}` has an encoded comma in its list")));
            }
            ','
        }
    };
    let items: Vec<String> = whole.split(separator).map(str::to_owned).collect();
    if items.iter().any(String::is_empty) {
        return Err(malformed(&format!("`{at}` has an empty item in its list")));
    }
    Ok(items)
}

/// `filter[name]=value`. Deeper names, and lists, are read in too many ways.
fn deep(at: &str, ty: &RecordType, pairs: &[Pair<'_>]) -> Result<Option<Value>, InspectError> {
    let mut record = Record::new();
    let mut is_there = false;
    for (name, raw) in pairs {
        let rest = name.strip_prefix(at);
        let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with('[')) else {
            continue;
        };
        let key = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let key = key.filter(|key| !key.is_empty() && !key.contains(['[', ']']));
        let two_ways = || malformed(&format!("`{}` reads two ways", name.escape_debug()));
        let key = key.ok_or_else(two_ways)?;
        is_there = true;
        let Some((key, field)) = ty.fields.get_key_value(key) else {
            check_name(key, ty.names())?;
            continue;
        };
        let at = inside(at, key);
        let value = scalar(&at, &field.ty, &plain(raw)?)?;
        if record.insert(Arc::clone(key), value).is_some() {
            return Err(malformed(&format!("`{at}` is there more than once")));
        }
    }
    if !is_there {
        return Ok(None);
    }
    let missing =
        ty.fields.iter().find(|(name, field)| field.required && !record.contains_key(*name));
    match missing {
        Some((name, _)) => Err(not_representable(&inside(at, name), "is required and missing")),
        None => Ok(Some(Value::Record(record))),
    }
}

fn plain(raw: &str) -> Result<String, InspectError> {
    decoded(&raw.replace('+', " "))
}
