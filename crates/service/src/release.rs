//! Returning the points of operations that can no longer land, on proof of a final block.
//!
//! A window that is past proves it only while no event of ours is in the slot, and events come from a node that may have
//! left one out. So the EntryPoint is asked as well, at the block that was ingested last: a nonce that is not used there was
//! not used at any final block. One that is used returns the points sooner than the window would, once that block is
//! final and no operation of ours is found to have used it.

use alloy_primitives::aliases::U192;
use chain::node::At;
use domain::chain_fact::BlockRef;
use domain::ledger::sponsorship::CancelOutcome;
use domain::{ChainId, Slot};
use store::slots::Releasable;

use crate::chains::Chain;
use crate::ingest::REPLACEABLE;
use crate::{Causes, Service, ServiceError};

/// The reason of a halt after an operation of ours was found that no event told of.
pub const HALT_MISSED_EVENT: &str = "missed_event";

/// How many reservations one pass takes, so that a mass expiry never starves settlement.
const BATCH: u16 = 50;

/// How many that have closed are noted in one pass: more than one pass can close.
const SWEPT: u16 = 500;

/// How many nonces are looked at in one pass.
const LOOKS: u16 = 20;

/// How many blocks an operation has to land in before its nonce is looked at: nearly all land sooner.
const PATIENCE: u32 = 10;

impl Service {
    /// Releases what can be released, at most one batch; how many were. Notes what has closed, so that the
    /// next pass does not meet it again.
    ///
    /// # Errors
    /// When the database or the node does not answer; the rest waits.
    pub async fn release_pass(&self, chain_id: ChainId) -> Result<usize, ServiceError> {
        let chain = self.chain(chain_id)?;
        let Some(cursor) = self.store.cursor(chain_id).await? else { return Ok(0) };
        if cursor.halt_reason.is_some() || cursor.doubt.is_some() {
            return Ok(0);
        }
        let mut released: usize = 0;
        for releasable in self.store.releasable_by_nonce(chain_id, BATCH).await? {
            match self.is_missed(chain, &releasable, cursor.head.number).await {
                Ok(false) => released = released.saturating_add(self.release(&releasable).await?),
                Ok(true) => {
                    self.store.halt_chain(chain_id, HALT_MISSED_EVENT).await?;
                    return Ok(released);
                }
                // It waits, and holds up nobody else.
                Err(error) => tracing::warn!(
                    chain = chain_id.0,
                    sender = %releasable.proof.slot().sender,
                    error = %Causes(&error),
                    "what used a nonce up could not be looked for"
                ),
            }
        }
        for releasable in self.store.releasable(chain_id, BATCH).await? {
            let slot = releasable.proof.slot();
            if is_used(chain, slot, &cursor.head).await? {
                self.store.note_used_slot(slot, &cursor.head).await?;
            } else {
                released = released.saturating_add(self.release(&releasable).await?);
            }
        }
        self.store.sweep_windows(chain_id, SWEPT).await?;
        Ok(released)
    }

    /// Looks which slots something else has used up, so that nobody waits for their windows to pass.
    ///
    /// # Errors
    /// When the database or the node does not answer; the rest waits.
    pub async fn watch_nonces(&self, chain_id: ChainId) -> Result<(), ServiceError> {
        let chain = self.chain(chain_id)?;
        let Some(cursor) = self.store.cursor(chain_id).await? else { return Ok(()) };
        if cursor.head.number <= cursor.final_block.number {
            // It is catching up, and much more is known in a moment.
            return Ok(());
        }
        for slot in self.store.watched_slots(chain_id, PATIENCE, LOOKS).await? {
            if is_used(chain, &slot, &cursor.head).await? {
                tracing::info!(
                    chain = chain_id.0,
                    sender = %slot.sender,
                    nonce = %slot.nonce,
                    block = cursor.head.number,
                    "the nonce of an open sponsorship is used up"
                );
                self.store.note_used_slot(&slot, &cursor.head).await?;
            }
        }
        Ok(())
    }

    async fn release(&self, releasable: &Releasable) -> Result<usize, ServiceError> {
        match self.store.release(releasable).await? {
            CancelOutcome::Released => {
                tracing::info!(
                    chain = releasable.proof.slot().chain_id.0,
                    sender = %releasable.proof.slot().sender,
                    ground = ?releasable.proof.ground(),
                    final_block = releasable.proof.final_block().number,
                    "sponsorship released"
                );
                Ok(1)
            }
            CancelOutcome::Replayed | CancelOutcome::NotYet | CancelOutcome::AlreadySettled => {
                Ok(0)
            }
        }
    }

    /// Whether an operation of ours is what used a slot up, although no event of it was ingested: a node has left it out.
    async fn is_missed(
        &self,
        chain: &Chain,
        releasable: &Releasable,
        head: u64,
    ) -> Result<bool, ServiceError> {
        let slot = releasable.proof.slot();
        // What another company paid is no operation of this one's.
        let payers = self.payers_of(chain, Some(releasable.tenant)).await?;
        let from = releasable.priced_at.saturating_sub(REPLACEABLE);
        let found = chain
            .node
            .operation_in_slot(slot, from, head, payers.borrow())
            .await
            .map_err(|error| ServiceError::Node(error.into()))?;
        if let Some(log) = &found {
            tracing::error!(
                chain = chain.id.0,
                sender = %slot.sender,
                block = log.block_number,
                user_op_hash = %log.event.user_op_hash,
                reason = HALT_MISSED_EVENT,
                "an operation of ours landed in a block that was read without it: nothing is signed or released on this chain until an operator decides"
            );
        }
        Ok(found.is_some())
    }
}

/// Whether the EntryPoint's nonce was past a slot behind this block.
async fn is_used(chain: &Chain, slot: &Slot, block: &BlockRef) -> Result<bool, ServiceError> {
    let key = U192::wrapping_from(slot.nonce >> 64);
    let next = chain.node.nonce(slot.entry_point, slot.sender, key, At::Block(block.hash)).await;
    Ok(next.map_err(ServiceError::Node)? > slot.nonce)
}
