//! Would an operation pass its validation, before its paymaster has signed?

use alloy_primitives::{Address, Bytes, address, bytes};
use alloy_sol_types::{SolCall, SolError};
use erc4337::UserOperation;
use erc4337::events::IEntryPoint;
use erc4337::user_operation::DELEGATION_PREFIX;
use serde_json::{Map, json};

use crate::RpcError;
use crate::node::{At, Node};
use crate::rpc::{Delivery, Reply, Request, read_result};

/// A node's code for a call that reverted.
const EXECUTION_REVERTED: i64 = 3;

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
    /// agrees. An authorisation that goes along is taken as carried out: the caller knows that it is valid.
    ///
    /// # Errors
    /// [`RpcError`] when the node does not answer, or the EntryPoint is not there.
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
        if let Some(authorisation) = &operation.eip7702_auth {
            let delegated = [&DELEGATION_PREFIX[..], authorisation.address.as_slice()].concat();
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
        let latest = At::Head.param();
        let requests = [
            Request { method: "eth_getCode", params: json!([entry_point, latest]) },
            Request { method: "eth_call", params: json!([call, latest, overrides]) },
        ];
        let read = |[code, called]: [Reply; 2]| {
            // A call of an address without code succeeds, and would prove nothing.
            if read_result::<Bytes>("eth_getCode", &code?)?.is_empty() {
                let what = format!("the EntryPoint {entry_point} has no code");
                return Err(RpcError::malformed(what));
            }
            match called.and_then(|answer| read_result::<Bytes>("eth_call", &answer)) {
                Ok(_) => Ok(Simulation::Passes),
                Err(error) => failure(&error).map(Simulation::Fails).ok_or(error),
            }
        };
        self.rpc.send_together(Delivery::Repeatable, &requests, read).await
    }
}

/// The EntryPoint's own reason, or that of whoever reverted without one. `None` where it was not the call that failed.
fn failure(error: &RpcError) -> Option<String> {
    let RpcError::Rpc { code, message, .. } = error else { return None };
    let data = error.revert_data().unwrap_or_default();
    if let Ok(failed) = IEntryPoint::FailedOp::abi_decode(&data) {
        return Some(failed.reason);
    }
    if let Ok(failed) = IEntryPoint::FailedOpWithRevert::abi_decode(&data) {
        return Some(failed.reason);
    }
    (*code == EXECUTION_REVERTED).then(|| message.clone())
}
