//! Lots and legs as they are read to be held against the lines.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::rows::Keys;
use crate::StoreError;

pub(super) struct LotRow {
    pub(super) tenant_id: Uuid,
    pub(super) account_id: Uuid,
    pub(super) bucket: String,
    pub(super) expires_at: Option<OffsetDateTime>,
    pub(super) available: i64,
}

pub(super) struct LegRow {
    pub(super) tenant_id: Uuid,
    pub(super) account_id: Uuid,
    pub(super) reservation_id: Uuid,
    pub(super) lot: i32,
    pub(super) bucket: String,
    pub(super) expires_at: Option<OffsetDateTime>,
    pub(super) reserved: i64,
    pub(super) settled: i64,
    pub(super) returned: i64,
    pub(super) taken: i64,
}

/// The accounts' lots, in order.
pub(super) async fn lots(
    connection: &mut PgConnection,
    keys: &Keys,
) -> Result<Vec<LotRow>, StoreError> {
    let rows = sqlx::query_as!(
        LotRow,
        r#"SELECT b.tenant_id, b.account_id, b.bucket, b.expires_at,
            b.available_micropoints AS "available!"
        FROM unnest($1::uuid[], $2::uuid[]) AS k (tenant_id, account_id)
        JOIN buckets b USING (tenant_id, account_id)
        ORDER BY b.tenant_id, b.account_id, b.lot"#,
        &keys.tenants,
        &keys.accounts,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

/// The legs of the accounts' reservations from behind a place on, at most `limit` of each account, in
/// order.
pub(super) async fn legs(
    connection: &mut PgConnection,
    keys: &Keys,
    (reservation, lot): (Uuid, i32),
    limit: i64,
) -> Result<Vec<LegRow>, StoreError> {
    let rows = sqlx::query_as!(
        LegRow,
        r#"SELECT l.tenant_id AS "tenant_id!", l.account_id AS "account_id!",
            l.reservation_id AS "reservation_id!", l.lot AS "lot!", b.bucket, b.expires_at,
            l.reserved_micropoints AS "reserved!", l.settled_micropoints AS "settled!",
            l.returned_micropoints AS "returned!", l.taken_micropoints AS "taken!"
        FROM unnest($1::uuid[], $2::uuid[]) AS k (tenant_id, account_id)
        JOIN LATERAL (SELECT * FROM every_leg
            WHERE tenant_id = k.tenant_id AND account_id = k.account_id
                AND (reservation_id, lot) > ($3, $4)
            ORDER BY reservation_id, lot LIMIT $5) l ON true
        JOIN buckets b ON b.tenant_id = l.tenant_id AND b.account_id = l.account_id
            AND b.lot = l.lot
        ORDER BY l.tenant_id, l.account_id, l.reservation_id, l.lot"#,
        &keys.tenants,
        &keys.accounts,
        reservation,
        lot,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows)
}
