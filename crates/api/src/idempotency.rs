//! Keys of money commands, and the hash that tells another request under the same key.

use std::sync::Arc;

use alloy_primitives::{Bytes, keccak256};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::ids::CommandKey;
use erc4337::UserOperation;
use erc4337::sponsorship::WINDOW_LEN;
use serde::Serialize;
use serde_json::json;
use store::Keyed;
use store::funds::MoveFunds;

use crate::ApiError;
use crate::app::App;
use crate::context::SigningPhase;

const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Set to `true` where the answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The `Idempotency-Key` header, which money commands need.
pub(crate) struct IdempotencyKey(pub(crate) CommandKey);

impl FromRequestParts<Arc<App>> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, ApiError> {
        let mut values = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let value = values.next().ok_or(ApiError::IdempotencyKeyMissing)?;
        let key = value.to_str().ok().filter(|_| values.next().is_none()).ok_or_else(|| {
            ApiError::InvalidRequest("Idempotency-Key must be one line of ASCII".to_owned())
        })?;
        Ok(Self(key.parse()?))
    }
}

/// The key with the hash of what a credit or debit asks for. Spaces and the order of fields do not count.
pub(crate) fn keyed_movement(key: CommandKey, movement: &MovementTerms<'_>) -> Keyed {
    keyed(key, movement)
}

/// What a credit or debit asks for, apart from whose account.
#[derive(Serialize)]
pub(crate) struct MovementTerms<'a> {
    pub(crate) command: &'static str,
    pub(crate) amount: domain::Points,
    pub(crate) reason: &'a str,
    pub(crate) reference: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bucket: Option<&'a str>,
    /// In microseconds since 1970, however it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<i64>,
}

impl<'a> From<&'a MoveFunds> for MovementTerms<'a> {
    fn from(command: &'a MoveFunds) -> Self {
        Self {
            command: command.direction.as_str(),
            amount: command.amount,
            reason: &command.reason,
            reference: command.reference.as_str(),
            bucket: command.lot.as_ref().map(|lot| lot.bucket.as_str()),
            expires_at: command.lot.as_ref().and_then(|lot| lot.expires_at).map(|at| at.0),
        }
    }
}

/// The key with the hash of what a sponsorship asks for. The account's signature is not part of
/// it, nor the paymaster's data beyond a window that counts.
pub(crate) fn keyed_sponsorship(
    key: CommandKey,
    chain_id: u64,
    entry_point: alloy_primitives::Address,
    operation: &UserOperation,
    phase: Option<SigningPhase>,
) -> Keyed {
    let mut operation = operation.clone();
    operation.signature = Bytes::new();
    // Except for the window, where the account has signed it already.
    let (command, kept) = match phase {
        Some(SigningPhase::Finalize) => ("finalize", WINDOW_LEN),
        None | Some(SigningPhase::Commit) => ("sponsor", 0),
    };
    if let Some(paymaster) = &mut operation.paymaster {
        paymaster.data.truncate(kept);
    }
    keyed(key, &json!([command, chain_id, entry_point, operation]))
}

fn keyed(key: CommandKey, terms: &impl Serialize) -> Keyed {
    // Strings, numbers and hex always have a JSON form.
    let text = serde_json::to_vec(terms).unwrap_or_default();
    Keyed { key, request_hash: keccak256(text) }
}

/// 200 both for what was done now and, with a header, for what was done before.
pub(crate) fn answer_ok(body: &impl Serialize, replayed: bool) -> Response {
    let mut response = answer(body, replayed);
    *response.status_mut() = StatusCode::OK;
    response
}

/// 201 for what was done now; 200 with a header, and otherwise the same bytes, for what was done before.
pub(crate) fn answer(body: &impl Serialize, replayed: bool) -> Response {
    let status = if replayed { StatusCode::OK } else { StatusCode::CREATED };
    let mut response = (status, axum::Json(body)).into_response();
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}
