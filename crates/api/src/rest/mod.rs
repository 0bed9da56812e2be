//! REST for the company's servers. Every route needs a secret key.

mod accounts;
mod entries;
mod funds;
mod operation;
mod quotes;
mod sponsorship_views;
mod sponsorships;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post, put};
use domain::ExternalId;

use crate::ApiError;
use crate::app::App;

/// The routes under `/v1`.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/accounts/{externalId}", put(accounts::put).get(accounts::show))
        .route(
            "/v1/accounts/{externalId}/wallets/{chainId}/{address}",
            put(accounts::link_wallet).delete(accounts::unlink_wallet),
        )
        .route("/v1/accounts/{externalId}/credits", post(funds::credit))
        .route("/v1/accounts/{externalId}/debits", post(funds::debit))
        .route("/v1/accounts/{externalId}/entries", get(entries::list))
        .route("/v1/quotes", post(quotes::create))
        .route("/v1/sponsorships", post(sponsorships::create).get(sponsorships::list))
        .route("/v1/sponsorships/{id}", get(sponsorships::show))
        .route("/v1/sponsorships/{id}/cancel", post(sponsorships::cancel))
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
