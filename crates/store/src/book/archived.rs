//! What commands still ask of the archive: whether a slot is closed for ever, and what became of a biz id long ago.
//! Nothing in the archive changes any more, so that it is read without a lock and never written here.

use sqlx::PgConnection;

use super::attempts::Slots;
use super::load::{TriedRow, columns, owner};
use super::{Attempt, Book, Needs};
use crate::{StoreError, codec};
use domain::ledger::sponsorship::SponsorshipState;

impl Book {
    /// Of the slots where nothing holds and nothing has landed, those that a final attempt closed. One probe of a narrow
    /// index; most slots are new.
    pub(super) async fn load_closed_slots(
        &mut self,
        connection: &mut PgConnection,
        needs: &Needs,
    ) -> Result<(), StoreError> {
        // The final attempt may have moved, and an earlier one not yet.
        let is_released = |key| {
            let attempt: Option<&Attempt> = self.attempts.get(key);
            attempt.is_none_or(|attempt| attempt.reservation.state == SponsorshipState::Released)
        };
        let unknown: Vec<_> = needs.slots.iter().filter(|key| is_released(*key)).collect();
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
        let rows = sqlx::query_as!(
            TriedRow,
            r#"SELECT r.tenant_id, r.account_id, r.biz_id AS "biz_id!", r.reservation_id, r.state,
                r.requested_micropoints, r.expires_at, r.settled_micropoints,
                r.rejected_available_micropoints
            FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS n (tenant_id, account_id, biz_id)
            JOIN archived_reservations r ON r.tenant_id = n.tenant_id
                AND r.account_id = n.account_id AND r.biz_id = n.biz_id
            ORDER BY r.archived_at"#,
            &tenants,
            &accounts,
            &biz_ids,
        )
        .fetch_all(connection)
        .await?;
        // Where a biz id was used again, its last life counts.
        self.insert_tried(rows)
    }
}
