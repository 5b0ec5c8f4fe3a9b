//! Between columns and types.

use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};

use crate::StoreError;

pub(super) fn json<T: Serialize>(table: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| unreadable(table, error))
}

pub(super) fn parsed<T: DeserializeOwned>(
    table: &'static str,
    text: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| unreadable(table, error))
}

/// One bad row must not hide the others, nor stop the process: it is logged and left out.
pub(super) fn readable<T: DeserializeOwned>(table: &'static str, bodies: &[String]) -> Vec<T> {
    all_readable(table, bodies, |body| parsed(table, body))
}

/// The same for rows of more than a body.
pub(super) fn all_readable<R, T>(
    table: &'static str,
    rows: &[R],
    read: impl Fn(&R) -> Result<T, StoreError>,
) -> Vec<T> {
    let read = |row: &R| match read(row) {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::error!(table, %error, "a row cannot be read and is left out");
            None
        }
    };
    rows.iter().filter_map(read).collect()
}

pub(super) fn unreadable(
    table: &'static str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StoreError {
    StoreError::Unreadable { table, source: source.into() }
}

pub(super) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

pub(super) fn time(table: &'static str, micros: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(micros).map_err(|error| unreadable(table, error))
}
