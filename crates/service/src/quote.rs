//! What an operation would cost, and whether it would be sponsored: no reservation, no signature.

use domain::ledger::sponsorship::GrantRefusal;
use domain::{Points, Quote, Wei};

use crate::identity::Caller;
use crate::sponsor::SponsorRequest;
use crate::{Refusal, Service, ServiceError};

/// The answer to "what if".
#[derive(Clone, Debug)]
pub struct DryRun {
    /// What the operation could cost at most; `None` where it is refused before that is known.
    pub max_cost: Option<Wei>,
    /// The same in points, what a sponsorship would set aside.
    pub points: Option<Points>,
    /// The price.
    pub quote: Option<Quote>,
    /// Why it would not be sponsored; `None` where it would.
    pub refusal: Option<Refusal>,
}

impl Service {
    /// Prices an operation and says whether it would be sponsored now.
    ///
    /// # Errors
    /// When a part does not answer; a refusal is an answer here.
    pub async fn dry_run(
        &self,
        caller: &Caller,
        request: SponsorRequest,
    ) -> Result<DryRun, ServiceError> {
        let mut run = DryRun { max_cost: None, points: None, quote: None, refusal: None };
        match self.dry_run_into(&mut run, caller, request).await {
            Ok(()) => Ok(run),
            Err(ServiceError::Refused(refusal)) => {
                run.refusal = Some(refusal);
                Ok(run)
            }
            Err(error) => Err(error),
        }
    }

    async fn dry_run_into(
        &self,
        run: &mut DryRun,
        caller: &Caller,
        request: SponsorRequest,
    ) -> Result<(), ServiceError> {
        let prepared = self.prepare(caller, request).await?;
        run.max_cost = Some(prepared.max_cost);
        self.refuse_unless_followed(prepared.chain).await?;
        self.refuse_if_landed(caller.tenant, &prepared.slot).await?;
        let head = self.fresh_head(prepared.chain).await?;
        let open =
            self.store.open_sponsorship(caller.tenant, prepared.account, &prepared.slot).await?;
        let (quote, reserved) = open.map_or_else(
            || (Self::quote_at(prepared.chain, head.number), Points::ZERO),
            |open| (open.reservation.quote, open.reservation.reserved),
        );
        let priced = quote.cost(prepared.max_cost).map_err(GrantRefusal::from);
        let points = priced.map_err(Refusal::from)?;
        run.points = Some(points);
        run.quote = Some(quote);
        let (chain, paymaster) = (prepared.chain, prepared.paymaster);
        self.refuse_if_out_of_bounds(chain, paymaster, &head, &prepared.operation).await?;
        let balances = self.store.balances(caller.tenant, prepared.account).await?;
        let available = balances.map_or(Points::ZERO, |found| found.balances.available);
        let needed = points.saturating_sub(reserved);
        if available < needed {
            let refusal = GrantRefusal::InsufficientPoints { available, needed };
            return Err(Refusal::from(refusal).into());
        }
        Ok(())
    }
}
