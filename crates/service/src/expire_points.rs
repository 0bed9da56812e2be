//! Expiring points whose bucket's time is past.
//!
//! The time is the database's, and the expiry takes effect when its command commits: what spends the
//! points before it wins, and what is reserved stays reserved.

use futures::future::join_all;
use store::StoreError;
use store::buckets::LotPlace;
use store::settlement::Owner;

use crate::{Causes, Service, ServiceError};

/// How many lots one pass takes, so that a mass expiry never starves requests.
const BATCH: u16 = 400;
/// How many commands are under way at once: enough to share commits, few enough to leave the writer to
/// requests.
const AT_ONCE: usize = 16;

/// Where the next pass begins: behind what the last one saw, so that an account which cannot be swept
/// holds up no other; then from the beginning again.
#[derive(Clone, Copy, Debug, Default)]
pub struct PointsSweep {
    after: Option<LotPlace>,
}

/// What one pass did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointsSwept {
    /// In how many lots points expired, or there were none left.
    pub lots: usize,
    /// Whether more may be due.
    pub is_more_due: bool,
}

impl Service {
    /// Expires the points that are past their time, at most one batch of lots.
    ///
    /// # Errors
    /// When the database does not answer; the rest waits.
    pub async fn expire_points_pass(
        &self,
        sweep: &mut PointsSweep,
    ) -> Result<PointsSwept, ServiceError> {
        let due = self.store.due_lots(sweep.after, BATCH).await?;
        let is_more_due = due.len() == usize::from(BATCH);
        // One command takes all due lots of an account.
        let mut owners: Vec<Owner> = due.iter().map(|lot| lot.owner).collect();
        owners.sort_unstable();
        owners.dedup();
        let mut lots: usize = 0;
        for some in owners.chunks(AT_ONCE) {
            for swept in join_all(some.iter().map(|owner| self.expire_points(*owner))).await {
                lots = lots.saturating_add(swept?);
            }
        }
        sweep.after = due.last().filter(|_| is_more_due).map(|lot| lot.place);
        if lots > 0 {
            tracing::info!(lots, "points expired");
        }
        Ok(PointsSwept { lots, is_more_due })
    }

    async fn expire_points(&self, owner: Owner) -> Result<usize, ServiceError> {
        let account = owner.account;
        match self.store.expire_points(owner).await {
            Ok(lots) => Ok(lots),
            Err(busy @ StoreError::Contention(_)) => {
                tracing::debug!(%account, %busy, "an expiry of points waits for its account");
                Ok(0)
            }
            Err(defect) if !defect.is_transient() => {
                tracing::error!(
                    %account,
                    defect = %Causes(&defect),
                    "points could not be expired because of a defect; they stay available"
                );
                Ok(0)
            }
            Err(error) => Err(error.into()),
        }
    }
}
