//! The parallel form, in two phases: the account signs between them, and points are set aside only
//! after it has.
//!
//! **Commit** fixes the paymaster's address, its limits and the window, and keeps nothing. The account
//! signs what it was told. **Finalize** takes the signed operation, sees by simulation that the account
//! accepts it, sets the points aside, and signs. Nothing rests on what a commit said: finalize holds the
//! operation to the same rules again.
//!
//! EntryPoint v0.9 alone: only there the account's signature leaves the paymaster's out.

use alloy_primitives::{B256, U256};
use chain::node::Header;
use chain::simulation::Simulation;
use domain::chain_fact::ChainTime;
use domain::{Points, Slot, Wei, window};
use erc4337::UserOperation;
use erc4337::hash::user_op_hash;
use erc4337::sponsorship::{PaymasterData, SignatureForm};
use erc4337::user_operation::{PaymasterFields, delegate_of_code};

use crate::identity::Caller;
use crate::quote::DryRun;
use crate::sponsor::{Prepared, SponsorRequest, Sponsored};
use crate::{Refusal, Service, ServiceError};

/// What the account is to sign. Nothing is reserved.
#[derive(Clone, Debug)]
pub struct Commitment {
    /// Where the operation can land.
    pub slot: Slot,
    /// The paymaster fields of the operation, a stub in the signature's place.
    pub paymaster: PaymasterFields,
    /// What the account signs: the same before and after the paymaster's signature.
    pub user_op_hash: B256,
    /// What the operation could cost at most.
    pub max_cost: Wei,
    /// The same in points, what finalize will set aside.
    pub points: Points,
    /// The last block time at which the operation can land.
    pub valid_until: ChainTime,
}

impl Service {
    /// Fixes what the account is to sign, if it would be sponsored now. Reserves and signs nothing.
    ///
    /// # Errors
    /// A refusal, or a part that does not answer.
    pub async fn commit(
        &self,
        caller: &Caller,
        request: SponsorRequest,
    ) -> Result<Commitment, ServiceError> {
        let prepared = self.prepare(caller, request, SignatureForm::Parallel).await?;
        let mut run = DryRun::default();
        let head = self.weigh(&mut run, caller, &prepared).await?;
        let valid_until = self.valid_until(prepared.chain, head.timestamp)?;
        let operation = prepared.unsigned(valid_until)?;
        let Slot { chain_id, entry_point, .. } = prepared.slot;
        let version = prepared.paymaster.version;
        let hash = user_op_hash(&operation, version, entry_point, chain_id.0, prepared.delegate);
        Ok(Commitment {
            slot: prepared.slot,
            paymaster: operation.paymaster.unwrap_or_default(),
            user_op_hash: hash.map_err(|_| Refusal::DelegateUnknown)?,
            max_cost: prepared.max_cost,
            points: run.points.unwrap_or_default(),
            valid_until,
        })
    }

    /// Sponsors an operation that its account has signed already: reserves its points, and answers with
    /// the signature that they back.
    ///
    /// # Errors
    /// As [`Service::sponsor`].
    pub async fn finalize(
        &self,
        caller: &Caller,
        request: SponsorRequest,
    ) -> Result<Sponsored, ServiceError> {
        let keyed = request.keyed.clone();
        if let Some(given) = self.replay(caller, keyed.as_ref()).await? {
            return Ok(given);
        }
        let committed = request.operation.paymaster.clone().ok_or(Refusal::NotCommitted)?;
        let mut prepared = self.prepare(caller, request, SignatureForm::Parallel).await?;
        let head = self.ready_to_sign(caller, &prepared, keyed.as_ref()).await?;
        let valid_until = self.committed_window(&committed, &prepared, &head)?;
        // From here on it is what the account signed, so that its signature holds where it is estimated, too.
        prepared.operation = prepared.unsigned(valid_until)?;
        // The account signed this window, so another one is another request.
        let request_hash = prepared.digest(valid_until)?;
        refuse_unless_authorised(&prepared).await?;
        self.refuse_unless_account_signed(&prepared).await?;
        if keyed.is_none()
            && let Some(given) =
                self.repeat(caller, &prepared, request_hash, head.timestamp).await?
        {
            return Ok(given);
        }
        self.refuse_if_out_of_bounds(&prepared, &head).await?;
        self.commit_grant(caller, &prepared, keyed, request_hash, valid_until, &head).await
    }

    /// The end of the window that the account signed, if a commit can have said so and enough of it is
    /// left.
    fn committed_window(
        &self,
        committed: &PaymasterFields,
        prepared: &Prepared<'_>,
        head: &Header,
    ) -> Result<ChainTime, Refusal> {
        let decoded = PaymasterData::decode(&committed.data);
        let (data, form) = decoded.map_err(|_| Refusal::NotCommitted)?;
        let is_ours = committed.paymaster == prepared.paymaster.address
            && form == SignatureForm::Parallel
            && data.window.valid_after() == 0;
        if !is_ours {
            return Err(Refusal::NotCommitted);
        }
        let valid_until = ChainTime(data.window.valid_until());
        // This node may be behind the one that the commit asked, by as much as is trusted at all.
        let head = head.timestamp;
        let validity = u64::from(self.settings.validity_seconds);
        let longest =
            head.0.saturating_add(validity).saturating_add(self.settings.stale_head_seconds);
        if valid_until.0 > longest || !window::is_reusable(valid_until, head) {
            return Err(Refusal::CommitExpired { valid_until: valid_until.0, head: head.0 });
        }
        Ok(valid_until)
    }

    /// Refuses an operation that its account does not accept. For a caller without a key to the account
    /// this is the proof of its user.
    async fn refuse_unless_account_signed(
        &self,
        prepared: &Prepared<'_>,
    ) -> Result<(), ServiceError> {
        let node = &prepared.chain.node;
        let simulation =
            node.simulate_validation(&prepared.operation, prepared.slot.entry_point).await;
        match simulation.map_err(ServiceError::Node)? {
            Simulation::Passes => Ok(()),
            Simulation::Fails(reason) => Err(Refusal::simulation_failed(reason).into()),
        }
    }
}

/// Refuses an authorisation that the chain would not carry out ([EIP-7702](https://eips.ethereum.org/EIPS/eip-7702)):
/// the simulation takes it as carried out, and would let anybody put a delegate of their own before somebody's account.
async fn refuse_unless_authorised(prepared: &Prepared<'_>) -> Result<(), ServiceError> {
    let Prepared { chain, operation, .. } = prepared;
    let Some(authorisation) = &operation.eip7702_auth else { return Ok(()) };
    let sender = operation.sender;
    let code = chain.node.code(sender).await.map_err(ServiceError::Node)?;
    let current = delegate_of_code(&code);
    if current == Some(authorisation.address) {
        return Ok(());
    }
    let nonce = chain.node.transaction_count(sender).await.map_err(ServiceError::Node)?;
    let is_valid = authorisation.authority() == Some(sender)
        && (authorisation.chain_id.is_zero() || authorisation.chain_id == U256::from(chain.id.0))
        && authorisation.nonce == nonce
        && (code.is_empty() || current.is_some());
    if is_valid { Ok(()) } else { Err(Refusal::AuthorisationInvalid.into()) }
}

impl Prepared<'_> {
    /// The operation as the account signs it.
    fn unsigned(&self, valid_until: ChainTime) -> Result<UserOperation, Refusal> {
        let paymaster = Some(self.header(valid_until)?.unsigned(self.form));
        Ok(UserOperation { paymaster, ..self.operation.clone() })
    }
}
