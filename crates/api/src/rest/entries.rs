//! The journal of an account.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::ids::BucketName;
use domain::ledger::tcc::DbTime;
use domain::{AccountId, Points, ReservationId, TenantId};
use serde::{Deserialize, Serialize};
use store::journal::{AsOf, EntryLine, PastHead};

use super::{external_id, page_limit};
use crate::app::App;
use crate::auth::Server;
use crate::cursor::Cursor;
use crate::json::{Params, Segments};
use crate::{ApiError, HistoryRefusal, wire};

const DEFAULT_PAGE: u16 = 50;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Page {
    limit: Option<u16>,
    cursor: Option<String>,
    as_of: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EntriesBody {
    entries: Vec<EntryBody>,
    next_cursor: Option<String>,
}

/// What an account held at a time: what its last entry by then says.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PastBody {
    as_of: String,
    entry_seq: i64,
    available: Points,
    reserved: Points,
    spent: Points,
    debt: Points,
    recorded_at: Option<String>,
}

impl PastBody {
    fn new(time: DbTime, head: &PastHead) -> Self {
        Self {
            as_of: wire::timestamp(time),
            entry_seq: head.seq,
            available: head.balances.available,
            reserved: head.balances.reserved,
            spent: head.balances.spent,
            debt: head.balances.debt,
            recorded_at: head.recorded_at.map(wire::timestamp),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EntryBody {
    seq: i64,
    kind: String,
    from: String,
    to: String,
    amount: Points,
    available: Points,
    reserved: Points,
    spent: Points,
    debt: Points,
    sponsorship_id: Option<ReservationId>,
    reference: Option<String>,
    bucket: Option<BucketName>,
    expires_at: Option<String>,
    recorded_at: String,
}

impl From<EntryLine> for EntryBody {
    fn from(line: EntryLine) -> Self {
        let (bucket, expires_at) = line.lot.map(|lot| (lot.bucket, lot.expires_at)).unzip();
        Self {
            seq: line.seq,
            kind: line.kind,
            from: line.from,
            to: line.to,
            amount: line.amount,
            available: line.balances.available,
            reserved: line.balances.reserved,
            spent: line.balances.spent,
            debt: line.balances.debt,
            sponsorship_id: line.reservation,
            reference: line.reference,
            bucket,
            expires_at: expires_at.flatten().map(wire::timestamp),
            recorded_at: wire::timestamp(line.recorded_at),
        }
    }
}

/// `GET /v1/accounts/{externalId}/entries`
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Server(caller): Server,
    Segments(name): Segments<String>,
    Params(page): Params<Page>,
) -> Result<Response, ApiError> {
    let name = external_id(name)?;
    if let Some(as_of) = &page.as_of {
        if page.limit.is_some() || page.cursor.is_some() {
            return Err(ApiError::InvalidRequest(
                "asOf asks for balances, which have neither limit nor cursor".to_owned(),
            ));
        }
        let time = wire::parse_timestamp_down(as_of).ok_or_else(|| {
            ApiError::InvalidRequest(
                "asOf must be a time of RFC 3339, such as 2025-01-31T00:00:00Z".to_owned(),
            )
        })?;
        let account = app.account(caller.tenant, &name).await?;
        return as_of_time(&app, caller.tenant, account, time).await;
    }
    let limit = page_limit(page.limit, DEFAULT_PAGE, store::journal::MAX_PAGE)?;
    let before = page.cursor.as_deref().map(Cursor::entry).transpose()?;
    let account = app.account(caller.tenant, &name).await?;
    let lines = app.service.store().entries(caller.tenant, account, before, limit).await?;
    // Sequences have no gaps and start at 1, so that the last line tells whether there is another.
    let next_cursor =
        lines.last().filter(|line| line.seq > 1).map(|line| Cursor::Entry(line.seq).encode());
    let entries = lines.into_iter().map(EntryBody::from).collect();
    Ok(Json(EntriesBody { entries, next_cursor }).into_response())
}

async fn as_of_time(
    app: &App,
    tenant: TenantId,
    account: AccountId,
    time: DbTime,
) -> Result<Response, ApiError> {
    match app.service.store().head_as_of(tenant, account, time).await? {
        AsOf::Closed(head) => Ok(Json(PastBody::new(time, &head)).into_response()),
        AsOf::NotYetClosed { seconds } => Err(HistoryRefusal::NotYetClosed { seconds }.into()),
        AsOf::Archived => Err(HistoryRefusal::Archived.into()),
    }
}
