//! The daily anchor: one Merkle root over where every account's journal stood as the day began (UTC).
//!
//! What a day's anchor covers follows from the entries alone: of each account the last one recorded
//! before the day. So it can be computed again at any time, by anybody who has the entries, and no
//! snapshot of all accounts is needed: the day is anchored once its beginning is closed
//! ([`crate::journal::CLOSES_AFTER`]), from when on these lines stay what they are.
//!
//! The row in `anchors` proves nothing: who can rewrite entries can rewrite it. The same line in a file
//! out of the database's reach does.

use alloy_primitives::B256;
use domain::ledger::journal::Incarnation;
use domain::ledger::tcc::DbTime;
use domain::merkle::Leaf;
use domain::{AccountId, TenantId};
use time::{Date, Duration, PrimitiveDateTime, Time};
use uuid::Uuid;

use crate::journal::{CLOSES_AFTER, past_head};
use crate::{Store, StoreError, codec, partitions};

/// Accounts, or lines, of one page.
const PAGE: i64 = 5_000;
/// Anchors that are read at once: more than ten years.
const MAX_ANCHORS: i64 = 4_000;

/// One day's anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The day (UTC); what was recorded before it is covered.
    pub day: Date,
    /// The life of the database that it was computed in.
    pub incarnation: Incarnation,
    /// Accounts with an entry.
    pub accounts: u64,
    /// Their entries.
    pub entries: u64,
    /// The root over their heads, sorted by tenant and account.
    pub root: B256,
    /// When it was computed.
    pub anchored_at: DbTime,
}

/// An account's key, to go on behind it.
pub type AccountKey = (TenantId, AccountId);

/// A line of the journal, as far as an anchor is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnchoredLine {
    /// The line as a head.
    pub leaf: Leaf,
    /// When it was recorded.
    pub recorded_at: DbTime,
}

/// The moment as which a day begins, in UTC; `None` beyond the years that the database knows.
#[must_use]
pub fn beginning_of(day: Date) -> Option<DbTime> {
    codec::db_time(PrimitiveDateTime::new(day, Time::MIDNIGHT).assume_utc()).ok()
}

impl Store {
    /// The day that is to be anchored: the database's, once its beginning is closed, unless it is
    /// anchored already.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn day_to_anchor(&self) -> Result<Option<Date>, StoreError> {
        let closes_after = Duration::try_from(CLOSES_AFTER)
            .map_err(|_| StoreError::Corrupt("time until a day is closed"))?;
        let now = sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#);
        let day = (now.fetch_one(&self.pool).await? - closes_after).date();
        let anchored = sqlx::query_scalar!(r#"SELECT day FROM anchors WHERE day >= $1"#, day);
        Ok(anchored.fetch_optional(&self.pool).await?.is_none().then_some(day))
    }

    /// The next accounts' heads as a day began, in order of their keys, and the key to go on behind;
    /// `None` behind the last. An account without an entry by then has none.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn heads_before(
        &self,
        day: Date,
        after: Option<AccountKey>,
    ) -> Result<(Vec<Leaf>, Option<AccountKey>), StoreError> {
        let beginning = beginning_of(day).ok_or(StoreError::Corrupt("day"))?;
        let (after_tenant, after_account) =
            after.map_or((Uuid::nil(), Uuid::nil()), |(tenant, account)| (tenant.0, account.0));
        let mut connection = self.pool.acquire().await?;
        let rows = sqlx::query!(
            r#"SELECT a.tenant_id, a.account_id, a.entry_seq, a.entry_hash, a.recorded_at
            FROM accounts a
            WHERE (a.tenant_id, a.account_id) > ($1, $2)
            ORDER BY a.tenant_id, a.account_id LIMIT $3"#,
            after_tenant,
            after_account,
            PAGE,
        )
        .fetch_all(&mut *connection)
        .await?;
        let last = rows.last().map(|row| (TenantId(row.tenant_id), AccountId(row.account_id)));
        let mut leaves = Vec::with_capacity(rows.len());
        for row in rows {
            let (tenant, account) = (TenantId(row.tenant_id), AccountId(row.account_id));
            // The row is the head, which no line has moved since: no entry is read, however many months
            // there are.
            let (seq, hash) = if codec::db_time(row.recorded_at)? < beginning {
                (row.entry_seq, codec::hash(&row.entry_hash)?)
            } else {
                // Busy since: few accounts, soon after midnight.
                let just_before = DbTime(beginning.0.saturating_sub(1));
                let head = past_head(&mut connection, tenant, account, just_before).await?;
                let head =
                    head.ok_or(StoreError::Corrupt("a day is anchored after its archival"))?;
                (head.seq, head.hash)
            };
            if seq > 0 {
                leaves.push(Leaf { tenant, account, seq, hash });
            }
        }
        Ok((leaves, last))
    }

    /// Keeps a day's anchor, unless another process was first; whether it was this one.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn keep_anchor(
        &self,
        day: Date,
        accounts: u64,
        entries: u64,
        root: B256,
    ) -> Result<bool, StoreError> {
        let kept = sqlx::query!(
            r#"INSERT INTO anchors (day, incarnation, account_count, entry_count, root)
            SELECT $1, max(incarnation), $2, $3, $4 FROM incarnations
            ON CONFLICT (day) DO NOTHING"#,
            day,
            codec::signed(accounts)?,
            codec::signed(entries)?,
            root.as_slice(),
        )
        .execute(&self.pool)
        .await?;
        Ok(kept.rows_affected() == 1)
    }

    /// The anchors after a day, oldest first; at most those of ten years.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn anchors_after(&self, day: Option<Date>) -> Result<Vec<Anchor>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT day, incarnation, account_count, entry_count, root, anchored_at FROM anchors
            WHERE $1::date IS NULL OR day > $1 ORDER BY day LIMIT $2"#,
            day,
            MAX_ANCHORS,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(Anchor {
                    day: row.day,
                    incarnation: Incarnation(row.incarnation),
                    accounts: codec::unsigned(row.account_count)?,
                    entries: codec::unsigned(row.entry_count)?,
                    root: codec::hash(&row.root)?,
                    anchored_at: codec::db_time(row.anchored_at)?,
                })
            })
            .collect()
    }

    /// The next lines of all journals, sorted by tenant, account and sequence. Of those that left the
    /// database there are the ones where a checkpoint stands: of each account at least the last.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn anchored_lines(
        &self,
        after: Option<Leaf>,
    ) -> Result<Vec<AnchoredLine>, StoreError> {
        let (tenant, account, seq) = after.map_or((Uuid::nil(), Uuid::nil(), 0), |leaf| {
            (leaf.tenant.0, leaf.account.0, leaf.seq)
        });
        let mut connection = self.pool.acquire().await?;
        let cut = partitions::left(&mut connection).await?.entries_until;
        let rows = sqlx::query!(
            r#"SELECT tenant_id AS "tenant_id!", account_id AS "account_id!", seq AS "seq!",
                entry_hash AS "entry_hash!", recorded_at AS "recorded_at!"
            FROM (SELECT tenant_id, account_id, seq, entry_hash, recorded_at FROM entries
                WHERE (tenant_id, account_id, seq) > ($1, $2, $3)
                UNION ALL
                SELECT tenant_id, account_id, seq, entry_hash, recorded_at FROM checkpoints
                WHERE (tenant_id, account_id, seq) > ($1, $2, $3) AND recorded_at < $5) AS line
            ORDER BY tenant_id, account_id, seq LIMIT $4"#,
            tenant,
            account,
            seq,
            PAGE,
            cut,
        )
        .fetch_all(&mut *connection)
        .await?;
        rows.into_iter()
            .map(|row| {
                let (tenant, account) = (TenantId(row.tenant_id), AccountId(row.account_id));
                let hash = codec::hash(&row.entry_hash)?;
                Ok(AnchoredLine {
                    leaf: Leaf { tenant, account, seq: row.seq, hash },
                    recorded_at: codec::db_time(row.recorded_at)?,
                })
            })
            .collect()
    }
}
