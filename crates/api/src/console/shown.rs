//! What people and services wrote, as a page shows it: escaped, kept to its own direction, and with
//! everything visible that could mislead.

use std::fmt::{self, Write as _};

use portcullis_model::misleads;

use crate::pages::entity;

/// A text of somebody else's. Writes markup: characters that change how the rest is read (controls,
/// direction marks, what has no width) are written out, a new line is a visible mark, and nothing of it
/// reaches beyond its own element.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl askama::filters::HtmlSafe for Shown<'_> {}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<bdi>")?;
        for c in self.0.chars() {
            match c {
                '\n' => f.write_str("<span class=\"hidden-character\">↵</span> ")?,
                c if misleads(c) => {
                    write!(f, "<span class=\"hidden-character\">U+{:04X}</span>", u32::from(c))?;
                }
                c => match entity(c) {
                    Some(entity) => f.write_str(entity)?,
                    None => f.write_char(c)?,
                },
            }
        }
        f.write_str("</bdi>")
    }
}

/// The same as plain text, for where no markup can be: titles, attributes, sentences.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if misleads(c) {
            let _ = write!(plain, "U+{:04X}", u32::from(c));
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e15_what_misleads_is_visible_and_markup_is_text() {
        let shown = Shown("a\u{202e}b\nc<script>\u{200b}").to_string();
        assert!(shown.contains("U+202E") && shown.contains("U+200B") && shown.contains('↵'));
        assert!(!shown.contains("<script>") && !shown.contains('\u{202e}'));
        assert!(shown.starts_with("<bdi>") && shown.ends_with("</bdi>"));
        assert_eq!(plain("a\u{202e}b\n"), "aU+202EbU+000A");
    }
}
