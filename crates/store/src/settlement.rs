//! Chain facts and releases, applied to accounts.
//!
//! Each step of each event leaves its mark in the account's shard, in the commit of its entries. The
//! mark decides: a step that left one is not taken again, and a confirm that comes after the undo of
//! the same sighting, from a worker that slept, is not taken at all.

use alloy_primitives::Address;
use domain::chain_fact::ChainFact;
use domain::ledger::journal::EntryKind;
use domain::ledger::sponsorship::{self, CancelOutcome, FactOutcome, SetAside};
use domain::{AccountId, ChainId, Slot, TenantId};

use crate::book::{Book, LogKey, Needs, NewMark, Record};
use crate::command::Command;
use crate::facts::{FactStep, Work};
use crate::slots::Releasable;
use crate::{Store, StoreError, codec};

pub use crate::book::Owner;

struct ApplyFact {
    owner: Owner,
    work: Work,
}

impl Command for ApplyFact {
    type Outcome = FactOutcome;

    // Whether the block is on the chain changes apart from the account.
    const ALONE: bool = false;

    fn owner(&self) -> Owner {
        self.owner
    }

    fn needs(&self, needs: &mut Needs) {
        let event = self.work.fact.event();
        needs.log(self.owner, LogKey::of(event));
        needs.slot(self.owner, event.slot);
    }

    fn decide(&self, book: &mut Book) -> Result<FactOutcome, StoreError> {
        let Self { owner, work: Work { step, fact } } = *self;
        let event = fact.event();
        let log = LogKey::of(event);
        let Some(page) = book.page(owner) else {
            return Ok(FactOutcome::SetAside(SetAside::UnknownOperation));
        };
        let has_mark = |step| book.marks.contains(&(owner, log, step));
        if has_mark(step) || (has_mark(FactStep::Undo) && step != FactStep::Undo) {
            return Ok(FactOutcome::Replayed);
        }
        // An undo leaves no mark while nobody owns the event, so that this alone keeps out a confirm that
        // was read before, and comes when there is somebody to charge. Where the block goes after this
        // look, its undo finds the owner that this command found.
        if step == FactStep::Confirm && !book.canonical.contains(&log) {
            return Ok(FactOutcome::Replayed);
        }
        let (now, key) = (page.now, (owner, event.slot));
        let found = book.attempts.get(&key);
        let latest = found.map(|attempt| &attempt.reservation);
        let (outcome, change) = match step {
            FactStep::Confirm => sponsorship::confirm(page.balances(), latest, &fact),
            FactStep::Undo => sponsorship::undo(page.balances(), latest, &fact),
            FactStep::Finalise => sponsorship::finalise(latest, &fact),
        };
        if matches!(outcome, FactOutcome::SetAside(_)) {
            return Ok(outcome);
        }
        book.marks.insert((owner, log, step));
        book.rows.marks.push(NewMark { owner, log, step, now });
        if let Some(after) = change.reservation {
            let (kind, name) = match step {
                FactStep::Confirm => (EntryKind::Confirm, "sponsorship.settled"),
                FactStep::Undo => (EntryKind::Undo, "sponsorship.undone"),
                FactStep::Finalise => (EntryKind::Finalise, "sponsorship.final"),
            };
            book.change_attempt(owner, event.slot, after, Some(event))?;
            let reservation = book.attempts.get(&key).map(|attempt| attempt.id);
            let postings = &change.postings;
            let record = Record { kind, postings, reservation, reference: None, event: name };
            book.record(owner, &record)?;
        }
        Ok(outcome)
    }
}

struct Release(Releasable);

impl Command for Release {
    type Outcome = CancelOutcome;

    const ALONE: bool = false;

    fn owner(&self) -> Owner {
        Owner { tenant: self.0.tenant, account: self.0.account }
    }

    fn needs(&self, needs: &mut Needs) {
        needs.slot(self.owner(), *self.0.proof.slot());
    }

    fn decide(&self, book: &mut Book) -> Result<CancelOutcome, StoreError> {
        let (owner, proof) = (self.owner(), &self.0.proof);
        if book.page(owner).is_none() {
            return Ok(CancelOutcome::Replayed);
        }
        let found = book.attempts.get(&(owner, *proof.slot()));
        let reservation = found.map(|attempt| attempt.id);
        let (outcome, change) = sponsorship::cancel(found.map(|found| &found.reservation), proof);
        if let Some(after) = change.reservation {
            book.change_attempt(owner, *proof.slot(), after, None)?;
            let (kind, event) = (EntryKind::Release, "sponsorship.released");
            let postings = &change.postings;
            book.record(owner, &Record { kind, postings, reservation, reference: None, event })?;
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
                AND r.nonce = $5 AND r.kind = 'sponsorship'
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

    /// Whether an operation that this company paid has landed in a slot, or something else has used it up. A
    /// wallet is unlinked only when its operations are final, so that this also holds for one that belonged to
    /// another account then.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn is_used_up(&self, tenant: TenantId, slot: &Slot) -> Result<bool, StoreError> {
        let used = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM chain_events e
                JOIN paymasters p ON p.chain_id = e.chain_id AND p.paymaster = e.paymaster
                WHERE e.chain_id = $1 AND e.sender = $2 AND e.nonce = $3 AND e.entry_point = $4
                    AND e.canonical AND p.tenant_id = $5)
                OR EXISTS (SELECT FROM used_slots
                    WHERE chain_id = $1 AND sender = $2 AND nonce = $3 AND entry_point = $4)
                AS "used!""#,
            codec::chain_id(slot.chain_id)?,
            slot.sender.as_slice(),
            &codec::nonce_bytes(slot.nonce),
            slot.entry_point.as_slice(),
            tenant.0,
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(used)
    }

    /// Applies one step of one event to its owner's account, once.
    ///
    /// # Errors
    /// When the database does not carry it out; the caller repeats it.
    pub async fn apply_fact(&self, owner: Owner, work: &Work) -> Result<FactOutcome, StoreError> {
        self.writer.run(ApplyFact { owner, work: *work }).await
    }

    /// Returns what a reservation holds, on proof.
    ///
    /// # Errors
    /// When the database does not carry it out; the caller repeats it.
    pub async fn release(&self, releasable: &Releasable) -> Result<CancelOutcome, StoreError> {
        self.writer.run(Release(*releasable)).await
    }
}
