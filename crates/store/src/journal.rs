//! Reading the entries.
//!
//! # Times that are over
//! A command reads the database's clock after it has locked its account, and commits later. So an
//! entry that says 12:00:00 may appear at 12:00:03, and what is asked at 12:00:01 about 12:00:00 could
//! be answered otherwise a moment later. A time is *closed* once no transaction that began to write
//! before it can still commit: [`CLOSES_AFTER`] later. What is said about a closed time stays true.
//! One account's commands take turns, so that its times never fall; between accounts they may.

use core::time::Duration;

use alloy_primitives::B256;
use domain::ledger::buckets::Lot;
use domain::ledger::tcc::DbTime;
use domain::ledger::{Balances, journal};
use domain::{AccountId, Points, ReservationId, TenantId};
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::partitions::{self, Month};
use crate::{Store, StoreError, TRANSACTION_LIMIT, codec};

/// One line of an account's journal, as a statement shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryLine {
    /// Gapless per account, from 1.
    pub seq: i64,
    /// The command that wrote it.
    pub kind: String,
    /// The column that the points left.
    pub from: String,
    /// The column that they entered.
    pub to: String,
    /// How many.
    pub amount: Points,
    /// The balances after it.
    pub balances: Balances,
    /// The reservation it belongs to.
    pub reservation: Option<ReservationId>,
    /// The company's own reference.
    pub reference: Option<String>,
    /// Which points; `None` for the default bucket.
    pub lot: Option<Lot>,
    /// When it was recorded.
    pub recorded_at: DbTime,
}

/// The most lines one page has.
pub const MAX_PAGE: u16 = 200;

/// How long after a time nothing can be recorded at it any more: the longest transaction, and 5 s for
/// a clock that a new primary may have set back.
pub const CLOSES_AFTER: Duration = TRANSACTION_LIMIT.saturating_add(Duration::from_secs(5));

/// Where an account's journal stood at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PastHead {
    /// Sequence of the last entry at or before it; 0 where there was none.
    pub seq: i64,
    /// That entry's hash; the account's genesis where there was none.
    pub hash: B256,
    /// The balances after it.
    pub balances: Balances,
    /// When it was recorded.
    pub recorded_at: Option<DbTime>,
}

/// An answer about the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsOf<T> {
    /// It stays true.
    Closed(T),
    /// The time is too near to now, or lies ahead: ask again in so many seconds.
    NotYetClosed {
        /// At least 1.
        seconds: u64,
    },
    /// The lines of this time have left the database for the archive.
    Archived,
}

impl PastHead {
    /// Where a journal stands before its first line.
    fn before_all(tenant: TenantId, account: AccountId) -> Self {
        let hash = journal::genesis(tenant, account);
        Self { seq: 0, hash, balances: Balances::default(), recorded_at: None }
    }
}

impl Store {
    /// The lines before sequence `before` (or the newest), newest first, at most `limit` and
    /// [`MAX_PAGE`]. Sequences have no gap, so that a page is a range of them.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn entries(
        &self,
        tenant: TenantId,
        account: AccountId,
        before: Option<i64>,
        limit: u16,
    ) -> Result<Vec<EntryLine>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT e.seq, e.kind, e.from_column, e.to_column, e.amount_micropoints,
                e.available_after_micropoints, e.reserved_after_micropoints,
                e.spent_after_micropoints, e.debt_after_micropoints, e.reservation_id, e.reference,
                e.bucket, e.bucket_expires_at, e.recorded_at
            FROM (SELECT least($3, entry_seq + 1) AS before FROM accounts
                WHERE tenant_id = $1 AND account_id = $2) page
            JOIN entries e ON e.tenant_id = $1 AND e.account_id = $2
                AND e.seq < page.before AND e.seq >= page.before - $4
            ORDER BY e.seq DESC"#,
            tenant.0,
            account.0,
            before.unwrap_or(i64::MAX),
            i64::from(limit.min(MAX_PAGE)),
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Row::line).collect()
    }

    /// The lines after one sequence up to another, oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn entries_between(
        &self,
        tenant: TenantId,
        account: AccountId,
        (after, last): (i64, i64),
        limit: u16,
    ) -> Result<Vec<EntryLine>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        lines_between(&mut connection, tenant, account, (after, last), limit).await
    }

    /// Where an account's journal stood after the last entry recorded at or before a time.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn head_as_of(
        &self,
        tenant: TenantId,
        account: AccountId,
        time: DbTime,
    ) -> Result<AsOf<PastHead>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        if let Some(seconds) = seconds_until_closed(&mut connection, time).await? {
            return Ok(AsOf::NotYetClosed { seconds });
        }
        let head = past_head(&mut connection, tenant, account, time).await?;
        Ok(head.map_or(AsOf::Archived, AsOf::Closed))
    }
}

/// How long until a time is closed; `None` where it is. Asked in a statement before the one that looks
/// at the time, so that the latter sees everything that was committed until now.
pub(crate) async fn seconds_until_closed(
    connection: &mut PgConnection,
    time: DbTime,
) -> Result<Option<u64>, StoreError> {
    let now = sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#);
    let now = codec::db_time(now.fetch_one(connection).await?)?;
    let closes_after = i64::try_from(CLOSES_AFTER.as_micros()).unwrap_or(i64::MAX);
    let missing = time.0.saturating_add(closes_after).saturating_sub(now.0);
    let missing = u64::try_from(missing).unwrap_or(0);
    Ok((missing > 0).then(|| missing.div_ceil(1_000_000)))
}

/// Where an account's journal stood at a closed time; `None` where that is in the archive only.
///
/// Times never fall along the sequence, so that of the time's own month the last line is found by a binary
/// search in that month's partition, and of earlier months the last line is the greatest sequence: one probe
/// of each partition, however long the journal. What left the database ends with a checkpoint.
pub(crate) async fn past_head(
    connection: &mut PgConnection,
    tenant: TenantId,
    account: AccountId,
    time: DbTime,
) -> Result<Option<PastHead>, StoreError> {
    let found = online_head(connection, tenant, account, time).await?;
    // Looked at after the lines: what was there then was not archived before.
    let Some(cut) = partitions::left(connection).await?.entries_until else {
        return Ok(Some(found.unwrap_or_else(|| PastHead::before_all(tenant, account))));
    };
    let time = codec::timestamp(time)?;
    if let Some(found) = found.filter(|_| time >= cut) {
        return Ok(Some(found));
    }
    let row = sqlx::query!(
        r#"SELECT seq, entry_hash, available_micropoints, reserved_micropoints, spent_micropoints,
            debt_micropoints, recorded_at
        FROM checkpoints WHERE tenant_id = $1 AND account_id = $2 AND recorded_at < $3
        ORDER BY seq DESC LIMIT 1"#,
        tenant.0,
        account.0,
        cut,
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(Some(PastHead::before_all(tenant, account))) };
    if row.recorded_at > time {
        return Ok(None);
    }
    let balances = Balances {
        available: codec::points(row.available_micropoints)?,
        reserved: codec::points(row.reserved_micropoints)?,
        spent: codec::points(row.spent_micropoints)?,
        debt: codec::points(row.debt_micropoints)?,
    };
    let recorded_at = Some(codec::db_time(row.recorded_at)?);
    let hash = codec::hash(&row.entry_hash)?;
    Ok(Some(PastHead { seq: row.seq, hash, balances, recorded_at }))
}

/// The last line by then, of those that are in the database.
async fn online_head(
    connection: &mut PgConnection,
    tenant: TenantId,
    account: AccountId,
    time: DbTime,
) -> Result<Option<PastHead>, StoreError> {
    let time = codec::timestamp(time)?;
    let month = Month::of(time);
    let row = sqlx::query!(
        r#"WITH RECURSIVE search (low, high) AS (
            SELECT m.low, greatest(m.low, m.high)
            FROM accounts a CROSS JOIN LATERAL (
                SELECT coalesce((SELECT max(e.seq) FROM entries e WHERE e.tenant_id = $1
                        AND e.account_id = $2 AND e.recorded_at < $4), 0) AS low,
                    coalesce((SELECT max(e.seq) FROM entries e WHERE e.tenant_id = $1
                        AND e.account_id = $2 AND e.recorded_at >= $4 AND e.recorded_at < $5), 0)
                        AS high) AS m
            WHERE a.tenant_id = $1 AND a.account_id = $2
            UNION ALL
            SELECT CASE WHEN looked.is_past THEN looked.middle ELSE looked.low END,
                CASE WHEN looked.is_past THEN looked.high ELSE looked.middle - 1 END
            FROM (SELECT low, high, (low + high + 1) / 2 AS middle,
                    coalesce((SELECT e.recorded_at <= $3 FROM entries e
                        WHERE e.tenant_id = $1 AND e.account_id = $2
                            AND e.seq = (low + high + 1) / 2
                            AND e.recorded_at >= $4 AND e.recorded_at < $5), true) AS is_past
                FROM search WHERE low < high) AS looked
        )
        SELECT s.low AS "seq!", e.available_after_micropoints AS "available?",
            e.reserved_after_micropoints AS "reserved?", e.spent_after_micropoints AS "spent?",
            e.debt_after_micropoints AS "debt?", e.entry_hash AS "entry_hash?",
            e.recorded_at AS "recorded_at?"
        FROM search s
        LEFT JOIN entries e ON e.tenant_id = $1 AND e.account_id = $2 AND e.seq = s.low
            AND e.recorded_at <= $3
        WHERE s.low = s.high"#,
        tenant.0,
        account.0,
        time,
        month.begins()?,
        month.next().begins()?,
    )
    .fetch_optional(connection)
    .await?
    .ok_or(StoreError::Corrupt("no such account"))?;
    if row.seq == 0 {
        return Ok(None);
    }
    let balances = Balances {
        available: codec::points(codec::present(row.available)?)?,
        reserved: codec::points(codec::present(row.reserved)?)?,
        spent: codec::points(codec::present(row.spent)?)?,
        debt: codec::points(codec::present(row.debt)?)?,
    };
    Ok(Some(PastHead {
        seq: row.seq,
        hash: codec::hash(&codec::present(row.entry_hash)?)?,
        balances,
        recorded_at: Some(codec::db_time(codec::present(row.recorded_at)?)?),
    }))
}

/// What an account held after a line that left the database, where a checkpoint stands.
pub(crate) async fn balances_at_checkpoint(
    connection: &mut PgConnection,
    tenant: TenantId,
    account: AccountId,
    seq: i64,
) -> Result<Option<Balances>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT available_micropoints, reserved_micropoints, spent_micropoints, debt_micropoints
        FROM checkpoints WHERE tenant_id = $1 AND account_id = $2 AND seq = $3"#,
        tenant.0,
        account.0,
        seq,
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(Balances {
            available: codec::points(row.available_micropoints)?,
            reserved: codec::points(row.reserved_micropoints)?,
            spent: codec::points(row.spent_micropoints)?,
            debt: codec::points(row.debt_micropoints)?,
        })
    })
    .transpose()
}

/// The lines after one sequence up to another, oldest first.
pub(crate) async fn lines_between(
    connection: &mut PgConnection,
    tenant: TenantId,
    account: AccountId,
    (after, last): (i64, i64),
    limit: u16,
) -> Result<Vec<EntryLine>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT seq, kind, from_column, to_column, amount_micropoints,
            available_after_micropoints, reserved_after_micropoints, spent_after_micropoints,
            debt_after_micropoints, reservation_id, reference, bucket, bucket_expires_at,
            recorded_at
        FROM entries
        WHERE tenant_id = $1 AND account_id = $2 AND seq > $3 AND seq <= least($4, $3 + $5::bigint)
        ORDER BY seq"#,
        tenant.0,
        account.0,
        after,
        last,
        i64::from(limit),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Row::line).collect()
}

struct Row {
    seq: i64,
    kind: String,
    from_column: String,
    to_column: String,
    amount_micropoints: i64,
    available_after_micropoints: i64,
    reserved_after_micropoints: i64,
    spent_after_micropoints: i64,
    debt_after_micropoints: i64,
    reservation_id: Option<uuid::Uuid>,
    reference: Option<String>,
    bucket: Option<String>,
    bucket_expires_at: Option<OffsetDateTime>,
    recorded_at: OffsetDateTime,
}

impl Row {
    fn line(self) -> Result<EntryLine, StoreError> {
        Ok(EntryLine {
            seq: self.seq,
            kind: self.kind,
            from: self.from_column,
            to: self.to_column,
            amount: codec::points(self.amount_micropoints)?,
            balances: Balances {
                available: codec::points(self.available_after_micropoints)?,
                reserved: codec::points(self.reserved_after_micropoints)?,
                spent: codec::points(self.spent_after_micropoints)?,
                debt: codec::points(self.debt_after_micropoints)?,
            },
            reservation: self.reservation_id.map(ReservationId),
            reference: self.reference,
            lot: self
                .bucket
                .map(|bucket| crate::book::lot(&bucket, self.bucket_expires_at))
                .transpose()?,
            recorded_at: codec::db_time(self.recorded_at)?,
        })
    }
}
