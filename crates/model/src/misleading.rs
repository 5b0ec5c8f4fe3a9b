//! Characters that make people read something else than what was written.

/// Control characters of both sets (ANSI sequences begin with one), line and paragraph separators,
/// direction marks and overrides, and what has no width.
pub fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{180e}' | '\u{feff}' | '\u{00ad}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}
