//! The rows that are verified, in raw columns: nothing here trusts what it reads.

use alloy_primitives::B256;
use domain::ledger::Balances;
use domain::ledger::journal::Head;
use domain::ledger::tcc::DbTime;
use domain::{AccountId, TenantId};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Scope;
use crate::{StoreError, codec};

/// More lines than an account has.
const MAX_PAGE: i64 = i64::MAX / 2;

/// A user's columns, in the order of `balances`.
pub(super) const BALANCES: [&str; 4] = ["available", "reserved", "spent", "debt"];

/// An account that is next, with where it stood when it was listed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    pub(super) tenant: Uuid,
    pub(super) account: Uuid,
    pub(super) entry_seq: i64,
    /// Sequence of the checkpoint to begin at; 0 for the first line.
    pub(super) base: i64,
}

impl Listed {
    /// How many lines are to be read.
    pub(super) const fn lines(&self) -> i64 {
        self.entry_seq.saturating_sub(self.base)
    }
}

pub(super) struct AccountRow {
    pub(super) tenant_id: Uuid,
    pub(super) account_id: Uuid,
    pub(super) entry_seq: i64,
    pub(super) entry_hash: Vec<u8>,
    pub(super) balances: [i64; 4],
}

pub(super) struct EntryRow {
    pub(super) tenant_id: Uuid,
    pub(super) account_id: Uuid,
    pub(super) seq: i64,
    pub(super) kind: String,
    pub(super) from_column: String,
    pub(super) to_column: String,
    pub(super) amount_micropoints: i64,
    pub(super) balances: [i64; 4],
    pub(super) reservation_id: Option<Uuid>,
    pub(super) reference: Option<String>,
    pub(super) bucket: Option<String>,
    pub(super) bucket_expires_at: Option<OffsetDateTime>,
    pub(super) incarnation: i32,
    pub(super) recorded_at: OffsetDateTime,
    pub(super) entry_hash: Vec<u8>,
}

pub(super) struct ReservationRow {
    pub(super) tenant_id: Uuid,
    pub(super) account_id: Uuid,
    pub(super) reservation_id: Uuid,
    pub(super) state: String,
    /// Whether it lacks what its kind and state must hold.
    pub(super) is_misshapen: bool,
    /// Whether it was open when it was settled.
    pub(super) was_open: bool,
    pub(super) reserved: i64,
    pub(super) from_reserved: i64,
    pub(super) settled: i64,
}

/// Where an account agreed before.
pub(super) struct Checkpoint {
    pub(super) tenant_id: Uuid,
    pub(super) account_id: Uuid,
    pub(super) head: Head,
    pub(super) recorded_at: DbTime,
}

/// Which accounts, in columns.
pub(super) struct Keys {
    pub(super) tenants: Vec<Uuid>,
    pub(super) accounts: Vec<Uuid>,
    /// From after which line each is read.
    pub(super) bases: Vec<i64>,
    /// Up to which.
    pub(super) lasts: Vec<i64>,
}

impl Keys {
    pub(super) fn of(listed: &[Listed]) -> Self {
        Self {
            tenants: listed.iter().map(|account| account.tenant).collect(),
            accounts: listed.iter().map(|account| account.account).collect(),
            bases: listed.iter().map(|account| account.base).collect(),
            lasts: vec![i64::MAX; listed.len()],
        }
    }

    /// The same, up to where each account is listed to have stood.
    pub(super) fn up_to(listed: &[Listed]) -> Self {
        let lasts = listed.iter().map(|account| account.entry_seq).collect();
        Self { lasts, ..Self::of(listed) }
    }
}

/// The next accounts behind a key, each with its last line before a time and the last checkpoint before it.
pub(super) async fn list_until(
    connection: &mut PgConnection,
    (after_tenant, after_account): (Uuid, Uuid),
    until: OffsetDateTime,
    limit: i64,
) -> Result<Vec<Listed>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT a.tenant_id, a.account_id,
            coalesce((SELECT max(e.seq) FROM entries e WHERE e.tenant_id = a.tenant_id
                AND e.account_id = a.account_id AND e.recorded_at < $3), 0) AS "last!",
            coalesce((SELECT max(c.seq) FROM checkpoints c WHERE c.tenant_id = a.tenant_id
                AND c.account_id = a.account_id AND c.recorded_at < $3), 0) AS "base!"
        FROM accounts a WHERE (a.tenant_id, a.account_id) > ($1, $2)
        ORDER BY a.tenant_id, a.account_id LIMIT $4"#,
        after_tenant,
        after_account,
        until,
        limit,
    )
    .fetch_all(connection)
    .await?;
    let listed = rows.into_iter().map(|row| Listed {
        tenant: row.tenant_id,
        account: row.account_id,
        entry_seq: row.last,
        base: row.base,
    });
    Ok(listed.collect())
}

/// The next accounts in order of their keys, from this one on. Each begins behind its last line that left
/// the database before `archived_until`, where there is one. Where an account has lots a checkpoint does not
/// say what they held, so that it is read from its first line that is there.
pub(super) async fn list(
    connection: &mut PgConnection,
    scope: &Scope,
    (first_tenant, first_account): (Uuid, Uuid),
    archived_until: Option<OffsetDateTime>,
    limit: i64,
) -> Result<Vec<Listed>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT a.tenant_id, a.account_id, a.entry_seq,
            coalesce((SELECT max(c.seq) FROM checkpoints c
                WHERE c.tenant_id = a.tenant_id AND c.account_id = a.account_id
                    AND ($5 AND a.lot_seq = 0 OR c.recorded_at < $7)), 0) AS "base!"
        FROM accounts a
        WHERE (a.tenant_id, a.account_id) >= ($1, $2)
            AND ($3::uuid IS NULL OR a.tenant_id = $3) AND ($4::uuid IS NULL OR a.account_id = $4)
        ORDER BY a.tenant_id, a.account_id LIMIT $6"#,
        first_tenant,
        first_account,
        scope.tenant.map(|tenant| tenant.0),
        scope.account.map(|account| account.0),
        scope.from_checkpoint,
        limit,
        archived_until,
    )
    .fetch_all(connection)
    .await?;
    let listed = rows.into_iter().map(|row| Listed {
        tenant: row.tenant_id,
        account: row.account_id,
        entry_seq: row.entry_seq,
        base: row.base,
    });
    Ok(listed.collect())
}

pub(super) async fn accounts(
    connection: &mut PgConnection,
    keys: &Keys,
) -> Result<Vec<AccountRow>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT a.tenant_id, a.account_id, a.entry_seq, a.entry_hash, a.available_micropoints,
            a.reserved_micropoints, a.spent_micropoints, a.debt_micropoints
        FROM unnest($1::uuid[], $2::uuid[]) AS k (tenant_id, account_id)
        JOIN accounts a USING (tenant_id, account_id)
        ORDER BY a.tenant_id, a.account_id"#,
        &keys.tenants,
        &keys.accounts,
    )
    .fetch_all(connection)
    .await?;
    let accounts = rows.into_iter().map(|row| AccountRow {
        tenant_id: row.tenant_id,
        account_id: row.account_id,
        entry_seq: row.entry_seq,
        entry_hash: row.entry_hash,
        balances: [
            row.available_micropoints,
            row.reserved_micropoints,
            row.spent_micropoints,
            row.debt_micropoints,
        ],
    });
    Ok(accounts.collect())
}

/// The accounts' lines after their bases, at most `limit` of each, in order. Sequences have no gap, so that a page is
/// a range of them: whatever plan is made over the partitions, it reads no more.
pub(super) async fn entries(
    connection: &mut PgConnection,
    keys: &Keys,
    limit: i64,
) -> Result<Vec<EntryRow>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT e.tenant_id, e.account_id, e.seq, e.kind, e.from_column, e.to_column,
            e.amount_micropoints, e.available_after_micropoints, e.reserved_after_micropoints,
            e.spent_after_micropoints, e.debt_after_micropoints, e.reservation_id, e.reference,
            e.bucket, e.bucket_expires_at, e.incarnation, e.recorded_at, e.entry_hash
        FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $5::bigint[])
            AS k (tenant_id, account_id, base, last)
        JOIN LATERAL (SELECT * FROM entries
            WHERE tenant_id = k.tenant_id AND account_id = k.account_id AND seq > k.base
                AND seq <= least(k.last, k.base + $4)) e ON true
        ORDER BY e.tenant_id, e.account_id, e.seq"#,
        &keys.tenants,
        &keys.accounts,
        &keys.bases,
        // No sum of it and a base is above 2^63.
        limit.min(MAX_PAGE),
        &keys.lasts,
    )
    .fetch_all(connection)
    .await?;
    let entries = rows.into_iter().map(|row| EntryRow {
        tenant_id: row.tenant_id,
        account_id: row.account_id,
        seq: row.seq,
        kind: row.kind,
        from_column: row.from_column,
        to_column: row.to_column,
        amount_micropoints: row.amount_micropoints,
        balances: [
            row.available_after_micropoints,
            row.reserved_after_micropoints,
            row.spent_after_micropoints,
            row.debt_after_micropoints,
        ],
        reservation_id: row.reservation_id,
        reference: row.reference,
        bucket: row.bucket,
        bucket_expires_at: row.bucket_expires_at,
        incarnation: row.incarnation,
        recorded_at: row.recorded_at,
        entry_hash: row.entry_hash,
    });
    Ok(entries.collect())
}

/// The accounts' reservations from an id on, at most `limit` of each, in order: those that are here and those in
/// the archive. The caller reads both of one moment.
pub(super) async fn reservations(
    connection: &mut PgConnection,
    keys: &Keys,
    first: Uuid,
    limit: i64,
) -> Result<Vec<ReservationRow>, StoreError> {
    let rows = sqlx::query_as!(
        ReservationRow,
        r#"SELECT r.tenant_id AS "tenant_id!", r.account_id AS "account_id!",
            r.reservation_id AS "reservation_id!", r.state AS "state!",
            r.is_misshapen AS "is_misshapen!",
            coalesce(r.settled_before = 'open', false) AS "was_open!",
            coalesce(r.reserved_micropoints, 0) AS "reserved!",
            coalesce(r.from_reserved_micropoints, 0) AS "from_reserved!",
            coalesce(r.settled_micropoints, r.from_reserved_micropoints
                + r.from_available_micropoints + r.from_debt_micropoints, 0) AS "settled!"
        FROM unnest($1::uuid[], $2::uuid[]) AS k (tenant_id, account_id)
        JOIN LATERAL (SELECT * FROM every_reservation
            WHERE tenant_id = k.tenant_id AND account_id = k.account_id AND reservation_id >= $3
            ORDER BY reservation_id LIMIT $4) r ON true
        ORDER BY r.tenant_id, r.account_id, r.reservation_id"#,
        &keys.tenants,
        &keys.accounts,
        first,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

/// What was spent by reservations of the accounts that are neither here nor in the archive any more: those
/// of months that left the database.
pub(super) async fn spent_away(
    connection: &mut PgConnection,
    keys: &Keys,
) -> Result<Vec<(Uuid, Uuid, i64)>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT s.tenant_id, s.account_id, sum(s.spent_micropoints)::bigint AS "spent!"
        FROM unnest($1::uuid[], $2::uuid[]) AS k (tenant_id, account_id)
        JOIN archived_sums s USING (tenant_id, account_id)
        WHERE NOT EXISTS (SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE c.relname = s.partition_name AND c.relnamespace = 'public'::regnamespace
                AND NOT i.inhdetachpending)
        GROUP BY s.tenant_id, s.account_id"#,
        &keys.tenants,
        &keys.accounts,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.tenant_id, row.account_id, row.spent)).collect())
}

/// Where the accounts agreed before, as their keys' bases say, with the line that stands there now:
/// `None` where it was moved to an archive.
pub(super) async fn checkpoints(
    connection: &mut PgConnection,
    keys: &Keys,
) -> Result<Vec<(Checkpoint, Option<Vec<u8>>)>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT c.tenant_id, c.account_id, c.seq, c.available_micropoints, c.reserved_micropoints,
            c.spent_micropoints, c.debt_micropoints, c.entry_hash, c.recorded_at,
            e.entry_hash AS "line_hash?"
        FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS k (tenant_id, account_id, seq)
        JOIN checkpoints c USING (tenant_id, account_id, seq)
        LEFT JOIN entries e ON e.tenant_id = c.tenant_id AND e.account_id = c.account_id
            AND e.seq = c.seq AND e.recorded_at = c.recorded_at"#,
        &keys.tenants,
        &keys.accounts,
        &keys.bases,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let balances = Balances {
                available: codec::points(row.available_micropoints)?,
                reserved: codec::points(row.reserved_micropoints)?,
                spent: codec::points(row.spent_micropoints)?,
                debt: codec::points(row.debt_micropoints)?,
            };
            let head = Head { seq: row.seq, hash: codec::hash(&row.entry_hash)?, balances };
            let recorded_at = codec::db_time(row.recorded_at)?;
            let (tenant_id, account_id) = (row.tenant_id, row.account_id);
            Ok((Checkpoint { tenant_id, account_id, head, recorded_at }, row.line_hash))
        })
        .collect()
}

/// Remembers where an account agreed.
pub(super) async fn remember(
    connection: &mut PgConnection,
    (tenant, account): (TenantId, AccountId),
    head: &Head,
    recorded_at: DbTime,
) -> Result<(), StoreError> {
    let hash: B256 = head.hash;
    sqlx::query!(
        r#"INSERT INTO checkpoints (tenant_id, account_id, seq, available_micropoints,
            reserved_micropoints, spent_micropoints, debt_micropoints, entry_hash, recorded_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (tenant_id, account_id, seq) DO NOTHING"#,
        tenant.0,
        account.0,
        head.seq,
        codec::micropoints(head.balances.available),
        codec::micropoints(head.balances.reserved),
        codec::micropoints(head.balances.spent),
        codec::micropoints(head.balances.debt),
        hash.as_slice(),
        codec::timestamp(recorded_at)?,
    )
    .execute(connection)
    .await?;
    Ok(())
}
