//! Applying what was read: each event to its account, once.

use std::collections::HashMap;

use domain::ChainId;
use domain::ledger::sponsorship::{FactOutcome, SetAside};
use futures::{TryStreamExt, stream};
use store::facts::{FactStep, Work};

use crate::ingest::HALT_PAST_FINALITY;
use crate::{Service, ServiceError};

/// The reason of an event that the database did not take.
const DEFECT: &str = "defect";
/// How many events one pass takes.
const BATCH: u16 = 100;
/// How many slots are worked on at once, so that their commands share commits.
const SLOTS_AT_ONCE: usize = 32;

impl Service {
    /// Applies the events that wait, those of a slot in their order; how many there were. An event that
    /// the database will never take is set aside, so that it holds up nobody else's.
    ///
    /// # Errors
    /// When the database does not answer; what was applied stays applied, the rest waits.
    pub async fn apply_pass(&self, chain_id: ChainId) -> Result<usize, ServiceError> {
        let work = self.store.fact_work(chain_id, BATCH).await?;
        let mut by_slot: HashMap<_, Vec<_>> = HashMap::new();
        for item in &work {
            by_slot.entry(item.fact.event().slot).or_default().push(item);
        }
        let slots = stream::iter(by_slot.into_values().map(Ok::<_, ServiceError>));
        let applied = slots.try_for_each_concurrent(SLOTS_AT_ONCE, async |items| {
            for item in items {
                self.apply_or_set_aside(chain_id, item).await?;
            }
            Ok(())
        });
        applied.await?;
        Ok(work.len())
    }

    async fn apply_or_set_aside(&self, chain_id: ChainId, item: &Work) -> Result<(), ServiceError> {
        match self.apply(chain_id, item).await {
            Err(ServiceError::Store(defect)) if !defect.is_transient() => {
                tracing::error!(
                    chain = chain_id.0,
                    user_op_hash = %item.fact.event().user_op_hash,
                    step = ?item.step,
                    %defect,
                    "a chain fact was set aside because of a defect; its slot is not released"
                );
                Ok(self.store.set_aside(item, DEFECT).await?)
            }
            outcome => outcome,
        }
    }

    async fn apply(&self, chain_id: ChainId, work: &Work) -> Result<(), ServiceError> {
        let event = work.fact.event();
        let outcome = match self.store.owner_of(&work.fact).await? {
            Some(owner) => self.store.apply_fact(owner, work).await?,
            // An undo of what was never settled changes nothing.
            None if work.step == FactStep::Undo => FactOutcome::Replayed,
            None => FactOutcome::SetAside(SetAside::UnknownOperation),
        };
        match outcome {
            FactOutcome::Applied | FactOutcome::Replayed => {}
            FactOutcome::AppliedWithShortage { from_available, from_debt } => tracing::error!(
                chain = chain_id.0,
                user_op_hash = %event.user_op_hash,
                %from_available,
                %from_debt,
                "an operation cost more than its reservation held"
            ),
            FactOutcome::SetAside(reason) => {
                tracing::error!(
                    chain = chain_id.0,
                    user_op_hash = %event.user_op_hash,
                    sender = %event.slot.sender,
                    block = event.sighting.block.number,
                    %reason,
                    "a chain fact was set aside; its slot is not released"
                );
                self.store.set_aside(work, &reason.to_string()).await?;
                if reason == SetAside::UndoAfterFinal {
                    self.store.halt_chain(chain_id, HALT_PAST_FINALITY).await?;
                }
                return Ok(());
            }
        }
        tracing::info!(
            chain = chain_id.0,
            user_op_hash = %event.user_op_hash,
            block = event.sighting.block.number,
            step = ?work.step,
            cost_wei = %event.actual_gas_cost,
            "chain fact applied"
        );
        Ok(self.store.finish_work(work).await?)
    }
}
