//! Returning the points of operations that can no longer land, on proof of a final block.

use domain::ChainId;
use domain::ledger::sponsorship::CancelOutcome;

use crate::{Service, ServiceError};

/// How many reservations one pass takes, so that a mass expiry never starves settlement.
const BATCH: u16 = 50;

/// How many that have closed are noted in one pass: more than one pass can close.
const SWEPT: u16 = 500;

impl Service {
    /// Releases what can be released, at most one batch; how many were. Notes what has closed, so that the
    /// next pass does not meet it again.
    ///
    /// # Errors
    /// When the database does not answer; the rest waits.
    pub async fn release_pass(&self, chain_id: ChainId) -> Result<usize, ServiceError> {
        let mut released: usize = 0;
        for releasable in self.store.releasable(chain_id, BATCH).await? {
            match self.store.release(&releasable).await? {
                CancelOutcome::Released => {
                    released = released.saturating_add(1);
                    tracing::info!(
                        chain = chain_id.0,
                        sender = %releasable.proof.slot().sender,
                        final_block = releasable.proof.final_block().number,
                        "sponsorship released"
                    );
                }
                CancelOutcome::Replayed | CancelOutcome::NotYet | CancelOutcome::AlreadySettled => {
                }
            }
        }
        self.store.sweep_windows(chain_id, SWEPT).await?;
        Ok(released)
    }
}
