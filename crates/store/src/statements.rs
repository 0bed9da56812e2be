//! Statements: what an account held when a period began, its lines, and what it held at the end.
//!
//! A period ends in the past, so that a statement never changes and the same one asked for again is the
//! same job. A long one is written in parts, one transaction each: claim the job's row, read the next
//! lines, keep what was made of them and move on. A worker that dies loses the part it was at; another
//! one goes on behind the last that was kept. The row is claimed with SKIP LOCKED, so that several
//! workers write several statements.

mod work;

use domain::ledger::Balances;
use domain::ledger::tcc::DbTime;
use domain::{AccountId, TenantId};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::journal::{self, AsOf, EntryLine, PastHead};
use crate::{Store, StoreError, codec};

/// Lines of one part: some tenths of a second, and about a megabyte.
pub const PART_LINES: u16 = 5_000;
/// How many statements of one company may be under way at once.
pub const MAX_RUNNING: i64 = 100;
/// How many days a finished statement is kept: it can be made again.
pub const KEEP_DAYS: i32 = 7;

/// How a statement is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values ([RFC 4180](https://www.rfc-editor.org/rfc/rfc4180)).
    Csv,
    /// One JSON object.
    Json,
}

impl Format {
    /// The format's name in SQL and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }
}

/// From a time on, and before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// The first moment that belongs to it.
    pub from: DbTime,
    /// The first that does not.
    pub until: DbTime,
}

/// What a statement covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where the journal stood before the period.
    pub opening: PastHead,
    /// Where it stood at its end.
    pub closing: PastHead,
}

impl Span {
    /// How many lines it has.
    #[must_use]
    pub fn lines(&self) -> u64 {
        u64::try_from(self.closing.seq.saturating_sub(self.opening.seq)).unwrap_or(0)
    }
}

/// How far a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementState {
    /// Being written.
    Running,
    /// All there.
    Done,
    /// The lines do not add up: a defect, or a hand at work.
    Failed,
}

/// A statement that is, or was, written by the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Its id.
    pub id: Uuid,
    /// The company.
    pub tenant: TenantId,
    /// The account.
    pub account: AccountId,
    /// How it is written.
    pub format: Format,
    /// What it is about.
    pub period: Period,
    /// Sequence of the last line before the period.
    pub opening_seq: i64,
    /// Sequence of its last line.
    pub closing_seq: i64,
    /// Sequence of the last line that is written.
    pub done_seq: i64,
    /// How many parts are written.
    pub parts: i32,
    /// How far it is.
    pub state: StatementState,
    /// When it was asked for.
    pub created_at: DbTime,
    /// When it ended.
    pub finished_at: Option<DbTime>,
}

impl Statement {
    /// A statement that the caller waits for: it is kept nowhere.
    #[must_use]
    pub const fn unsaved(
        (tenant, account): (TenantId, AccountId),
        period: Period,
        format: Format,
        span: &Span,
    ) -> Self {
        Self {
            id: Uuid::nil(),
            tenant,
            account,
            format,
            period,
            opening_seq: span.opening.seq,
            closing_seq: span.closing.seq,
            done_seq: span.opening.seq,
            parts: 0,
            state: StatementState::Running,
            created_at: period.until,
            finished_at: None,
        }
    }
}

/// What a part is made of.
#[derive(Debug)]
pub struct PartSource<'a> {
    /// Whose and of when.
    pub statement: &'a Statement,
    /// The account's name, unless it was erased.
    pub external_id: Option<&'a str>,
    /// The balances before the first line of this part.
    pub before: Balances,
    /// The lines.
    pub lines: &'a [EntryLine],
    /// The balances that the last part ends with.
    pub closing: Balances,
}

impl PartSource<'_> {
    /// Whether nothing is written before it.
    #[must_use]
    pub const fn is_first(&self) -> bool {
        self.statement.parts == 0
    }

    /// Whether nothing is written behind it.
    #[must_use]
    pub fn is_last(&self) -> bool {
        let last = self.lines.last().map_or(self.statement.done_seq, |line| line.seq);
        last == self.statement.closing_seq
    }
}

/// What became of a statement that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requested {
    /// It is under way, or there already.
    Statement(Statement),
    /// Too many are under way.
    TooMany,
}

impl Store {
    /// What a statement of this period covers; the period must be over.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn span(
        &self,
        tenant: TenantId,
        account: AccountId,
        period: Period,
    ) -> Result<AsOf<Span>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let [last_before, last_within] =
            [period.from, period.until].map(|time| DbTime(time.0.saturating_sub(1)));
        if let Some(seconds) = journal::seconds_until_closed(&mut connection, last_within).await? {
            return Ok(AsOf::NotYetClosed { seconds });
        }
        let opening = journal::past_head(&mut connection, tenant, account, last_before).await?;
        let closing = journal::past_head(&mut connection, tenant, account, last_within).await?;
        let (Some(opening), Some(closing)) = (opening, closing) else { return Ok(AsOf::Archived) };
        Ok(AsOf::Closed(Span { opening, closing }))
    }

    /// Has a statement written, or finds the one that was asked for before.
    ///
    /// # Errors
    /// When the database does not carry it out; ask again.
    pub async fn request_statement(
        &self,
        (tenant, account): (TenantId, AccountId),
        period: Period,
        format: Format,
        span: &Span,
    ) -> Result<Requested, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let running = sqlx::query_scalar!(
            r#"SELECT count(*) AS "running!" FROM statements
            WHERE tenant_id = $1 AND finished_at IS NULL"#,
            tenant.0,
        )
        .fetch_one(&mut *connection)
        .await?;
        if running < MAX_RUNNING {
            sqlx::query!(
                r#"INSERT INTO statements (tenant_id, account_id, statement_id, format, from_time,
                    until_time, opening_seq, closing_seq, done_seq)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $7)
                ON CONFLICT (tenant_id, account_id, from_time, until_time, format) DO NOTHING"#,
                tenant.0,
                account.0,
                Uuid::now_v7(),
                format.as_str(),
                codec::timestamp(period.from)?,
                codec::timestamp(period.until)?,
                span.opening.seq,
                span.closing.seq,
            )
            .execute(&mut *connection)
            .await?;
        }
        let row = sqlx::query_as!(
            Row,
            r#"SELECT tenant_id, account_id, statement_id, format, from_time, until_time,
                opening_seq, closing_seq, done_seq, parts, state, created_at, finished_at
            FROM statements WHERE tenant_id = $1 AND account_id = $2 AND from_time = $3
                AND until_time = $4 AND format = $5"#,
            tenant.0,
            account.0,
            codec::timestamp(period.from)?,
            codec::timestamp(period.until)?,
            format.as_str(),
        )
        .fetch_optional(connection.as_mut())
        .await?;
        match row {
            Some(row) => row.statement().map(Requested::Statement),
            None => Ok(Requested::TooMany),
        }
    }

    /// A statement of a company.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn statement(
        &self,
        tenant: TenantId,
        id: Uuid,
    ) -> Result<Option<Statement>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            r#"SELECT tenant_id, account_id, statement_id, format, from_time, until_time,
                opening_seq, closing_seq, done_seq, parts, state, created_at, finished_at
            FROM statements WHERE tenant_id = $1 AND statement_id = $2"#,
            tenant.0,
            id,
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(Row::statement).transpose()
    }

    /// One part of a statement, from 1; `None` behind the last, and once the statement is removed.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn statement_part(
        &self,
        statement: &Statement,
        part: i32,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let content = sqlx::query_scalar!(
            r#"SELECT content FROM statement_parts
            WHERE tenant_id = $1 AND account_id = $2 AND statement_id = $3 AND part = $4"#,
            statement.tenant.0,
            statement.account.0,
            statement.id,
            part,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(content)
    }
}

struct Row {
    tenant_id: Uuid,
    account_id: Uuid,
    statement_id: Uuid,
    format: String,
    from_time: OffsetDateTime,
    until_time: OffsetDateTime,
    opening_seq: i64,
    closing_seq: i64,
    done_seq: i64,
    parts: i32,
    state: String,
    created_at: OffsetDateTime,
    finished_at: Option<OffsetDateTime>,
}

impl Row {
    fn statement(self) -> Result<Statement, StoreError> {
        let formats = [Format::Csv, Format::Json];
        let format = formats.into_iter().find(|format| format.as_str() == self.format);
        Ok(Statement {
            id: self.statement_id,
            tenant: TenantId(self.tenant_id),
            account: AccountId(self.account_id),
            format: codec::present(format)?,
            period: Period {
                from: codec::db_time(self.from_time)?,
                until: codec::db_time(self.until_time)?,
            },
            opening_seq: self.opening_seq,
            closing_seq: self.closing_seq,
            done_seq: self.done_seq,
            parts: self.parts,
            state: match self.state.as_str() {
                "running" => StatementState::Running,
                "done" => StatementState::Done,
                _ => StatementState::Failed,
            },
            created_at: codec::db_time(self.created_at)?,
            finished_at: self.finished_at.map(codec::db_time).transpose()?,
        })
    }
}
