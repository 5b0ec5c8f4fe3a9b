//! Names and values as queries and forms have them (WHATWG URL, application/x-www-form-urlencoded).

use std::sync::Arc;

use super::{
    check_case, collected, decoded, inner_json, inside, malformed, not_representable, scalar,
};
use crate::{
    catalog::{
        InspectError,
        declared::{Carrier, Param, Written},
        types::{RecordType, Type},
    },
    context::{Record, Value},
};

/// Pairs in one query or form.
const MAX_PAIRS: usize = 10_000;

/// A decoded name, and a value as it is written.
pub(super) type Pair<'a> = (String, &'a str);

/// The pairs of `text`. A name that may be read as one of `declared`, and is not, is malformed.
pub(super) fn read<'a>(text: &'a str, declared: &[Param]) -> Result<Vec<Pair<'a>>, InspectError> {
    let own = || declared.iter().filter(|param| matches!(param.carrier, Carrier::Query(_)));
    let mut pairs = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        if pairs.len() == MAX_PAIRS {
            return Err(malformed(&format!("there are more than {MAX_PAIRS} names in it")));
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = plain(name)?;
        if own().all(|param| *param.name != *name) {
            let base = name.split_once('[').map_or(&*name, |(base, _)| base);
            check_case(base, own().map(|param| &param.name))?;
            check_list(&name, own().filter(|param| !is_deep(param)).map(|param| &param.name))?;
            check_case(&name, own().map(|param| &param.name))?;
        }
        // Some readers take semicolons for ampersands.
        for part in pair.split(';').skip(1) {
            let name = plain(part.split_once('=').map_or(part, |(name, _)| name))?;
            if own().any(|param| *param.name == *name) {
                return Err(malformed(&format!("`{}` follows a semicolon", name.escape_debug())));
            }
            check_case(&name, own().map(|param| &param.name))?;
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}

fn is_deep(param: &Param) -> bool {
    param.carrier == Carrier::Query(Written::Deep)
}

/// PHP and others read `tags[]`, and `tags[0]`, as a part of `tags`.
pub(super) fn check_list<'a>(
    name: &str,
    declared: impl Iterator<Item = &'a Arc<str>>,
) -> Result<(), InspectError> {
    let Some((base, _)) = name.split_once('[') else { return Ok(()) };
    match declared.into_iter().find(|other| other.eq_ignore_ascii_case(base)) {
        Some(other) => {
            let name = name.escape_debug();
            Err(malformed(&format!("`{name}` may be read as a part of `{other}`")))
        }
        None => Ok(()),
    }
}

/// A whole form.
pub(super) fn form(declared: &[Param], text: &str) -> Result<Record, InspectError> {
    let pairs = read(text, declared)?;
    for (name, raw) in &pairs {
        check_own_charset(name, &plain(raw)?)?;
    }
    collected(declared, |param| match param.carrier {
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
            let values = all.iter().map(|raw| scalar(&param.name, item, &plain(raw)?));
            Ok(Some(Value::Set(values.collect::<Result<_, _>>()?)))
        }
        (_, _, [one]) => self::one(param, written, &one.replace('+', "%20")).map(Some),
        (_, _, [_, _, ..]) => Err(malformed(&format!("`{}` is there more than once", param.name))),
    }
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
            check_case(key, ty.fields.keys())?;
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
