//! Sensitive fields of protobuf messages, by the names that they have in JSON or in their declaration.
//!
//! A message is read by its descriptor, and written again with what was understood of it: fields that the
//! descriptor does not know are gone. What stands in an `Any` is looked into, or the message is not passed.

use std::{borrow::Cow, fmt::Display};

use prost_reflect::{
    DynamicMessage, MapKey, MessageDescriptor, ReflectMessage as _, Value, bytes::Bytes,
    prost::Message as _,
};

use self::weight::Weight;
use super::automaton::{At, Automaton};

mod weight;

/// What a message looks like.
#[derive(Debug, Clone)]
pub struct Shape(MessageDescriptor);

/// A message that cannot be looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no message that its descriptor can read")]
pub struct Unreadable;

/// What is done to values. Several names lead to a value, and so it may stand in several places at once.
pub trait Masking {
    /// Where sensitive places are.
    fn automaton(&self) -> &Automaton;
    /// Whether a boolean there is masked.
    fn is_masked(&mut self, at: &[At]) -> bool;
    /// Whether this number is masked there.
    fn is_masked_number(&mut self, number: &dyn Display, at: &[At]) -> bool;
    /// What stands in place of a text there; `None` if it stays.
    fn text(&mut self, text: &str, at: &[At]) -> Option<String>;
}

/// What stands in place of bytes that are no text.
const HIDDEN: &[u8] = b"***";

impl Shape {
    /// Of a descriptor.
    pub fn new(descriptor: &MessageDescriptor) -> Self {
        Self(descriptor.clone())
    }

    /// The message without what is sensitive.
    pub fn masked(&self, bytes: &[u8], masking: &mut dyn Masking) -> Result<Vec<u8>, Unreadable> {
        let mut walk = Walk { masking, weight: Weight::default() };
        let message = walk.read(&self.0, bytes, 0)?;
        Ok(walk.message(message, &[Automaton::root()], 0)?.encode_to_vec())
    }
}

struct Walk<'m> {
    masking: &'m mut dyn Masking,
    /// What more the message may hold.
    weight: Weight,
}

impl Walk<'_> {
    /// What is too heavy is not read at all.
    fn read(
        &mut self,
        descriptor: &MessageDescriptor,
        bytes: &[u8],
        depth: usize,
    ) -> Result<DynamicMessage, Unreadable> {
        self.weight.take(descriptor, bytes, depth)?;
        DynamicMessage::decode(descriptor.clone(), bytes).map_err(|_| Unreadable)
    }

    fn message(
        &mut self,
        mut message: DynamicMessage,
        at: &[At],
        depth: usize,
    ) -> Result<DynamicMessage, Unreadable> {
        let descriptor = message.descriptor();
        if descriptor.full_name() == "google.protobuf.Any" {
            return self.any(message, at, depth);
        }
        // Some messages are no objects in JSON, but what they hold. Paths may say either.
        let is_itself = is_itself(&descriptor);
        let mut out = DynamicMessage::new(descriptor);
        let mut next = Vec::with_capacity(at.len() + 1);
        for (field, value) in message.take_fields() {
            next.clear();
            if is_itself {
                next.extend_from_slice(at);
            }
            self.step(at, &mut next, |automaton, at| {
                automaton.member(at, field.json_name().as_bytes())
            });
            if field.json_name() != field.name() {
                self.step(at, &mut next, |automaton, at| {
                    automaton.member(at, field.name().as_bytes())
                });
            }
            let value = self.value(value, &next, depth)?;
            out.try_set_field(&field, value).map_err(|_| Unreadable)?;
        }
        Ok(out)
    }

    /// Adds to `next` where one step leads from all places of `at`, each once.
    fn step(&self, at: &[At], next: &mut Vec<At>, step: impl Fn(&Automaton, At) -> At) {
        for at in at {
            let place = step(self.masking.automaton(), *at);
            if !next.contains(&place) {
                next.push(place);
            }
        }
    }

    fn value(&mut self, mut value: Value, at: &[At], depth: usize) -> Result<Value, Unreadable> {
        match &mut value {
            Value::Message(_) => {
                let Value::Message(message) = value else { return Err(Unreadable) };
                return Ok(Value::Message(self.message(message, at, depth + 1)?));
            }
            Value::List(values) => {
                let mut next = Vec::with_capacity(at.len());
                for (index, value) in (0_u64..).zip(values) {
                    next.clear();
                    self.step(at, &mut next, |automaton, at| automaton.element(at, index));
                    *value = self.value(taken(value), &next, depth)?;
                }
            }
            Value::Map(entries) => {
                let mut next = Vec::with_capacity(at.len());
                for (key, value) in entries {
                    next.clear();
                    let name = name(key);
                    self.step(at, &mut next, |automaton, at| automaton.member(at, name.as_bytes()));
                    *value = self.value(taken(value), &next, depth + 1)?;
                }
            }
            Value::String(text) => {
                if let Some(masked) = self.masking.text(text, at) {
                    *text = masked;
                }
            }
            Value::Bytes(bytes) => {
                // What is no text may still have some in it.
                let is_text = std::str::from_utf8(bytes).is_ok();
                let masked = self.masking.text(&String::from_utf8_lossy(bytes), at);
                if let Some(masked) = masked {
                    *bytes = if is_text { masked.into() } else { Bytes::from_static(HIDDEN) };
                }
            }
            Value::Bool(value) => *value &= !self.masking.is_masked(at),
            Value::EnumNumber(value) if self.masking.is_masked(at) => *value = 0,
            Value::EnumNumber(_) => {}
            Value::I32(value) => self.number(value, at),
            Value::I64(value) => self.number(value, at),
            Value::U32(value) => self.number(value, at),
            Value::U64(value) => self.number(value, at),
            Value::F32(value) => self.number(value, at),
            Value::F64(value) => self.number(value, at),
        }
        Ok(value)
    }

    fn number<N: Display + Default>(&mut self, number: &mut N, at: &[At]) {
        if self.masking.is_masked_number(&*number, at) {
            *number = N::default();
        }
    }

    /// A message of any type, which its set of descriptors must know.
    fn any(
        &mut self,
        mut message: DynamicMessage,
        at: &[At],
        depth: usize,
    ) -> Result<DynamicMessage, Unreadable> {
        let descriptor = message.descriptor();
        let mut out = DynamicMessage::new(descriptor.clone());
        let url = message.take_field_by_name("type_url");
        let bytes = message.take_field_by_name("value");
        let (url, bytes) = match (url, bytes) {
            (None, None) => return Ok(out),
            (Some(Value::String(url)), None) => (url, Bytes::new()),
            (Some(Value::String(url)), Some(Value::Bytes(bytes))) => (url, bytes),
            _ => return Err(Unreadable),
        };
        if url.is_empty() && bytes.is_empty() {
            return Ok(out);
        }
        let name = url.rsplit('/').next().unwrap_or_default();
        let inner = descriptor.parent_pool().get_message_by_name(name).ok_or(Unreadable)?;
        // In JSON, what it holds may be its own members, or one that is called `value`.
        let mut places = at.to_vec();
        self.step(at, &mut places, |automaton, at| automaton.member(at, b"value"));
        let inner = self.read(&inner, &bytes, depth + 1)?;
        // What it holds is read; whatever stands in it in turn needs the room.
        drop(bytes);
        let inner = self.message(inner, &places, depth + 1)?.encode_to_vec();
        // Its name is one that is known: what stands before it may be anything.
        let url = format!("type.googleapis.com/{name}");
        for (name, value) in
            [("type_url", Value::String(url)), ("value", Value::Bytes(inner.into()))]
        {
            out.try_set_field_by_name(name, value).map_err(|_| Unreadable)?;
        }
        Ok(out)
    }
}

fn taken(value: &mut Value) -> Value {
    std::mem::replace(value, Value::Bool(false))
}

/// Whether in JSON a message is what it holds.
fn is_itself(message: &MessageDescriptor) -> bool {
    message.full_name().strip_prefix("google.protobuf.").is_some_and(|name| {
        matches!(name, "Struct" | "ListValue" | "Timestamp" | "Duration" | "FieldMask")
            || name.ends_with("Value")
    })
}

fn name(key: &MapKey) -> Cow<'_, str> {
    match key {
        MapKey::Bool(key) => key.to_string().into(),
        MapKey::I32(key) => key.to_string().into(),
        MapKey::I64(key) => key.to_string().into(),
        MapKey::U32(key) => key.to_string().into(),
        MapKey::U64(key) => key.to_string().into(),
        MapKey::String(key) => key.into(),
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
