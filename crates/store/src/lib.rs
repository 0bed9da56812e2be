//! All SQL: the ledger and its directories on PostgreSQL, one file per aggregate.
//!
//! # How a command runs
//! One transaction at READ COMMITTED: lock the account's row, load what the command's key finds, let
//! the pure machine of `domain::ledger` decide, write, commit. Locking and loading are two
//! statements: one that did both would see the balance of now and the neighbours' reservations of
//! before. A transaction that a deadlock, a serialisation failure or a lost connection ended is run
//! again; every command is found by its key then, so that a commit whose answer was lost is re-read
//! rather than repeated (promise 7).
//!
//! # Lock order
//! Accounts, then whatever hangs on the account. One command locks one account. The ingester's
//! cursor is never locked together with an account.
//!
//! | file | aggregate |
//! | --- | --- |
//! | [`tenants`] · [`paymasters`] | directories |
//! | [`accounts`] · [`wallets`] | accounts, their names and wallets |
//! | [`funds`] | credits and debits |
//! | [`tcc`] | reservations by biz id |
//! | [`sponsorships`] | reservations by slot, and their grants |
//! | [`settlement`] | chain facts and releases applied to accounts |
//! | [`cursor`] | where the ingester stands, and the events it stored |
//! | [`facts`] | what stored events and final blocks prove; the only maker of proofs |
//! | [`journal`] · [`views`] | reading entries and sponsorships |
//!
//! **Invariant:** no other crate holds SQL, and nothing here decides a transition.

mod account_lock;
pub mod accounts;
mod codec;
mod command;
mod command_keys;
pub mod cursor;
mod error;
pub mod facts;
pub mod funds;
mod grants;
pub mod journal;
pub mod paymasters;
mod reservations;
pub mod settlement;
pub mod sponsorships;
pub mod tcc;
pub mod tenants;
pub mod views;
pub mod wallets;

use core::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

pub use command_keys::Keyed;
pub use error::StoreError;

/// The schema. Runs as the owner role.
static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations");

/// How long a request waits for a connection before it is told to come back.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// What no command needs, so that a hand on one account's row never takes all connections: a lock is
/// given up, and the command run again; a statement, or a transaction that went silent, is ended.
const TIME_LIMITS: [(&str, &str); 3] = [
    ("lock_timeout", "1500ms"),
    ("statement_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "10s"),
];

/// The database, as the runtime role.
#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
}

impl Store {
    /// Connects lazily: the first command opens the first connection.
    ///
    /// # Errors
    /// When the URL cannot be parsed.
    pub fn connect_lazy(url: &str, max_connections: u32) -> Result<Self, StoreError> {
        let options: PgConnectOptions =
            url.parse().map_err(|_| StoreError::Configuration("database URL"))?;
        let pool = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options.application_name("stipend").options(TIME_LIMITS));
        Ok(Self { pool })
    }

    /// Whether the database answers and its schema is the one that this program was built for.
    ///
    /// # Errors
    /// When it does not answer, or is older or newer.
    pub async fn check(&self) -> Result<(), StoreError> {
        let applied =
            sqlx::query_scalar!(r#"SELECT max(version) FROM _sqlx_migrations WHERE success"#)
                .fetch_one(&self.pool)
                .await?
                .unwrap_or(0);
        let expected = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
        if applied == expected {
            Ok(())
        } else {
            Err(StoreError::SchemaVersion { applied, expected })
        }
    }

    /// Closes all connections, after the commands that hold one are done.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Brings the schema up to date. `owner_url` is the owner role's; the runtime role cannot.
///
/// # Errors
/// When the database does not answer, or an applied migration has changed.
pub async fn migrate(owner_url: &str) -> Result<(), StoreError> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect(owner_url)
        .await?;
    let outcome = MIGRATIONS.run(&pool).await.map_err(StoreError::from);
    pool.close().await;
    outcome
}
