//! `shutdown`: how the process ends.

use portcullis_model::Window;
use schemars::JsonSchema;
use serde::Serialize;

use super::section::Field;

/// How the process ends when it is told to.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub(crate) struct Shutdown {
    /// How long requests in progress and live connections may take to finish; what is left is told why and
    /// cut. Default `30s`, at most `1h`.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) drain: Window,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { drain: "30s".parse().unwrap_or(Window::minutes(1)) }
    }
}

impl Shutdown {
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let drain = section.field("drain");
        let drain = drain.map_or(Some(Self::default().drain), |field| {
            let drain: Window = field.parsed()?;
            if drain > Window::minutes(60) {
                field.error(format!("`drain` is 1h at most, and not {drain}"), None);
                return None;
            }
            Some(drain)
        });
        section.finish();
        Some(Self { drain: drain? })
    }
}
