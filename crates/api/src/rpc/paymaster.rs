//! [ERC-7677](https://eips.ethereum.org/EIPS/eip-7677): the paymaster's side of an operation.

use alloy_primitives::Address;
use domain::ChainId;
use erc4337::UserOperation;
use erc4337::user_operation::PaymasterFields;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use service::sponsor::SponsorRequest;
use service::{Refusal, ServiceError};

use super::Session;
use super::error::RpcFailure;
use super::params::Positional;
use crate::context::{Context, SigningPhase};
use crate::{ApiError, wire};

/// Who pays, as wallets show it to their users.
const SPONSOR_NAME: &str = "Stipend";

/// `[userOp, entryPoint, chainId, context?]`
struct Request {
    chain_id: ChainId,
    entry_point: Address,
    operation: UserOperation,
    context: Context,
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
        let context = params.context(3)?;
        if session.named_chain()?.is_some_and(|named| named != chain_id) {
            return Err(ApiError::InvalidRequest(
                "the chain id of the call is not the one of ?chainId=".to_owned(),
            ));
        }
        Ok(Self { chain_id, entry_point, operation, context })
    }

    fn failure(&self, session: &Session, error: &ApiError) -> RpcFailure {
        let chain = session.app.service.chain(self.chain_id).ok();
        let paymaster =
            chain.and_then(|chain| chain.paymaster(session.caller.tenant, self.entry_point).ok());
        let paymaster = paymaster.map(|paymaster| paymaster.address);
        RpcFailure::new(error, session.caller.reach, paymaster)
    }

    async fn stub(&self, session: &Session) -> Result<PaymasterFields, ServiceError> {
        let Self { chain_id, entry_point, operation, context } = self;
        let service = &session.app.service;
        service.stub(&session.caller, *chain_id, *entry_point, operation, context.form()).await
    }

    /// The final fields, or in the commit phase those that the account signs.
    async fn sponsor(&self, session: &Session) -> Result<PaymasterFields, ServiceError> {
        let (service, caller) = (&session.app.service, &session.caller);
        let request = SponsorRequest {
            chain_id: self.chain_id,
            entry_point: self.entry_point,
            operation: self.operation.clone(),
            keyed: None,
        };
        Ok(match self.context.signing_phase() {
            None => service.sponsor(caller, request).await?.paymaster,
            Some(SigningPhase::Commit) => service.commit(caller, request).await?.paymaster,
            Some(SigningPhase::Finalize) => service.finalize(caller, request).await?.paymaster,
        })
    }

    /// The answer in the fields that the chain's bundler takes.
    fn answer(
        &self,
        session: &Session,
        outcome: Result<PaymasterFields, ServiceError>,
    ) -> Result<Map<String, Value>, RpcFailure> {
        let fields = outcome.map_err(|error| self.failure(session, &error.into()))?;
        let chain = session.app.service.chain(self.chain_id);
        let chain = chain.map_err(|refusal| self.failure(session, &refusal.into()))?;
        let (data, signature) = fields.data_fields(chain.bundler.signature_field());
        let mut answer = Map::new();
        answer.insert("paymaster".to_owned(), fields.paymaster.to_checksum(None).into());
        answer.insert("paymasterData".to_owned(), data.to_string().into());
        if let Some(signature) = signature {
            answer.insert("paymasterSignature".to_owned(), signature.to_string().into());
        }
        for (name, limit) in [
            ("paymasterVerificationGasLimit", fields.verification_gas_limit),
            ("paymasterPostOpGasLimit", fields.post_op_gas_limit),
        ] {
            answer.insert(name.to_owned(), wire::quantity(limit).into());
        }
        Ok(answer)
    }
}

/// `pm_getPaymasterStubData`
pub(super) async fn stub_data(
    session: &Session,
    params: Option<&RawValue>,
) -> Result<Value, RpcFailure> {
    let request = Request::read(session, params).map_err(|error| RpcFailure::from(&error))?;
    let mut fields = request.answer(session, request.stub(session).await)?;
    fields.insert("sponsor".to_owned(), json!({ "name": SPONSOR_NAME }));
    // The signature covers the gas limits, which are not known yet.
    fields.insert("isFinal".to_owned(), false.into());
    Ok(fields.into())
}

/// `pm_getPaymasterData`. A client that asks before it has gas limits wants to estimate with the answer: it gets what an
/// estimate needs, and nothing is reserved.
pub(super) async fn data(
    session: &Session,
    params: Option<&RawValue>,
) -> Result<Value, RpcFailure> {
    let request = Request::read(session, params).map_err(|error| RpcFailure::from(&error))?;
    let outcome = if request.operation.has_no_gas_limits() {
        request.stub(session).await
    } else {
        request.sponsor(session).await
    };
    request.answer(session, outcome).map(Value::from)
}
