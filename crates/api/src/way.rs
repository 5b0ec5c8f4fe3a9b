//! Ways, on the wire.

use portcullis_model::{Way, Window};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One thing that would open the gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Way)]
pub struct WayBody {
    /// The rule's policy id.
    pub rule: String,
    /// `automatic` or `review`.
    pub kind: String,
    /// How many distinct people must approve.
    pub reviews: u8,
    /// The longest window that it gives, like `30m`.
    #[schema(value_type = String)]
    pub max_duration: Window,
    /// How many requests a grant may carry; any number if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<u32>,
    /// A grant that nobody uses for so long ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub idle: Option<Window>,
    /// Asked ahead of time: what the gate will still check when the request comes, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to_be_checked: Vec<String>,
    /// How long a request may wait at the gate for it, like `2m`; only one that prefers to if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub hold: Option<Window>,
    /// Who could review, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reviewers: Vec<String>,
}

impl From<Way> for WayBody {
    fn from(way: Way) -> Self {
        Self {
            rule: way.rule.to_string(),
            kind: way.kind.as_str().to_owned(),
            reviews: way.reviews,
            max_duration: way.max_duration,
            max_uses: way.max_uses,
            idle: way.idle,
            to_be_checked: way.to_be_checked,
            hold: way.hold,
            reviewers: way.reviewers,
        }
    }
}

pub(crate) fn all(ways: Vec<Way>) -> Vec<WayBody> {
    ways.into_iter().map(WayBody::from).collect()
}
