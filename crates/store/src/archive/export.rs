//! A month as text, page by page: each page a statement of its own, so that no export is a long transaction.
//! What is exported does not change any more, so that pages fit together.

use futures::TryStreamExt;
use sqlx::{AssertSqlSafe, PgConnection};

use super::Maintenance;
use crate::StoreError;
use crate::partitions::Partition;

/// Rows of one page.
const PAGE: i64 = 20_000;

/// A page of a month, as CSV in the order of the table's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The lines, each with its end; the first page has the columns' names before them.
    pub csv: Vec<u8>,
    /// How many rows.
    pub rows: u64,
    /// Where the next page begins; `None` behind the last.
    pub next: Option<String>,
}

impl Maintenance {
    /// The next page of a month, from behind `after`, which an earlier page has given.
    ///
    /// # Errors
    /// When the database does not carry it out; the page is read again.
    pub async fn export_page(
        &self,
        partition: &Partition,
        after: Option<&str>,
    ) -> Result<Page, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let (name, key) = (partition.name(), partition.table.key().join(", "));
        // Names are made here; a key is quoted by PostgreSQL itself.
        let behind = after.map_or_else(String::new, |after| format!("WHERE ({key}) > {after}"));
        let page = format!(
            "WITH page AS (SELECT {key} FROM ONLY {name} {behind} ORDER BY {key} LIMIT {PAGE})
            SELECT (SELECT count(*) FROM page) AS rows,
                (SELECT format('(%L, %L, %L, %L)', {key}) FROM page
                    ORDER BY ({key}) DESC LIMIT 1) AS last"
        );
        let (rows, last): (i64, Option<String>) = sqlx::query_as(AssertSqlSafe(page))
            .persistent(false)
            .fetch_one(&mut *connection)
            .await?;
        let header = after.is_none();
        let until = match (&last, header) {
            (None, false) => return Ok(Page { csv: Vec::new(), rows: 0, next: None }),
            // The names of the columns alone.
            (None, true) => "WHERE false".to_owned(),
            (Some(last), true) => format!("WHERE ({key}) <= {last}"),
            (Some(last), false) => format!("{behind} AND ({key}) <= {last}"),
        };
        let copy = format!(
            "COPY (SELECT * FROM ONLY {name} {until} ORDER BY {key})
            TO STDOUT (FORMAT csv, HEADER {header})"
        );
        let csv = copied(&mut connection, &copy).await?;
        let rows = crate::codec::unsigned(rows)?;
        Ok(Page { csv, rows, next: last })
    }
}

async fn copied(connection: &mut PgConnection, copy: &str) -> Result<Vec<u8>, StoreError> {
    let chunks = connection.copy_out_raw(copy).await?;
    let csv = chunks.try_fold(Vec::new(), async |mut csv, chunk| {
        csv.extend_from_slice(&chunk);
        Ok(csv)
    });
    Ok(csv.await?)
}
