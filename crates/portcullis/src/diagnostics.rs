//! Shows mistakes to people: file, line, the line itself, and what to do.

use std::{fmt::Write as _, path::Path};

use portcullis_policy::LoadError;

/// All `errors`, one block each, and how many they are. File names are shown below `base`.
pub(crate) fn render(errors: &[LoadError], base: &Path) -> String {
    let mut text = String::new();
    for error in errors {
        block(&mut text, "error", error, base);
    }
    let count = errors.len();
    let _infallible = writeln!(text, "{count} error{}", if count == 1 { "" } else { "s" });
    text
}

/// The same of what is no error, but most likely not meant.
pub(crate) fn warnings(warnings: &[LoadError], base: &Path) -> String {
    let mut text = String::new();
    for warning in warnings {
        block(&mut text, "warning", warning, base);
    }
    text
}

/// The same as the one reason why something failed.
pub(crate) fn error(errors: &[LoadError], base: &Path) -> anyhow::Error {
    anyhow::anyhow!(render(errors, base).trim_end().to_owned())
}

fn block(text: &mut String, what: &str, error: &LoadError, base: &Path) {
    let file = base.join(&error.file);
    let file = file.strip_prefix(".").unwrap_or(&file).display();
    let place = match (error.line, error.column) {
        (Some(line), Some(column)) => format!("{file}:{line}:{column}"),
        (Some(line), None) => format!("{file}:{line}"),
        (None, _) => file.to_string(),
    };
    let mut lines = vec![format!("{what}: {}", printable(&error.message)), format!("  at {place}")];
    if let (Some(line), Some(snippet)) = (error.line, &error.snippet) {
        lines.push(format!("{line:>5} | {}", printable(snippet)));
        if let Some(column) = error.column {
            lines.push(format!("      | {}^", " ".repeat(column.saturating_sub(1))));
        }
    }
    if let Some(help) = &error.help {
        lines.push(format!("  help: {}", printable(help)));
    }
    let _infallible = writeln!(text, "{}\n", lines.join("\n"));
}

/// A configuration file must not move a terminal's cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
