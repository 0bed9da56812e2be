//! [ERC-7677](https://eips.ethereum.org/EIPS/eip-7677): the paymaster's side of an operation.

use alloy_primitives::Address;
use domain::ChainId;
use erc4337::UserOperation;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use service::Refusal;
use service::sponsor::SponsorRequest;
use service::stub::Stub;

use super::Session;
use super::error::RpcFailure;
use super::params::Positional;
use crate::{ApiError, wire};

/// Who pays, as wallets show it to their users.
const SPONSOR_NAME: &str = "Stipend";

/// `[userOp, entryPoint, chainId, context?]`
struct Request {
    chain_id: ChainId,
    entry_point: Address,
    operation: UserOperation,
}

impl Request {
    fn read(session: &Session, params: Option<&RawValue>) -> Result<Self, ApiError> {
        let params = Positional::read(params, 4)?;
        let entry_point = params.entry_point(1)?;
        // An operation for v0.6 has another shape; say that before complaining about the shape.
        if entry_point == erc4337::entry_point::V06_ADDRESS {
            return Err(Refusal::EntryPointV06.into());
        }
        let operation = params.operation(0)?;
        let chain_id = params.chain_id(2)?;
        params.context(3)?;
        if session.named_chain()?.is_some_and(|named| named != chain_id) {
            return Err(ApiError::InvalidRequest(
                "the chain id of the call is not the one of ?chainId=".to_owned(),
            ));
        }
        Ok(Self { chain_id, entry_point, operation })
    }

    fn failure(&self, session: &Session, error: &ApiError) -> RpcFailure {
        let chain = session.app.service.chain(self.chain_id).ok();
        let paymaster =
            chain.and_then(|chain| chain.paymaster(session.caller.tenant, self.entry_point).ok());
        let paymaster = paymaster.map(|paymaster| paymaster.address);
        RpcFailure::new(error, session.caller.reach, paymaster)
    }

    async fn stub(&self, session: &Session) -> Result<Stub, RpcFailure> {
        let service = &session.app.service;
        let stub =
            service.stub(&session.caller, self.chain_id, self.entry_point, &self.operation).await;
        stub.map_err(|error| self.failure(session, &error.into()))
    }
}

/// `pm_getPaymasterStubData`
pub(super) async fn stub_data(
    session: &Session,
    params: Option<&RawValue>,
) -> Result<Value, RpcFailure> {
    let request = Request::read(session, params).map_err(|error| RpcFailure::from(&error))?;
    let mut fields = stub_fields(&request.stub(session).await?);
    if let Some(fields) = fields.as_object_mut() {
        fields.insert("sponsor".to_owned(), json!({ "name": SPONSOR_NAME }));
        // The signature covers the gas limits, which are not known yet.
        fields.insert("isFinal".to_owned(), false.into());
    }
    Ok(fields)
}

/// `pm_getPaymasterData`. A client that asks before it has gas limits wants to estimate with the answer: it gets what an
/// estimate needs, and nothing is reserved.
pub(super) async fn data(
    session: &Session,
    params: Option<&RawValue>,
) -> Result<Value, RpcFailure> {
    let request = Request::read(session, params).map_err(|error| RpcFailure::from(&error))?;
    if request.operation.has_no_gas_limits() {
        return Ok(stub_fields(&request.stub(session).await?));
    }
    let sponsor_request = SponsorRequest {
        chain_id: request.chain_id,
        entry_point: request.entry_point,
        operation: request.operation.clone(),
        keyed: None,
    };
    let sponsored = session.app.service.sponsor(&session.caller, sponsor_request).await;
    let paymaster = sponsored.map_err(|error| request.failure(session, &error.into()))?.paymaster;
    Ok(json!({
        "paymaster": paymaster.paymaster.to_checksum(None),
        "paymasterData": paymaster.data,
        "paymasterVerificationGasLimit": wire::quantity(paymaster.verification_gas_limit),
        "paymasterPostOpGasLimit": wire::quantity(paymaster.post_op_gas_limit),
    }))
}

fn stub_fields(stub: &Stub) -> Value {
    json!({
        "paymaster": stub.paymaster.to_checksum(None),
        "paymasterData": stub.paymaster_data,
        "paymasterVerificationGasLimit": wire::quantity(stub.verification_gas_limit.0),
        "paymasterPostOpGasLimit": wire::quantity(stub.post_op_gas_limit.0),
    })
}
