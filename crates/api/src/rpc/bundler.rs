//! The pass-through to the chain's bundler.

use alloy_primitives::B256;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Session;
use super::params::{Positional, none};
use crate::ApiError;

/// `eth_sendUserOperation`: `[userOp, entryPoint]`
pub(super) async fn send(session: &Session, params: Option<&RawValue>) -> Result<Value, ApiError> {
    let chain = session.chain()?;
    let positional = Positional::read(params, 2)?;
    let entry_point = positional.entry_point(1)?;
    session.refuse_unless_served(chain, entry_point)?;
    let operation = positional.operation(0)?;
    let service = &session.app.service;
    let sent = service.relay_operation(
        &session.caller,
        chain,
        entry_point,
        &operation,
        forwarded(params)?,
    );
    Ok(sent.await?)
}

/// `eth_estimateUserOperationGas`: `[userOp, entryPoint, stateOverride?]`
pub(super) async fn estimate(
    session: &Session,
    params: Option<&RawValue>,
) -> Result<Value, ApiError> {
    let chain = session.chain()?;
    let positional = Positional::read(params, 3)?;
    session.refuse_unless_served(chain, positional.entry_point(1)?)?;
    positional.operation(0)?;
    let method = "eth_estimateUserOperationGas";
    Ok(session.app.service.relay_read(chain, method, forwarded(params)?).await?)
}

/// `eth_getUserOperationReceipt` and `eth_getUserOperationByHash`: `[hash]`
pub(super) async fn look_up(
    session: &Session,
    method: &str,
    params: Option<&RawValue>,
) -> Result<Value, ApiError> {
    let chain = session.chain()?;
    let hash: B256 = Positional::read(params, 1)?.hash(0)?;
    Ok(session.app.service.relay_read(chain, method, serde_json::json!([hash])).await?)
}

/// `pimlico_getUserOperationGasPrice`: `[]`
pub(super) async fn gas_price(
    session: &Session,
    params: Option<&RawValue>,
) -> Result<Value, ApiError> {
    none(params)?;
    let chain = session.chain()?;
    let method = "pimlico_getUserOperationGasPrice";
    Ok(session.app.service.relay_read(chain, method, serde_json::json!([])).await?)
}

/// The caller's own parameters, after they were found to be what they must be.
fn forwarded(params: Option<&RawValue>) -> Result<Value, ApiError> {
    let text = params.map_or("[]", RawValue::get);
    serde_json::from_str(text)
        .map_err(|_| ApiError::InvalidRequest("params are nested too deeply".to_owned()))
}
