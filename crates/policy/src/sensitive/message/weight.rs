//! How much a message holds, told by its bytes alone: what it becomes in memory is many times as large, and a
//! reader of what is nested goes as deep.

use prost_reflect::{Kind, MessageDescriptor};

use super::Unreadable;

/// Values in one message, and in those in it.
const MOST_VALUES: usize = 512 * 1024;
/// Messages in messages, in `Any` or not.
const MOST_DEEP: usize = 100;

/// What more a message may hold.
pub(super) struct Weight {
    values: usize,
}

impl Default for Weight {
    fn default() -> Self {
        Self { values: MOST_VALUES }
    }
}

impl Weight {
    /// Takes what `bytes` hold, at this depth.
    pub(super) fn take(
        &mut self,
        descriptor: &MessageDescriptor,
        mut bytes: &[u8],
        depth: usize,
    ) -> Result<(), Unreadable> {
        self.fields(Some(descriptor), &mut bytes, None, depth)
    }

    /// All fields, up to the end of the group of this number, if it is one.
    fn fields(
        &mut self,
        descriptor: Option<&MessageDescriptor>,
        bytes: &mut &[u8],
        group: Option<u64>,
        depth: usize,
    ) -> Result<(), Unreadable> {
        if depth > MOST_DEEP {
            return Err(Unreadable);
        }
        while !bytes.is_empty() {
            let tag = varint(bytes)?;
            let number = tag >> 3;
            self.spend(1)?;
            match tag & 7 {
                0 => {
                    varint(bytes)?;
                }
                1 => {
                    cut(bytes, 8)?;
                }
                2 => {
                    let length = usize::try_from(varint(bytes)?).map_err(|_| Unreadable)?;
                    let mut inner = cut(bytes, length)?;
                    match kind(descriptor, number) {
                        Some(Kind::Message(message)) => {
                            self.fields(Some(&message), &mut inner, None, depth + 1)?;
                        }
                        Some(kind) => self.spend(packed(&kind, inner))?,
                        None => {}
                    }
                }
                3 => {
                    let kind = kind(descriptor, number);
                    let inner = kind.as_ref().and_then(Kind::as_message);
                    self.fields(inner, bytes, Some(number), depth + 1)?;
                }
                4 if group == Some(number) => return Ok(()),
                5 => {
                    cut(bytes, 4)?;
                }
                _ => return Err(Unreadable),
            }
        }
        if group.is_none() { Ok(()) } else { Err(Unreadable) }
    }

    fn spend(&mut self, values: usize) -> Result<(), Unreadable> {
        self.values = self.values.checked_sub(values).ok_or(Unreadable)?;
        Ok(())
    }
}

/// What a field holds, or an extension of this number.
fn kind(descriptor: Option<&MessageDescriptor>, number: u64) -> Option<Kind> {
    let (descriptor, number) = (descriptor?, u32::try_from(number).ok()?);
    let field = descriptor.get_field(number).map(|field| field.kind());
    field.or_else(|| descriptor.get_extension(number).map(|extension| extension.kind()))
}

/// How many values there are, if these bytes are a list of them.
fn packed(kind: &Kind, bytes: &[u8]) -> usize {
    match kind {
        Kind::String | Kind::Bytes | Kind::Message(_) => 0,
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => bytes.len() / 8,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => bytes.len() / 4,
        _ => bytes.iter().filter(|byte| **byte < 0x80).count(),
    }
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Unreadable> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(Unreadable)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if *byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Unreadable)
}

fn cut<'b>(bytes: &mut &'b [u8], length: usize) -> Result<&'b [u8], Unreadable> {
    let (inner, rest) = bytes.split_at_checked(length).ok_or(Unreadable)?;
    *bytes = rest;
    Ok(inner)
}
