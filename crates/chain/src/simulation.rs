//! Would an operation pass its validation, before its paymaster has signed?

use alloy_primitives::{Address, Bytes, address, bytes, hex};
use alloy_sol_types::{SolCall, SolError};
use erc4337::UserOperation;
use erc4337::events::IEntryPoint;
use erc4337::user_operation::DELEGATION_PREFIX;
use serde_json::{Map, Value, json};

use crate::RpcError;
use crate::node::{At, Node};

/// Code of a paymaster that agrees to everything: it returns an empty context and a `validationData` of 0. The real one
/// would need its signature, and that must not leave the house before the grant is committed.
const AGREEING_PAYMASTER: Bytes = bytes!("604060005260606000f3");

/// Who calls the EntryPoint in a simulation: an account without code or key, because v0.8 and v0.9 take bundles from
/// nobody else. It pays nothing, since a call without a gas price costs nothing.
const SIMULATED_BUNDLER: Address = address!("5717e4d000000000000000000000000000000000");

/// What became of a simulated validation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Simulation {
    /// The account accepts the operation, and the deposit covers it.
    Passes,
    /// The EntryPoint refuses the operation, with its reason.
    Fails(String),
}

impl Node {
    /// Runs an operation through `handleOps` at the head, with its account's own signature and with a paymaster that
    /// agrees. An authorization that goes along is taken as carried out.
    ///
    /// # Errors
    /// [`RpcError`] when the node does not answer, or not in the EntryPoint's words.
    pub async fn simulate_validation(
        &self,
        operation: &UserOperation,
        entry_point: Address,
    ) -> Result<Simulation, RpcError> {
        let mut overrides = Map::new();
        if let Some(paymaster) = &operation.paymaster {
            let code = json!({ "code": AGREEING_PAYMASTER });
            overrides.insert(paymaster.paymaster.to_string(), code);
        }
        if let Some(authorization) = &operation.eip7702_auth {
            let delegated = [&DELEGATION_PREFIX[..], authorization.address.as_slice()].concat();
            let code = json!({ "code": Bytes::from(delegated) });
            overrides.insert(operation.sender.to_string(), code);
        }
        let call = IEntryPoint::handleOpsCall {
            ops: vec![operation.pack()],
            beneficiary: SIMULATED_BUNDLER,
        };
        let call = json!({
            "from": SIMULATED_BUNDLER,
            "to": entry_point,
            "input": Bytes::from(call.abi_encode()),
        });
        let params = json!([call, At::Head.param(), overrides]);
        let answer: Result<Bytes, RpcError> = self.rpc.ask("eth_call", params).await;
        match answer {
            Ok(_) => Ok(Simulation::Passes),
            Err(error) => match failure(&error) {
                Some(reason) => Ok(Simulation::Fails(reason)),
                None => Err(error),
            },
        }
    }
}

/// The EntryPoint's own reason, from the bytes that the call reverted with.
fn failure(error: &RpcError) -> Option<String> {
    let RpcError::Rpc { data: Some(Value::String(data)), .. } = error else { return None };
    let data = hex::decode(data).ok()?;
    if let Ok(failed) = IEntryPoint::FailedOp::abi_decode(&data) {
        return Some(failed.reason);
    }
    let failed = IEntryPoint::FailedOpWithRevert::abi_decode(&data).ok()?;
    Some(failed.reason)
}
