//! Text that people write and other people read.

use crate::ControlError;

const LONGEST: usize = 1000;

/// A reason or note: something, not too long, and nothing that a terminal or a log would obey.
pub(crate) fn checked(field: &'static str, text: &str) -> Result<String, ControlError> {
    let invalid = |message: &str| ControlError::Invalid { field, message: message.to_owned() };
    let text = text.trim();
    if text.is_empty() {
        return Err(invalid("must say something"));
    }
    if text.chars().count() > LONGEST {
        return Err(invalid("is longer than 1000 characters"));
    }
    if text.chars().any(obeyed) {
        return Err(invalid("must not contain line breaks or other control characters"));
    }
    Ok(text.to_owned())
}

/// A moment as people read it, in UTC.
pub(crate) fn time(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Control characters, and those that turn the direction of what follows: a reviewer must read what
/// was written.
fn obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j06_what_a_terminal_would_obey_is_refused() {
        for text in ["a\nb", "a\u{1b}[2J", "\u{202e}txt.exe", "a\rb", "a\0", " ", ""] {
            assert!(checked("reason", text).is_err(), "{text:?} was accepted");
        }
        assert_eq!(checked("reason", "  refunds stück ").unwrap(), "refunds stück");
        assert!(checked("reason", &"ü".repeat(1000)).is_ok());
        assert!(checked("reason", &"a".repeat(1001)).is_err());
    }
}
