//! Chain facts and releases, applied to accounts.
//!
//! Each step of each event leaves its mark in the account's shard, in the commit of its entries. The
//! mark decides: a step that left one is not taken again, and a confirm that comes after the undo of
//! the same sighting, from a worker that slept, is not taken at all.

use alloy_primitives::Address;
use domain::chain_fact::{ChainFact, OperationEvent};
use domain::ledger::journal::EntryKind;
use domain::ledger::sponsorship::{self, CancelOutcome, FactOutcome, SetAside};
use domain::{AccountId, ChainId, Slot, TenantId};
use sqlx::PgConnection;

use crate::account_lock::LockedAccount;
use crate::command::{Command, commit};
use crate::facts::{FactStep, Releasable, Work};
use crate::reservations;
use crate::{Store, StoreError, codec};

/// Whose operation an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The company whose paymaster paid.
    pub tenant: TenantId,
    /// The account that reserved for it.
    pub account: AccountId,
}

struct ApplyFact<'a> {
    owner: Owner,
    work: &'a Work,
}

impl Command for ApplyFact<'_> {
    type Outcome = FactOutcome;

    async fn execute(&self, connection: &mut PgConnection) -> Result<FactOutcome, StoreError> {
        let Owner { tenant, account } = self.owner;
        let Some(mut account) = LockedAccount::lock(connection, tenant, account).await? else {
            return Ok(FactOutcome::SetAside(SetAside::UnknownOperation));
        };
        let Work { step, fact } = self.work;
        let event = fact.event();
        let marks = marks(connection, self.owner, event).await?;
        let undone = marks.iter().any(|mark| mark == FactStep::Undo.as_str());
        let repeated = marks.iter().any(|mark| mark == step.as_str());
        if repeated || (undone && *step != FactStep::Undo) {
            return Ok(FactOutcome::Replayed);
        }
        if *step == FactStep::Confirm && !is_canonical(connection, event).await? {
            return Ok(FactOutcome::Replayed);
        }
        let latest =
            reservations::load_latest(connection, account.tenant, account.account, &event.slot)
                .await?;
        let found = latest.as_ref().map(|loaded| &loaded.reservation);
        let (outcome, change) = match step {
            FactStep::Confirm => sponsorship::confirm(account.balances(), found, fact),
            FactStep::Undo => sponsorship::undo(account.balances(), found, fact),
            FactStep::Finalise => sponsorship::finalise(found, fact),
        };
        if matches!(outcome, FactOutcome::SetAside(_)) {
            return Ok(outcome);
        }
        mark(connection, &account, *step, event).await?;
        if let (Some(before), Some(after)) = (&latest, &change.reservation) {
            reservations::transition(connection, &account, before, after, Some(event)).await?;
            let (kind, name) = match step {
                FactStep::Confirm => (EntryKind::Confirm, "sponsorship.settled"),
                FactStep::Undo => (EntryKind::Undo, "sponsorship.undone"),
                FactStep::Finalise => (EntryKind::Finalise, "sponsorship.final"),
            };
            account.record(kind, &change.postings, Some(before.id), name)?;
            account.write(connection).await?;
        }
        Ok(outcome)
    }
}

async fn marks(
    connection: &mut PgConnection,
    owner: Owner,
    event: &OperationEvent,
) -> Result<Vec<String>, StoreError> {
    let steps = sqlx::query_scalar!(
        r#"SELECT step FROM fact_marks WHERE tenant_id = $1 AND account_id = $2 AND chain_id = $3
            AND block_hash = $4 AND log_index = $5 AND visit = $6"#,
        owner.tenant.0,
        owner.account.0,
        codec::chain_id(event.slot.chain_id)?,
        event.sighting.block.hash.as_slice(),
        codec::signed32(event.sighting.log_index)?,
        codec::signed32(event.sighting.visit)?,
    )
    .fetch_all(connection)
    .await?;
    Ok(steps)
}

/// Whether an event's block is still on the chain. An undo leaves no mark while nobody owns the event, so that
/// this alone keeps out a confirm that was read before, and comes when there is somebody to charge. Where the
/// block goes after this look, its undo finds the owner that this command found.
async fn is_canonical(
    connection: &mut PgConnection,
    event: &OperationEvent,
) -> Result<bool, StoreError> {
    let canonical = sqlx::query_scalar!(
        r#"SELECT canonical FROM chain_events
        WHERE chain_id = $1 AND block_hash = $2 AND log_index = $3 AND visit = $4"#,
        codec::chain_id(event.slot.chain_id)?,
        event.sighting.block.hash.as_slice(),
        codec::signed32(event.sighting.log_index)?,
        codec::signed32(event.sighting.visit)?,
    )
    .fetch_optional(connection)
    .await?;
    codec::present(canonical)
}

async fn mark(
    connection: &mut PgConnection,
    account: &LockedAccount,
    step: FactStep,
    event: &OperationEvent,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"INSERT INTO fact_marks (tenant_id, account_id, chain_id, block_hash, log_index, visit,
            step, recorded_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"#,
        account.tenant.0,
        account.account.0,
        codec::chain_id(event.slot.chain_id)?,
        event.sighting.block.hash.as_slice(),
        codec::signed32(event.sighting.log_index)?,
        codec::signed32(event.sighting.visit)?,
        step.as_str(),
        codec::timestamp(account.now)?,
    )
    .execute(connection)
    .await?;
    Ok(())
}

struct Release<'a>(&'a Releasable);

impl Command for Release<'_> {
    type Outcome = CancelOutcome;

    async fn execute(&self, connection: &mut PgConnection) -> Result<CancelOutcome, StoreError> {
        let Releasable { tenant, account, proof } = self.0;
        let Some(mut account) = LockedAccount::lock(connection, *tenant, *account).await? else {
            return Ok(CancelOutcome::Replayed);
        };
        let latest =
            reservations::load_latest(connection, account.tenant, account.account, proof.slot())
                .await?;
        let found = latest.as_ref().map(|loaded| &loaded.reservation);
        let (outcome, change) = sponsorship::cancel(found, proof);
        if let (Some(before), Some(after)) = (&latest, &change.reservation) {
            reservations::transition(connection, &account, before, after, None).await?;
            let (kind, name) = (EntryKind::Release, "sponsorship.released");
            account.record(kind, &change.postings, Some(before.id), name)?;
            account.write(connection).await?;
        }
        Ok(outcome)
    }
}

impl Store {
    /// Whose operation an event is: the paymaster names the company, the slot the reservation. `None`
    /// where no reservation of ours is in the slot.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn owner_of(&self, fact: &ChainFact) -> Result<Option<Owner>, StoreError> {
        let event = fact.event();
        self.owner_of_slot(event.slot.chain_id, event.paymaster, &event.slot).await
    }

    async fn owner_of_slot(
        &self,
        chain: ChainId,
        paymaster: Address,
        slot: &Slot,
    ) -> Result<Option<Owner>, StoreError> {
        let row = sqlx::query!(
            r#"SELECT r.tenant_id, r.account_id
            FROM paymasters p
            JOIN reservations r ON r.tenant_id = p.tenant_id AND r.chain_id = p.chain_id
            WHERE p.chain_id = $1 AND p.paymaster = $2 AND r.entry_point = $3 AND r.sender = $4
                AND r.nonce = $5
            ORDER BY r.opened_at DESC LIMIT 1"#,
            codec::chain_id(chain)?,
            paymaster.as_slice(),
            slot.entry_point.as_slice(),
            slot.sender.as_slice(),
            &codec::nonce_bytes(slot.nonce),
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| Owner {
            tenant: TenantId(row.tenant_id),
            account: AccountId(row.account_id),
        }))
    }

    /// Whether an operation that this company paid has landed in a slot. A wallet is unlinked only
    /// when its operations are final, so that this also holds for one that belonged to another account
    /// then.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn has_landed(&self, tenant: TenantId, slot: &Slot) -> Result<bool, StoreError> {
        let landed = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM chain_events e
                JOIN paymasters p ON p.chain_id = e.chain_id AND p.paymaster = e.paymaster
                WHERE e.chain_id = $1 AND e.sender = $2 AND e.nonce = $3 AND e.entry_point = $4
                    AND e.canonical AND p.tenant_id = $5) AS "landed!""#,
            codec::chain_id(slot.chain_id)?,
            slot.sender.as_slice(),
            &codec::nonce_bytes(slot.nonce),
            slot.entry_point.as_slice(),
            tenant.0,
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(landed)
    }

    /// Applies one step of one event to its owner's account, once.
    ///
    /// # Errors
    /// When the database does not carry it out; the caller repeats it.
    pub async fn apply_fact(&self, owner: Owner, work: &Work) -> Result<FactOutcome, StoreError> {
        commit(&self.pool, &ApplyFact { owner, work }).await
    }

    /// Returns what a reservation holds, on proof.
    ///
    /// # Errors
    /// When the database does not carry it out; the caller repeats it.
    pub async fn release(&self, releasable: &Releasable) -> Result<CancelOutcome, StoreError> {
        commit(&self.pool, &Release(releasable)).await
    }
}
