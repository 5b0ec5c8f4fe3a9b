//! Text that other people wrote, shown so that it can be nothing else: what breaks a line, turns its
//! direction or cannot be seen is spelt out, and what is cut says so.
//!
//! It stands in `text` elements of rich text only, where Slack reads no markup, no mention and no link;
//! outside of those `&`, `<` and `>` are escaped as Slack wants it.

use std::fmt::Write;

use portcullis_model::misleads;

/// `text`, at most `most` characters of it, and how many there were if it was cut.
pub(super) fn plain(text: &str, most: usize) -> (String, Option<usize>) {
    let mut shown = String::new();
    let mut count = 0;
    for c in text.chars() {
        count += 1;
        if count > most {
            continue;
        }
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            c if is_unseen(c) => {
                let _never_fails = write!(shown, "\\u{{{:x}}}", u32::from(c));
            }
            c => shown.push(c),
        }
    }
    (shown, (count > most).then_some(count))
}

/// On one line of a message: cut with an ellipsis and the word for it.
pub(super) fn line(text: &str, most: usize) -> String {
    match plain(text, most) {
        (shown, None) => shown,
        (shown, Some(all)) => format!("{shown}… [truncated: {most} of {all} characters]"),
    }
}

/// For the text beside blocks, which Slack reads as markup.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// What misleads, and what is there and not seen: fillers, and what chooses how others look.
fn is_unseen(c: char) -> bool {
    misleads(c)
        || matches!(c,
            '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{e0080}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e15_what_is_obeyed_or_unseen_is_spelt_out() {
        for (text, shown) in [
            ("a\nApproved by lea", "a\\nApproved by lea"),
            ("\u{202e}txt.exe", "\\u{202e}txt.exe"),
            ("a\u{200b}b\u{2067}", "a\\u{200b}b\\u{2067}"),
            ("tag\u{e0041}", "tag\\u{e0041}"),
            ("\u{1b}[2J\t", "\\u{1b}[2J\\t"),
            ("*bold* <@U1> stück", "*bold* <@U1> stück"),
        ] {
            assert_eq!(plain(text, 100), (shown.to_owned(), None));
        }
    }

    #[test]
    fn e15_what_is_cut_says_so() {
        assert_eq!(plain("abcdef", 3), ("abc".to_owned(), Some(6)));
        assert_eq!(line("abcdef", 3), "abc… [truncated: 3 of 6 characters]");
        assert_eq!(line("abc", 3), "abc");
        assert_eq!(escaped("<!channel> & co"), "&lt;!channel&gt; &amp; co");
    }
}
