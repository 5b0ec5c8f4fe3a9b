//! Parameters in headers.

use http::{HeaderMap, HeaderName};

use super::{inner_json, malformed, scalar};
use crate::{
    catalog::{
        InspectError,
        declared::{Param, Written},
        media::folded,
        types::Type,
    },
    context::Value,
};

/// The value of `param`, which is in the header `name`, if that is there.
pub(super) fn value(
    param: &Param,
    name: &HeaderName,
    written: Written,
    headers: &HeaderMap,
) -> Result<Option<Value>, InspectError> {
    // Services that fold names would take one of them for the other.
    let own = folded(name.as_str());
    if let Some(alias) =
        headers.keys().find(|other| *other != name && folded(other.as_str()) == own)
    {
        return Err(malformed(&format!("`{alias}` may be taken for `{name}`")));
    }
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(malformed(&format!("the header `{name}` is there twice")));
    }
    let text = first.to_str().map_err(|_| malformed(&format!("`{name}` is not plain ASCII")))?;
    match (&param.field.ty, written) {
        (ty, Written::Json) => inner_json(&param.name, ty, text).map(Some),
        // To some readers a comma between quotes is a part of an item.
        (Type::Set(_), _) if text.contains('"') => {
            Err(malformed(&format!("`{name}` has a quotation mark in its list")))
        }
        (Type::Set(item), _) => {
            let items = text.split(',').map(|item| item.trim_matches([' ', '\t']));
            let values = items.map(|text| {
                if text.is_empty() {
                    return Err(malformed(&format!("`{name}` has an empty item in its list")));
                }
                scalar(&param.name, item, text)
            });
            Ok(Some(Value::Set(values.collect::<Result<_, _>>()?)))
        }
        (ty, _) => scalar(&param.name, ty, text).map(Some),
    }
}
