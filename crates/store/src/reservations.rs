//! The rows of sponsorship reservations and grants, as the machine's own types.

use alloy_primitives::Address;
use domain::chain_fact::{BlockRef, OperationEvent, Sighting};
use domain::ledger::sponsorship::{
    Grant, Settlement, SponsorshipReservation, SponsorshipState, Unsettled,
};
use domain::quote::Bps;
use domain::{AccountId, AppId, Points, Quote, ReservationId, Slot, TenantId};
use sqlx::PgConnection;

use crate::account_lock::LockedAccount;
use crate::{StoreError, codec};

pub(crate) const OPEN: &str = "open";
pub(crate) const PROVISIONAL: &str = "settled_provisional";
pub(crate) const FINAL: &str = "settled_final";
pub(crate) const RELEASED: &str = "released";
pub(crate) const REJECTED: &str = "rejected";

/// A sponsorship reservation with its id, as loaded for a command.
pub(crate) struct Loaded {
    pub(crate) id: ReservationId,
    pub(crate) paymaster: Address,
    pub(crate) reservation: SponsorshipReservation,
}

/// The latest attempt on a slot. The caller holds the account's lock.
pub(crate) async fn load_latest(
    connection: &mut PgConnection,
    tenant: TenantId,
    account: AccountId,
    slot: &Slot,
) -> Result<Option<Loaded>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT reservation_id, state, reserved_micropoints, closing,
            paymaster AS "paymaster!",
            attempt AS "attempt!", micropoints_per_e18_wei AS "micropoints_per_e18_wei!",
            markup_bps AS "markup_bps!", price_source AS "price_source!",
            price_block AS "price_block!", settled_block_number, settled_block_hash,
            settled_block_timestamp, settled_log_index, settled_visit, settled_before,
            from_reserved_micropoints, from_available_micropoints, from_debt_micropoints
        FROM reservations
        WHERE tenant_id = $1 AND account_id = $2 AND chain_id = $3 AND entry_point = $4
            AND sender = $5 AND nonce = $6
        ORDER BY attempt DESC LIMIT 1"#,
        tenant.0,
        account.0,
        codec::chain_id(slot.chain_id)?,
        slot.entry_point.as_slice(),
        slot.sender.as_slice(),
        &codec::nonce_bytes(slot.nonce),
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let settlement = || -> Result<Settlement, StoreError> {
        Ok(Settlement {
            sighting: Sighting {
                block: BlockRef {
                    number: codec::unsigned(codec::present(row.settled_block_number)?)?,
                    hash: codec::hash(codec::present(row.settled_block_hash.as_deref())?)?,
                    timestamp: codec::chain_time(codec::present(row.settled_block_timestamp)?)?,
                },
                log_index: codec::unsigned(codec::present(row.settled_log_index)?)?,
                visit: codec::unsigned(codec::present(row.settled_visit)?)?,
            },
            from_reserved: codec::points(codec::present(row.from_reserved_micropoints)?)?,
            from_available: codec::points(codec::present(row.from_available_micropoints)?)?,
            from_debt: codec::points(codec::present(row.from_debt_micropoints)?)?,
            before: match codec::present(row.settled_before.as_deref())? {
                OPEN => Unsettled::Open,
                RELEASED => Unsettled::Released,
                _ => return Err(StoreError::Corrupt("settled_before")),
            },
        })
    };
    let state = match row.state.as_str() {
        OPEN => SponsorshipState::Open,
        PROVISIONAL => SponsorshipState::Provisional(settlement()?),
        FINAL => SponsorshipState::Final(settlement()?),
        RELEASED => SponsorshipState::Released,
        _ => return Err(StoreError::Corrupt("sponsorship state")),
    };
    let id = ReservationId(row.reservation_id);
    let reservation = SponsorshipReservation {
        attempt: codec::unsigned(row.attempt)?,
        quote: Quote {
            micropoints_per_e18_wei: codec::unsigned(row.micropoints_per_e18_wei)?,
            markup: Bps(codec::unsigned(row.markup_bps)?),
            source: row.price_source,
            block_number: codec::unsigned(row.price_block)?,
        },
        reserved: codec::points(row.reserved_micropoints)?,
        closing: row.closing,
        grants: load_grants(connection, tenant, account, id).await?,
        state,
    };
    Ok(Some(Loaded { id, paymaster: codec::address(&row.paymaster)?, reservation }))
}

async fn load_grants(
    connection: &mut PgConnection,
    tenant: TenantId,
    account: AccountId,
    reservation: ReservationId,
) -> Result<Vec<Grant>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT request_hash, max_cost_wei, max_cost_micropoints, valid_until FROM grants
        WHERE tenant_id = $1 AND account_id = $2 AND reservation_id = $3 ORDER BY grant_no"#,
        tenant.0,
        account.0,
        reservation.0,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Grant {
                request_hash: codec::hash(&row.request_hash)?,
                max_cost: codec::wei(&row.max_cost_wei)?,
                points: codec::points(row.max_cost_micropoints)?,
                valid_until: codec::chain_time(row.valid_until)?,
            })
        })
        .collect()
}

/// Where a new sponsorship reservation belongs.
pub(crate) struct Placement {
    pub(crate) app: AppId,
    pub(crate) slot: Slot,
    pub(crate) paymaster: Address,
}

/// Opens a new attempt.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    account: &LockedAccount,
    id: ReservationId,
    placement: &Placement,
    reservation: &SponsorshipReservation,
) -> Result<(), StoreError> {
    let Placement { app, slot, paymaster } = placement;
    let now = codec::timestamp(account.now)?;
    sqlx::query!(
        r#"INSERT INTO reservations (tenant_id, account_id, reservation_id, kind, state,
            reserved_micropoints, opened_at, changed_at, app_id, chain_id, entry_point, sender,
            nonce, attempt, paymaster, micropoints_per_e18_wei, markup_bps, price_source,
            price_block, last_valid_until)
        VALUES ($1, $2, $3, 'sponsorship', 'open', $4, $5, $5, $6, $7, $8, $9, $10, $11, $12, $13,
            $14, $15, $16, $17)"#,
        account.tenant.0,
        account.account.0,
        id.0,
        codec::micropoints(reservation.reserved),
        now,
        app.0,
        codec::chain_id(slot.chain_id)?,
        slot.entry_point.as_slice(),
        slot.sender.as_slice(),
        &codec::nonce_bytes(slot.nonce),
        codec::signed32(reservation.attempt)?,
        paymaster.as_slice(),
        codec::signed(reservation.quote.micropoints_per_e18_wei)?,
        codec::signed32(reservation.quote.markup.0)?,
        reservation.quote.source,
        codec::signed(reservation.quote.block_number)?,
        codec::signed(reservation.last_valid_until().0)?,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes a bump or a closing: the state stays open.
pub(crate) async fn update_open(
    connection: &mut PgConnection,
    account: &LockedAccount,
    id: ReservationId,
    reservation: &SponsorshipReservation,
) -> Result<(), StoreError> {
    let updated = sqlx::query!(
        r#"UPDATE reservations SET reserved_micropoints = $4, closing = $5, last_valid_until = $6,
            changed_at = $7
        WHERE tenant_id = $1 AND account_id = $2 AND reservation_id = $3 AND state = 'open'"#,
        account.tenant.0,
        account.account.0,
        id.0,
        codec::micropoints(reservation.reserved),
        reservation.closing,
        codec::signed(reservation.last_valid_until().0)?,
        codec::timestamp(account.now)?,
    )
    .execute(connection)
    .await?;
    one_row(updated.rows_affected())
}

/// Writes a transition, by compare-and-set on the state it was decided from; `event` is what settled
/// it.
pub(crate) async fn transition(
    connection: &mut PgConnection,
    account: &LockedAccount,
    before: &Loaded,
    after: &SponsorshipReservation,
    event: Option<&OperationEvent>,
) -> Result<(), StoreError> {
    let settlement = match &after.state {
        SponsorshipState::Provisional(settlement) | SponsorshipState::Final(settlement) => {
            Some(settlement)
        }
        SponsorshipState::Open | SponsorshipState::Released => None,
    };
    let event = settlement.and(event);
    let wei = event.map(|event| codec::numeric(event.actual_gas_cost.0)).transpose()?;
    let number = |pick: fn(&Settlement) -> Points| settlement.map(|s| codec::micropoints(pick(s)));
    let updated = sqlx::query!(
        r#"UPDATE reservations SET state = $5, changed_at = $6, settled_block_number = $7,
            settled_block_hash = $8, settled_block_timestamp = $9, settled_log_index = $10,
            settled_visit = $11, settled_before = $12, from_reserved_micropoints = $13,
            from_available_micropoints = $14, from_debt_micropoints = $15,
            settled_gas_cost_wei = $16, settled_success = $17, settled_user_op_hash = $18,
            settled_transaction_hash = $19
        WHERE tenant_id = $1 AND account_id = $2 AND reservation_id = $3 AND state = $4"#,
        account.tenant.0,
        account.account.0,
        before.id.0,
        state_name(&before.reservation.state),
        state_name(&after.state),
        codec::timestamp(account.now)?,
        settlement.map(|s| codec::signed(s.sighting.block.number)).transpose()?,
        settlement.map(|s| s.sighting.block.hash.to_vec()),
        settlement.map(|s| codec::signed(s.sighting.block.timestamp.0)).transpose()?,
        settlement.map(|s| codec::signed32(s.sighting.log_index)).transpose()?,
        settlement.map(|s| codec::signed32(s.sighting.visit)).transpose()?,
        settlement.map(|s| match s.before {
            Unsettled::Open => OPEN,
            Unsettled::Released => RELEASED,
        }),
        number(|s| s.from_reserved),
        number(|s| s.from_available),
        number(|s| s.from_debt),
        wei,
        event.map(|event| event.success),
        event.map(|event| event.user_op_hash.to_vec()),
        event.map(|event| event.transaction_hash.to_vec()),
    )
    .execute(connection)
    .await?;
    one_row(updated.rows_affected())
}

const fn state_name(state: &SponsorshipState) -> &'static str {
    match state {
        SponsorshipState::Open => OPEN,
        SponsorshipState::Provisional(_) => PROVISIONAL,
        SponsorshipState::Final(_) => FINAL,
        SponsorshipState::Released => RELEASED,
    }
}

/// Every write of a reservation happens under the account's lock, so that a missed one is a defect.
pub(crate) const fn one_row(affected: u64) -> Result<(), StoreError> {
    if affected == 1 {
        Ok(())
    } else {
        Err(StoreError::Corrupt("a reservation changed under its account's lock"))
    }
}
