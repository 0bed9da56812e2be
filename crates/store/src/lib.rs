//! All SQL: the ledger and its directories on PostgreSQL, one file per aggregate.
//!
//! # How a command runs
//! Every command of the ledger goes through the [`writer`]: those that arrive while a commit is in flight
//! share the next one. A batch is one transaction at READ COMMITTED: lock and read the accounts' rows, load
//! into the [`book`] what the commands' keys find, let the pure machines of `domain::ledger` decide in order of
//! arrival, write each kind of row with one statement, commit, answer. A lock answers with its own row; what hangs on
//! the account is loaded by later statements: one that did both would see the balance of now and the neighbours' reservations of
//! before. A batch that a deadlock, a serialisation failure or a lost connection ended is run again;
//! every command is found by its key then, so that a commit whose answer was lost is re-read rather
//! than repeated (promise 7). A batch that meets a defect is decided again, one command at a time.
//!
//! # Lock order
//! Accounts by key, then whatever hangs on them. An account that somebody else holds is left out of a
//! batch, and its commands wait apart. The ingester's cursor is never locked together with an account.
//! Names and links of wallets, which move no points, have small transactions of their own.
//!
//! | file | aggregate |
//! | --- | --- |
//! | [`writer`] · [`book`] | how commands become commits |
//! | [`tenants`] · [`paymasters`] | directories |
//! | [`accounts`] · [`wallets`] | accounts, their names and wallets |
//! | [`funds`] · [`bulk`] | credits and debits; many at once |
//! | [`buckets`] | points that expire or are of a kind |
//! | [`tcc`] · [`tcc_views`] · [`expiry`] | reservations by biz id; reading them; those past their time |
//! | [`sponsorships`] | reservations by slot, and their grants |
//! | [`settlement`] | chain facts and releases applied to accounts |
//! | [`cursor`] | where the ingester stands, and the events it stored |
//! | [`mend`] | what an operator does about a chain that is halted |
//! | [`facts`] | what stored events prove; the only maker of chain facts |
//! | [`slots`] | which slots can be released, or were used up; the only maker of release proofs |
//! | [`journal`] · [`views`] | reading entries and sponsorships |
//! | [`statements`] | long statements, as jobs |
//! | [`partitions`] · [`archive`] | months, and how old ones leave the database |
//! | [`verify`] · [`anchors`] | the journal recomputed, and what of it is kept outside |
//!
//! **Invariant:** no other crate holds SQL, and nothing here decides a transition.

pub mod accounts;
pub mod anchors;
pub mod archive;
mod book;
pub mod buckets;
pub mod bulk;
mod codec;
mod command;
mod command_keys;
pub mod cursor;
mod error;
pub mod expiry;
pub mod facts;
pub mod funds;
mod grants;
pub mod journal;
pub mod mend;
pub mod partitions;
pub mod paymasters;
mod reservations;
pub mod settlement;
pub mod slots;
pub mod sponsorships;
pub mod statements;
pub mod tcc;
pub mod tcc_views;
pub mod tenants;
mod transaction;
pub mod verify;
pub mod views;
pub mod wallets;
mod writer;

use core::time::Duration;

use sqlx::PgConnection;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

pub use command_keys::Keyed;
pub use error::StoreError;
use writer::Writer;

/// The schema. Runs as the owner role.
static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations");

/// How many batches of commands are in flight at once: one more than it takes to keep a commit and the
/// decisions of the next batch apart.
const LANES: u32 = 2;

/// How long a request waits for a connection before it is told to come back.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// What no command needs, so that a hand on one account's row never takes all connections: a lock is
/// given up, and the command run again; a statement, or a transaction that went silent, is ended.
const TIME_LIMITS: [(&str, &str); 3] = [
    ("lock_timeout", "1500ms"),
    ("statement_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "10s"),
];

/// How a command's statements are planned: once per connection, and always by index, because every row is found by its
/// key. So a try costs the same whatever the tables hold and whatever the statistics say. Without them each statement
/// with arrays would be planned anew at every execution.
pub const COMMAND_PLANS: [(&str, &str); 5] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    // A plan without an index counts as very costly now, which alone would have it compiled.
    ("jit", "off"),
];

/// The longest transaction: what it has recorded by then is committed or never will be. The database
/// ends a longer one, from PostgreSQL 17 on. [`journal::CLOSES_AFTER`] rests on it.
pub(crate) const TRANSACTION_LIMIT: Duration = Duration::from_secs(10);

/// How long closing waits for the database: longer than one attempt at a batch takes.
const CLOSE_LIMIT: Duration = Duration::from_secs(20);

/// The database, as the runtime role.
#[derive(Clone, Debug)]
pub struct Store {
    /// For everything but commands.
    pool: PgPool,
    /// The commands' connections, apart from those, so that no reader keeps a commit waiting.
    commands: PgPool,
    writer: Writer,
}

impl Store {
    /// Connects lazily: the first command opens the first connection. Must be called on the runtime
    /// that will carry the commands out.
    ///
    /// # Errors
    /// When the URL cannot be parsed.
    pub fn connect_lazy(url: &str, max_connections: u32) -> Result<Self, StoreError> {
        let options: PgConnectOptions =
            url.parse().map_err(|_| StoreError::Configuration("database URL"))?;
        let options = options.application_name("stipend").options(TIME_LIMITS);
        let pool = |connections| {
            PgPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .after_connect(|connection, _| Box::pin(limit_transactions(connection)))
        };
        let planned = options.clone().options(COMMAND_PLANS);
        let commands = pool(Writer::connections(LANES)).connect_lazy_with(planned);
        let writer = Writer::start(&commands, LANES);
        let pool = pool(max_connections).connect_lazy_with(options);
        Ok(Self { pool, commands, writer })
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

    /// How long a transaction may last; `None` where the database sets no limit, because it is older than
    /// PostgreSQL 17: what is said about closed times then rests on transactions being short.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn transaction_limit(&self) -> Result<Option<Duration>, StoreError> {
        let millis = sqlx::query_scalar!(
            r#"SELECT setting::bigint AS "millis!" FROM pg_settings WHERE name = 'transaction_timeout'"#
        )
        .fetch_optional(&self.pool)
        .await?;
        let limit =
            millis.and_then(|millis| u64::try_from(millis).ok()).filter(|millis| *millis > 0);
        Ok(limit.map(Duration::from_millis))
    }

    /// Takes no more commands, waits for the answers of those that were taken, and closes all
    /// connections. A database that has gone is not waited for: what it was told last is found by its
    /// key.
    pub async fn close(&self) {
        let closed = async {
            self.writer.close().await;
            self.commands.close().await;
            self.pool.close().await;
        };
        if tokio::time::timeout(CLOSE_LIMIT, closed).await.is_err() {
            tracing::warn!(limit = ?CLOSE_LIMIT, "the database did not answer while its connections were closed");
        }
    }
}

/// Sets [`TRANSACTION_LIMIT`] where the database knows it; an older one would refuse it at connecting.
async fn limit_transactions(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"SELECT set_config('transaction_timeout', $1, false)
        WHERE current_setting('transaction_timeout', true) IS NOT NULL"#,
        format!("{}ms", TRANSACTION_LIMIT.as_millis()),
    )
    .fetch_optional(connection)
    .await?;
    Ok(())
}

/// Brings the schema up to date, and makes the partitions of the months to come. `owner_url` is the owner role's; the runtime role cannot.
///
/// # Errors
/// When the database does not answer, or an applied migration has changed.
pub async fn migrate(owner_url: &str) -> Result<(), StoreError> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect(owner_url)
        .await?;
    let outcome = migrate_and_partition(&pool).await;
    pool.close().await;
    outcome
}

async fn migrate_and_partition(pool: &PgPool) -> Result<(), StoreError> {
    MIGRATIONS.run(pool).await?;
    partitions::make_partitions(&mut *pool.acquire().await?, None).await?;
    Ok(())
}
