//! Writing long statements, one part a transaction, and removing old ones.

use domain::ledger::Balances;
use domain::ledger::tcc::DbTime;
use sqlx::{Connection, PgConnection};

use super::{KEEP_DAYS, PART_LINES, PartSource, Row, Statement};
use crate::journal::{self, EntryLine};
use crate::{Store, StoreError};

/// How many are removed at once.
const MAX_REMOVED: i64 = 20;

impl Store {
    /// Writes the next part of the statement that has waited longest and that nobody else is at;
    /// whether there was one. `render` says what the part reads, or that the lines do not add up.
    ///
    /// # Errors
    /// When the database does not carry it out: the part is not kept, and is written again.
    pub async fn write_statement_part<R>(&self, render: R) -> Result<bool, StoreError>
    where
        R: Fn(&PartSource<'_>) -> Option<Vec<u8>> + Send + Sync,
    {
        let mut connection = self.pool.acquire().await?;
        let mut transaction = connection.begin().await?;
        let claimed = sqlx::query_as!(
            Row,
            r#"SELECT tenant_id, account_id, statement_id, format, from_time, until_time,
                opening_seq, closing_seq, done_seq, parts, state, created_at, finished_at
            FROM statements WHERE finished_at IS NULL
            ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED"#
        )
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(row) = claimed else { return Ok(false) };
        let statement = row.statement()?;
        let part = match read(&mut transaction, &statement).await {
            // Not to be mended by another try, and others wait.
            Err(StoreError::Corrupt(_)) => None,
            part => Some(part?),
        };
        let source = part.as_ref().map(|part| part.source(&statement));
        match source.as_ref().and_then(render) {
            Some(content) => {
                let last = part.iter().flat_map(|part| &part.lines).last();
                let done_seq = last.map_or(statement.done_seq, |line| line.seq);
                keep(&mut transaction, &statement, done_seq, &content).await?;
            }
            None => fail(&mut transaction, &statement).await?,
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// Removes statements that ended more than [`KEEP_DAYS`] days ago; how many.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn remove_old_statements(&self) -> Result<u64, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let mut transaction = connection.begin().await?;
        let old = sqlx::query_scalar!(
            r#"SELECT statement_id FROM statements
            WHERE finished_at < clock_timestamp() - make_interval(days => $1)
            ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED"#,
            KEEP_DAYS,
            MAX_REMOVED,
        )
        .fetch_all(&mut *transaction)
        .await?;
        sqlx::query!(
            r#"DELETE FROM statement_parts p USING statements s
            WHERE s.statement_id = ANY($1) AND p.tenant_id = s.tenant_id
                AND p.account_id = s.account_id AND p.statement_id = s.statement_id"#,
            &old,
        )
        .execute(&mut *transaction)
        .await?;
        let removed = sqlx::query!(r#"DELETE FROM statements WHERE statement_id = ANY($1)"#, &old)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(removed.rows_affected())
    }
}

/// What the next part is made of, as it was read.
struct Part {
    external_id: Option<String>,
    before: Balances,
    lines: Vec<EntryLine>,
    closing: Balances,
}

impl Part {
    fn source<'a>(&'a self, statement: &'a Statement) -> PartSource<'a> {
        PartSource {
            statement,
            external_id: self.external_id.as_deref(),
            before: self.before,
            lines: &self.lines,
            closing: self.closing,
        }
    }
}

async fn read(connection: &mut PgConnection, statement: &Statement) -> Result<Part, StoreError> {
    let Statement { tenant, account, period, done_seq, closing_seq, .. } = *statement;
    let external_id = sqlx::query_scalar!(
        r#"SELECT external_id FROM account_names WHERE tenant_id = $1 AND account_id = $2"#,
        tenant.0,
        account.0,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let before = match done_seq {
        0 => Balances::default(),
        seq => {
            let line = journal::lines_between(
                &mut *connection,
                tenant,
                account,
                (seq.saturating_sub(1), seq),
                1,
            );
            match line.await?.pop() {
                Some(line) => line.balances,
                // The last line before the period may be the last that left the database.
                None => journal::balances_at_checkpoint(connection, tenant, account, seq)
                    .await?
                    .ok_or(StoreError::Corrupt("a line is missing"))?,
            }
        }
    };
    let range = (done_seq, closing_seq);
    let lines = journal::lines_between(connection, tenant, account, range, PART_LINES).await?;
    let last_within = DbTime(period.until.0.saturating_sub(1));
    let closing = journal::past_head(connection, tenant, account, last_within).await?;
    let closing = closing.ok_or(StoreError::Corrupt("a line is missing"))?.balances;
    Ok(Part { external_id, before, lines, closing })
}

async fn keep(
    connection: &mut PgConnection,
    statement: &Statement,
    done_seq: i64,
    content: &[u8],
) -> Result<(), StoreError> {
    let part = statement.parts.saturating_add(1);
    sqlx::query!(
        r#"INSERT INTO statement_parts (tenant_id, account_id, statement_id, part, content)
        VALUES ($1, $2, $3, $4, $5)"#,
        statement.tenant.0,
        statement.account.0,
        statement.id,
        part,
        content,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        r#"UPDATE statements SET done_seq = $4, parts = $5,
            state = CASE WHEN closing_seq = $4 THEN 'done' ELSE state END,
            finished_at = CASE WHEN closing_seq = $4 THEN clock_timestamp() END
        WHERE tenant_id = $1 AND account_id = $2 AND statement_id = $3"#,
        statement.tenant.0,
        statement.account.0,
        statement.id,
        done_seq,
        part,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn fail(connection: &mut PgConnection, statement: &Statement) -> Result<(), StoreError> {
    sqlx::query!(
        r#"UPDATE statements SET state = 'failed', finished_at = clock_timestamp()
        WHERE tenant_id = $1 AND account_id = $2 AND statement_id = $3"#,
        statement.tenant.0,
        statement.account.0,
        statement.id,
    )
    .execute(connection)
    .await?;
    Ok(())
}
