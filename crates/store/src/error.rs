//! What can go wrong with the store.

/// Closed: control answers each one on purpose.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A guard found another state than the caller saw, or something exists already.
    #[error("the state has changed meanwhile")]
    Conflict,
    /// Another process has it open.
    #[error("`{0}` is in use by another process; a store has one owner")]
    InUse(String),
    /// It cannot be opened.
    #[error("the store `{path}` cannot be opened")]
    Open {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It does not answer, or the disk is full. May work later.
    #[error("the store does not answer")]
    Unavailable(#[source] sqlx::Error),
    /// A row cannot be read. The others still can.
    #[error("a row of {table} cannot be read")]
    Unreadable {
        /// The table.
        table: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(cause)
                if cause.is_unique_violation() || cause.is_foreign_key_violation() =>
            {
                Self::Conflict
            }
            _ => Self::Unavailable(error),
        }
    }
}
