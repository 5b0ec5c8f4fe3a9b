//! How long an upstream may take.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue};

use crate::canonical::{Speaks, single::GRPC_TIMEOUT};

/// How long to wait for a response head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// From the start: what a gRPC client asked for.
    Fixed(Duration),
    /// From the end of the request body.
    AfterUpload(Duration),
    /// A gRPC client without a deadline waits for as long as its stream lives.
    Never,
}

impl Deadline {
    /// The deadline of a request with `headers` to a service whose answers may take `most`.
    pub(crate) fn of(speaks: Speaks, headers: &HeaderMap, most: Duration) -> Self {
        match speaks {
            Speaks::Http | Speaks::WebSocket | Speaks::Tcp => Self::AfterUpload(most),
            Speaks::Grpc => Self::by_caller(speaks, headers).map_or(Self::Never, Self::Fixed),
        }
    }

    /// What the caller itself says: only gRPC has words for it.
    pub(crate) fn by_caller(speaks: Speaks, headers: &HeaderMap) -> Option<Duration> {
        match speaks {
            Speaks::Http | Speaks::WebSocket | Speaks::Tcp => None,
            Speaks::Grpc => {
                let asked = headers.get(GRPC_TIMEOUT).and_then(|value| value.to_str().ok());
                asked.and_then(grpc_timeout)
            }
        }
    }

    /// Whether an instance that is not there in time is to blame. A caller may ask for no time at all.
    pub(crate) fn is_of_service(self) -> bool {
        match self {
            Self::AfterUpload(_) => true,
            Self::Fixed(_) | Self::Never => false,
        }
    }

    /// What is left of it for an answer whose head is there, where it was waited for since `begun`; all of it
    /// if nobody knows since when.
    pub(crate) fn left(self, begun: Option<Instant>) -> Option<Duration> {
        let waited = begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        match self {
            Self::Fixed(time) | Self::AfterUpload(time) => Some(time.saturating_sub(waited)),
            Self::Never => None,
        }
    }

    /// Resolves when time is up.
    pub(crate) async fn passed(self, uploading: impl Fn() -> bool) {
        match self {
            Self::Fixed(time) => tokio::time::sleep(time).await,
            Self::Never => std::future::pending().await,
            Self::AfterUpload(time) => loop {
                let was_uploading = uploading();
                tokio::time::sleep(time).await;
                if !was_uploading {
                    return;
                }
            },
        }
    }
}

/// What a caller gave for the whole of its call, less the `gone` part of it.
pub(crate) fn shorten(speaks: Speaks, headers: &mut HeaderMap, gone: Duration) {
    let Some(own) = Deadline::by_caller(speaks, headers) else { return };
    let left = own.saturating_sub(gone).as_millis().max(1);
    let (number, unit) =
        if left <= LARGEST_NUMBER { (left, 'm') } else { (left.div_ceil(1_000), 'S') };
    if let Ok(value) = HeaderValue::from_str(&format!("{}{unit}", number.min(LARGEST_NUMBER))) {
        headers.insert(GRPC_TIMEOUT, value);
    }
}

/// Eight digits are the most that `grpc-timeout` has.
const LARGEST_NUMBER: u128 = 99_999_999;

/// Nobody waits for longer, whatever they say.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// `grpc-timeout`: at most eight digits and a unit.
pub(crate) fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    let time = match unit {
        "H" => Duration::from_hours(number),
        "M" => Duration::from_mins(number),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    };
    Some(time.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_not_to_blame_for_the_time_that_a_caller_gives_it() {
        let most = Duration::from_secs(30);
        let mut headers = HeaderMap::new();
        assert!(Deadline::of(Speaks::Http, &headers, most).is_of_service());
        headers.insert(GRPC_TIMEOUT, "1n".parse().unwrap());
        let own = Deadline::of(Speaks::Grpc, &headers, most);
        assert_eq!(own, Deadline::Fixed(Duration::from_nanos(1)));
        assert!(!own.is_of_service());
    }

    #[test]
    fn what_a_caller_gave_is_spent_once() {
        let cases = [
            ("5S", 2_000, "3000m"),
            ("5S", 5_000, "1m"),
            ("1n", 7_000, "1m"),
            ("99999999S", 1_000, "31622399S"),
        ];
        for (given, gone, left) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_TIMEOUT, given.parse().unwrap());
            shorten(Speaks::Grpc, &mut headers, Duration::from_millis(gone));
            assert_eq!(headers[GRPC_TIMEOUT], left, "{given}");
        }
        let mut none = HeaderMap::new();
        shorten(Speaks::Grpc, &mut none, Duration::ZERO);
        assert!(none.is_empty());
    }

    #[test]
    fn a_grpc_timeout_is_digits_and_a_unit() {
        assert_eq!(grpc_timeout("5S"), Some(Duration::from_secs(5)));
        assert_eq!(grpc_timeout("100m"), Some(Duration::from_millis(100)));
        assert_eq!(grpc_timeout("99999999H"), Some(LONGEST));
        for refused in ["", "5", "S", "-5S", "5s", "123456789S", "5.5S", "1é"] {
            assert_eq!(grpc_timeout(refused), None, "{refused}");
        }
    }
}
