//! Sensitive fields of protobuf messages, by the names that they have in JSON or in their declaration.
//!
//! A message is read by its descriptor, and written again with what was understood of it: fields that the
//! descriptor does not know are gone. What stands in an `Any` is looked into, or the message is not passed.

use prost_reflect::{
    DynamicMessage, FieldDescriptor, MapKey, MessageDescriptor, ReflectMessage as _, Value,
    bytes::Bytes, prost::Message as _,
};

use super::automaton::{At, Automaton};

/// What a message looks like.
#[derive(Debug, Clone)]
pub struct Shape(MessageDescriptor);

/// A message that cannot be looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no message that its descriptor can read")]
pub struct Unreadable;

/// What is done to values.
pub trait Masking {
    /// Where sensitive places are.
    fn automaton(&self) -> &Automaton;
    /// Whether a number or boolean there is masked.
    fn is_masked(&mut self, at: At) -> bool;
    /// What stands in place of a text there; `None` if it stays.
    fn text(&mut self, text: &str, at: At) -> Option<String>;
}

/// Messages in `Any` in `Any`: deeper ones are not looked into.
const MOST_DEEP: u8 = 16;

impl Shape {
    /// Of a descriptor.
    pub fn new(descriptor: &MessageDescriptor) -> Self {
        Self(descriptor.clone())
    }

    /// The message without what is sensitive.
    pub fn masked(&self, bytes: &[u8], masking: &mut dyn Masking) -> Result<Vec<u8>, Unreadable> {
        let message = read(&self.0, bytes)?;
        Ok(masked(&message, Automaton::root(), masking, 0)?.encode_to_vec())
    }
}

fn read(descriptor: &MessageDescriptor, bytes: &[u8]) -> Result<DynamicMessage, Unreadable> {
    DynamicMessage::decode(descriptor.clone(), bytes).map_err(|_| Unreadable)
}

fn masked(
    message: &DynamicMessage,
    at: At,
    masking: &mut dyn Masking,
    depth: u8,
) -> Result<DynamicMessage, Unreadable> {
    let descriptor = message.descriptor();
    if descriptor.full_name() == "google.protobuf.Any" {
        return any(message, at, masking, depth);
    }
    let mut out = DynamicMessage::new(descriptor.clone());
    for (field, value) in message.fields() {
        let mut value = value.clone();
        // Two names lead to a field, and a path may have either.
        for next in places(masking.automaton(), &descriptor, &field, at) {
            value = masked_value(&value, next, masking, depth)?;
        }
        out.try_set_field(&field, value).map_err(|_| Unreadable)?;
    }
    Ok(out)
}

/// Where a field stands. Some messages are no objects in JSON, but what they hold.
fn places(
    automaton: &Automaton,
    message: &MessageDescriptor,
    field: &FieldDescriptor,
    at: At,
) -> Vec<At> {
    let is_itself = message.full_name().strip_prefix("google.protobuf.").is_some_and(|name| {
        matches!(name, "Struct" | "ListValue" | "Timestamp" | "Duration" | "FieldMask")
            || name.ends_with("Value")
    });
    if is_itself {
        return vec![at];
    }
    let json = automaton.member(at, field.json_name().as_bytes());
    let declared = automaton.member(at, field.name().as_bytes());
    if json == declared { vec![json] } else { vec![json, declared] }
}

fn masked_value(
    value: &Value,
    at: At,
    masking: &mut dyn Masking,
    depth: u8,
) -> Result<Value, Unreadable> {
    Ok(match value {
        Value::Message(message) => Value::Message(masked(message, at, masking, depth)?),
        Value::List(values) => {
            let masked = (0_u64..).zip(values).map(|(index, value)| {
                let next = masking.automaton().element(at, index);
                masked_value(value, next, masking, depth)
            });
            Value::List(masked.collect::<Result<_, _>>()?)
        }
        Value::Map(entries) => {
            let masked = entries.iter().map(|(key, value)| {
                let next = masking.automaton().member(at, name(key).as_bytes());
                Ok((key.clone(), masked_value(value, next, masking, depth)?))
            });
            Value::Map(masked.collect::<Result<_, Unreadable>>()?)
        }
        Value::String(text) => {
            Value::String(masking.text(text, at).unwrap_or_else(|| text.clone()))
        }
        Value::Bytes(bytes) => {
            let masked = match std::str::from_utf8(bytes) {
                Ok(text) => masking.text(text, at).map(|text| Bytes::from(text.into_bytes())),
                Err(_) => masking.is_masked(at).then(Bytes::new),
            };
            Value::Bytes(masked.unwrap_or_else(|| bytes.clone()))
        }
        scalar if !masking.is_masked(at) => scalar.clone(),
        Value::Bool(_) => Value::Bool(false),
        Value::I32(_) => Value::I32(0),
        Value::I64(_) => Value::I64(0),
        Value::U32(_) => Value::U32(0),
        Value::U64(_) => Value::U64(0),
        Value::F32(_) => Value::F32(0.0),
        Value::F64(_) => Value::F64(0.0),
        Value::EnumNumber(_) => Value::EnumNumber(0),
    })
}

fn name(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

/// A message of any type, which its set of descriptors must know.
fn any(
    message: &DynamicMessage,
    at: At,
    masking: &mut dyn Masking,
    depth: u8,
) -> Result<DynamicMessage, Unreadable> {
    let descriptor = message.descriptor();
    let field = |name: &str| message.get_field_by_name(name).map(std::borrow::Cow::into_owned);
    let (Some(Value::String(url)), Some(Value::Bytes(bytes))) = (field("type_url"), field("value"))
    else {
        return Err(Unreadable);
    };
    let mut out = DynamicMessage::new(descriptor.clone());
    if url.is_empty() && bytes.is_empty() {
        return Ok(out);
    }
    let name = url.rsplit('/').next().unwrap_or_default();
    let inner = descriptor.parent_pool().get_message_by_name(name).ok_or(Unreadable)?;
    if depth >= MOST_DEEP {
        return Err(Unreadable);
    }
    let inner = masked(&read(&inner, &bytes)?, at, masking, depth + 1)?.encode_to_vec();
    // Its name is one that is known: what stands before it may be anything.
    let url = format!("type.googleapis.com/{name}");
    for (name, value) in [("type_url", Value::String(url)), ("value", Value::Bytes(inner.into()))] {
        out.try_set_field_by_name(name, value).map_err(|_| Unreadable)?;
    }
    Ok(out)
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
