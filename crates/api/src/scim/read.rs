//! Reading attributes: names whatever their case (RFC 7643, 2.1), types strictly.

use serde_json::{Map, Value};

use super::{Answer, bad};

pub(super) type Attributes = Map<String, Value>;

/// The value of an attribute; `null` is none (RFC 7643, 2.5).
pub(super) fn get<'a>(from: &'a Attributes, name: &str) -> Option<&'a Value> {
    let found = from.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value).filter(|value| !value.is_null())
}

pub(super) fn text(from: &Attributes, name: &str) -> Answer<Option<String>> {
    match get(from, name) {
        None => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(bad("invalidValue", format!("`{name}` must be text"))),
    }
}

/// `true` and `false`; as text too, as one large provider sends them.
pub(super) fn flag(from: &Attributes, name: &str) -> Answer<Option<bool>> {
    match get(from, name) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
        Some(_) => Err(bad("invalidValue", format!("`{name}` must be true or false"))),
    }
}

pub(super) fn object(from: &Attributes, name: &str) -> Answer<Attributes> {
    match get(from, name) {
        None => Ok(Attributes::new()),
        Some(Value::Object(object)) => Ok(object.clone()),
        Some(_) => Err(bad("invalidValue", format!("`{name}` must be an object"))),
    }
}

pub(super) fn objects(from: &Attributes, name: &str) -> Answer<Vec<Attributes>> {
    let wrong = || bad("invalidValue", format!("`{name}` must be a list of objects"));
    match get(from, name) {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) => {
            list.iter().map(|one| one.as_object().cloned().ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}

/// A resource says which schema it is of.
pub(super) fn check_schema(from: &Attributes, schema: &str) -> Answer<()> {
    let listed = get(from, "schemas").and_then(Value::as_array);
    if listed.is_some_and(|schemas| schemas.iter().any(|one| one == schema)) {
        return Ok(());
    }
    Err(bad("invalidValue", format!("`schemas` must list {schema}")))
}
