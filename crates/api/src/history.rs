//! Refusals about the past: balances as of a time, and statements.

use axum::http::StatusCode;

/// Why a question about the past was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryRefusal {
    /// The time is too near to now for an answer that stays true.
    #[error("something may still be recorded at this time; ask again in {seconds} s")]
    NotYetClosed {
        /// How long to wait, at least 1.
        seconds: u64,
    },
    /// The lines have left the database.
    #[error("the account's lines of this time have left the database for the archive")]
    Archived,
    /// Too long to be written while the caller waits.
    #[error(
        "the statement has {lines} lines, and at most {most} are written at once; ask for it with POST /v1/statements"
    )]
    TooLong {
        /// How many lines it has.
        lines: u64,
        /// How many are written at once.
        most: u64,
    },
    /// No room for another.
    #[error("{0} statements are being written; ask again when one of them is done")]
    TooMany(i64),
    /// The company has no statement of this id.
    #[error("there is no statement of this id")]
    StatementNotFound,
    /// It is being written.
    #[error("the statement is being written; ask again later")]
    StatementNotReady,
    /// Its lines do not add up: a defect, or a hand at work.
    #[error("the statement could not be written, because the account's lines do not add up")]
    StatementFailed,
}

impl HistoryRefusal {
    /// The stable name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotYetClosed { .. } => "not_yet_closed",
            Self::Archived => "archived",
            Self::TooLong { .. } => "statement_too_long",
            Self::TooMany(_) => "too_many_statements",
            Self::StatementNotFound => "statement_not_found",
            Self::StatementNotReady => "statement_not_ready",
            Self::StatementFailed => "statement_failed",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::NotYetClosed { .. } | Self::StatementNotReady => StatusCode::CONFLICT,
            Self::Archived => StatusCode::GONE,
            Self::TooLong { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::StatementNotFound => StatusCode::NOT_FOUND,
            Self::StatementFailed => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether the same request may succeed later as it is.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::NotYetClosed { .. } | Self::StatementNotReady | Self::TooMany(_) => true,
            Self::Archived
            | Self::TooLong { .. }
            | Self::StatementNotFound
            | Self::StatementFailed => false,
        }
    }
}
