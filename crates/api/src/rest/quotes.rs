//! What would it cost, and would it be sponsored.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::{Points, Wei};
use serde::Serialize;
use service::Refusal;

use super::operation::{OperationTerms, PriceBody};
use crate::ApiError;
use crate::app::App;
use crate::auth::Server;
use crate::error::refusal_words;
use crate::json::Body;
use crate::rpc::error::{INVALID_PARAMS, refusal_code};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QuoteBody {
    sponsored: bool,
    max_cost: Option<Wei>,
    points: Option<Points>,
    price: Option<PriceBody>,
    refusal: Option<RefusalBody>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RefusalBody {
    code: &'static str,
    detail: String,
    retryable: bool,
}

impl From<&Refusal> for RefusalBody {
    fn from(refusal: &Refusal) -> Self {
        Self {
            code: refusal.code(),
            detail: refusal_words(refusal),
            retryable: refusal.is_retryable(),
        }
    }
}

/// `POST /v1/quotes`: a request that is wrong in itself is a problem; one that would be refused is answered with the
/// reason.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    Server(caller): Server,
    Body(terms): Body<OperationTerms>,
) -> Result<Json<QuoteBody>, ApiError> {
    let (request, form) = (terms.request(None)?, terms.context().form());
    let run = Box::pin(app.service.dry_run(&caller, request, form)).await?;
    let is_wrong = |refusal: &&Refusal| refusal_code(refusal) == INVALID_PARAMS;
    if let Some(refusal) = run.refusal.as_ref().filter(is_wrong) {
        return Err(refusal.clone().into());
    }
    Ok(Json(QuoteBody {
        sponsored: run.refusal.is_none(),
        max_cost: run.max_cost,
        points: run.points,
        price: run.quote.map(PriceBody::from),
        refusal: run.refusal.as_ref().map(RefusalBody::from),
    }))
}
