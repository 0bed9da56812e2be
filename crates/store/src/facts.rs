//! What ingested events prove, and which of them wait for what. The only maker of chain facts.
//!
//! **Invariant:** a [`ChainFact`] is made here and nowhere else, from rows that the
//! [`cursor`](crate::cursor)'s own transactions committed.

use domain::chain_fact::{ChainFact, OperationEvent, Sighting};
use domain::{ChainId, Slot};

use crate::{Store, StoreError, codec};

/// One step that an event waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FactStep {
    /// Its block is canonical: settle.
    Confirm,
    /// Its block went away: take the settlement back.
    Undo,
    /// Its block is final: return the rest.
    Finalise,
}

impl FactStep {
    /// The step's name in SQL.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Confirm => "confirm",
            Self::Undo => "undo",
            Self::Finalise => "finalise",
        }
    }

    /// The step that SQL calls so.
    pub(crate) fn named(name: &str) -> Result<Self, StoreError> {
        [Self::Confirm, Self::Undo, Self::Finalise]
            .into_iter()
            .find(|step| step.as_str() == name)
            .ok_or(StoreError::Corrupt("step of a fact"))
    }

    /// The event's progress while it waits for the step, and after it.
    const fn progress(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Confirm => (&["pending"], "confirmed"),
            Self::Undo => (&["pending", "confirmed"], "undone"),
            Self::Finalise => (&["confirmed"], "finalised"),
        }
    }

    /// [`FactStep::progress`] as SQL takes it.
    fn waits_in(self) -> Vec<String> {
        let (waiting, _) = self.progress();
        waiting.iter().map(|&progress| progress.to_owned()).collect()
    }
}

/// An event that waits for a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// What is to be done.
    pub step: FactStep,
    /// The proof to do it with.
    pub fact: ChainFact,
}

impl Store {
    /// The events that wait for a step, at most `limit`: first what must be undone, latest block
    /// first, then what is to be confirmed or finalised, in chain order. One statement, so that a
    /// block is never confirmed over one whose undo it does not see. An event that was set aside is
    /// undone like any other when its block goes: another applier may have settled it meanwhile.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn fact_work(&self, chain: ChainId, limit: u16) -> Result<Vec<Work>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT e.block_hash, e.log_index, e.visit, e.canonical, e.progress, e.block_number,
                e.block_timestamp, e.transaction_hash, e.entry_point, e.user_op_hash, e.sender,
                e.paymaster, e.nonce, e.success, e.actual_gas_cost_wei, e.actual_gas_used
            FROM chain_events e JOIN chain_cursors c ON c.chain_id = e.chain_id
            WHERE e.chain_id = $1 AND e.progress IN ('pending', 'confirmed', 'set_aside')
                AND (NOT e.canonical OR e.progress = 'pending'
                    OR (e.progress = 'confirmed' AND e.block_number <= c.final_number))
            ORDER BY e.canonical,
                CASE WHEN e.canonical THEN e.block_number ELSE -e.block_number END,
                e.log_index, e.visit
            LIMIT $2"#,
            codec::chain_id(chain)?,
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let step = match (row.canonical, row.progress.as_str()) {
                    (false, _) => FactStep::Undo,
                    (true, "pending") => FactStep::Confirm,
                    (true, _) => FactStep::Finalise,
                };
                let event = OperationEvent {
                    sighting: Sighting {
                        block: codec::block_ref(
                            row.block_number,
                            &row.block_hash,
                            row.block_timestamp,
                        )?,
                        log_index: codec::unsigned(row.log_index)?,
                        visit: codec::unsigned(row.visit)?,
                    },
                    slot: Slot {
                        chain_id: chain,
                        entry_point: codec::address(&row.entry_point)?,
                        sender: codec::address(&row.sender)?,
                        nonce: codec::nonce(&row.nonce)?,
                    },
                    paymaster: codec::address(&row.paymaster)?,
                    user_op_hash: codec::hash(&row.user_op_hash)?,
                    transaction_hash: codec::hash(&row.transaction_hash)?,
                    success: row.success,
                    actual_gas_cost: codec::wei(&row.actual_gas_cost_wei)?,
                    actual_gas_used: codec::unsigned(codec::uint(&row.actual_gas_used)?)?,
                };
                #[expect(
                    clippy::disallowed_methods,
                    reason = "the event was just read as committed"
                )]
                let fact = ChainFact::from_ingested(event);
                Ok(Work { step, fact })
            })
            .collect()
    }

    /// Notes that a step of an event is done, so that it is not offered again. Losing this note costs
    /// one more look: the account's own mark decides. It stands above the note of an applier that set
    /// the event aside meanwhile, which looked before there was anybody to charge.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn finish_work(&self, work: &Work) -> Result<(), StoreError> {
        let (_, done) = work.step.progress();
        let mut from = work.step.waits_in();
        from.push("set_aside".to_owned());
        let event = work.fact.event();
        sqlx::query!(
            r#"UPDATE chain_events SET progress = $5, set_aside_reason = NULL
            WHERE chain_id = $1 AND block_hash = $2 AND log_index = $3 AND visit = $4
                AND progress = ANY($6)"#,
            codec::chain_id(event.slot.chain_id)?,
            event.sighting.block.hash.as_slice(),
            codec::signed32(event.sighting.log_index)?,
            codec::signed32(event.sighting.visit)?,
            done,
            &from,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Sets an event aside with its reason, for people; its slot is not released. Only while it waits
    /// for the step that could not be taken: another applier may have found more since.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn set_aside(&self, work: &Work, reason: &str) -> Result<(), StoreError> {
        let event = work.fact.event();
        sqlx::query!(
            r#"UPDATE chain_events SET progress = 'set_aside', set_aside_reason = $5
            WHERE chain_id = $1 AND block_hash = $2 AND log_index = $3 AND visit = $4
                AND progress = ANY($6)"#,
            codec::chain_id(event.slot.chain_id)?,
            event.sighting.block.hash.as_slice(),
            codec::signed32(event.sighting.log_index)?,
            codec::signed32(event.sighting.visit)?,
            reason,
            &work.step.waits_in(),
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
