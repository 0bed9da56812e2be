//! The ledger as a participant of TCC transactions, for the company's other services.
//!
//! The biz id is the key of every command. What a command answers is made of what its reservation
//! keeps for good, so that a replay is the same to the byte.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use domain::ids::BizId;
use domain::ledger::tcc::{DbTime, TccOutcome, TccRefusal, TccReservation, TccState, TccTerms};
use domain::{ExternalId, Points, TenantId};
use serde::{Deserialize, Serialize};
use store::tcc::{TccAnswer, TccCall, TccRequest};
use store::tcc_views::TccView;

use super::external_id;
use crate::app::App;
use crate::auth::Server;
use crate::idempotency;
use crate::json::{Body, Segments};
use crate::{ApiError, wire};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TryTerms {
    biz_id: BizId,
    external_id: ExternalId,
    amount: Points,
    issued_at: String,
    expires_at: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ConfirmTerms {
    biz_id: BizId,
    external_id: ExternalId,
    amount: Option<Points>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CancelTerms {
    biz_id: BizId,
    external_id: ExternalId,
}

/// Whose reservation a command is about.
#[derive(Clone, Copy)]
pub(super) struct Key<'a> {
    pub(super) tenant: TenantId,
    pub(super) external_id: &'a ExternalId,
    pub(super) biz_id: &'a BizId,
}

/// What a command led to.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OutcomeBody {
    state: StateName,
    #[serde(skip_serializing_if = "Option::is_none")]
    reserved: Option<Points>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settled: Option<Points>,
    #[serde(skip_serializing_if = "Option::is_none")]
    returned: Option<Points>,
}

/// The same with the names that it was asked by.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NamedBody<'a> {
    biz_id: &'a BizId,
    external_id: &'a ExternalId,
    #[serde(flatten)]
    outcome: OutcomeBody,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
enum StateName {
    Open,
    Settled,
    Released,
    Rejected,
}

impl From<TccState> for StateName {
    fn from(state: TccState) -> Self {
        match state {
            TccState::Open => Self::Open,
            TccState::Settled { .. } => Self::Settled,
            TccState::Released => Self::Released,
            TccState::Rejected { .. } => Self::Rejected,
        }
    }
}

/// `POST /v1/tcc/try`
pub(super) async fn try_(
    State(app): State<Arc<App>>,
    Server(caller): Server,
    Body(terms): Body<TryTerms>,
) -> Result<Response, ApiError> {
    let request = try_request(terms.amount, &terms.issued_at, terms.expires_at.as_deref())?;
    let key = Key { tenant: caller.tenant, external_id: &terms.external_id, biz_id: &terms.biz_id };
    command(&app, key, request).await
}

/// `POST /v1/tcc/confirm`
pub(super) async fn confirm(
    State(app): State<Arc<App>>,
    Server(caller): Server,
    Body(terms): Body<ConfirmTerms>,
) -> Result<Response, ApiError> {
    let key = Key { tenant: caller.tenant, external_id: &terms.external_id, biz_id: &terms.biz_id };
    command(&app, key, TccRequest::Confirm { amount: terms.amount }).await
}

/// `POST /v1/tcc/cancel`
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    Server(caller): Server,
    Body(terms): Body<CancelTerms>,
) -> Result<Response, ApiError> {
    let key = Key { tenant: caller.tenant, external_id: &terms.external_id, biz_id: &terms.biz_id };
    command(&app, key, TccRequest::Cancel).await
}

async fn command(app: &App, key: Key<'_>, request: TccRequest) -> Result<Response, ApiError> {
    let (outcome, replayed) = decide(app, key, request).await?;
    let Key { biz_id, external_id, .. } = key;
    Ok(idempotency::answer_ok(&NamedBody { biz_id, external_id, outcome }, replayed))
}

/// What a try asks the ledger for.
pub(super) fn try_request(
    amount: Points,
    issued_at: &str,
    expires_at: Option<&str>,
) -> Result<TccRequest, ApiError> {
    let issued_at = time("issuedAt", issued_at)?;
    let expires_at = expires_at.map(|text| time("expiresAt", text)).transpose()?;
    Ok(TccRequest::Try { terms: TccTerms { amount, expires_at }, issued_at })
}

/// Carries out a command: what it led to, and whether it had been carried out before.
pub(super) async fn decide(
    app: &App,
    key: Key<'_>,
    request: TccRequest,
) -> Result<(OutcomeBody, bool), ApiError> {
    refuse_sponsorship(app, key).await?;
    let account = app.account(key.tenant, key.external_id).await?;
    let call = TccCall { tenant: key.tenant, account, biz_id: key.biz_id.clone(), request };
    let (outcome, found) = match app.service.store().tcc(&call).await? {
        TccAnswer::Decided(outcome, found) => (outcome, found),
        TccAnswer::NoAccount => return Err(ApiError::AccountNotFound),
    };
    let replayed = match outcome {
        TccOutcome::Applied => false,
        TccOutcome::Replayed => true,
        TccOutcome::Refused(refusal) => return Err(refusal.into()),
    };
    let found =
        found.ok_or_else(|| ApiError::Internal("a TCC success without a row".to_owned()))?;
    Ok((OutcomeBody::new(&request, &found), replayed))
}

impl OutcomeBody {
    fn new(request: &TccRequest, found: &TccReservation) -> Self {
        let nothing = Self {
            state: found.state.into(),
            reserved: None,
            expires_at: None,
            settled: None,
            returned: None,
        };
        match request {
            // A try that is repeated after its confirm hears what it heard then.
            TccRequest::Try { terms, .. } => Self {
                state: StateName::Open,
                reserved: Some(terms.amount),
                expires_at: terms.expires_at.map(wire::timestamp),
                ..nothing
            },
            TccRequest::Confirm { .. } => Self::settled(found).unwrap_or(nothing),
            TccRequest::Cancel | TccRequest::Expire => {
                Self { returned: Some(returned(found)), ..nothing }
            }
        }
    }

    /// What a settled reservation answers to its confirm; `None` for any other.
    pub(super) fn settled(found: &TccReservation) -> Option<Self> {
        let TccState::Settled { amount } = found.state else { return None };
        Some(Self {
            state: StateName::Settled,
            reserved: None,
            expires_at: None,
            settled: Some(amount),
            returned: Some(returned(found)),
        })
    }
}

/// What went back to the user.
fn returned(found: &TccReservation) -> Points {
    let reserved = found.terms.map_or(Points::ZERO, |terms| terms.amount);
    match found.state {
        TccState::Settled { amount } => reserved.saturating_sub(amount),
        TccState::Released => reserved,
        TccState::Open | TccState::Rejected { .. } => Points::ZERO,
    }
}

/// Sponsorships are commanded by requests and by the chain. One is named here only by mistake: its
/// id was told to the company, and no caller can guess one before it is.
async fn refuse_sponsorship(app: &App, key: Key<'_>) -> Result<(), ApiError> {
    let Ok(id) = key.biz_id.as_str().parse() else { return Ok(()) };
    if app.service.store().is_sponsorship(key.tenant, id).await? {
        return Err(ApiError::WrongKind);
    }
    Ok(())
}

fn time(field: &str, text: &str) -> Result<DbTime, ApiError> {
    wire::parse_timestamp(text).ok_or_else(|| {
        ApiError::InvalidRequest(format!(
            "{field} must be an RFC 3339 time such as 2025-01-01T12:00:00Z"
        ))
    })
}

/// A reservation as it stands.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReservationBody {
    biz_id: BizId,
    external_id: ExternalId,
    state: StateName,
    /// What the try asked for; `null` where a cancel came and no try.
    amount: Option<Points>,
    expires_at: Option<String>,
    reserved: Points,
    settled: Points,
    returned: Points,
    opened_at: String,
    changed_at: String,
}

/// `GET /v1/tcc/{externalId}/{bizId}`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Server(caller): Server,
    Segments((name, biz_id)): Segments<(String, String)>,
) -> Result<Json<ReservationBody>, ApiError> {
    let external_id = external_id(name)?;
    let biz_id =
        BizId::try_from(biz_id).map_err(|error| ApiError::InvalidRequest(error.to_string()))?;
    let key = Key { tenant: caller.tenant, external_id: &external_id, biz_id: &biz_id };
    let view = look_up(&app, key).await?.ok_or(TccRefusal::NotFound)?;
    let TccView { reservation, opened_at, changed_at } = view;
    let amount = reservation.terms.map(|terms| terms.amount);
    let (reserved, settled) = match reservation.state {
        TccState::Open => (amount.unwrap_or_default(), Points::ZERO),
        TccState::Settled { amount } => (Points::ZERO, amount),
        TccState::Released | TccState::Rejected { .. } => (Points::ZERO, Points::ZERO),
    };
    Ok(Json(ReservationBody {
        state: reservation.state.into(),
        amount,
        expires_at: reservation.terms.and_then(|terms| terms.expires_at).map(wire::timestamp),
        reserved,
        settled,
        returned: returned(&reservation),
        opened_at: wire::timestamp(opened_at),
        changed_at: wire::timestamp(changed_at),
        biz_id,
        external_id,
    }))
}

/// What is known under a biz id.
pub(super) async fn look_up(app: &App, key: Key<'_>) -> Result<Option<TccView>, ApiError> {
    refuse_sponsorship(app, key).await?;
    let account = app.account(key.tenant, key.external_id).await?;
    Ok(app.service.store().tcc_reservation(key.tenant, account, key.biz_id).await?)
}
