//! What leaves: closed reservations to the archive, and old months to files. As the maintenance role.
//!
//! # Closed reservations
//! Biz ids are remembered for [`BIZ_ID_RETENTION`](crate::tcc::BIZ_ID_RETENTION). What closed longer ago moves,
//! with its grants and legs, to tables of the same columns. No command changes it any more, so that it moves
//! without its account's lock, some hundreds in one short transaction. A slot that is closed for ever leaves a
//! narrow row behind (`closed_slots`): it must refuse without a look into the archive, and without the chain.
//! The latest attempt on a slot stays while it is released, because it may land late and may be tried again.
//!
//! # Old months
//! ```text
//! attached ── prepare ──▶ prepared ── export ──▶ exported ── detach ──▶ apart ── read back ──▶ dropped
//! ```
//! Each arrow may be taken twice, and begun anew by whoever comes after one that died. Nothing is dropped that
//! was not read back from its file. Detaching is told to PostgreSQL with CONCURRENTLY, outside a transaction: it
//! never waits for a lock that would hold up a command, only for transactions that may still see the partition,
//! and for those no longer than [`LOCK_WAIT`]; then it is finished another time.

use core::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

mod export;
mod reservations;

use crate::partitions::{self, Attachment, Partition, PartitionView, Partitioned};
use crate::{ACQUIRE_TIMEOUT, Store, StoreError, limit_transactions};

pub use export::Page;
pub use reservations::{Moved, Walked};

/// The longest wait for a lock, and for a transaction that may still see what leaves.
pub const LOCK_WAIT: Duration = Duration::from_millis(500);
/// The longest statement: a page of an export, a chunk of a move.
const STATEMENT_LIMIT: &str = "10s";
/// How long a worker has its turn without saying so again.
const TURN: &str = "2 minutes";
/// Accounts of one page of sums.
const ACCOUNTS: i64 = 2_000;

/// The database, as the maintenance role: one connection.
#[derive(Clone, Debug)]
pub struct Maintenance {
    pool: PgPool,
    /// Who this process is, among those that maintain.
    holder: Uuid,
}

/// How far a month is on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Departure {
    /// Not begun.
    Here,
    /// Its checkpoints, or sums, are written.
    Prepared,
    /// It stands in a file.
    Exported(Exported),
    /// It is gone from the database.
    Dropped(Exported),
}

/// A month in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The file's name, without a folder.
    pub file_name: String,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// How many rows it has.
    pub rows: u64,
}

/// A month with how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// As PostgreSQL has it; `None` where the table is gone.
    pub view: Option<PartitionView>,
    /// Which.
    pub partition: Partition,
    /// How far.
    pub departure: Departure,
}

/// Whether a partition has left its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detached {
    /// It is a table of its own.
    Done,
    /// A transaction may still see it: it is finished another time. Commands did not notice.
    NotYet,
}

impl Store {
    /// All partitions with how far they are on their way out, oldest month first.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn departures(&self) -> Result<Vec<Leaving>, StoreError> {
        departures(&mut *self.pool.acquire().await?).await
    }
}

impl Maintenance {
    /// Connects lazily: the first step opens the connection.
    ///
    /// # Errors
    /// When the URL cannot be parsed.
    pub fn connect_lazy(url: &str) -> Result<Self, StoreError> {
        let options: PgConnectOptions =
            url.parse().map_err(|_| StoreError::Configuration("maintenance URL"))?;
        let lock_wait = format!("{}ms", LOCK_WAIT.as_millis());
        let options = options.application_name("stipend maintenance").options([
            ("lock_timeout", lock_wait.as_str()),
            ("statement_timeout", STATEMENT_LIMIT),
            ("idle_in_transaction_session_timeout", "10s"),
            // Exports are the same wherever they are made.
            ("timezone", "UTC"),
            ("datestyle", "ISO"),
            ("bytea_output", "hex"),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(|connection, _| Box::pin(limit_transactions(connection)))
            .connect_lazy_with(options);
        Ok(Self { pool, holder: Uuid::now_v7() })
    }

    /// Closes the connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Takes the turn to maintain, or keeps it; whether this process has it. It spares work, and nothing rests
    /// on it.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn take_turn(&self) -> Result<bool, StoreError> {
        let taken = sqlx::query!(
            r#"UPDATE maintenance_turns
            SET holder = $1, held_until = clock_timestamp() + $2::text::interval
            WHERE turn = 1 AND (holder = $1 OR held_until < clock_timestamp())"#,
            self.holder,
            TURN,
        )
        .execute(&self.pool)
        .await?;
        Ok(taken.rows_affected() == 1)
    }

    /// Gives the turn back, at the end.
    ///
    /// # Errors
    /// When the database does not carry it out: another process then waits for it to end.
    pub async fn end_turn(&self) -> Result<(), StoreError> {
        sqlx::query!(
            r#"UPDATE maintenance_turns SET held_until = '-infinity' WHERE holder = $1"#,
            self.holder,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Makes the partitions of the months ahead that are missing; how many.
    ///
    /// # Errors
    /// When the database does not carry it out; what was made stays.
    pub async fn make_partitions(&self) -> Result<usize, StoreError> {
        partitions::make(&mut *self.pool.acquire().await?, None).await
    }

    /// The months that ended before so long ago and are not gone, oldest first.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn due(&self, archive_after: Duration) -> Result<Vec<Leaving>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let now = partitions::now(&mut connection).await?;
        let all = departures(&mut connection).await?;
        let mut due = Vec::new();
        for leaving in all {
            let is_over = leaving.partition.month.next().begins()? + archive_after <= now;
            if is_over && !matches!(leaving.departure, Departure::Dropped(_)) {
                due.push(leaving);
            }
        }
        Ok(due)
    }

    /// Keeps what a page of accounts has spent by archived reservations of a month; the key to go on behind.
    ///
    /// # Errors
    /// When the database does not carry it out; the page is repeated.
    pub async fn keep_sums(
        &self,
        partition: &Partition,
        after: Option<(Uuid, Uuid)>,
    ) -> Result<Option<(Uuid, Uuid)>, StoreError> {
        let (tenant, account) = after.unwrap_or_default();
        let (from, until) = (partition.month.begins()?, partition.month.next().begins()?);
        let row = sqlx::query!(
            r#"WITH page AS (SELECT tenant_id, account_id FROM accounts
                WHERE (tenant_id, account_id) > ($1, $2) ORDER BY tenant_id, account_id LIMIT $3),
            kept AS (INSERT INTO archived_sums (tenant_id, account_id, partition_name, spent_micropoints)
                SELECT p.tenant_id, p.account_id, $4, sum(coalesce(a.settled_micropoints,
                    a.from_reserved_micropoints + a.from_available_micropoints
                        + a.from_debt_micropoints))
                FROM page p JOIN archived_reservations a ON a.tenant_id = p.tenant_id
                    AND a.account_id = p.account_id
                    AND a.archived_at >= $5 AND a.archived_at < $6
                WHERE a.state = 'settled_final'
                GROUP BY p.tenant_id, p.account_id
                ON CONFLICT (tenant_id, account_id, partition_name)
                    DO UPDATE SET spent_micropoints = excluded.spent_micropoints)
            SELECT tenant_id, account_id FROM page ORDER BY tenant_id DESC, account_id DESC LIMIT 1"#,
            tenant,
            account,
            ACCOUNTS,
            partition.name(),
            from,
            until,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| (row.tenant_id, row.account_id)))
    }

    /// Notes that a month's checkpoints, or sums, are written.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn note_prepared(&self, partition: &Partition) -> Result<(), StoreError> {
        sqlx::query!(
            r#"INSERT INTO archived_partitions
                (partition_name, parent_table, from_time, until_time, state)
            VALUES ($1, $2, $3, $4, 'prepared') ON CONFLICT (partition_name) DO NOTHING"#,
            partition.name(),
            partition.table.as_str(),
            partition.month.begins()?,
            partition.month.next().begins()?,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Notes in which file a month stands, unless it is gone by now.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn note_exported(
        &self,
        partition: &Partition,
        exported: &Exported,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            r#"UPDATE archived_partitions SET state = 'exported', file_name = $2, file_sha256 = $3,
                row_count = $4, exported_at = clock_timestamp()
            WHERE partition_name = $1 AND state <> 'dropped'"#,
            partition.name(),
            exported.file_name,
            &exported.sha256,
            crate::codec::signed(exported.rows)?,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Takes an exported month from its table. Outside a transaction, and without waiting longer than
    /// [`LOCK_WAIT`] for anybody.
    ///
    /// # Errors
    /// When it is not exported, or the database does not carry it out.
    pub async fn detach(&self, partition: &Partition) -> Result<Detached, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let found = find(&mut connection, partition).await?;
        if !matches!(found.departure, Departure::Exported(_)) {
            return Err(StoreError::Corrupt("a month leaves that is not exported"));
        }
        let Some(view) = found.view else { return Ok(Detached::Done) };
        let how = match view.attachment {
            Attachment::Apart => return Ok(Detached::Done),
            Attachment::Attached => "CONCURRENTLY",
            Attachment::Leaving => "FINALIZE",
        };
        let (table, name) = (partition.table.as_str(), partition.name());
        let detach = format!("ALTER TABLE {table} DETACH PARTITION {name} {how}");
        match sqlx::raw_sql(AssertSqlSafe(detach)).execute(&mut *connection).await {
            Ok(_) => Ok(Detached::Done),
            Err(error) => {
                let error = StoreError::from(error);
                let is_held = matches!(error, StoreError::Contention(_));
                if is_held { Ok(Detached::NotYet) } else { Err(error) }
            }
        }
    }

    /// Drops a month that left its table, and notes it, in one commit. `read_back` is the file's digest as it
    /// was read a moment ago: another one drops nothing. Whether it is gone.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn drop_partition(
        &self,
        partition: &Partition,
        read_back: &[u8; 32],
    ) -> Result<bool, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let mut transaction = connection.begin().await?;
        let noted = sqlx::query!(
            r#"UPDATE archived_partitions SET state = 'dropped', dropped_at = clock_timestamp()
            WHERE partition_name = $1 AND state = 'exported' AND file_sha256 = $2"#,
            partition.name(),
            read_back,
        )
        .execute(&mut *transaction)
        .await?;
        let found = partitions::list(&mut transaction).await?;
        let found = found.iter().find(|found| found.partition == *partition);
        let is_apart = found.is_none_or(|found| found.attachment == Attachment::Apart);
        if noted.rows_affected() == 0 || !is_apart {
            return Ok(false);
        }
        let drop = format!("DROP TABLE IF EXISTS {}", partition.name());
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(true)
    }
}

async fn find(connection: &mut PgConnection, partition: &Partition) -> Result<Leaving, StoreError> {
    let all = departures(connection).await?;
    let found = all.into_iter().find(|leaving| leaving.partition == *partition);
    found.ok_or(StoreError::Corrupt("no such partition"))
}

async fn departures(connection: &mut PgConnection) -> Result<Vec<Leaving>, StoreError> {
    let views = partitions::list(&mut *connection).await?;
    let rows = sqlx::query!(
        r#"SELECT partition_name, state, file_name, file_sha256, row_count FROM archived_partitions"#
    )
    .fetch_all(connection)
    .await?;
    let mut all: Vec<Leaving> = views
        .into_iter()
        .map(|view| Leaving {
            view: Some(view),
            partition: view.partition,
            departure: Departure::Here,
        })
        .collect();
    for row in rows {
        let partition = Partition::named(&row.partition_name);
        let partition = partition.ok_or(StoreError::Corrupt("name of a partition"))?;
        let exported = || {
            let sha256 = row.file_sha256.as_deref().and_then(|digest| digest.try_into().ok());
            Ok::<_, StoreError>(Exported {
                file_name: crate::codec::present(row.file_name.clone())?,
                sha256: crate::codec::present(sha256)?,
                rows: crate::codec::unsigned(crate::codec::present(row.row_count)?)?,
            })
        };
        let departure = match row.state.as_str() {
            "prepared" => Departure::Prepared,
            "exported" => Departure::Exported(exported()?),
            "dropped" => Departure::Dropped(exported()?),
            _ => return Err(StoreError::Corrupt("state of a partition")),
        };
        match all.iter_mut().find(|leaving| leaving.partition == partition) {
            Some(leaving) => leaving.departure = departure,
            None => all.push(Leaving { view: None, partition, departure }),
        }
    }
    all.sort_unstable_by_key(|leaving| leaving.partition);
    Ok(all)
}

/// Whether a month is of a table whose lines need checkpoints before they go.
#[must_use]
pub const fn needs_checkpoints(table: Partitioned) -> bool {
    matches!(table, Partitioned::Entries)
}
