//! Where in a document a value is, in JSONPath (RFC 9535).

use std::{fmt, str::FromStr};

/// One path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(String);

/// A text that is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a path starts with `$`, like $.card.number")]
pub struct InvalidPath;

impl FromStr for Path {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        let rest = text.strip_prefix('$').filter(|rest| !rest.is_empty());
        rest.map(|_| Self(text.to_owned())).ok_or(InvalidPath)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
