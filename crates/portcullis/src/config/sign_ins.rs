//! `identity.sign_ins`, and of each provider `step_up` and `recheck`: how long people stay signed in, and
//! when they are asked again.

use std::time::Duration;

use portcullis_model::Window;
use schemars::JsonSchema;
use serde::Serialize;

use super::section::Field;

/// How long people stay signed in.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct SignIns {
    /// A browser's sign-in that nobody uses: `1h`.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) idle: Window,
    /// Any sign-in, however much it is used: `12h`.
    #[schemars(with = "String")]
    #[serde(serialize_with = "super::as_text")]
    pub(crate) absolute: Window,
}

impl Default for SignIns {
    fn default() -> Self {
        Self { idle: Window::minutes(60), absolute: Window::minutes(12 * 60) }
    }
}

impl SignIns {
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let usual = Self::default();
        let idle = section.field("idle").map_or(Some(usual.idle), |field| field.parsed());
        let absolute = section.field("absolute");
        let absolute = absolute.map_or(Some(usual.absolute), |field| field.parsed());
        section.finish();
        Some(Self { idle: idle?, absolute: absolute? })
    }
}

/// How somebody is asked to authenticate anew, or better.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub(crate) struct StepUp {
    /// What `acr` must be one of then; any, if empty.
    pub(crate) acr_values: Vec<String>,
}

impl StepUp {
    pub(super) fn read(field: &Field<'_>) -> Self {
        let Some(mut section) = field.section() else { return Self::default() };
        let values = section.required("acr_values");
        section.finish();
        let plain = values.iter().flat_map(Field::list).filter_map(|value| {
            let text = value.text()?;
            // They are sent in one parameter, with spaces between them.
            if text.contains(char::is_whitespace) {
                let help = Some("write one entry per value".into());
                value.error(format!("`{text}` holds a space"), help);
                return None;
            }
            Some(text.to_owned())
        });
        Self { acr_values: plain.collect() }
    }
}

/// How often a provider is asked again: `15m`, or `never`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub(crate) struct Recheck(Option<Window>);

impl Serialize for Recheck {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(every) => serializer.collect_str(&every),
            None => serializer.serialize_str("never"),
        }
    }
}

impl Default for Recheck {
    fn default() -> Self {
        Self(Some(Window::minutes(15)))
    }
}

impl Recheck {
    /// The time between two questions.
    pub(crate) fn get(self) -> Option<Duration> {
        self.0.map(Window::get)
    }

    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        if field.as_text() == Some("never") {
            return Some(Self(None));
        }
        field.parsed().map(|every| Self(Some(every)))
    }
}
