//! The journal of an account.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::{Points, ReservationId};
use serde::{Deserialize, Serialize};
use store::journal::EntryLine;

use super::{external_id, page_limit};
use crate::ApiError;
use crate::app::App;
use crate::auth::Server;
use crate::cursor::Cursor;
use crate::json::{Params, Segments};
use crate::wire;

const DEFAULT_PAGE: u16 = 50;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    limit: Option<u16>,
    cursor: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EntriesBody {
    entries: Vec<EntryBody>,
    next_cursor: Option<String>,
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
    recorded_at: String,
}

impl From<EntryLine> for EntryBody {
    fn from(line: EntryLine) -> Self {
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
) -> Result<Json<EntriesBody>, ApiError> {
    let name = external_id(name)?;
    let limit = page_limit(page.limit, DEFAULT_PAGE, store::journal::MAX_PAGE)?;
    let before = page.cursor.as_deref().map(Cursor::entry).transpose()?;
    let account = app.account(caller.tenant, &name).await?;
    let lines = app.service.store().entries(caller.tenant, account, before, limit).await?;
    // Sequences have no gaps and start at 1, so that the last line tells whether there is another.
    let next_cursor =
        lines.last().filter(|line| line.seq > 1).map(|line| Cursor::Entry(line.seq).encode());
    Ok(Json(EntriesBody { entries: lines.into_iter().map(EntryBody::from).collect(), next_cursor }))
}
