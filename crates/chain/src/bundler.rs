//! A chain's bundler ([ERC-7769](https://eips.ethereum.org/EIPS/eip-7769)).

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::aliases::U128;
use alloy_primitives::{Address, U256};
use domain::Gas;
use erc4337::UserOperation;
use erc4337::user_operation::PaymasterSignatureField;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::rpc::{Delivery, Request, RpcClient};
use crate::{ConnectError, RpcError};

/// The one method that acts. Two bundlers that both hold an operation race each other, and the loser pays for it and
/// remembers the paymaster.
const SEND_METHOD: &str = "eth_sendUserOperation";

/// What a bundler thinks an operation needs, in gas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GasEstimate {
    /// For the call itself.
    pub call_gas_limit: Gas,
    /// For the account's validation.
    pub verification_gas_limit: Gas,
    /// For what the EntryPoint cannot measure.
    pub pre_verification_gas: U256,
    /// For the paymaster's validation; `None` where the bundler does not say.
    pub paymaster_verification_gas_limit: Option<Gas>,
    /// For the paymaster's call after the operation; `None` where the bundler does not say.
    pub paymaster_post_op_gas_limit: Option<Gas>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEstimate {
    call_gas_limit: U128,
    verification_gas_limit: U128,
    pre_verification_gas: U256,
    #[serde(default)]
    paymaster_verification_gas_limit: Option<U128>,
    #[serde(default)]
    paymaster_post_op_gas_limit: Option<U128>,
}

impl From<RawEstimate> for GasEstimate {
    fn from(raw: RawEstimate) -> Self {
        Self {
            call_gas_limit: Gas(raw.call_gas_limit.to()),
            verification_gas_limit: Gas(raw.verification_gas_limit.to()),
            pre_verification_gas: raw.pre_verification_gas,
            paymaster_verification_gas_limit: raw
                .paymaster_verification_gas_limit
                .map(|gas| Gas(gas.to())),
            paymaster_post_op_gas_limit: raw.paymaster_post_op_gas_limit.map(|gas| Gas(gas.to())),
        }
    }
}

/// The bundlers of one chain, in order of preference. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bundler {
    rpc: Arc<RpcClient>,
    signature_field: PaymasterSignatureField,
}

impl Bundler {
    /// Takes the URLs in order of preference, the deadline of each call as a whole, and where they expect the paymaster
    /// signature of EntryPoint v0.9. Makes no request.
    ///
    /// # Errors
    /// [`ConnectError`] when a URL cannot be used at all.
    pub fn connect(
        urls: &[Url],
        deadline: Duration,
        signature_field: PaymasterSignatureField,
    ) -> Result<Self, ConnectError> {
        let rpc = Arc::new(RpcClient::new(urls, deadline)?);
        Ok(Self { rpc, signature_field })
    }

    /// Where these bundlers expect the paymaster signature of EntryPoint v0.9.
    #[must_use]
    pub const fn signature_field(&self) -> PaymasterSignatureField {
        self.signature_field
    }

    /// Passes a request on as it is; which methods and operations may pass is for the caller to say.
    /// `eth_sendUserOperation` goes to a second bundler only when the first surely did not take it.
    ///
    /// # Errors
    /// [`RpcError`], with the bundler's own code, message and data in [`RpcError::Rpc`].
    pub async fn forward(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        let delivery = if method == SEND_METHOD { Delivery::Once } else { Delivery::Repeatable };
        self.rpc.send(delivery, Request { method, params }).await
    }

    /// What the operation needs, by simulation at the head. An `eip7702Auth` goes along, so that the bundler can
    /// simulate with the delegate in place.
    ///
    /// # Errors
    /// [`RpcError`], with the bundler's reason in [`RpcError::Rpc`] when the operation fails in simulation.
    pub async fn estimate(
        &self,
        operation: &UserOperation,
        entry_point: Address,
    ) -> Result<GasEstimate, RpcError> {
        let operation = operation.for_bundler(self.signature_field);
        let params = json!([operation, entry_point.to_checksum(None)]);
        let raw: RawEstimate = self.rpc.ask("eth_estimateUserOperationGas", params).await?;
        Ok(raw.into())
    }

    /// The EntryPoints that the bundler serves.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn supported_entry_points(&self) -> Result<Vec<Address>, RpcError> {
        self.rpc.ask("eth_supportedEntryPoints", json!([])).await
    }
}
