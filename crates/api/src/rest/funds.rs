//! Credits and debits.

use std::sync::Arc;

use alloy_primitives::B256;
use axum::extract::State;
use axum::response::Response;
use domain::Points;
use domain::ids::Reference;
use serde::{Deserialize, Serialize};
use service::Refusal;
use store::Keyed;
use store::funds::{Direction, FundsOutcome, MoveFunds, Movement};

use super::external_id;
use crate::ApiError;
use crate::app::App;
use crate::auth::Server;
use crate::idempotency::{self, IdempotencyKey, MovementTerms};
use crate::json::{Body, Segments};
use crate::wire;

/// The longest reason, in characters: a sentence for a statement.
const MAX_REASON: usize = 500;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Terms {
    amount: Points,
    reason: String,
    reference: Reference,
}

/// Made of immutable rows alone, so that a replay is the same to the byte.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MovementBody {
    kind: &'static str,
    amount: Points,
    reason: String,
    reference: String,
    entry_seq: i64,
    available: Points,
    debt: Points,
    recorded_at: String,
}

impl From<Movement> for MovementBody {
    fn from(movement: Movement) -> Self {
        Self {
            kind: movement.direction.as_str(),
            amount: movement.amount,
            reason: movement.reason,
            reference: movement.reference,
            entry_seq: movement.entry_seq,
            available: movement.available_after,
            debt: movement.debt_after,
            recorded_at: wire::timestamp(movement.recorded_at),
        }
    }
}

/// `POST /v1/accounts/{externalId}/credits`
pub(super) async fn credit(
    State(app): State<Arc<App>>,
    server: Server,
    Segments(name): Segments<String>,
    key: IdempotencyKey,
    Body(terms): Body<Terms>,
) -> Result<Response, ApiError> {
    move_funds(&app, server, name, key, Direction::Credit, terms).await
}

/// `POST /v1/accounts/{externalId}/debits`
pub(super) async fn debit(
    State(app): State<Arc<App>>,
    server: Server,
    Segments(name): Segments<String>,
    key: IdempotencyKey,
    Body(terms): Body<Terms>,
) -> Result<Response, ApiError> {
    move_funds(&app, server, name, key, Direction::Debit, terms).await
}

async fn move_funds(
    app: &App,
    Server(caller): Server,
    name: String,
    IdempotencyKey(key): IdempotencyKey,
    direction: Direction,
    terms: Terms,
) -> Result<Response, ApiError> {
    let name = external_id(name)?;
    let length = terms.reason.chars().count();
    if !(1..=MAX_REASON).contains(&length) || terms.reason.chars().any(char::is_control) {
        return Err(ApiError::InvalidRequest(format!(
            "reason must be 1 to {MAX_REASON} characters without control characters"
        )));
    }
    let account = app.account(caller.tenant, &name).await?;
    let mut command = MoveFunds {
        tenant: caller.tenant,
        account,
        direction,
        amount: terms.amount,
        reason: terms.reason,
        reference: terms.reference,
        keyed: Keyed { key: key.clone(), request_hash: B256::ZERO },
    };
    command.keyed = idempotency::keyed_movement(key, &MovementTerms::from(&command));
    match app.service.store().move_funds(&command).await? {
        FundsOutcome::Applied(movement) => {
            Ok(idempotency::answer(&MovementBody::from(movement), false))
        }
        FundsOutcome::Replayed(movement) => {
            Ok(idempotency::answer(&MovementBody::from(movement), true))
        }
        FundsOutcome::Refused(refusal) => Err(refusal.into()),
        FundsOutcome::Conflict(fields) => Err(ApiError::ReferenceConflict(fields)),
        FundsOutcome::KeyReused => Err(Refusal::KeyReused.into()),
        FundsOutcome::NoAccount => Err(ApiError::AccountNotFound),
    }
}
