//! Where in a file something is, for people to find it.

use crate::LoadError;

/// One file's text with its name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct File<'a> {
    pub(crate) path: &'a str,
    pub(crate) text: &'a str,
}

impl File<'_> {
    /// A mistake at byte `offset`.
    pub(crate) fn error(&self, offset: usize, message: impl Into<String>) -> LoadError {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.text.get(start..).and_then(|rest| rest.lines().next());
        LoadError {
            file: self.path.to_owned(),
            line: Some(before.matches('\n').count() + 1),
            column: before.get(start..).map(|text| text.chars().count() + 1),
            snippet: line.map(|line| line.chars().take(SNIPPET).collect()),
            message: one_line(&message.into()),
            help: None,
        }
    }

    /// A mistake of the whole file.
    pub(crate) fn error_of_file(&self, message: impl Into<String>) -> LoadError {
        LoadError {
            file: self.path.to_owned(),
            line: None,
            column: None,
            snippet: None,
            message: one_line(&message.into()),
            help: None,
        }
    }
}

impl LoadError {
    /// The same with advice.
    #[must_use]
    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(one_line(&help.into()));
        self
    }
}

/// A line of a minified file is no help to anybody.
const SNIPPET: usize = 200;

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_and_in_characters() {
        let file = File { path: "a.cedar", text: "// é\n  né x;\n" };
        let error = file.error(file.text.find('x').unwrap(), "what\n is this");
        assert_eq!((error.line, error.column), (Some(2), Some(6)));
        assert_eq!(error.snippet.as_deref(), Some("  né x;"));
        assert_eq!(error.message, "what is this");
    }
}
