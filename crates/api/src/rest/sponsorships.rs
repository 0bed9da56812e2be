//! Sponsoring, looking up, cancelling.

use std::sync::Arc;

use alloy_primitives::Address;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::ledger::tcc::DbTime;
use domain::{ChainId, ReservationId, window};
use erc4337::user_operation::PaymasterSignatureField;
use serde::{Deserialize, Serialize};
use service::sponsor::Sponsored;
use store::sponsorships::CloseOutcome;
use store::views::{MAX_PAGE, SponsorshipFilter};

use super::operation::OperationTerms;
use super::sponsorship_views::{
    CommitmentBody, GivenBody, PublicState, SponsorshipBody, SponsorshipDetailBody,
};
use super::{external_id, page_limit};
use crate::app::App;
use crate::auth::Server;
use crate::context::SigningPhase;
use crate::cursor::Cursor;
use crate::idempotency::{self, IdempotencyKey};
use crate::json::{Body, NoBody, Params, Segments};
use crate::{ApiError, wire};

/// Set to `true` on a replay whose signature has expired by the chain's own time. A header, because the body of a replay
/// is the first answer's to the byte.
const EXPIRED: HeaderName = HeaderName::from_static("stipend-grant-expired");
const DEFAULT_PAGE: u16 = 50;

/// `POST /v1/sponsorships`: in the commit phase 200 with what the account is to sign, otherwise the sponsorship.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    Server(caller): Server,
    IdempotencyKey(key): IdempotencyKey,
    Body(terms): Body<OperationTerms>,
) -> Result<Response, ApiError> {
    let request = terms.request(Some(key))?;
    let signature_field = signature_field(&app, request.chain_id);
    let sponsored = match terms.context().signing_phase() {
        Some(SigningPhase::Commit) => {
            let commitment = Box::pin(app.service.commit(&caller, request)).await?;
            return Ok(Json(CommitmentBody::new(&commitment, signature_field)).into_response());
        }
        Some(SigningPhase::Finalize) => Box::pin(app.service.finalize(&caller, request)).await?,
        None => Box::pin(app.service.sponsor(&caller, request)).await?,
    };
    let replayed = sponsored.replayed;
    let expired = replayed && is_expired(&app, &sponsored).await?;
    let body = GivenBody::new(&sponsored, signature_field);
    let mut response = idempotency::answer(&body, replayed);
    if expired {
        response.headers_mut().insert(EXPIRED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// As the chain's bundlers take it. A chain that is not served any more still has its replays.
fn signature_field(app: &App, chain: ChainId) -> PaymasterSignatureField {
    let chain = app.service.chain(chain);
    chain.map_or(PaymasterSignatureField::Inline, |chain| chain.bundler.signature_field())
}

/// By the newest block that was read, never by the wall clock.
async fn is_expired(app: &App, sponsored: &Sponsored) -> Result<bool, ApiError> {
    let grant = &sponsored.grant;
    let cursor = app.service.store().cursor(grant.slot.chain_id).await?;
    Ok(cursor.is_some_and(|cursor| window::is_past(grant.valid_until, cursor.head.timestamp)))
}

/// `GET /v1/sponsorships/{id}`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Server(caller): Server,
    Segments(id): Segments<String>,
) -> Result<Json<SponsorshipDetailBody>, ApiError> {
    let store = app.service.store();
    let found = store.sponsorship(caller.tenant, sponsorship_id(&id)?).await?;
    let (view, grants, timeline) = found.ok_or(ApiError::SponsorshipNotFound)?;
    let name = store.account_name(caller.tenant, view.account).await?;
    Ok(Json(SponsorshipBody::new(view, name).with(grants, timeline)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ListParams {
    external_id: Option<String>,
    sender: Option<String>,
    state: Option<PublicState>,
    opened_after: Option<String>,
    opened_before: Option<String>,
    limit: Option<u16>,
    cursor: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListBody {
    sponsorships: Vec<SponsorshipBody>,
    next_cursor: Option<String>,
}

/// `GET /v1/sponsorships`
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Server(caller): Server,
    Params(params): Params<ListParams>,
) -> Result<Json<ListBody>, ApiError> {
    let store = app.service.store();
    let limit = page_limit(params.limit, DEFAULT_PAGE, MAX_PAGE)?;
    let sender = params.sender.as_deref().map(sender).transpose()?;
    let opened_after = params.opened_after.as_deref();
    let opened_before = params.opened_before.as_deref();
    let before = params.cursor.as_deref().map(Cursor::sponsorship).transpose()?;
    let account = match params.external_id {
        Some(name) => Some(app.account(caller.tenant, &external_id(name)?).await?),
        None => None,
    };
    let filter = SponsorshipFilter {
        account,
        sender,
        states: params.state.map(PublicState::matching),
        opened_from: opened_after.map(|text| time("openedAfter", text)).transpose()?,
        opened_until: opened_before.map(|text| time("openedBefore", text)).transpose()?,
        before,
    };
    let views = store.sponsorships(caller.tenant, &filter, limit).await?;
    let is_full = views.len() == usize::from(limit);
    let next_cursor =
        views.last().filter(|_| is_full).map(|view| Cursor::Sponsorship(view.id).encode());
    let accounts: Vec<_> = views.iter().map(|view| view.account).collect();
    let names = store.account_names(caller.tenant, &accounts).await?;
    let sponsorships = views
        .into_iter()
        .map(|view| {
            let name = names.get(&view.account).cloned();
            SponsorshipBody::new(view, name)
        })
        .collect();
    Ok(Json(ListBody { sponsorships, next_cursor }))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CancelBody {
    id: ReservationId,
    state: PublicState,
    closing: bool,
    /// Released once the chain's final block has a later timestamp than this, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    released_after: Option<u64>,
}

/// `POST /v1/sponsorships/{id}/cancel`: 202 while the points wait for the chain, 200 once they are back.
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    Server(caller): Server,
    Segments(id): Segments<String>,
    NoBody: NoBody,
) -> Result<Response, ApiError> {
    let id = sponsorship_id(&id)?;
    let (status, body) = match app.service.store().close_sponsorship(caller.tenant, id).await? {
        CloseOutcome::Closing(last) => (
            StatusCode::ACCEPTED,
            CancelBody {
                id,
                state: PublicState::Open,
                closing: true,
                released_after: Some(last.0),
            },
        ),
        CloseOutcome::Released => (
            StatusCode::OK,
            CancelBody { id, state: PublicState::Released, closing: false, released_after: None },
        ),
        CloseOutcome::Settled => return Err(ApiError::AlreadySettled),
        CloseOutcome::NotFound => return Err(ApiError::SponsorshipNotFound),
    };
    Ok((status, Json(body)).into_response())
}

fn sponsorship_id(text: &str) -> Result<ReservationId, ApiError> {
    text.parse()
        .map_err(|_| ApiError::InvalidRequest("a sponsorship's id must be a UUID".to_owned()))
}

fn sender(text: &str) -> Result<Address, ApiError> {
    wire::address(text)
        .ok_or_else(|| ApiError::InvalidRequest("sender must be 0x and 40 hex digits".to_owned()))
}

fn time(field: &str, text: &str) -> Result<DbTime, ApiError> {
    wire::parse_timestamp(text).ok_or_else(|| {
        ApiError::InvalidRequest(format!(
            "{field} must be an RFC 3339 time such as 2025-01-01T12:00:00Z, percent-encoded where \
            its offset has a +"
        ))
    })
}
