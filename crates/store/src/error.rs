//! What can go wrong between Stipend and its database.

use domain::ledger::PostingError;

/// A command that the database could not carry out. A refusal by the rules is an outcome, not this.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database did not answer, or went away, more often than a command is run again. The command
    /// may have been committed: repeat it with the same key.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// Too much contention on one account.
    #[error("the account is too busy")]
    Contention(#[source] sqlx::Error),
    /// The database said something unexpected, such as a broken constraint: a defect.
    #[error("the database refused a statement")]
    Statement(#[source] sqlx::Error),
    /// A row that breaks its own rules: a defect, or a hand at work.
    #[error("corrupt row: {0}")]
    Corrupt(&'static str),
    /// A posting that the balances cannot take: a defect.
    #[error(transparent)]
    Posting(#[from] PostingError),
    /// A setting that cannot be used.
    #[error("the {0} cannot be used")]
    Configuration(&'static str),
    /// The schema is not the one this program was built for.
    #[error(
        "the database schema is at version {applied}, this program needs {expected}: run `stipend migrate`, or the matching release"
    )]
    SchemaVersion {
        /// What the database has.
        applied: i64,
        /// What is needed.
        expected: i64,
    },
    /// A migration failed.
    #[error("the schema could not be migrated")]
    Migration(#[from] sqlx::migrate::MigrateError),
}

impl StoreError {
    /// Whether running the same command again may succeed.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Contention(_))
    }
}

/// Serialisation failure and deadlock
/// ([PostgreSQL error codes](https://www.postgresql.org/docs/current/errcodes-appendix.html)).
const CONTENTION_CODES: [&str; 3] = ["40001", "40P01", "55P03"];
/// Connection exceptions, and a server that starts or stops.
/// Also a primary that has become a standby, and a statement that ran into its time limit.
const UNAVAILABLE_CODES: [&str; 12] = [
    "08000", "08001", "08003", "08004", "08006", "08P01", "25006", "53300", "57014", "57P01",
    "57P02", "57P03",
];

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::Database(database) = &error {
            let code = database.code().unwrap_or_default();
            if CONTENTION_CODES.contains(&code.as_ref()) {
                return Self::Contention(error);
            }
            if UNAVAILABLE_CODES.contains(&code.as_ref()) {
                return Self::Unavailable(error);
            }
            return Self::Statement(error);
        }
        if matches!(
            error,
            sqlx::Error::Io(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed
                | sqlx::Error::Protocol(_)
                | sqlx::Error::Tls(_)
        ) {
            return Self::Unavailable(error);
        }
        Self::Statement(error)
    }
}
