//! Statements of an account: short ones while the caller waits, long ones as jobs.

use std::io;
use std::sync::Arc;

use axum::Json;
use axum::body::Body as ResponseBody;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use domain::{AccountId, ExternalId, TenantId};
use futures::stream;
use serde::{Deserialize, Serialize};
use store::Store;
use store::journal::AsOf;
use store::statements::{
    Format, MAX_RUNNING, PART_LINES, PartSource, Period, Requested, Span, Statement, StatementState,
};
use uuid::Uuid;

use super::external_id;
use crate::app::App;
use crate::auth::Server;
use crate::json::{Body, Params, Segments};
use crate::{ApiError, HistoryRefusal, wire};

/// The most lines that are written while the caller waits: about two megabytes.
const MAX_LINES: u64 = 10_000;

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FormatName {
    Csv,
    Json,
}

impl From<FormatName> for Format {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Csv => Self::Csv,
            FormatName::Json => Self::Json,
        }
    }
}

/// Which statement.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Terms {
    from: String,
    until: String,
    format: FormatName,
}

/// The same, with whose.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NamedTerms {
    external_id: ExternalId,
    from: String,
    until: String,
    format: FormatName,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatementBody {
    id: Uuid,
    external_id: Option<String>,
    from: String,
    until: String,
    format: &'static str,
    state: &'static str,
    lines_done: i64,
    lines_total: i64,
    created_at: String,
    finished_at: Option<String>,
}

impl StatementBody {
    fn new(statement: &Statement, external_id: Option<String>) -> Self {
        Self {
            id: statement.id,
            external_id,
            from: wire::timestamp(statement.period.from),
            until: wire::timestamp(statement.period.until),
            format: statement.format.as_str(),
            state: match statement.state {
                StatementState::Running => "running",
                StatementState::Done => "done",
                StatementState::Failed => "failed",
            },
            lines_done: statement.done_seq.saturating_sub(statement.opening_seq),
            lines_total: statement.closing_seq.saturating_sub(statement.opening_seq),
            created_at: wire::timestamp(statement.created_at),
            finished_at: statement.finished_at.map(wire::timestamp),
        }
    }
}

/// `GET /v1/accounts/{externalId}/statements`
pub(super) async fn short(
    State(app): State<Arc<App>>,
    Server(caller): Server,
    Segments(name): Segments<String>,
    Params(terms): Params<Terms>,
) -> Result<Response, ApiError> {
    let name = external_id(name)?;
    let (period, format) = (period(&terms.from, &terms.until)?, terms.format.into());
    let account = app.account(caller.tenant, &name).await?;
    let store = app.service.store();
    let span = span(store, caller.tenant, account, period).await?;
    if span.lines() > MAX_LINES {
        return Err(HistoryRefusal::TooLong { lines: span.lines(), most: MAX_LINES }.into());
    }
    let statement = Statement::unsaved((caller.tenant, account), period, format, &span);
    let writing = Writing { store: store.clone(), name, statement, span, is_done: false };
    let parts = stream::try_unfold(writing, Writing::part);
    Ok(download(format, ResponseBody::from_stream(parts)))
}

/// `POST /v1/statements`
pub(super) async fn create(
    State(app): State<Arc<App>>,
    Server(caller): Server,
    Body(terms): Body<NamedTerms>,
) -> Result<Response, ApiError> {
    let (period, format) = (period(&terms.from, &terms.until)?, terms.format.into());
    let account = app.account(caller.tenant, &terms.external_id).await?;
    let store = app.service.store();
    let span = span(store, caller.tenant, account, period).await?;
    match store.request_statement((caller.tenant, account), period, format, &span).await? {
        Requested::Statement(statement) => {
            let body = StatementBody::new(&statement, Some(terms.external_id.into()));
            Ok((StatusCode::ACCEPTED, Json(body)).into_response())
        }
        Requested::TooMany => Err(HistoryRefusal::TooMany(MAX_RUNNING).into()),
    }
}

/// `GET /v1/statements/{id}`
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Server(caller): Server,
    Segments(id): Segments<Uuid>,
) -> Result<Response, ApiError> {
    let statement = find(&app, caller.tenant, id).await?;
    let name = app.service.store().account_name(caller.tenant, statement.account).await?;
    Ok(Json(StatementBody::new(&statement, name)).into_response())
}

/// `GET /v1/statements/{id}/content`
pub(super) async fn content(
    State(app): State<Arc<App>>,
    Server(caller): Server,
    Segments(id): Segments<Uuid>,
) -> Result<Response, ApiError> {
    let statement = find(&app, caller.tenant, id).await?;
    match statement.state {
        StatementState::Running => return Err(HistoryRefusal::StatementNotReady.into()),
        StatementState::Failed => return Err(HistoryRefusal::StatementFailed.into()),
        StatementState::Done => {}
    }
    let store = app.service.store().clone();
    let parts = stream::try_unfold((store, 1), move |(store, part)| async move {
        if part > statement.parts {
            return Ok(None);
        }
        let content = store.statement_part(&statement, part).await.map_err(io::Error::other)?;
        let content = content.ok_or_else(|| io::Error::other("the statement was removed"))?;
        Ok::<_, io::Error>(Some((content, (store, part.saturating_add(1)))))
    });
    Ok(download(statement.format, ResponseBody::from_stream(parts)))
}

async fn find(app: &App, tenant: TenantId, id: Uuid) -> Result<Statement, ApiError> {
    let found = app.service.store().statement(tenant, id).await?;
    found.ok_or_else(|| HistoryRefusal::StatementNotFound.into())
}

async fn span(
    store: &Store,
    tenant: TenantId,
    account: AccountId,
    period: Period,
) -> Result<Span, ApiError> {
    match store.span(tenant, account, period).await? {
        AsOf::Closed(span) => Ok(span),
        AsOf::NotYetClosed { seconds } => Err(HistoryRefusal::NotYetClosed { seconds }.into()),
        AsOf::Archived => Err(HistoryRefusal::Archived.into()),
    }
}

fn period(from: &str, until: &str) -> Result<Period, ApiError> {
    let time = |name: &str, text: &str| {
        wire::parse_timestamp(text).ok_or_else(|| {
            ApiError::InvalidRequest(format!(
                "{name} must be a time of RFC 3339, such as 2025-01-31T00:00:00Z"
            ))
        })
    };
    let period = Period { from: time("from", from)?, until: time("until", until)? };
    if period.from < period.until {
        Ok(period)
    } else {
        Err(ApiError::InvalidRequest("from must be before until".to_owned()))
    }
}

fn download(format: Format, body: ResponseBody) -> Response {
    let (content_type, disposition) = match format {
        Format::Csv => ("text/csv; charset=utf-8", "attachment; filename=\"statement.csv\""),
        Format::Json => ("application/json", "attachment; filename=\"statement.json\""),
    };
    ([(CONTENT_TYPE, content_type), (CONTENT_DISPOSITION, disposition)], body).into_response()
}

/// A statement that is written while its caller reads it.
struct Writing {
    store: Store,
    name: ExternalId,
    statement: Statement,
    span: Span,
    is_done: bool,
}

impl Writing {
    /// The next part. One that cannot be made cuts the answer off, which every client notices.
    async fn part(mut self) -> io::Result<Option<(Vec<u8>, Self)>> {
        if self.is_done {
            return Ok(None);
        }
        let Statement { tenant, account, done_seq, closing_seq, .. } = self.statement;
        let lines =
            self.store.entries_between(tenant, account, (done_seq, closing_seq), PART_LINES);
        let lines = lines.await.map_err(io::Error::other)?;
        let source = PartSource {
            statement: &self.statement,
            external_id: Some(self.name.as_str()),
            before: self.span.opening.balances,
            lines: &lines,
            closing: self.span.closing.balances,
        };
        let text = service::statement::render(&source);
        self.is_done = source.is_last();
        let text = text.ok_or_else(|| {
            tracing::error!(%account, "lines of a statement do not add up");
            io::Error::other("the lines do not add up")
        })?;
        if let Some(last) = lines.last() {
            self.span.opening.balances = last.balances;
            self.statement.done_seq = last.seq;
            self.statement.parts = self.statement.parts.saturating_add(1);
        }
        Ok(Some((text, self)))
    }
}
