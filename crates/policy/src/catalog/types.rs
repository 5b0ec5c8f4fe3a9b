//! The types that parameters and bodies have in policies.
//!
//! They are the part of JSON Schema that Cedar can hold exactly. What does not map is left out, so
//! that a policy which names it fails validation instead of reading something that may not be there.

use std::{collections::BTreeMap, sync::Arc};

use super::names::Folds;

/// A type that a value of [`crate::Value`] can have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Type {
    /// Cedar `Bool`.
    Bool,
    /// Cedar `Long`: a whole number of 64 bits with a sign.
    Long,
    /// Cedar `String`.
    String,
    /// Cedar `decimal`: up to four fractional digits.
    Decimal,
    /// Cedar `Set`, of one type.
    Set(Box<Type>),
    /// Cedar record.
    Record(RecordType),
}

/// The declared properties of an object, or the declared parameters of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct RecordType {
    /// By name, as written in the document. Names may be anything that JSON allows.
    pub fields: BTreeMap<Arc<str>, Field>,
    pub(super) folds: Folds,
}

/// One property or parameter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Field {
    /// Its type.
    pub ty: Type,
    /// A value without it is not representable. What may be null is never required.
    pub required: bool,
}

impl RecordType {
    pub(super) fn of(fields: BTreeMap<Arc<str>, Field>) -> Self {
        Self { fields, folds: Folds::default() }
    }
}
