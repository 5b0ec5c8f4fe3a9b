//! Events as a table (RFC 4180). Spreadsheets take cells for formulas by their first character; no cell begins with
//! one.

use super::columns::{self, COLUMNS, WHOLE};

/// What makes a formula of a cell, in ASCII and in full width (OWASP, "CSV Injection"), and what may be skipped
/// before it.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];

pub(crate) fn header() -> String {
    format!("{},{WHOLE}\r\n", COLUMNS.join(","))
}

/// The row of an event, with the end of its line.
pub(crate) fn row(json: &str) -> serde_json::Result<String> {
    let mut row = String::new();
    for text in columns::of(json)? {
        cell(&mut row, &text.unwrap_or_default());
        row.push(',');
    }
    cell(&mut row, json);
    row.push_str("\r\n");
    Ok(row)
}

/// Appends one cell; what would be a formula is text by the apostrophe before it.
pub fn cell(row: &mut String, text: &str) {
    let is_blank = |c: char| c.is_whitespace() || c.is_control();
    let first = text.trim_start_matches(is_blank).chars().next();
    let is_formula =
        first.is_some_and(|c| FORMULA.contains(&c)) || text.starts_with(['\t', '\r', '\n']);
    let is_quoted = text.contains([',', '"', '\r', '\n', ';', '\t']) || is_formula;
    if !is_quoted {
        row.push_str(text);
        return;
    }
    row.push('"');
    if is_formula {
        row.push('\'');
    }
    row.push_str(&text.replace('"', "\"\""));
    row.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> String {
        let mut row = String::new();
        cell(&mut row, text);
        row
    }

    #[test]
    fn no_cell_is_a_formula() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\r=1", "\u{ff1d}1", "\n=1"] {
            assert_eq!(one(text), format!("\"'{text}\""), "{text:?}");
        }
        for text in ["", "a=1", "/v1", "2026-11-22", "corp:ana", "Müller"] {
            assert_eq!(one(text), text);
        }
        assert_eq!(one("a \"b\", c"), "\"a \"\"b\"\", c\"");
        assert_eq!(one("two\nlines"), "\"two\nlines\"");
        assert_eq!(one("1;=2"), "\"1;=2\"");
    }

    #[test]
    fn a_row_has_a_cell_for_each_column() {
        let json = r#"{"seq":7,"time":"2026-11-22T12:00:00Z","principal":{"type":"User","id":"corp:ana"},"revealed":[{"class":"pci"},{"class":"pii"}],"masked":["card"],"path":"/v1"}"#;
        let quoted = json.replace('"', "\"\"");
        let expected = format!(
            "7,2026-11-22T12:00:00Z,,corp:ana,,,,,,,,,,pci pii,card,,,,/v1,,\"{quoted}\"\r\n"
        );
        assert_eq!(row(json).unwrap(), expected);
        assert_eq!(header().split(',').count(), 21);
    }
}
