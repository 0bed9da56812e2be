//! The databases that loads run on: a template with funded accounts and nothing else, and one with years of history.

use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::time::Instant;

use domain::ledger::tcc::DbTime;
use domain::{AccountId, Points, ReservationId, TenantId};
use sqlx::types::time::OffsetDateTime;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::Failure;
use crate::matrix::ACCOUNTS;
use crate::past::{Past, Rows, id};
use crate::server::{Server, at};

/// The company.
pub(crate) const TENANT: TenantId = TenantId(Uuid::from_u128(0x5713_e4d0));
/// The template of empty tables.
pub(crate) const EMPTY: &str = "bench_empty";
/// The database with a history.
pub(crate) const FILLED: &str = "bench_filled";

/// What one operation sets aside: one point.
pub(crate) const AMOUNT: Points = points(1);
/// What each account has to begin with: no load comes near its end, not even one on a single account.
const FUNDS: Points = points(1_000_000_000);
/// What a try of the history set aside.
const TRIED: Points = points(4);
/// What its confirm spent of it, so that a part returned.
const SPENT: Points = points(3);

/// The time that the history covers.
const SPAN_MICROS: i64 = 360 * 24 * 3_600 * 1_000_000;
/// How many accounts are written in one commit, after which the making of the history can be taken up again.
const CHUNK: u32 = 500;
/// Lines in the journal for each reservation of the history: a credit, the try, the spent part and the rest.
pub(crate) const ENTRIES_EACH: u64 = 4;
/// A history that loads have made longer than this share, in hundredths, is made anew.
const GROWTH_PERCENT: u64 = 20;

const fn points(whole: u64) -> Points {
    match Points::from_micropoints(whole * 1_000_000) {
        Some(points) => points,
        None => Points::MAX,
    }
}

/// The account of a number below [`ACCOUNTS`].
pub(crate) const fn account(number: u32) -> AccountId {
    // A number of 32 bits always fits; `From` is not yet for constant functions.
    AccountId(id(number as u128))
}

/// The database's clock.
pub(crate) async fn now(connection: &mut PgConnection) -> Result<DbTime, Failure> {
    let micros = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
    Ok(DbTime(sqlx::query_scalar(micros).fetch_one(connection).await?))
}

/// Makes the template of empty tables anew.
pub(crate) async fn make_empty(server: &mut Server) -> Result<(), Failure> {
    server.drop_database(EMPTY).await?;
    migrate(server, EMPTY).await?;
    let mut connection = writer(server, EMPTY).await?;
    let now = now(&mut connection).await?;
    let mut rows = Rows::new()?;
    for number in 0..ACCOUNTS {
        let mut past = Past::new(&mut rows, account(number), now, now)?;
        past.credit(FUNDS, "funds")?;
        past.finish()?;
    }
    rows.send(&mut connection).await?;
    // Otherwise the first to read a row would pay for marking it as committed. The other tables are left as a new
    // installation has them: the planner takes a table for empty that was vacuumed while it was.
    sqlx::raw_sql("VACUUM (FREEZE, ANALYZE) tenants, accounts, entries, incarnations")
        .execute(&mut connection)
        .await?;
    Ok(connection.close().await?)
}

/// The schema, the company, and a table for single rows.
async fn migrate(server: &mut Server, database: &str) -> Result<(), Failure> {
    server.create_database(database).await?;
    store::migrate(&at(&server.addresses.owner, database)).await?;
    let mut connection = writer(server, database).await?;
    sqlx::raw_sql(
        "CREATE TABLE bench_inserts (LIKE outbox INCLUDING ALL);
        GRANT INSERT ON bench_inserts TO stipend_runtime;
        CREATE TABLE bench_chunks (first_account int PRIMARY KEY);
        CREATE TABLE bench_history (reservations bigint NOT NULL, finished boolean NOT NULL);",
    )
    .execute(&mut connection)
    .await?;
    sqlx::query("INSERT INTO tenants (tenant_id, name) VALUES ($1, 'benchmark')")
        .bind(TENANT.0)
        .execute(&mut connection)
        .await?;
    Ok(connection.close().await?)
}

/// A connection of the superuser's that checks no foreign keys, because the rows come in any order.
async fn writer(server: &Server, database: &str) -> Result<PgConnection, Failure> {
    let mut connection = PgConnection::connect(&at(&server.addresses.superuser, database)).await?;
    sqlx::raw_sql("SET session_replication_role = replica").execute(&mut connection).await?;
    Ok(connection)
}

/// Makes the database with so many reservations, or goes on making it, or takes up the one that is there.
pub(crate) async fn make_filled(server: &mut Server, reservations: u64) -> Result<(), Failure> {
    if server.has_database(FILLED).await? && !is_of_use(server, reservations).await? {
        println!("the filled tables are of another schema or have grown too much: made anew");
        server.drop_database(FILLED).await?;
    }
    if !server.has_database(FILLED).await? {
        migrate(server, FILLED).await?;
        let mut connection = writer(server, FILLED).await?;
        sqlx::query("INSERT INTO bench_history VALUES ($1, false)")
            .bind(i64::try_from(reservations)?)
            .execute(&mut connection)
            .await?;
    }
    let mut connection = writer(server, FILLED).await?;
    let finished: bool =
        sqlx::query_scalar("SELECT finished FROM bench_history").fetch_one(&mut connection).await?;
    if finished {
        println!("taking up the {reservations} reservations that an earlier run made");
        return Ok(connection.close().await?);
    }
    let start = Instant::now();
    let now = now(&mut connection).await?;
    let mut owner = PgConnection::connect(&at(&server.addresses.owner, FILLED)).await?;
    let first = OffsetDateTime::from_unix_timestamp((now.0 - SPAN_MICROS) / 1_000_000)?;
    store::partitions::make_partitions(&mut owner, Some(first)).await?;
    owner.close().await?;
    write_history(server, reservations, now).await?;
    println!("vacuuming");
    sqlx::raw_sql("VACUUM (ANALYZE)").execute(&mut connection).await?;
    sqlx::raw_sql("UPDATE bench_history SET finished = true").execute(&mut connection).await?;
    sqlx::raw_sql("CHECKPOINT").execute(&mut connection).await?;
    println!("made in {} s", start.elapsed().as_secs());
    Ok(connection.close().await?)
}

/// Whether a database that an earlier run made has today's schema, and about as many reservations as are wanted.
async fn is_of_use(server: &Server, reservations: u64) -> Result<bool, Failure> {
    let schema = "SELECT md5(string_agg(encode(checksum, 'hex'), ',' ORDER BY version)) \
                  FROM _sqlx_migrations";
    let mut empty = writer(server, EMPTY).await?;
    let wanted: String = sqlx::query_scalar(schema).fetch_one(&mut empty).await?;
    empty.close().await?;
    let mut filled = writer(server, FILLED).await?;
    let found: Option<String> = sqlx::query_scalar(schema).fetch_one(&mut filled).await?;
    if found != Some(wanted) {
        return Ok(false);
    }
    let planned: Option<i64> = sqlx::query_scalar("SELECT reservations FROM bench_history")
        .fetch_optional(&mut filled)
        .await?;
    if planned != Some(i64::try_from(reservations)?) {
        return Ok(false);
    }
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM every_reservation").fetch_one(&mut filled).await?;
    filled.close().await?;
    Ok(u64::try_from(count)? * 100 <= reservations * (100 + GROWTH_PERCENT))
}

/// Writes what is not yet there, on as many connections as the machine has processors, each account in one piece.
async fn write_history(server: &Server, reservations: u64, now: DbTime) -> Result<(), Failure> {
    let cycles = u32::try_from(reservations / u64::from(ACCOUNTS))?;
    let next = Arc::new(AtomicU32::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..std::thread::available_parallelism()?.get() {
        let (connection, next) = (writer(server, FILLED).await?, Arc::clone(&next));
        tasks.spawn(write_chunks(connection, next, cycles, now));
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

async fn write_chunks(
    mut connection: PgConnection,
    next: Arc<AtomicU32>,
    cycles: u32,
    now: DbTime,
) -> Result<(), Failure> {
    let mut rows = Rows::new()?;
    loop {
        let first = next.fetch_add(CHUNK, Ordering::Relaxed);
        if first >= ACCOUNTS {
            return Ok(());
        }
        let mut transaction = connection.begin().await?;
        let marked = sqlx::query("INSERT INTO bench_chunks VALUES ($1) ON CONFLICT DO NOTHING")
            .bind(i32::try_from(first)?)
            .execute(&mut *transaction)
            .await?;
        if marked.rows_affected() == 0 {
            continue;
        }
        for number in first..ACCOUNTS.min(first + CHUNK) {
            write_account(&mut rows, number, cycles, now)?;
        }
        rows.send(&mut transaction).await?;
        transaction.commit().await?;
        if first.is_multiple_of(ACCOUNTS / 20) {
            println!("  {} of 100", first / (ACCOUNTS / 100));
        }
    }
}

fn write_account(rows: &mut Rows, number: u32, cycles: u32, now: DbTime) -> Result<(), Failure> {
    let step = SPAN_MICROS / i64::from(cycles.max(1));
    let born = DbTime(now.0 - SPAN_MICROS + i64::from(number));
    let mut past = Past::new(rows, account(number), born, now)?;
    for cycle in 0..cycles {
        let amount = if cycle == 0 { FUNDS } else { AMOUNT };
        past.credit(amount, &format!("credit-{cycle}"))?;
        // In the order of time over all accounts, as ids are that the store makes.
        let serial = (u128::from(cycle) + 1) * u128::from(ACCOUNTS) + u128::from(number);
        past.spend(ReservationId(id(serial)), &format!("past-{cycle}"), TRIED, SPENT)?;
        past.wait(step - 1_000_000);
    }
    past.finish()
}
