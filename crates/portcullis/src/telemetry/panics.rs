//! What is said of a panic: where, and words of the source. Words that were put together while running
//! may hold what somebody sent, so they are written nowhere.

use std::panic::PanicHookInfo;

/// From now on a panic is one line of the log, like everything else.
pub(super) fn log() {
    std::panic::set_hook(Box::new(|info| {
        let (place, why) = (place(info), why(info.payload()));
        let thread = std::thread::current();
        tracing::error!(thread = thread.name().unwrap_or_default(), place, why, "panicked");
    }));
}

fn place(info: &PanicHookInfo<'_>) -> String {
    let place = info.location();
    place.map(|place| format!("{}:{}", place.file(), place.line())).unwrap_or_default()
}

fn why(payload: &(dyn std::any::Any + Send)) -> &'static str {
    let fixed = payload.downcast_ref::<&'static str>().copied();
    fixed.unwrap_or("its words may hold what somebody sent, and are not written down")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j07_only_words_of_the_source_are_said_of_a_panic() {
        let fixed: Box<dyn std::any::Any + Send> = Box::new("the tree is upside down");
        assert_eq!(why(fixed.as_ref()), "the tree is upside down");
        let put_together = format!("`{}` is no number", "canary");
        let made: Box<dyn std::any::Any + Send> = Box::new(put_together);
        assert!(!why(made.as_ref()).contains("canary"));
        let other: Box<dyn std::any::Any + Send> = Box::new(7_u8);
        assert!(why(other.as_ref()).contains("not written down"));
    }
}
