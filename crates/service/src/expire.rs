//! Returning the points of TCC reservations that nobody confirmed in time.
//!
//! The time is the database's, and the expiry takes effect when its command commits: a confirm that
//! comes before it wins. Sponsorships never end by a clock.

use domain::ledger::tcc::{TccOutcome, TccState};
use futures::future::join_all;
use store::StoreError;
use store::expiry::{DueExpiry, ExpiryPlace};
use store::tcc::{TccAnswer, TccCall, TccRequest};

use crate::{Causes, Service, ServiceError};

/// How many reservations one pass takes, so that a mass expiry never starves requests.
const BATCH: u16 = 200;
/// How many commands are under way at once: enough to share commits, few enough to leave the
/// connections to requests.
const AT_ONCE: usize = 4;

/// Where the next pass begins: behind what the last one saw, so that a reservation which cannot be
/// expired holds up no other; then from the beginning again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sweep {
    after: Option<ExpiryPlace>,
}

/// What one pass did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swept {
    /// How many reservations it released.
    pub released: usize,
    /// Whether more may be due.
    pub is_more_due: bool,
}

/// What became of one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiry {
    /// Its points are returned.
    Released,
    /// It had closed before.
    Closed,
    /// It waits for another pass.
    Waits,
}

impl Service {
    /// Releases the TCC reservations that are past their time, at most one batch of them.
    ///
    /// # Errors
    /// When the database does not answer; the rest waits.
    pub async fn expire_pass(&self, sweep: &mut Sweep) -> Result<Swept, ServiceError> {
        let due = self.store.due_expiries(sweep.after, BATCH).await?;
        let is_more_due = due.len() == usize::from(BATCH);
        let mut released: usize = 0;
        let mut closed = Vec::with_capacity(due.len());
        for some in due.chunks(AT_ONCE) {
            let outcomes = join_all(some.iter().map(|item| self.expire(item))).await;
            for (item, outcome) in some.iter().zip(outcomes) {
                let outcome = outcome?;
                released = released.saturating_add((outcome == Expiry::Released).into());
                if outcome != Expiry::Waits {
                    closed.push(item.clone());
                }
            }
        }
        self.store.note_swept(&closed).await?;
        sweep.after = due.last().filter(|_| is_more_due).map(|item| item.place);
        if released > 0 {
            tracing::info!(released, "TCC reservations expired");
        }
        Ok(Swept { released, is_more_due })
    }

    async fn expire(&self, due: &DueExpiry) -> Result<Expiry, ServiceError> {
        if !due.is_open {
            return Ok(Expiry::Closed);
        }
        let call = TccCall {
            tenant: due.tenant,
            account: due.account,
            biz_id: due.biz_id.clone(),
            request: TccRequest::Expire,
        };
        let (reservation, account) = (due.place.reservation, due.account);
        match self.store.tcc(&call).await {
            Ok(TccAnswer::Decided(TccOutcome::Applied, _)) => Ok(Expiry::Released),
            Ok(TccAnswer::Decided(_, Some(found))) if found.state != TccState::Open => {
                Ok(Expiry::Closed)
            }
            Ok(TccAnswer::Decided(..)) => Ok(Expiry::Waits),
            Ok(TccAnswer::NoAccount) => {
                tracing::error!(%reservation, %account, "a TCC reservation has no account");
                Ok(Expiry::Waits)
            }
            Err(busy @ StoreError::Contention(_)) => {
                tracing::debug!(%reservation, %account, %busy, "an expiry waits for its account");
                Ok(Expiry::Waits)
            }
            Err(defect) if !defect.is_transient() => {
                tracing::error!(
                    %reservation,
                    %account,
                    defect = %Causes(&defect),
                    "a TCC reservation could not be expired because of a defect; its points stay reserved"
                );
                Ok(Expiry::Waits)
            }
            Err(error) => Err(error.into()),
        }
    }
}
