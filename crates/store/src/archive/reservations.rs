//! Closed reservations on their way to the archive.

use domain::TenantId;
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Maintenance;
use crate::tcc::BIZ_ID_RETENTION;
use crate::{StoreError, partitions};

/// Reservations that one step looks at, and moves at most: some tens of milliseconds.
const CHUNK: i64 = 500;

/// Where a round through all reservations is. A round looks at what is old, company by company and in the order
/// of their ids, which is that of their making.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    tenant: Option<TenantId>,
    reservation: Uuid,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// How many reservations it moved.
    pub reservations: u64,
    /// Where the next step begins; `None` at the end of the round.
    pub next: Option<Walked>,
}

impl Maintenance {
    /// Moves the closed reservations of the next chunk whose keys need not be remembered any more.
    ///
    /// # Errors
    /// When the database does not carry it out: nothing of the chunk has moved.
    pub async fn move_closed(&self, walked: Walked) -> Result<Moved, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let Some(tenant) = self.tenant_from(&mut connection, walked.tenant).await? else {
            return Ok(Moved { reservations: 0, next: None });
        };
        let from = if walked.tenant == Some(tenant) { walked.reservation } else { Uuid::nil() };
        let now = partitions::now(&mut connection).await?;
        let closed_before = now - BIZ_ID_RETENTION;
        let mut transaction = connection.begin().await?;
        let chunk = chunk(&mut transaction, tenant, from, closed_before).await?;
        let moved = move_chunk(&mut transaction, tenant, &chunk, now).await?;
        transaction.commit().await?;
        let next = match chunk.last {
            Some(reservation) => Walked { tenant: Some(tenant), reservation },
            // Behind this company's last: the next company.
            None => Walked { tenant: following(tenant), reservation: Uuid::nil() },
        };
        let next = Some(next).filter(|next| next.tenant.is_some());
        Ok(Moved { reservations: moved, next })
    }

    /// The company of this id, or the one after it.
    async fn tenant_from(
        &self,
        connection: &mut PgConnection,
        from: Option<TenantId>,
    ) -> Result<Option<TenantId>, StoreError> {
        let found = sqlx::query_scalar!(
            r#"SELECT tenant_id FROM tenants WHERE tenant_id >= $1 ORDER BY tenant_id LIMIT 1"#,
            from.map_or(Uuid::nil(), |tenant| tenant.0),
        )
        .fetch_optional(connection)
        .await?;
        Ok(found.map(TenantId))
    }
}

fn following(tenant: TenantId) -> Option<TenantId> {
    tenant.0.as_u128().checked_add(1).map(|next| TenantId(Uuid::from_u128(next)))
}

/// What a step looked at.
struct Chunk {
    accounts: Vec<Uuid>,
    reservations: Vec<Uuid>,
    /// The last that it looked at; `None` where there was none.
    last: Option<Uuid>,
}

/// The least id that one made at this time can have: ids begin with their time in milliseconds (UUID version 7).
fn first_id_at(time: OffsetDateTime) -> Uuid {
    let millis = u128::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
    Uuid::from_u128(millis << 80)
}

/// The next reservations by their ids, and those of them that may go: a TCC reservation that is closed, a final
/// sponsorship in whose slot nothing waits for people, and a released attempt that a later one has followed.
async fn chunk(
    connection: &mut PgConnection,
    tenant: TenantId,
    from: Uuid,
    closed_before: OffsetDateTime,
) -> Result<Chunk, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT r.account_id, r.reservation_id,
            r.changed_at < $3 AND r.state <> 'open' AND CASE
                WHEN r.kind = 'tcc' THEN true
                WHEN r.state = 'settled_final' THEN NOT EXISTS (SELECT FROM chain_events e
                    WHERE e.chain_id = r.chain_id AND e.sender = r.sender AND e.nonce = r.nonce
                        AND e.entry_point = r.entry_point AND e.canonical
                        AND e.progress <> 'finalised')
                WHEN r.state = 'released' THEN EXISTS (SELECT FROM reservations later
                        WHERE later.tenant_id = r.tenant_id AND later.account_id = r.account_id
                            AND later.chain_id = r.chain_id AND later.entry_point = r.entry_point
                            AND later.sender = r.sender AND later.nonce = r.nonce
                            AND later.attempt > r.attempt)
                    OR EXISTS (SELECT FROM closed_slots c
                        WHERE c.tenant_id = r.tenant_id AND c.account_id = r.account_id
                            AND c.slot_hash = sha256(int8send(r.chain_id) || r.entry_point
                                || r.sender || r.nonce))
                ELSE false END AS "may_go!"
        FROM reservations r
        WHERE r.tenant_id = $1 AND r.reservation_id > $2 AND r.reservation_id < $4
        ORDER BY r.reservation_id LIMIT $5"#,
        tenant.0,
        from,
        closed_before,
        first_id_at(closed_before),
        CHUNK,
    )
    .fetch_all(connection)
    .await?;
    let last = rows.last().map(|row| row.reservation_id);
    let going = rows.into_iter().filter(|row| row.may_go);
    let (accounts, reservations) = going.map(|row| (row.account_id, row.reservation_id)).unzip();
    Ok(Chunk { accounts, reservations, last })
}

/// Moves these rows as they are, whatever columns they have; the archive's tables have the same in the same order,
/// behind the time.
async fn move_chunk(
    connection: &mut PgConnection,
    tenant: TenantId,
    chunk: &Chunk,
    now: OffsetDateTime,
) -> Result<u64, StoreError> {
    let Chunk { accounts, reservations, .. } = chunk;
    if reservations.is_empty() {
        return Ok(0);
    }
    sqlx::query!(
        r#"WITH gone AS (DELETE FROM grants g
            USING unnest($2::uuid[], $3::uuid[]) AS n (account_id, reservation_id)
            WHERE g.tenant_id = $1 AND g.account_id = n.account_id
                AND g.reservation_id = n.reservation_id RETURNING g.*)
        INSERT INTO archived_grants SELECT $4, gone.* FROM gone"#,
        tenant.0,
        accounts,
        reservations,
        now,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        r#"WITH gone AS (DELETE FROM reservation_legs l
            USING unnest($2::uuid[], $3::uuid[]) AS n (account_id, reservation_id)
            WHERE l.tenant_id = $1 AND l.account_id = n.account_id
                AND l.reservation_id = n.reservation_id RETURNING l.*)
        INSERT INTO archived_legs SELECT $4, gone.* FROM gone"#,
        tenant.0,
        accounts,
        reservations,
        now,
    )
    .execute(&mut *connection)
    .await?;
    let moved = sqlx::query!(
        r#"WITH gone AS (DELETE FROM reservations r
            USING unnest($2::uuid[], $3::uuid[]) AS n (account_id, reservation_id)
            WHERE r.tenant_id = $1 AND r.account_id = n.account_id
                AND r.reservation_id = n.reservation_id
                AND r.state NOT IN ('open', 'settled_provisional') RETURNING r.*),
        closed AS (INSERT INTO closed_slots (tenant_id, account_id, slot_hash, reservation_id)
            SELECT tenant_id, account_id,
                sha256(int8send(chain_id) || entry_point || sender || nonce), reservation_id
            FROM gone WHERE kind = 'sponsorship' AND state = 'settled_final'
            ON CONFLICT (tenant_id, account_id, slot_hash) DO NOTHING)
        INSERT INTO archived_reservations SELECT $4, gone.* FROM gone"#,
        tenant.0,
        accounts,
        reservations,
        now,
    )
    .execute(connection)
    .await?;
    let wanted = u64::try_from(reservations.len()).unwrap_or(u64::MAX);
    if moved.rows_affected() != wanted {
        return Err(StoreError::Corrupt("a closed reservation changed"));
    }
    Ok(wanted)
}
