//! What people see of a request's body.

use serde::{Deserialize, Serialize};

use crate::ClassName;

/// A body as it was sent, but for what is sensitive in it: that is masked for everybody who looks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownBody {
    /// What it is: `application/json`.
    pub content_type: String,
    /// The masked text.
    pub text: String,
    /// The classes that were looked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masked: Vec<ClassName>,
}
