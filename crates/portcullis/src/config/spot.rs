//! Where the configuration names a file that is opened only once the whole of it is read.

use portcullis_policy::LoadError;

use super::section::Field;

/// A place in the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Spot(Box<LoadError>);

impl Spot {
    pub(super) fn of(field: &Field<'_>) -> Self {
        Self(Box::new(field.mistake(String::new(), None)))
    }

    /// A mistake there.
    pub(crate) fn mistake(&self, message: String, help: Option<String>) -> LoadError {
        LoadError { message, help, ..(*self.0).clone() }
    }

    /// Takes what must not be shown out of the line.
    pub(super) fn hide(&mut self, secrets: &[String]) {
        for secret in secrets {
            self.0.snippet = self.0.snippet.take().map(|text| text.replace(secret, "…"));
        }
    }
}
