//! What an operation would cost, and whether it would be sponsored: no reservation, no signature.

use chain::node::Header;
use domain::ledger::sponsorship::{GrantRefusal, refuse_debtor};
use domain::{Points, Quote, Wei};
use erc4337::sponsorship::SignatureForm;

use crate::identity::{Caller, Reach};
use crate::sponsor::{Prepared, SponsorRequest};
use crate::{Refusal, Service, ServiceError};

/// The answer to "what if".
#[derive(Clone, Debug, Default)]
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
        form: SignatureForm,
    ) -> Result<DryRun, ServiceError> {
        let mut run = DryRun::default();
        match self.dry_run_into(&mut run, caller, request, form).await {
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
        form: SignatureForm,
    ) -> Result<(), ServiceError> {
        let prepared = self.prepare(caller, request, form).await?;
        self.weigh(run, caller, &prepared).await.map(drop)
    }

    /// Everything that a sponsorship would be refused for, at the head that it answers.
    pub(crate) async fn weigh(
        &self,
        run: &mut DryRun,
        caller: &Caller,
        prepared: &Prepared<'_>,
    ) -> Result<Header, ServiceError> {
        run.max_cost = Some(prepared.max_cost);
        let head = self.ready_to_sign(caller, prepared, None).await?;
        let open =
            self.store.open_sponsorship(caller.tenant, prepared.account, &prepared.slot).await?;
        let is_new = open.is_none();
        let (quote, reserved) = open.map_or_else(
            || (Self::quote_at(prepared.chain, head.number), Points::ZERO),
            |open| (open.reservation.quote, open.reservation.reserved),
        );
        let priced = quote.cost(prepared.max_cost).map_err(GrantRefusal::from);
        let points = priced.map_err(Refusal::from)?;
        run.points = Some(points);
        run.quote = Some(quote);
        self.refuse_if_out_of_bounds(prepared, &head).await?;
        // Without proof of the user not even whether the points would do: a price can be asked in steps.
        if caller.reach == Reach::NoAccount {
            return Ok(head);
        }
        let balances = self.store.balances(caller.tenant, prepared.account).await?;
        let balances = balances.map(|found| found.balances).unwrap_or_default();
        if is_new {
            refuse_debtor(&balances, self.settings.debt_ceiling).map_err(Refusal::from)?;
        }
        let available = balances.available;
        let needed = points.saturating_sub(reserved);
        if available < needed {
            let refusal = GrantRefusal::InsufficientPoints { available, needed };
            return Err(Refusal::from(refusal).into());
        }
        Ok(head)
    }
}
