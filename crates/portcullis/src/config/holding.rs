//! `holding`: how many requests may wait at the gate for an approval.

use portcullis_proxy::HoldLimits;
use schemars::JsonSchema;
use serde::Serialize;

use super::{section::Field, size::Size};

/// Bounds on requests that wait. One more is refused at once.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Holding {
    /// Requests; default 1000.
    pub(crate) requests: usize,
    /// Requests at one service; default 500.
    pub(crate) per_service: usize,
    /// Requests of one principal; default 8, at most 32.
    pub(crate) per_principal: usize,
    /// Bytes of all their bodies; default `64MiB`.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) bytes: Size,
}

impl Default for Holding {
    fn default() -> Self {
        let HoldLimits { requests, per_service, per_principal, bytes } = HoldLimits::default();
        Self { requests, per_service, per_principal, bytes: Size::new(bytes) }
    }
}

impl Holding {
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        /// One principal has at most so many access requests open.
        const MOST_OF_ONE: usize = 32;
        const MOST: usize = 100_000;
        let mut section = field.section()?;
        let usual = Self::default();
        let requests = section.field("requests");
        let requests = requests.map_or(Some(usual.requests), |field| field.number(0..=MOST));
        let there = section.field("per_service");
        let there = there.map_or(Some(usual.per_service), |field| field.number(0..=MOST));
        let own = section.field("per_principal");
        let own = own.map_or(Some(usual.per_principal), |field| field.number(0..=MOST_OF_ONE));
        let bytes = section.field("bytes").map_or(Some(usual.bytes), |field| field.parsed());
        section.finish();
        Some(Self { requests: requests?, per_service: there?, per_principal: own?, bytes: bytes? })
    }

    /// As the gate takes them.
    pub(crate) fn limits(&self) -> HoldLimits {
        let Self { requests, per_service, per_principal, bytes } = *self;
        HoldLimits { requests, per_service, per_principal, bytes: bytes.bytes() }
    }
}
