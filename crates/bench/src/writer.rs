//! Operations as Stipend's own store carries them out.

use domain::ids::BizId;
use domain::ledger::tcc::{DbTime, TccOutcome, TccTerms};
use store::tcc::{TccAnswer, TccCall, TccRequest};
use store::{Store, StoreError};

use crate::Failure;
use crate::fixture::{self, AMOUNT};
use crate::load::Client;
use crate::matrix::Path;

/// Connections for everything but commands, which have their own.
const READERS: u32 = 4;

/// One caller among many of the one store.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    store: Store,
    path: Path,
    issued_at: DbTime,
}

/// A store and so many callers of it.
pub(crate) fn callers(
    url: &str,
    path: Path,
    count: u32,
    issued_at: DbTime,
) -> Result<(Store, Vec<Caller>), Failure> {
    let store = Store::connect_lazy(url, READERS)?;
    let caller = || Caller { store: store.clone(), path, issued_at };
    let callers = (0..count).map(|_| caller()).collect();
    Ok((store, callers))
}

impl Caller {
    async fn call(
        &self,
        account: u32,
        biz_id: &BizId,
        request: TccRequest,
    ) -> Result<bool, Failure> {
        let call = TccCall {
            tenant: fixture::TENANT,
            account: fixture::account(account),
            biz_id: biz_id.clone(),
            request,
        };
        match self.store.tcc(&call).await {
            Ok(TccAnswer::Decided(outcome, _)) => Ok(outcome == TccOutcome::Applied),
            Ok(TccAnswer::NoAccount) => Ok(false),
            // Turned away, or unknown: what a client would repeat.
            Err(StoreError::Busy | StoreError::Contention(_) | StoreError::Unavailable(_)) => {
                Ok(false)
            }
            Err(defect) => Err(defect.into()),
        }
    }
}

impl Client for Caller {
    async fn operate(&mut self, account: u32, biz_id: &BizId) -> Result<bool, Failure> {
        let terms = TccTerms { amount: AMOUNT, expires_at: None };
        let request = TccRequest::Try { terms, issued_at: self.issued_at };
        let tried = self.call(account, biz_id, request).await?;
        match self.path {
            Path::Reserve => Ok(tried),
            Path::Pair => {
                let confirm = TccRequest::Confirm { amount: None };
                Ok(tried && self.call(account, biz_id, confirm).await?)
            }
        }
    }
}
