//! Loading the latest attempts of slots.

use domain::ledger::sponsorship::SponsorshipReservation;
use domain::{ReservationId, Slot};
use sqlx::PgConnection;

use super::load::{columns, owner};
use super::{Attempt, Book, Needs, Owner};
use crate::grants::load_grants;
use crate::reservations::{SettlementColumns, unsettled};
use crate::{StoreError, codec};

/// Slots as arrays.
pub(super) struct Slots {
    pub(super) chains: Vec<i64>,
    pub(super) entry_points: Vec<Vec<u8>>,
    pub(super) senders: Vec<Vec<u8>>,
    pub(super) nonces: Vec<Vec<u8>>,
}

impl Slots {
    pub(super) fn of<'a>(
        slots: impl Iterator<Item = &'a Slot> + Clone,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            chains: slots
                .clone()
                .map(|slot| codec::chain_id(slot.chain_id))
                .collect::<Result<_, _>>()?,
            entry_points: slots.clone().map(|slot| slot.entry_point.to_vec()).collect(),
            senders: slots.clone().map(|slot| slot.sender.to_vec()).collect(),
            nonces: slots.map(|slot| codec::nonce_bytes(slot.nonce).to_vec()).collect(),
        })
    }
}

impl Book {
    pub(super) async fn load_attempts(
        &mut self,
        connection: &mut PgConnection,
        needs: &Needs,
    ) -> Result<(), StoreError> {
        let (tenants, accounts) = columns(needs.slots.iter().map(|(owner, _)| owner));
        let slots = Slots::of(needs.slots.iter().map(|(_, slot)| slot))?;
        let rows = sqlx::query!(
            r#"SELECT r.tenant_id, r.account_id, r.reservation_id, r.state, r.reserved_micropoints,
                r.closing, r.chain_id AS "chain_id!", r.entry_point AS "entry_point!",
                r.sender AS "sender!", r.nonce AS "nonce!", r.paymaster AS "paymaster!",
                r.attempt AS "attempt!", r.micropoints_per_e18_wei AS "micropoints_per_e18_wei!",
                r.markup_bps AS "markup_bps!", r.price_source AS "price_source!",
                r.price_block AS "price_block!", r.settled_block_number, r.settled_block_hash,
                r.settled_block_timestamp, r.settled_log_index, r.settled_visit, r.settled_before,
                r.from_reserved_micropoints, r.from_available_micropoints, r.from_debt_micropoints
            FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bytea[])
                AS n (tenant_id, account_id, chain_id, entry_point, sender, nonce)
            CROSS JOIN LATERAL (
                SELECT * FROM reservations r
                WHERE r.tenant_id = n.tenant_id AND r.account_id = n.account_id
                    AND r.chain_id = n.chain_id AND r.entry_point = n.entry_point
                    AND r.sender = n.sender AND r.nonce = n.nonce AND r.kind = 'sponsorship'
                ORDER BY r.attempt DESC LIMIT 1) r"#,
            &tenants,
            &accounts,
            &slots.chains,
            &slots.entry_points,
            &slots.senders,
            &slots.nonces,
        )
        .fetch_all(&mut *connection)
        .await?;
        let ids: Vec<(Owner, ReservationId)> = rows
            .iter()
            .map(|row| (owner(row.tenant_id, row.account_id), ReservationId(row.reservation_id)))
            .collect();
        let mut grants = load_grants(connection, &ids).await?;
        for row in rows {
            let owner = owner(row.tenant_id, row.account_id);
            let settled = SettlementColumns {
                block_number: row.settled_block_number,
                block_hash: row.settled_block_hash,
                block_timestamp: row.settled_block_timestamp,
                log_index: row.settled_log_index,
                visit: row.settled_visit,
                before: row.settled_before.as_deref().map(unsettled).transpose()?,
                from_reserved: row.from_reserved_micropoints,
                from_available: row.from_available_micropoints,
                from_debt: row.from_debt_micropoints,
                ..SettlementColumns::default()
            };
            let id = ReservationId(row.reservation_id);
            let (machines, grants) = grants.remove(&id).unwrap_or_default().into_iter().unzip();
            let slot = codec::slot(row.chain_id, &row.entry_point, &row.sender, &row.nonce)?;
            let reservation = SponsorshipReservation {
                attempt: codec::unsigned(row.attempt)?,
                quote: codec::quote(
                    row.micropoints_per_e18_wei,
                    row.markup_bps,
                    row.price_source,
                    row.price_block,
                )?,
                reserved: codec::points(row.reserved_micropoints)?,
                closing: row.closing,
                grants: machines,
                state: settled.state(&row.state)?,
            };
            let attempt =
                Attempt { id, paymaster: codec::address(&row.paymaster)?, reservation, grants };
            self.attempts.insert((owner, slot), attempt);
        }
        Ok(())
    }
}
