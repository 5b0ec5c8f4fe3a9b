//! Messages of protobuf as records of Cedar: what maps, and a strict reader of it.
//!
//! Readers of protobuf forgive: the last of two values counts, parts of a message are merged, a number that
//! is too large is cut, a field of the wrong kind is unknown. Each is a second reading, and refused here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use prost_reflect::{Cardinality, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};

use super::super::{
    InspectError,
    types::{Field, RecordType, Type},
};
use crate::context::{Record, Value};

/// Messages inside messages.
const MAX_DEPTH: usize = 64;

/// Fields and elements of one message, and of those in it; what stands for absent ones counts too, or
/// two bytes could ask for thousands of them.
const MAX_VALUES: usize = 100_000;

/// Fields that one method's message may unfold to: a few declarations can otherwise make millions.
const MAX_FIELDS: usize = 4_096;

/// How to read one message.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    /// By number. Declared fields that do not map are there too: their kind on the wire is checked.
    fields: BTreeMap<u32, Slot>,
}

#[derive(Debug, Clone)]
struct Slot {
    name: Arc<str>,
    wire: Wire,
    is_list: bool,
    /// `None`: it does not map, and stays out.
    reading: Option<Reading>,
    /// What stands for it where the wire says nothing; `None`: it is left out.
    absent: Option<Value>,
    /// Without it the message is no message of its type.
    required: bool,
}

/// What the wire holds of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Varint,
    Eight,
    Bytes,
    Group,
    Four,
}

/// What a value of the wire means.
#[derive(Debug, Clone)]
enum Reading {
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Text,
    /// Names by number.
    Enum(Arc<BTreeMap<i32, Arc<str>>>),
    Message(Plan),
}

/// How to read `message`, and its type; `None` if nothing of it maps.
pub(super) fn plan(message: &MessageDescriptor) -> Result<Option<(Plan, RecordType)>, String> {
    Planner { open: Vec::new(), left: MAX_FIELDS }.message(message)
}

struct Planner {
    /// Messages being read, to find recursion.
    open: Vec<String>,
    left: usize,
}

impl Planner {
    fn message(
        &mut self,
        message: &MessageDescriptor,
    ) -> Result<Option<(Plan, RecordType)>, String> {
        let name = message.full_name();
        // What it holds is whatever its sender says.
        let is_any = name == "google.protobuf.Any";
        if is_any || self.open.len() == MAX_DEPTH || self.open.iter().any(|open| open == name) {
            return Ok(None);
        }
        self.open.push(name.to_owned());
        let (mut plan, mut ty) = (Plan::default(), RecordType::default());
        for field in message.fields() {
            let too_many = || format!("`{name}` unfolds to more than {MAX_FIELDS} fields");
            self.left = self.left.checked_sub(1).ok_or_else(too_many)?;
            let (slot, mapped) = self.field(&field)?;
            if let Some(mapped) = mapped {
                ty.fields.insert(Arc::clone(&slot.name), mapped);
            }
            plan.fields.insert(field.number(), slot);
        }
        self.open.pop();
        Ok((!ty.fields.is_empty()).then_some((plan, ty)))
    }

    fn field(&mut self, field: &FieldDescriptor) -> Result<(Slot, Option<Field>), String> {
        let is_chosen = field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic());
        let found = if field.is_map() || field.is_group() || is_chosen {
            None
        } else {
            self.kind(&field.kind())?
        };
        let is_list = field.is_list();
        let mut slot = Slot {
            name: field.name().into(),
            wire: wire(field),
            is_list: is_list || field.is_map(),
            reading: None,
            absent: None,
            required: field.cardinality() == Cardinality::Required,
        };
        let Some((reading, ty)) = found else { return Ok((slot, None)) };
        slot.absent = if is_list {
            Some(Value::Set(Vec::new()))
        } else if field.supports_presence() {
            None
        } else {
            reading.zero()
        };
        slot.reading = Some(reading);
        let required = slot.required || slot.absent.is_some();
        let ty = if is_list { Type::Set(Box::new(ty)) } else { ty };
        Ok((slot, Some(Field { ty, required })))
    }

    fn kind(&mut self, kind: &Kind) -> Result<Option<(Reading, Type)>, String> {
        Ok(Some(match kind {
            Kind::Bool => (Reading::Bool, Type::Bool),
            Kind::String => (Reading::Text, Type::String),
            Kind::Int32 => (Reading::Int32, Type::Long),
            Kind::Int64 => (Reading::Int64, Type::Long),
            Kind::Uint32 => (Reading::Uint32, Type::Long),
            Kind::Uint64 => (Reading::Uint64, Type::Long),
            Kind::Sint32 => (Reading::Sint32, Type::Long),
            Kind::Sint64 => (Reading::Sint64, Type::Long),
            Kind::Fixed32 => (Reading::Fixed32, Type::Long),
            Kind::Fixed64 => (Reading::Fixed64, Type::Long),
            Kind::Sfixed32 => (Reading::Sfixed32, Type::Long),
            Kind::Sfixed64 => (Reading::Sfixed64, Type::Long),
            Kind::Enum(ty) => match names(ty) {
                Some(names) => (Reading::Enum(Arc::new(names)), Type::String),
                None => return Ok(None),
            },
            Kind::Message(message) => match self.message(message)? {
                Some((plan, ty)) => (Reading::Message(plan), Type::Record(ty)),
                None => return Ok(None),
            },
            // No float is a decimal, bytes are no text: what does not map exactly does not map.
            Kind::Float | Kind::Double | Kind::Bytes => return Ok(None),
        }))
    }
}

/// `None` if a number has two names: a policy that asks for the second would never match.
fn names(ty: &EnumDescriptor) -> Option<BTreeMap<i32, Arc<str>>> {
    let mut names = BTreeMap::new();
    for value in &ty.enum_descriptor_proto().value {
        if names.insert(value.number(), Arc::from(value.name())).is_some() {
            return None;
        }
    }
    Some(names)
}

fn wire(field: &FieldDescriptor) -> Wire {
    match field.kind() {
        _ if field.is_group() => Wire::Group,
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => Wire::Eight,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => Wire::Four,
        Kind::String | Kind::Bytes | Kind::Message(_) => Wire::Bytes,
        Kind::Bool
        | Kind::Int32
        | Kind::Int64
        | Kind::Uint32
        | Kind::Uint64
        | Kind::Sint32
        | Kind::Sint64
        | Kind::Enum(_) => Wire::Varint,
    }
}

/// One value of the wire.
#[derive(Debug, Clone, Copy)]
enum Raw<'a> {
    Varint(u64),
    Eight([u8; 8]),
    Bytes(&'a [u8]),
    Group,
    Four([u8; 4]),
}

impl Raw<'_> {
    const fn wire(&self) -> Wire {
        match self {
            Self::Varint(_) => Wire::Varint,
            Self::Eight(_) => Wire::Eight,
            Self::Bytes(_) => Wire::Bytes,
            Self::Group => Wire::Group,
            Self::Four(_) => Wire::Four,
        }
    }
}

impl Plan {
    /// What policies read of the message `bytes`.
    pub(super) fn record(&self, bytes: &[u8]) -> Result<Record, InspectError> {
        let mut values = MAX_VALUES;
        self.read("", bytes, &mut values)
    }

    fn read(&self, at: &str, bytes: &[u8], values: &mut usize) -> Result<Record, InspectError> {
        let mut record = Record::new();
        // Of fields that do not map: what must be there once.
        let mut seen: BTreeSet<u32> = BTreeSet::new();
        let mut input = Rest { bytes };
        while !input.bytes.is_empty() {
            let (number, raw) = input.field(0)?;
            let Some(slot) = self.fields.get(&number) else { continue };
            let twice = || malformed(&slot.within(at), "is there twice");
            if let (true, Wire::Varint | Wire::Eight | Wire::Four, Raw::Bytes(packed)) =
                (slot.is_list, slot.wire, raw)
            {
                let mut packed = Rest { bytes: packed };
                while !packed.bytes.is_empty() {
                    let raw = packed.value(slot.wire)?;
                    slot.push(at, raw, &mut record, values)?;
                }
                continue;
            }
            if raw.wire() != slot.wire {
                return Err(malformed(&slot.within(at), "is not of its declared kind"));
            }
            if slot.is_list {
                slot.push(at, raw, &mut record, values)?;
            } else if slot.reading.is_some() {
                let value = slot.value(at, raw, values)?;
                if let Some(value) = value
                    && record.insert(Arc::clone(&slot.name), value).is_some()
                {
                    return Err(twice());
                }
            } else if slot.required && !seen.insert(number) {
                return Err(twice());
            }
        }
        for (number, slot) in &self.fields {
            match &slot.absent {
                _ if record.contains_key(&slot.name) => {}
                Some(value) => {
                    spend(values)?;
                    record.insert(Arc::clone(&slot.name), value.clone());
                }
                None if slot.required && !seen.contains(number) => {
                    return Err(not_representable(&slot.within(at), "is required and missing"));
                }
                None => {}
            }
        }
        Ok(record)
    }
}

/// One more value.
fn spend(values: &mut usize) -> Result<(), InspectError> {
    let too_many =
        || InspectError::Malformed(format!("there are more than {MAX_VALUES} values in the body"));
    *values = values.checked_sub(1).ok_or_else(too_many)?;
    Ok(())
}

impl Slot {
    fn within(&self, at: &str) -> String {
        if at.is_empty() { self.name.as_ref().to_owned() } else { format!("{at}.{}", self.name) }
    }

    fn push(
        &self,
        at: &str,
        raw: Raw<'_>,
        record: &mut Record,
        values: &mut usize,
    ) -> Result<(), InspectError> {
        let Some(value) = self.value(at, raw, values)? else { return Ok(()) };
        let list = record.entry(Arc::clone(&self.name));
        if let Value::Set(list) = list.or_insert_with(|| Value::Set(Vec::new())) {
            list.push(value);
        }
        Ok(())
    }

    fn value(
        &self,
        at: &str,
        raw: Raw<'_>,
        values: &mut usize,
    ) -> Result<Option<Value>, InspectError> {
        let Some(reading) = &self.reading else { return Ok(None) };
        spend(values)?;
        let cut = || malformed(&self.within(at), "does not fit its declared kind");
        let value = match (reading, raw) {
            (Reading::Bool, Raw::Varint(0)) => Value::Bool(false),
            (Reading::Bool, Raw::Varint(1)) => Value::Bool(true),
            (Reading::Int64, Raw::Varint(raw)) => Value::Long(raw.cast_signed()),
            (Reading::Int32, Raw::Varint(raw)) => {
                let whole = i32::try_from(raw.cast_signed()).map_err(|_| cut())?;
                Value::Long(whole.into())
            }
            (Reading::Uint32, Raw::Varint(raw)) => {
                Value::Long(u32::try_from(raw).map_err(|_| cut())?.into())
            }
            (Reading::Sint32, Raw::Varint(raw)) => {
                let raw = u32::try_from(raw).map_err(|_| cut())?;
                Value::Long(unfolded(raw.into()))
            }
            (Reading::Sint64, Raw::Varint(raw)) => Value::Long(unfolded(raw)),
            (Reading::Uint64, Raw::Varint(raw)) => self.long(at, raw)?,
            (Reading::Fixed64, Raw::Eight(raw)) => self.long(at, u64::from_le_bytes(raw))?,
            (Reading::Sfixed64, Raw::Eight(raw)) => Value::Long(i64::from_le_bytes(raw)),
            (Reading::Fixed32, Raw::Four(raw)) => Value::Long(u32::from_le_bytes(raw).into()),
            (Reading::Sfixed32, Raw::Four(raw)) => Value::Long(i32::from_le_bytes(raw).into()),
            (Reading::Enum(names), Raw::Varint(raw)) => {
                let number = i32::try_from(raw.cast_signed()).map_err(|_| cut())?;
                let unknown = || not_representable(&self.within(at), "is no value of its enum");
                Value::String(names.get(&number).ok_or_else(unknown)?.as_ref().to_owned())
            }
            (Reading::Text, Raw::Bytes(raw)) => {
                let text = std::str::from_utf8(raw);
                Value::String(text.map_err(|_| malformed(&self.within(at), "is not UTF-8"))?.into())
            }
            (Reading::Message(plan), Raw::Bytes(raw)) => {
                Value::Record(plan.read(&self.within(at), raw, values)?)
            }
            _ => return Err(cut()),
        };
        Ok(Some(value))
    }

    fn long(&self, at: &str, raw: u64) -> Result<Value, InspectError> {
        let too_large = |_| not_representable(&self.within(at), "is over the largest whole number");
        i64::try_from(raw).map(Value::Long).map_err(too_large)
    }
}

impl Reading {
    /// What proto3 says a field is that the wire does not have.
    fn zero(&self) -> Option<Value> {
        match self {
            Self::Bool => Some(Value::Bool(false)),
            Self::Int32
            | Self::Int64
            | Self::Uint32
            | Self::Uint64
            | Self::Sint32
            | Self::Sint64
            | Self::Fixed32
            | Self::Fixed64
            | Self::Sfixed32
            | Self::Sfixed64 => Some(Value::Long(0)),
            Self::Text => Some(Value::String(String::new())),
            Self::Enum(names) => names.get(&0).map(|name| Value::String(name.as_ref().to_owned())),
            Self::Message(_) => None,
        }
    }
}

/// Zigzag: 0, -1, 1, -2.
fn unfolded(raw: u64) -> i64 {
    (raw >> 1).cast_signed() ^ -((raw & 1).cast_signed())
}

/// The rest of a message.
struct Rest<'a> {
    bytes: &'a [u8],
}

impl<'a> Rest<'a> {
    /// The number of the next field, and what it holds; groups are passed over.
    fn field(&mut self, depth: usize) -> Result<(u32, Raw<'a>), InspectError> {
        let (number, kind) = self.tag()?;
        let wire = match kind {
            0 => Wire::Varint,
            1 => Wire::Eight,
            2 => Wire::Bytes,
            3 => {
                self.skip_group(number, depth)?;
                return Ok((number, Raw::Group));
            }
            5 => Wire::Four,
            _ => return Err(broken()),
        };
        Ok((number, self.value(wire)?))
    }

    fn skip_group(&mut self, number: u32, depth: usize) -> Result<(), InspectError> {
        if depth == MAX_DEPTH {
            return Err(broken());
        }
        loop {
            let before = self.bytes;
            let (inner, kind) = self.tag()?;
            if kind == 4 {
                return if inner == number { Ok(()) } else { Err(broken()) };
            }
            self.bytes = before;
            self.field(depth + 1)?;
        }
    }

    fn tag(&mut self) -> Result<(u32, u32), InspectError> {
        let tag = u32::try_from(self.varint()?).map_err(|_| broken())?;
        let number = tag >> 3;
        if number == 0 { Err(broken()) } else { Ok((number, tag & 7)) }
    }

    fn value(&mut self, wire: Wire) -> Result<Raw<'a>, InspectError> {
        match wire {
            Wire::Varint => self.varint().map(Raw::Varint),
            Wire::Eight => self.array().map(Raw::Eight),
            Wire::Four => self.array().map(Raw::Four),
            Wire::Bytes => {
                let length = usize::try_from(self.varint()?).map_err(|_| broken())?;
                self.take(length).map(Raw::Bytes)
            }
            Wire::Group => Err(broken()),
        }
    }

    fn varint(&mut self) -> Result<u64, InspectError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.bytes.split_first().ok_or_else(broken)?;
            self.bytes = rest;
            let low = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit: readers cut off the others.
            if shift == 63 && low > 1 {
                return Err(broken());
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(broken())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], InspectError> {
        self.take(N)?.try_into().map_err(|_| broken())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], InspectError> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or_else(broken)?;
        self.bytes = rest;
        Ok(taken)
    }
}

fn broken() -> InspectError {
    InspectError::Malformed("the body is no message of protobuf".to_owned())
}

fn malformed(at: &str, what: &str) -> InspectError {
    InspectError::Malformed(format!("`{at}` {what}"))
}

fn not_representable(at: &str, what: &str) -> InspectError {
    InspectError::NotRepresentable(format!("`{at}` {what}"))
}
