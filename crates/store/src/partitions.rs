//! Months: the partitions of what is only added to.
//!
//! Some tables are partitioned by the month (UTC) in which a row was recorded. A partition is made apart
//! and attached, which waits for nobody's writes and lets nobody wait; a month is made [`MONTHS_AHEAD`]
//! months before it begins, so that it is never missing, whoever has not been watching for a while. What
//! leaves the database leaves by whole months: see [`archive`](crate::archive).
//!
//! The tables belong to the maintenance role, because only an owner may attach and detach. `migrate` makes
//! the first partitions as that role.

use core::fmt;

use domain::ledger::tcc::DbTime;
use sqlx::{AssertSqlSafe, PgConnection};
use time::{Date, Month as MonthName, OffsetDateTime};

use crate::{Store, StoreError, codec};

/// How many months beyond the current one there are partitions for.
pub const MONTHS_AHEAD: u32 = 3;
/// With fewer than so many months ahead somebody should look who makes them.
pub const LOW_MONTHS_AHEAD: u32 = 2;
/// The most months of the past that [`make_partitions`] makes: ten years.
const MAX_MONTHS: usize = 120;

/// A table that is partitioned by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Partitioned {
    /// The journal.
    Entries,
    /// The events.
    Outbox,
    /// Closed reservations.
    Reservations,
    /// Their grants.
    Grants,
    /// Their legs.
    Legs,
}

impl Partitioned {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Entries, Self::Outbox, Self::Reservations, Self::Grants, Self::Legs];

    /// The table's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Entries => "entries",
            Self::Outbox => "outbox",
            Self::Reservations => "archived_reservations",
            Self::Grants => "archived_grants",
            Self::Legs => "archived_legs",
        }
    }

    /// What its rows are sorted by, in a partition: the primary key without the time.
    pub(crate) const fn key(self) -> [&'static str; 4] {
        match self {
            Self::Entries => ["tenant_id", "account_id", "seq", "recorded_at"],
            Self::Outbox => ["tenant_id", "account_id", "event_seq", "incarnation"],
            Self::Reservations => ["tenant_id", "account_id", "reservation_id", "archived_at"],
            Self::Grants => ["tenant_id", "account_id", "reservation_id", "grant_no"],
            Self::Legs => ["tenant_id", "account_id", "reservation_id", "lot"],
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.as_str() == name)
    }
}

/// A month of the calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month {
    year: i32,
    month: u8,
}

impl Month {
    /// The month of a time.
    #[must_use]
    pub fn of(time: OffsetDateTime) -> Self {
        let date = time.to_offset(time::UtcOffset::UTC).date();
        Self { year: date.year(), month: date.month().into() }
    }

    /// The month after it.
    #[must_use]
    pub const fn next(self) -> Self {
        if self.month == 12 {
            Self { year: self.year.saturating_add(1), month: 1 }
        } else {
            Self { year: self.year, month: self.month.saturating_add(1) }
        }
    }

    /// The month before it.
    #[must_use]
    pub const fn previous(self) -> Self {
        if self.month == 1 {
            Self { year: self.year.saturating_sub(1), month: 12 }
        } else {
            Self { year: self.year, month: self.month.saturating_sub(1) }
        }
    }

    /// The moment as which it begins.
    ///
    /// # Errors
    /// Beyond the years that the calendar knows.
    pub fn begins(self) -> Result<OffsetDateTime, StoreError> {
        let month = MonthName::try_from(self.month).map_err(|_| StoreError::Corrupt("month"))?;
        let day = Date::from_calendar_date(self.year, month, 1);
        Ok(day.map_err(|_| StoreError::Corrupt("month"))?.midnight().assume_utc())
    }

    /// From the end of a partition's name.
    fn parse(suffix: &str) -> Option<Self> {
        let (year, month) = suffix.split_once('_')?;
        let (year, month) = (year.parse().ok()?, month.parse().ok()?);
        (1..=12).contains(&month).then_some(Self { year, month })
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

/// One month of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Partition {
    /// The month.
    pub month: Month,
    /// The table.
    pub table: Partitioned,
}

impl Partition {
    /// Its name in SQL: of letters, digits and underscores.
    #[must_use]
    pub fn name(&self) -> String {
        let Month { year, month } = self.month;
        format!("{}_{year:04}_{month:02}", self.table.as_str())
    }

    /// The partition that SQL calls so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let table = Partitioned::ALL.into_iter().find(|table| name.starts_with(table.as_str()))?;
        let suffix = name.strip_prefix(table.as_str())?.strip_prefix('_')?;
        Month::parse(suffix).map(|month| Self { month, table })
    }
}

/// Whether a partition belongs to its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// It takes and shows rows.
    Attached,
    /// It was told to leave, and waits for transactions that may still see it. New ones do not.
    Leaving,
    /// It is a table of its own.
    Apart,
}

/// A partition as PostgreSQL has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionView {
    /// Which.
    pub partition: Partition,
    /// Whether it belongs to its table.
    pub attachment: Attachment,
    /// How many rows it has, as of the last time that PostgreSQL counted; 0 before.
    pub rows: u64,
    /// What it takes on disk with its indexes, in bytes.
    pub bytes: u64,
}

impl Store {
    /// Until when entries have left the database for the archive; `None` where all are here.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn archived_until(&self) -> Result<Option<DbTime>, StoreError> {
        let left = left(&mut *self.pool.acquire().await?).await?;
        left.entries_until.map(codec::db_time).transpose()
    }

    /// All partitions, oldest month first; those that were detached and are still there as well.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn partitions(&self) -> Result<Vec<PartitionView>, StoreError> {
        list(&mut *self.pool.acquire().await?).await
    }

    /// For how many whole months beyond the current one every table has its partition.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn months_ahead(&self) -> Result<u32, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let now = now(&mut connection).await?;
        let all = list(&mut connection).await?;
        let has = |month| {
            Partitioned::ALL.into_iter().all(|table| {
                let wanted = Partition { month, table };
                all.iter().any(|found| {
                    found.partition == wanted && found.attachment == Attachment::Attached
                })
            })
        };
        let mut months = 0_u32;
        let mut month = Month::of(now).next();
        while months < MONTHS_AHEAD && has(month) {
            months = months.saturating_add(1);
            month = month.next();
        }
        Ok(months)
    }
}

/// The database's clock.
pub(crate) async fn now(connection: &mut PgConnection) -> Result<OffsetDateTime, StoreError> {
    let now = sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#);
    Ok(now.fetch_one(connection).await?)
}

/// What has left the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// Until when entries have: what was recorded before is in the archive, apart from months that were
    /// brought back. `None` where all are here.
    pub(crate) entries_until: Option<OffsetDateTime>,
    /// How many partitions have, of whatever table.
    pub(crate) partitions: i64,
}

pub(crate) async fn left(connection: &mut PgConnection) -> Result<Left, StoreError> {
    let row = sqlx::query!(
        r#"SELECT max(p.until_time) FILTER (WHERE p.parent_table = 'entries') AS entries_until,
            count(*) AS "partitions!"
        FROM archived_partitions p
        WHERE NOT EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE c.relname = p.partition_name AND c.relnamespace = 'public'::regnamespace
                AND NOT i.inhdetachpending)"#
    )
    .fetch_one(connection)
    .await?;
    Ok(Left { entries_until: row.entries_until, partitions: row.partitions })
}

pub(crate) async fn list(connection: &mut PgConnection) -> Result<Vec<PartitionView>, StoreError> {
    let names: Vec<String> =
        Partitioned::ALL.into_iter().map(|table| table.as_str().to_owned()).collect();
    let rows = sqlx::query!(
        r#"SELECT c.relname::text AS "name!", p.relname::text AS "parent?",
            coalesce(i.inhdetachpending, false) AS "is_leaving!",
            greatest(c.reltuples, 0)::bigint AS "rows!",
            pg_total_relation_size(c.oid) AS "bytes!"
        FROM pg_class c
        LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
        LEFT JOIN pg_class p ON p.oid = i.inhparent
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
            AND c.relname ~ '_[0-9]{4}_[0-9]{2}$'
            AND (p.relname = ANY ($1) OR p.oid IS NULL)"#,
        &names,
    )
    .fetch_all(connection)
    .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(partition) = Partition::named(&row.name) else { continue };
        let attachment = match (row.parent.as_deref().and_then(Partitioned::named), row.is_leaving)
        {
            (None, _) => Attachment::Apart,
            (Some(_), true) => Attachment::Leaving,
            (Some(_), false) => Attachment::Attached,
        };
        let number = |number| u64::try_from(number).unwrap_or(0);
        let (rows, bytes) = (number(row.rows), number(row.bytes));
        found.push(PartitionView { partition, attachment, rows, bytes });
    }
    found.sort_unstable_by_key(|found| found.partition);
    Ok(found)
}

/// Makes the partitions that are missing, from the month of `since` to [`MONTHS_AHEAD`] months ahead, as
/// the owner; the current and the previous month always. `migrate` has made these; more of the past is
/// needed only by who writes a past, as the benchmark does.
///
/// # Errors
/// When the database does not carry it out, or the past is too long ago.
pub async fn make_partitions(
    connection: &mut PgConnection,
    since: Option<OffsetDateTime>,
) -> Result<usize, StoreError> {
    sqlx::raw_sql("SET ROLE stipend_maintenance").execute(&mut *connection).await?;
    let made = make(connection, since).await;
    sqlx::raw_sql("RESET ROLE").execute(connection).await?;
    made
}

/// The same as the maintenance role; how many were made.
pub(crate) async fn make(
    connection: &mut PgConnection,
    since: Option<OffsetDateTime>,
) -> Result<usize, StoreError> {
    let current = Month::of(now(connection).await?);
    // A new primary may set the clock back.
    let first = since.map_or(current.previous(), |since| current.previous().min(Month::of(since)));
    let last = (0..MONTHS_AHEAD).fold(current, |month, _| month.next());
    let existing = list(connection).await?;
    let months: Vec<Month> = core::iter::successors(Some(first), |month| Some(month.next()))
        .take_while(|month| *month <= last)
        .take(MAX_MONTHS)
        .collect();
    if months.last() != Some(&last) {
        return Err(StoreError::Configuration("beginning of the past"));
    }
    let mut made = 0_usize;
    for table in Partitioned::ALL {
        for &month in &months {
            let partition = Partition { month, table };
            let found = existing.iter().find(|found| found.partition == partition);
            // One that stands apart here was made by a process that died before it attached it: what
            // left for the archive left long ago.
            if found.is_none_or(|found| found.attachment == Attachment::Apart) {
                attach(connection, &partition).await?;
                made = made.saturating_add(1);
            }
        }
    }
    Ok(made)
}

/// Makes one partition apart and attaches it. Attaching takes a lock that conflicts with no read and no
/// write of the table.
async fn attach(connection: &mut PgConnection, partition: &Partition) -> Result<(), StoreError> {
    let (name, table) = (partition.name(), partition.table.as_str());
    let (from, until) = (partition.month.begins()?, partition.month.next().begins()?);
    let [from, until] = [from, until].map(|time| format!("'{} 00:00:00+00'", time.date()));
    // Names and dates are made here; nothing of it comes from outside.
    let make = format!("CREATE TABLE IF NOT EXISTS {name} (LIKE {table} INCLUDING ALL)");
    sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut *connection).await?;
    let attach = format!(
        "ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({from}) TO ({until})"
    );
    sqlx::raw_sql(AssertSqlSafe(attach)).execute(connection).await?;
    Ok(())
}
