//! Judging an operation before it is priced: whose it is, whether its chain can be trusted, and
//! whether it costs what it honestly needs.

use std::borrow::Cow;

use alloy_primitives::Address;
use chain::RpcError;
use chain::node::Header;
use domain::bounds::{self, Measured};
use domain::ids::ExternalId;
use domain::ledger::funds::FundsRefusal;
use domain::ledger::sponsorship::GrantRefusal;
use domain::{AccountId, Gas, Points, Slot, TenantId};
use erc4337::UserOperation;
use erc4337::gas::required_pre_verification_gas;
use erc4337::sponsorship::SignatureForm;
use erc4337::user_operation::delegate_of_code;
use store::Keyed;
use store::funds::{Direction, FundsOutcome, MoveFunds};
use store::wallets::Wallet;

use crate::chains::Chain;
use crate::clock::wall_seconds;
use crate::identity::{Caller, Reach};
use crate::sponsor::Prepared;
use crate::{Refusal, Service, ServiceError};

impl Service {
    /// The account that pays for a sender, if the caller may reserve its points. In the parallel form
    /// the account's own signature is the proof that a key alone is not, and it is checked before
    /// anything is reserved.
    pub(crate) async fn payer(
        &self,
        caller: &Caller,
        chain: &Chain,
        sender: Address,
        form: SignatureForm,
    ) -> Result<AccountId, ServiceError> {
        if caller.reach == Reach::NoAccount && form == SignatureForm::Sequential {
            return Err(Refusal::UserProofRequired.into());
        }
        let wallet = Wallet { chain: chain.id, address: sender };
        if let Some(account) = self.store.wallet_account(caller.tenant, wallet).await? {
            return Ok(account);
        }
        match self.settings.development.and_then(|development| development.auto_provision) {
            Some(points) => self.provision(caller.tenant, wallet, points).await,
            None => Err(Refusal::WalletNotLinked(sender).into()),
        }
    }

    /// Development only: an account of its own, with points, for a wallet that nobody linked. Every
    /// part is safe to repeat, so that parallel first sights end in one account.
    async fn provision(
        &self,
        tenant: TenantId,
        wallet: Wallet,
        points: Points,
    ) -> Result<AccountId, ServiceError> {
        let name = format!("dev:{}:{}", wallet.chain, wallet.address);
        let not_nameable = |_| Refusal::WalletNotLinked(wallet.address);
        let external_id = ExternalId::try_from(name.clone()).map_err(not_nameable)?;
        let account = self.store.ensure_account(tenant, &external_id).await?;
        let funded = self
            .store
            .move_funds(&MoveFunds {
                tenant,
                account,
                direction: Direction::Credit,
                amount: points,
                lot: None,
                reason: "development".to_owned(),
                reference: "auto-provision".parse().map_err(not_nameable)?,
                keyed: Keyed {
                    key: "auto-provision".parse().map_err(not_nameable)?,
                    request_hash: alloy_primitives::keccak256(&name),
                },
            })
            .await?;
        match funded {
            FundsOutcome::Applied(_)
            | FundsOutcome::Replayed(_)
            | FundsOutcome::Refused(FundsRefusal::ZeroAmount) => {}
            FundsOutcome::Refused(_)
            | FundsOutcome::Conflict(_)
            | FundsOutcome::KeyReused
            | FundsOutcome::NoAccount => {
                return Err(Refusal::WalletNotLinked(wallet.address).into());
            }
        }
        self.store.link_wallet(tenant, account, wallet).await?;
        Ok(account)
    }

    /// Refuses a slot that an operation of this company, or something else, has used up, whoever the
    /// wallet belonged to then.
    pub(crate) async fn refuse_if_used_up(
        &self,
        tenant: TenantId,
        slot: &Slot,
    ) -> Result<(), ServiceError> {
        if self.store.is_used_up(tenant, slot).await? {
            return Err(Refusal::Grant(GrantRefusal::NonceUsed).into());
        }
        Ok(())
    }

    /// Refuses on a chain that nobody reads yet, so that nothing would be settled, or that an operator
    /// must look at first.
    pub(crate) async fn refuse_unless_followed(&self, chain: &Chain) -> Result<(), ServiceError> {
        let cursor = self.store.cursor(chain.id).await?;
        let cursor = cursor.ok_or(Refusal::ChainNotReady(chain.id))?;
        match cursor.halt_reason.or(cursor.doubt) {
            Some(reason) => Err(Refusal::ChainHalted { chain: chain.id, reason }.into()),
            None => Ok(()),
        }
    }

    /// The chain's head, unless it is far from the wall clock: a signature whose window is reckoned
    /// from an old block could be valid for longer than its reservation is meant to be.
    pub(crate) async fn fresh_head(&self, chain: &Chain) -> Result<Header, ServiceError> {
        let mut head = chain.node.head().await.map_err(ServiceError::Node)?;
        let mut seconds = head.timestamp.0.abs_diff(wall_seconds());
        if seconds > self.settings.stale_head_seconds {
            // The node that is asked first may stand still while others go on.
            head = chain.node.newest_head().await.map_err(ServiceError::Node)?;
            seconds = head.timestamp.0.abs_diff(wall_seconds());
        }
        if seconds > self.settings.stale_head_seconds {
            return Err(Refusal::StaleHead { chain: chain.id, seconds }.into());
        }
        Ok(head)
    }

    /// Refuses an operation that could cost more than it honestly needs.
    pub(crate) async fn refuse_if_out_of_bounds(
        &self,
        prepared: &Prepared<'_>,
        head: &Header,
    ) -> Result<(), ServiceError> {
        let Prepared { chain, paymaster, operation, .. } = prepared;
        let (estimate, tip, counted) = tokio::join!(
            chain.bundler.estimate(operation, paymaster.entry_point),
            chain.node.max_priority_fee_per_gas(),
            without_idle_authorization(chain, operation),
        );
        let counted = counted?;
        let estimate = estimate.map_err(estimate_failed)?;
        let measured = Measured {
            pre_verification_gas: Gas(required_pre_verification_gas(
                &counted,
                chain.calldata_price,
            )),
            call_gas_limit: estimate.call_gas_limit,
            verification_gas_limit: estimate.verification_gas_limit,
            base_fee: head.base_fee_per_gas,
            priority_fee: tip.map_err(ServiceError::Node)?,
        };
        bounds::check(operation, &self.settings.bounds, &measured).map_err(Refusal::from)?;
        Ok(())
    }
}

/// The operation without an EIP-7702 authorization that would change nothing, because the sender's code
/// is its delegate's already, or not one that delegates: what is signed does not cover it, and gas that
/// nobody spends must not be paid for.
async fn without_idle_authorization<'a>(
    chain: &Chain,
    operation: &'a UserOperation,
) -> Result<Cow<'a, UserOperation>, ServiceError> {
    let Some(authorization) = &operation.eip7702_auth else {
        return Ok(Cow::Borrowed(operation));
    };
    let code = chain.node.code(operation.sender).await.map_err(ServiceError::Node)?;
    let delegate = delegate_of_code(&code);
    let is_idle = match delegate {
        Some(delegate) => delegate == authorization.address,
        None => !code.is_empty(),
    };
    if is_idle {
        Ok(Cow::Owned(UserOperation { eip7702_auth: None, ..operation.clone() }))
    } else {
        Ok(Cow::Borrowed(operation))
    }
}

/// The codes by which a bundler says that the operation itself fails, rather than the bundler
/// ([ERC-7769](https://eips.ethereum.org/EIPS/eip-7769)); 3 is a node's "execution reverted".
const OPERATION_FAILS: core::ops::RangeInclusive<i64> = -32_599..=-32_500;
const EXECUTION_REVERTED: i64 = 3;

fn estimate_failed(error: RpcError) -> ServiceError {
    match error {
        RpcError::Rpc { code, message, .. }
            if OPERATION_FAILS.contains(&code) || code == EXECUTION_REVERTED =>
        {
            Refusal::simulation_failed(message).into()
        }
        // Not the operation's fault, and not the caller's to hear in the bundler's own code.
        RpcError::Rpc { code, message, .. } => ServiceError::Bundler(RpcError::Malformed {
            what: format!("the estimate was refused with code {code}: {message}"),
        }),
        RpcError::Unreachable { .. }
        | RpcError::TimedOut { .. }
        | RpcError::TooLarge { .. }
        | RpcError::Malformed { .. } => ServiceError::Bundler(error),
    }
}
