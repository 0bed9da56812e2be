//! What can go wrong between Stipend and its database.

use std::sync::Arc;

use domain::ledger::PostingError;
use domain::ledger::buckets::BucketError;

/// A command that the database could not carry out. A refusal by the rules is an outcome, not this.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database did not answer, or went away, more often than a command is run again. The command
    /// may have been committed: repeat it with the same key.
    #[error("the database is not available")]
    Unavailable(#[source] Arc<sqlx::Error>),
    /// Too much contention on one account.
    #[error("the account is too busy")]
    Contention(#[source] Arc<sqlx::Error>),
    /// More commands wait than the writer takes. This one was not carried out.
    #[error("too many commands are waiting")]
    Busy,
    /// The database said something unexpected, such as a broken constraint: a defect.
    #[error("the database refused a statement")]
    Statement(#[source] Arc<sqlx::Error>),
    /// A row that breaks its own rules: a defect, or a hand at work.
    #[error("corrupt row: {0}")]
    Corrupt(&'static str),
    /// A posting that the balances cannot take: a defect.
    #[error(transparent)]
    Posting(#[from] PostingError),
    /// There is no partition for what is recorded now: partitions were not made ahead. Nothing was
    /// recorded.
    #[error(
        "the table {0} has no partition for this month: run `stipend migrate`, which makes them, and give a worker database.maintenance_url, which makes them ahead"
    )]
    NoPartition(String),
    /// A posting that lots or legs cannot take: a defect.
    #[error(transparent)]
    Bucket(#[from] BucketError),
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
        matches!(self, Self::Unavailable(_) | Self::Contention(_) | Self::Busy)
    }

    /// Whether one command of a batch may be the cause, so that the others may do without it.
    pub(crate) const fn is_of_one_command(&self) -> bool {
        !self.is_transient() && !matches!(self, Self::NoPartition(_))
    }
}

impl StoreError {
    /// The same error for another command of the batch that met it.
    pub(crate) fn share(&self) -> Self {
        match self {
            Self::Unavailable(cause) => Self::Unavailable(Arc::clone(cause)),
            Self::Contention(cause) => Self::Contention(Arc::clone(cause)),
            Self::Statement(cause) => Self::Statement(Arc::clone(cause)),
            Self::Busy => Self::Busy,
            Self::Corrupt(what) => Self::Corrupt(what),
            Self::NoPartition(table) => Self::NoPartition(table.clone()),
            Self::Posting(error) => Self::Posting(error.clone()),
            Self::Bucket(error) => Self::Bucket(*error),
            Self::Configuration(what) => Self::Configuration(what),
            // No command meets these.
            Self::SchemaVersion { .. } | Self::Migration(_) => Self::Corrupt("schema"),
        }
    }
}

/// Serialisation failure and deadlock
/// ([PostgreSQL error codes](https://www.postgresql.org/docs/current/errcodes-appendix.html)).
const CONTENTION_CODES: [&str; 3] = ["40001", "40P01", "55P03"];
/// Connection exceptions, and a server that starts or stops.
/// Also a primary that has become a standby, and a statement or transaction that ran into its time
/// limit.
const UNAVAILABLE_CODES: [&str; 14] = [
    "08000", "08001", "08003", "08004", "08006", "08P01", "25006", "25P03", "25P04", "53300",
    "57014", "57P01", "57P02", "57P03",
];

/// A row that breaks a CHECK, or that no partition takes.
const CHECK_VIOLATION: &str = "23514";

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::Database(database) = &error {
            let code = database.code().unwrap_or_default();
            if CONTENTION_CODES.contains(&code.as_ref()) {
                return Self::Contention(Arc::new(error));
            }
            if UNAVAILABLE_CODES.contains(&code.as_ref()) {
                return Self::Unavailable(Arc::new(error));
            }
            // A CHECK has a name; the range of a partitioned table has none.
            if code == CHECK_VIOLATION && database.constraint().is_none() {
                return Self::NoPartition(database.table().unwrap_or("?").to_owned());
            }
            return Self::Statement(Arc::new(error));
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
            return Self::Unavailable(Arc::new(error));
        }
        Self::Statement(Arc::new(error))
    }
}
