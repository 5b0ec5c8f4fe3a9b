//! Text that somebody else wrote, as it may stand in a message.

use std::fmt::Write;

use portcullis_model::misleads;

/// Characters of what says that a text is cut, at most.
const LONGEST_MARK: usize = 52;

/// `text` on one line, with what misleads made visible: `a⟨U+000A⟩b`. What is longer than `most` characters is
/// cut, and says so.
pub fn visible(text: &str, most: usize) -> String {
    let mut shown = String::new();
    let mut characters = text.chars();
    for c in characters.by_ref().take(most) {
        if misleads(c) {
            let _infallible = write!(shown, "⟨U+{:04X}⟩", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    let left = characters.count();
    if left > 0 {
        let _infallible = write!(shown, " … (truncated: {left} more characters)");
    }
    shown
}

/// The same, at most `most` characters long with all that is spelt out and with what says that it is cut; `most` is
/// more than the latter takes.
pub fn fitting(text: &str, most: usize) -> String {
    let whole = visible(text, usize::MAX);
    if whole.chars().count() <= most {
        return whole;
    }
    let room = most.saturating_sub(LONGEST_MARK);
    let mut length = 0;
    let kept = text.chars().take_while(|c| {
        length += visible(c.encode_utf8(&mut [0; 4]), 1).chars().count();
        length <= room
    });
    visible(text, kept.count())
}

/// Text as it stands between tags and in attributes of HTML.
pub fn html(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e15_what_misleads_is_visible_and_what_is_cut_says_so() {
        let shown = visible("a\r\nBcc: x\u{202e}b\u{200b}\u{feff}", 100);
        assert_eq!(shown, "a⟨U+000D⟩⟨U+000A⟩Bcc: x⟨U+202E⟩b⟨U+200B⟩⟨U+FEFF⟩");
        assert_eq!(visible("abc", 3), "abc");
        assert_eq!(visible(&"ü".repeat(12), 10), "üüüüüüüüüü … (truncated: 2 more characters)");
        assert_eq!(fitting("abc", 60), "abc");
        let fits = fitting(&"\u{200b}".repeat(12), 60);
        assert_eq!(fits, "⟨U+200B⟩ … (truncated: 11 more characters)");
        assert!(fitting(&"ü".repeat(2_000), 100).chars().count() <= 100);
        assert_eq!(html("<a href='x'>\"&"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;");
    }
}
