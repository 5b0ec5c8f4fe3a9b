//! What is wrong with a bundle, and where.

use std::fmt;

/// One mistake. Loading reports all of them, not the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError {
    /// The file, as the source names it (relative to the configuration file).
    pub file: String,
    /// 1-based line, if it can be told.
    pub line: Option<usize>,
    /// 1-based column, in characters.
    pub column: Option<usize>,
    /// The offending line of text.
    pub snippet: Option<String>,
    /// What is wrong, in lower case, one line.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let (Some(_), Some(column)) = (self.line, self.column) {
            write!(f, ":{column}")?;
        }
        write!(f, ": {}", self.message)
    }
}
