//! `access_requests`: how long they wait.

use portcullis_model::Window;
use schemars::JsonSchema;
use serde::Serialize;

use super::section::Field;

/// Access requests that wait for people.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct AccessRequests {
    /// One that nobody answers expires after so long: `1h`.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) expire_after: Window,
}

impl Default for AccessRequests {
    fn default() -> Self {
        Self { expire_after: Window::minutes(60) }
    }
}

impl AccessRequests {
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let usual = Self::default();
        let expire_after = section.field("expire_after");
        let expire_after = expire_after.map_or(Some(usual.expire_after), |field| field.parsed());
        section.finish();
        Some(Self { expire_after: expire_after? })
    }
}
