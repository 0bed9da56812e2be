//! What a client estimates with, before there is a signature
//! ([ERC-7677](https://eips.ethereum.org/EIPS/eip-7677)).

use alloy_primitives::{Address, Bytes};
use domain::{ChainId, Gas};
use erc4337::UserOperation;
use erc4337::sponsorship::stub_paymaster_data;

use crate::identity::Caller;
use crate::sponsor::{POST_OP_GAS, VERIFICATION_GAS};
use crate::{Service, ServiceError};

/// Paymaster fields that are as long as the final ones and take the same path on chain, but pay for
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stub {
    /// The paymaster.
    pub paymaster: Address,
    /// Data of the final length.
    pub paymaster_data: Bytes,
    /// What the paymaster's validation may use.
    pub verification_gas_limit: Gas,
    /// What its call after the operation may use.
    pub post_op_gas_limit: Gas,
}

impl Service {
    /// The stub for an operation, refused where the final call would be for reasons that do not
    /// depend on gas. Takes no reservation.
    ///
    /// # Errors
    /// A refusal, or a database or node that does not answer.
    pub async fn stub(
        &self,
        caller: &Caller,
        chain_id: ChainId,
        entry_point: Address,
        operation: &UserOperation,
    ) -> Result<Stub, ServiceError> {
        let chain = self.chain(chain_id)?;
        let paymaster = chain.paymaster(caller.tenant, entry_point)?;
        self.payer(caller, chain, operation.sender).await?;
        self.refuse_unless_followed(chain).await?;
        Ok(Stub {
            paymaster: paymaster.address,
            paymaster_data: stub_paymaster_data(),
            verification_gas_limit: VERIFICATION_GAS,
            post_op_gas_limit: POST_OP_GAS,
        })
    }
}
