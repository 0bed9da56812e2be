//! What a client estimates with, before there is a signature
//! ([ERC-7677](https://eips.ethereum.org/EIPS/eip-7677)).

use alloy_primitives::Address;
use domain::ChainId;
use erc4337::UserOperation;
use erc4337::sponsorship::SignatureForm;
use erc4337::user_operation::PaymasterFields;

use crate::identity::Caller;
use crate::sponsor::{POST_OP_GAS, default_verification_gas};
use crate::{Service, ServiceError};

impl Service {
    /// Paymaster fields that are as long as the final ones and take the same path on chain, but pay for
    /// nothing. Refused where the final call would be for reasons that do not
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
        form: SignatureForm,
    ) -> Result<PaymasterFields, ServiceError> {
        let chain = self.chain(chain_id)?;
        let paymaster = chain.paymaster(caller.tenant, entry_point)?;
        paymaster.refuse_unless_signs(form)?;
        self.payer(caller, chain, operation.sender, form).await?;
        chain.delegate(operation).await?;
        self.refuse_unless_followed(chain).await?;
        Ok(PaymasterFields {
            paymaster: paymaster.address,
            verification_gas_limit: default_verification_gas(operation).0,
            post_op_gas_limit: POST_OP_GAS.0,
            data: form.stub_paymaster_data(),
        })
    }
}
