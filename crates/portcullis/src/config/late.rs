//! `limits.late`: how late a core may be before it takes nothing new.

use std::time::Duration;

use portcullis_model::Window;
use serde::{Serialize, Serializer};

use super::section::Field;

/// That late, or however late it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Late(pub(crate) Option<Duration>);

impl Late {
    /// Less is what any machine has now and then; with more, nobody would wait any longer.
    const RANGE: std::ops::RangeInclusive<u64> = 50..=60_000;

    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let text = field.text()?;
        if text == "never" {
            return Some(Self(None));
        }
        let millis = match text.strip_suffix("ms") {
            Some(number) if number.bytes().all(|b| b.is_ascii_digit()) => number.parse().ok(),
            Some(_) => None,
            None => {
                let window = text.parse::<Window>().ok();
                window.and_then(|window| u64::try_from(window.get().as_millis()).ok())
            }
        };
        let millis = millis.filter(|millis| Self::RANGE.contains(millis));
        if millis.is_none() {
            let message = format!("`late` is from 50ms to 1m, or `never`, and not `{text}`");
            field.error(message, Some("write it like 500ms or 2s".into()));
        }
        millis.map(|millis| Self(Some(Duration::from_millis(millis))))
    }
}

impl Serialize for Late {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(late) => serializer.collect_str(&format_args!("{}ms", late.as_millis())),
            None => serializer.serialize_str("never"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{SOUND, loaded, refused};

    fn with(late: &str) -> String {
        let limits = format!("policies: policies\nlimits: {{late: {late}}}");
        SOUND.replacen("policies: policies", &limits, 1)
    }

    #[test]
    fn it_is_a_time_or_never() {
        for (late, bound) in [
            ("50ms", Some(50)),
            ("1250ms", Some(1250)),
            ("2s", Some(2000)),
            ("1m", Some(60_000)),
            ("never", None),
        ] {
            let loaded = loaded(&with(late)).unwrap_or_else(|error| panic!("{late}: {error}"));
            let bounds = loaded.config.limits.bounds();
            assert_eq!(bounds.late, bound.map(Duration::from_millis), "{late}");
            serde_json::to_string(&loaded.config).expect("it can be shown");
        }
        for late in ["10ms", "0s", "2m", "1.5s", "+60ms", "60000000000000000000000ms", "always"] {
            assert!(refused(&with(late)).contains("from 50ms to 1m, or `never`"), "{late}");
        }
    }
}
