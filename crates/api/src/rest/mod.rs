//! REST for the company's servers. Every route needs a secret key.

mod accounts;
mod credits_batch;
mod dtm;
mod entries;
mod funds;
mod operation;
mod quotes;
mod sponsorship_views;
mod sponsorships;
mod statements;
mod tcc;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post, put};
use domain::ExternalId;

use crate::ApiError;
use crate::app::App;

/// The routes under `/v1`.
pub(crate) fn routes() -> Router<Arc<App>> {
    let batch_limit = DefaultBodyLimit::max(credits_batch::BODY_LIMIT);
    Router::new()
        .route("/v1/accounts/{externalId}", put(accounts::put).get(accounts::show))
        .route(
            "/v1/accounts/{externalId}/wallets/{chainId}/{address}",
            put(accounts::link_wallet).delete(accounts::unlink_wallet),
        )
        .route("/v1/accounts/{externalId}/credits", post(funds::credit))
        .route("/v1/accounts/{externalId}/debits", post(funds::debit))
        .route("/v1/credits:batch", post(credits_batch::create).layer(batch_limit))
        .route("/v1/accounts/{externalId}/entries", get(entries::list))
        .route("/v1/accounts/{externalId}/statements", get(statements::short))
        .route("/v1/statements", post(statements::create))
        .route("/v1/statements/{id}", get(statements::show))
        .route("/v1/statements/{id}/content", get(statements::content))
        .route("/v1/quotes", post(quotes::create))
        .route("/v1/sponsorships", post(sponsorships::create).get(sponsorships::list))
        .route("/v1/sponsorships/{id}", get(sponsorships::show))
        .route("/v1/sponsorships/{id}/cancel", post(sponsorships::cancel))
        .route("/v1/tcc/try", post(tcc::try_))
        .route("/v1/tcc/confirm", post(tcc::confirm))
        .route("/v1/tcc/cancel", post(tcc::cancel))
        .route("/v1/tcc/{externalId}/{bizId}", get(tcc::show))
        .route("/v1/dtm/try", post(dtm::try_))
        .route("/v1/dtm/confirm", post(dtm::confirm))
        .route("/v1/dtm/cancel", post(dtm::cancel))
}

/// The account's name from the path.
fn external_id(text: String) -> Result<ExternalId, ApiError> {
    ExternalId::try_from(text).map_err(|error| ApiError::InvalidRequest(error.to_string()))
}

/// A page's length: the default, or what was asked for up to the most.
fn page_limit(asked: Option<u16>, default: u16, most: u16) -> Result<u16, ApiError> {
    match asked {
        None => Ok(default),
        Some(limit) if (1..=most).contains(&limit) => Ok(limit),
        Some(_) => Err(ApiError::InvalidRequest(format!("limit must be between 1 and {most}"))),
    }
}
