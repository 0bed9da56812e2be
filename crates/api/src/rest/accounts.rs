//! Accounts and their wallets.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use domain::ids::BucketName;
use domain::{AccountId, ExternalId, Points, TenantId};
use serde::Serialize;
use store::buckets::LotBalance;
use store::wallets::{LinkOutcome, UnlinkOutcome, Wallet};

use super::external_id;
use crate::ApiError;
use crate::app::App;
use crate::auth::Server;
use crate::json::{NoBody, Segments};
use crate::wire::{self, Hex20};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AccountBody {
    external_id: String,
    available: Points,
    reserved: Points,
    pending: Points,
    spent: Points,
    debt: Points,
    buckets: Vec<BucketBody>,
    wallets: Vec<WalletBody>,
}

/// What of `available` is not in the default bucket.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BucketBody {
    bucket: BucketName,
    expires_at: Option<String>,
    available: Points,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WalletBody {
    chain_id: u64,
    address: Hex20,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LinkBody {
    external_id: String,
    chain_id: u64,
    address: Hex20,
}

/// `PUT /v1/accounts/{externalId}`
pub(super) async fn put(
    State(app): State<Arc<App>>,
    Server(caller): Server,
    Segments(name): Segments<String>,
    NoBody: NoBody,
) -> Result<Json<AccountBody>, ApiError> {
    let name = external_id(name)?;
    let account = app.service.store().ensure_account(caller.tenant, &name).await?;
    body(&app, caller.tenant, account, name).await.map(Json)
}

/// `GET /v1/accounts/{externalId}`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Server(caller): Server,
    Segments(name): Segments<String>,
) -> Result<Json<AccountBody>, ApiError> {
    let name = external_id(name)?;
    let account = app.account(caller.tenant, &name).await?;
    body(&app, caller.tenant, account, name).await.map(Json)
}

async fn body(
    app: &App,
    tenant: TenantId,
    account: AccountId,
    name: ExternalId,
) -> Result<AccountBody, ApiError> {
    let store = app.service.store();
    let found = store.balances(tenant, account).await?.ok_or(ApiError::AccountNotFound)?;
    let wallets = store.wallets(tenant, account).await?;
    Ok(AccountBody {
        external_id: name.into(),
        available: found.balances.available,
        reserved: found.balances.reserved,
        pending: found.pending,
        spent: found.balances.spent,
        debt: found.balances.debt,
        buckets: found
            .lots
            .into_iter()
            .map(|LotBalance { lot, available }| BucketBody {
                bucket: lot.bucket,
                expires_at: lot.expires_at.map(wire::timestamp),
                available,
            })
            .collect(),
        wallets: wallets
            .into_iter()
            .map(|wallet| WalletBody { chain_id: wallet.chain.0, address: Hex20(wallet.address) })
            .collect(),
    })
}

/// `PUT /v1/accounts/{externalId}/wallets/{chainId}/{address}`
pub(super) async fn link_wallet(
    State(app): State<Arc<App>>,
    Server(caller): Server,
    Segments(segments): Segments<(String, String, String)>,
    NoBody: NoBody,
) -> Result<Json<LinkBody>, ApiError> {
    let (name, wallet) = named_wallet(segments)?;
    app.service.chain(wallet.chain)?;
    let account = app.account(caller.tenant, &name).await?;
    match app.service.store().link_wallet(caller.tenant, account, wallet).await? {
        LinkOutcome::Linked | LinkOutcome::AlreadyLinked => Ok(Json(LinkBody {
            external_id: name.into(),
            chain_id: wallet.chain.0,
            address: Hex20(wallet.address),
        })),
        LinkOutcome::LinkedElsewhere => Err(ApiError::WalletLinkedElsewhere),
    }
}

/// `DELETE /v1/accounts/{externalId}/wallets/{chainId}/{address}`: done, also when it was not linked, so that a repeat
/// hears the same. The chain need not be served any more.
pub(super) async fn unlink_wallet(
    State(app): State<Arc<App>>,
    Server(caller): Server,
    Segments(segments): Segments<(String, String, String)>,
    NoBody: NoBody,
) -> Result<StatusCode, ApiError> {
    let (name, wallet) = named_wallet(segments)?;
    let account = app.account(caller.tenant, &name).await?;
    match app.service.store().unlink_wallet(caller.tenant, account, wallet).await? {
        UnlinkOutcome::Unlinked | UnlinkOutcome::NotLinked => Ok(StatusCode::NO_CONTENT),
        UnlinkOutcome::InUse => Err(ApiError::WalletInUse),
    }
}

fn named_wallet(segments: (String, String, String)) -> Result<(ExternalId, Wallet), ApiError> {
    let (name, chain, address) = segments;
    let invalid = |words: &str| ApiError::InvalidRequest(words.to_owned());
    let chain =
        wire::chain_id(&chain).ok_or_else(|| invalid("chainId must be a decimal number"))?;
    let address =
        wire::address(&address).ok_or_else(|| invalid("address must be 0x and 40 hex digits"))?;
    Ok((external_id(name)?, Wallet { chain, address }))
}
