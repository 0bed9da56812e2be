//! Credits and debits.

use std::sync::Arc;

use alloy_primitives::B256;
use axum::extract::State;
use axum::response::Response;
use domain::Points;
use domain::ids::{BucketName, Reference};
use domain::ledger::buckets::Lot;
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
pub(super) struct CreditTerms {
    amount: Points,
    reason: String,
    reference: Reference,
    bucket: Option<String>,
    expires_at: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DebitTerms {
    amount: Points,
    reason: String,
    reference: Reference,
}

/// What moves.
struct Terms {
    direction: Direction,
    amount: Points,
    lot: Option<Lot>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket: Option<BucketName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    entry_seq: i64,
    available: Points,
    debt: Points,
    recorded_at: String,
}

impl From<Movement> for MovementBody {
    fn from(movement: Movement) -> Self {
        let (bucket, expires_at) = movement.lot.map(|lot| (lot.bucket, lot.expires_at)).unzip();
        Self {
            kind: movement.direction.as_str(),
            amount: movement.amount,
            reason: movement.reason,
            reference: movement.reference,
            bucket,
            expires_at: expires_at.flatten().map(wire::timestamp),
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
    Body(terms): Body<CreditTerms>,
) -> Result<Response, ApiError> {
    let CreditTerms { amount, reason, reference, bucket, expires_at } = terms;
    let lot = service::lot::read(bucket.as_deref(), expires_at.as_deref())
        .map_err(ApiError::InvalidRequest)?;
    let terms = Terms { direction: Direction::Credit, amount, lot, reason, reference };
    move_funds(&app, server, name, key, terms).await
}

/// `POST /v1/accounts/{externalId}/debits`
pub(super) async fn debit(
    State(app): State<Arc<App>>,
    server: Server,
    Segments(name): Segments<String>,
    key: IdempotencyKey,
    Body(terms): Body<DebitTerms>,
) -> Result<Response, ApiError> {
    let DebitTerms { amount, reason, reference } = terms;
    let terms = Terms { direction: Direction::Debit, amount, lot: None, reason, reference };
    move_funds(&app, server, name, key, terms).await
}

async fn move_funds(
    app: &App,
    Server(caller): Server,
    name: String,
    IdempotencyKey(key): IdempotencyKey,
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
        direction: terms.direction,
        amount: terms.amount,
        lot: terms.lot,
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
