//! What commands still ask of the archive: whether a slot is closed for ever, and what became of a biz id long ago.
//! Nothing in the archive changes any more, so that it is read without a lock and never written here.

use sqlx::PgConnection;

use super::attempts::Slots;
use super::load::{columns, owner};
use super::{Book, Needs, Tried};
use crate::{StoreError, codec};
use domain::ReservationId;
use domain::ids::BizId;

impl Book {
    /// Of the slots without an attempt, those that a final one closed. One probe of a narrow index; most slots are new.
    pub(super) async fn load_closed_slots(
        &mut self,
        connection: &mut PgConnection,
        needs: &Needs,
    ) -> Result<(), StoreError> {
        let unknown: Vec<_> =
            needs.slots.iter().filter(|key| !self.attempts.contains_key(*key)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let (tenants, accounts) = columns(unknown.iter().map(|(owner, _)| owner));
        let slots = Slots::of(unknown.iter().map(|(_, slot)| slot))?;
        let rows = sqlx::query!(
            r#"SELECT c.tenant_id, c.account_id, n.chain_id AS "chain_id!",
                n.entry_point AS "entry_point!", n.sender AS "sender!", n.nonce AS "nonce!"
            FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bytea[])
                AS n (tenant_id, account_id, chain_id, entry_point, sender, nonce)
            JOIN closed_slots c ON c.tenant_id = n.tenant_id AND c.account_id = n.account_id
                AND c.slot_hash = sha256(int8send(n.chain_id) || n.entry_point || n.sender || n.nonce)"#,
            &tenants,
            &accounts,
            &slots.chains,
            &slots.entry_points,
            &slots.senders,
            &slots.nonces,
        )
        .fetch_all(connection)
        .await?;
        for row in rows {
            let slot = codec::slot(row.chain_id, &row.entry_point, &row.sender, &row.nonce)?;
            self.closed_slots.insert((owner(row.tenant_id, row.account_id), slot));
        }
        Ok(())
    }

    /// Of the biz ids that confirms and cancels name and that are not known, what the archive has.
    pub(super) async fn load_archived_tried(
        &mut self,
        connection: &mut PgConnection,
        needs: &Needs,
    ) -> Result<(), StoreError> {
        let unknown: Vec<_> =
            needs.old_biz_ids.iter().filter(|key| !self.tried.contains_key(*key)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let (tenants, accounts) = columns(unknown.iter().map(|(owner, _)| owner));
        let biz_ids: Vec<String> =
            unknown.iter().map(|(_, biz_id)| biz_id.as_str().to_owned()).collect();
        let rows = sqlx::query!(
            r#"SELECT r.tenant_id, r.account_id, r.biz_id AS "biz_id!", r.reservation_id, r.state,
                r.requested_micropoints, r.expires_at, r.settled_micropoints,
                r.rejected_available_micropoints
            FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS n (tenant_id, account_id, biz_id)
            JOIN archived_reservations r ON r.tenant_id = n.tenant_id
                AND r.account_id = n.account_id AND r.biz_id = n.biz_id"#,
            &tenants,
            &accounts,
            &biz_ids,
        )
        .fetch_all(connection)
        .await?;
        for row in rows {
            let columns = crate::tcc::Columns {
                state: row.state,
                requested: row.requested_micropoints,
                expires_at: row.expires_at,
                settled: row.settled_micropoints,
                rejected_available: row.rejected_available_micropoints,
            };
            let id = ReservationId(row.reservation_id);
            let tried = Tried { id, reservation: columns.reservation()? };
            let biz_id: BizId = row.biz_id.parse().map_err(|_| StoreError::Corrupt("biz id"))?;
            self.tried.insert((owner(row.tenant_id, row.account_id), biz_id), tried);
        }
        Ok(())
    }
}
