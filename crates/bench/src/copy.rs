//! Rows in PostgreSQL's binary COPY format
//! ([its description](https://www.postgresql.org/docs/current/sql-copy.html)): what the server reads fastest.

use domain::ledger::tcc::DbTime;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Failure;

/// Signature, flags and the length of an extension that is not there.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The number of columns that says that there are no more rows.
const END: i16 = -1;
/// The length that says that there is no value.
const NULL: i32 = -1;
/// PostgreSQL's own epoch, 2000-01-01, in microseconds since 1970.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Rows for one table.
#[derive(Debug)]
pub(crate) struct Copy {
    statement: &'static str,
    columns: i16,
    bytes: Vec<u8>,
}

impl Copy {
    /// For a table with its columns, such as `accounts (tenant_id, account_id)`.
    pub(crate) fn into_table(statement: &'static str) -> Result<Self, Failure> {
        let columns = i16::try_from(statement.split(',').count())?;
        Ok(Self { statement, columns, bytes: HEADER.to_vec() })
    }

    /// Begins a row; its values follow in the columns' order.
    pub(crate) fn row(&mut self) -> &mut Self {
        self.bytes.extend(self.columns.to_be_bytes());
        self
    }

    fn value(&mut self, value: &[u8]) -> &mut Self {
        // No value here is anywhere near 2 GiB.
        self.bytes.extend(i32::try_from(value.len()).unwrap_or(i32::MAX).to_be_bytes());
        self.bytes.extend(value);
        self
    }

    pub(crate) fn uuid(&mut self, value: Uuid) -> &mut Self {
        self.value(value.as_bytes())
    }

    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        self.value(value.as_bytes())
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.value(value)
    }

    pub(crate) fn bigint(&mut self, value: i64) -> &mut Self {
        self.value(&value.to_be_bytes())
    }

    pub(crate) fn integer(&mut self, value: i32) -> &mut Self {
        self.value(&value.to_be_bytes())
    }

    pub(crate) fn time(&mut self, value: DbTime) -> &mut Self {
        self.bigint(value.0 - EPOCH_MICROS)
    }

    pub(crate) fn boolean(&mut self, value: bool) -> &mut Self {
        self.value(&[u8::from(value)])
    }

    pub(crate) fn null(&mut self) -> &mut Self {
        self.bytes.extend(NULL.to_be_bytes());
        self
    }

    /// Sends the rows, and forgets them.
    pub(crate) async fn send(&mut self, connection: &mut PgConnection) -> Result<(), Failure> {
        self.bytes.extend(END.to_be_bytes());
        let statement = format!("COPY {} FROM STDIN (FORMAT binary)", self.statement);
        let mut copy = connection.copy_in_raw(&statement).await?;
        copy.send(self.bytes.as_slice()).await?;
        copy.finish().await?;
        self.bytes.truncate(HEADER.len());
        Ok(())
    }
}
