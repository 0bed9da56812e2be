//! The end of a run: the books of a database are recomputed from its entries, every hash included.

use std::collections::HashMap;
use std::time::Instant;

use domain::ledger::journal::{self, EntryKind, Head, Incarnation, Line};
use domain::ledger::tcc::DbTime;
use domain::ledger::{Balances, Column, Posting};
use domain::{AccountId, Points, ReservationId};
use futures::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::types::time::OffsetDateTime;
use sqlx::{Connection, PgConnection, Row};

use crate::Failure;
use crate::checks::connect;
use crate::fixture::TENANT;
use crate::server::Server;

/// Replays every entry from its account's genesis and compares what follows with what is written: sequence, balances,
/// hash, and at the end the account's own row. Then compares what accounts and their open reservations hold.
///
/// # Errors
/// Names the first account that disagrees.
pub(crate) async fn verify(server: &Server, database: &str) -> Result<(), Failure> {
    let start = Instant::now();
    let mut connection = connect(server, database).await?;
    let heads = heads(&mut connection).await?;
    let (replayed, entries) = replay(&mut connection).await?;
    for (account, written) in &heads {
        let found = replayed.get(account).copied();
        if found.unwrap_or_else(|| Head::new(TENANT, *account)) != *written {
            return Err(disagrees(database, *account, "the account's row"));
        }
    }
    if let Some(account) = replayed.keys().find(|account| !heads.contains_key(account)) {
        return Err(disagrees(database, *account, "entries without an account"));
    }
    let held: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM accounts a LEFT JOIN (
            SELECT tenant_id, account_id, sum(reserved_micropoints) AS held FROM reservations
            WHERE state = 'open' GROUP BY tenant_id, account_id
        ) r USING (tenant_id, account_id)
        WHERE a.reserved_micropoints <> coalesce(r.held, 0)",
    )
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    if held != 0 {
        return Err(format!("{held} accounts of {database} hold what no reservation holds").into());
    }
    let (accounts, seconds) = (heads.len(), start.elapsed().as_secs());
    println!("verified {database}: {accounts} accounts, {entries} entries, {seconds} s");
    Ok(())
}

fn disagrees(database: &str, account: AccountId, what: &str) -> Failure {
    format!("{database}, account {account}: {what} disagrees with the entries").into()
}

/// Where each account says that its journal stands.
async fn heads(connection: &mut PgConnection) -> Result<HashMap<AccountId, Head>, Failure> {
    let rows = sqlx::query(
        "SELECT account_id, entry_seq, entry_hash, available_micropoints, reserved_micropoints,
            spent_micropoints, debt_micropoints
        FROM accounts WHERE tenant_id = $1",
    )
    .bind(TENANT.0)
    .fetch_all(connection)
    .await?;
    let head = |row: &PgRow| {
        let hash: &[u8] = row.try_get(2)?;
        let head =
            Head { seq: row.try_get(1)?, hash: hash.try_into()?, balances: balances(row, 3)? };
        Ok((AccountId(row.try_get(0)?), head))
    };
    rows.iter().map(head).collect()
}

/// Where each account's journal stands by its entries, and how many there are.
async fn replay(connection: &mut PgConnection) -> Result<(HashMap<AccountId, Head>, u64), Failure> {
    let mut rows = sqlx::query(
        "SELECT account_id, seq, kind, from_column, to_column, amount_micropoints,
            available_after_micropoints, reserved_after_micropoints, spent_after_micropoints,
            debt_after_micropoints, reservation_id, reference, incarnation, recorded_at, entry_hash
        FROM entries WHERE tenant_id = $1 ORDER BY tenant_id, account_id, seq",
    )
    .bind(TENANT.0)
    .fetch(connection);
    let (mut heads, mut count) = (HashMap::new(), 0);
    while let Some(row) = rows.try_next().await? {
        let account = AccountId(row.try_get(0)?);
        let head = heads.entry(account).or_insert_with(|| Head::new(TENANT, account));
        let posting = Posting {
            from: column(row.try_get(3)?)?,
            to: column(row.try_get(4)?)?,
            amount: points(row.try_get(5)?)?,
        };
        let written: &[u8] = row.try_get(14)?;
        let followed = journal::append(head, &line(&row)?, &[posting])?;
        let agrees = followed.first().is_some_and(|entry| entry.hash.as_slice() == written)
            && row.try_get::<i64, _>(1)? == head.seq
            && balances(&row, 6)? == head.balances;
        if !agrees {
            let seq = head.seq;
            return Err(format!("account {account}: entry {seq} disagrees").into());
        }
        count += 1;
    }
    Ok((heads, count))
}

fn line(row: &PgRow) -> Result<Line, Failure> {
    let name: &str = row.try_get(2)?;
    let kind = EntryKind::ALL.into_iter().find(|kind| kind.as_str() == name);
    let recorded_at: OffsetDateTime = row.try_get(13)?;
    Ok(Line {
        kind: kind.ok_or("an unknown kind of entry")?,
        reservation: row.try_get::<Option<_>, _>(10)?.map(ReservationId),
        reference: row.try_get(11)?,
        incarnation: Incarnation(row.try_get(12)?),
        recorded_at: DbTime(i64::try_from(recorded_at.unix_timestamp_nanos() / 1_000)?),
    })
}

/// Four columns, beginning with the first of them.
fn balances(row: &PgRow, first: usize) -> Result<Balances, Failure> {
    Ok(Balances {
        available: points(row.try_get(first)?)?,
        reserved: points(row.try_get(first + 1)?)?,
        spent: points(row.try_get(first + 2)?)?,
        debt: points(row.try_get(first + 3)?)?,
    })
}

fn points(micropoints: i64) -> Result<Points, Failure> {
    let points = Points::from_micropoints(micropoints.try_into()?);
    points.ok_or_else(|| "too many points".into())
}

fn column(name: &str) -> Result<Column, Failure> {
    let column = Column::ALL.into_iter().find(|column| column.as_str() == name);
    column.ok_or_else(|| "an unknown column".into())
}
