//! After a load: every accepted answer is looked up.

use sqlx::{Connection, PgConnection, Row};
use uuid::Uuid;

use crate::Failure;
use crate::fixture::{self, AMOUNT, TENANT};
use crate::load::Accepted;
use crate::matrix::Path;
use crate::server::{Server, at};

/// The accounts' own count of what was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Totals {
    entries: i64,
    events: i64,
    reserved: i64,
}

impl Totals {
    pub(crate) async fn read(server: &Server, database: &str) -> Result<Self, Failure> {
        let mut connection = connect(server, database).await?;
        let row = sqlx::query(
            "SELECT sum(entry_seq)::bigint, sum(event_seq)::bigint, sum(reserved_micropoints)::bigint
            FROM accounts",
        )
        .fetch_one(&mut connection)
        .await?;
        connection.close().await?;
        Ok(Self { entries: row.try_get(0)?, events: row.try_get(1)?, reserved: row.try_get(2)? })
    }
}

/// Looks every accepted answer up over a new connection: a reservation under its biz id, of its account, over its
/// amount and in its state. Where no answer was left open, the accounts must also count exactly what was accepted.
pub(crate) async fn look_up(
    server: &Server,
    database: &str,
    path: Path,
    accepted: &[Accepted],
    before: Option<Totals>,
) -> Result<(), Failure> {
    let mut connection = connect(server, database).await?;
    let accounts: Vec<Uuid> = accepted.iter().map(|one| fixture::account(one.account).0).collect();
    let biz_ids: Vec<&str> = accepted.iter().map(|one| one.biz_id.as_str()).collect();
    let state = match path {
        Path::Reserve => "open",
        Path::Pair => "settled_final",
    };
    let found: i64 = sqlx::query_scalar(
        // One look into an index for each, whatever the planner believes of tables that were filled a moment ago.
        "SELECT count(*) FROM unnest($2::uuid[], $3::text[]) AS a (account_id, biz_id)
        CROSS JOIN LATERAL (
            SELECT state, requested_micropoints FROM reservations r
            WHERE r.tenant_id = $1 AND r.account_id = a.account_id AND r.biz_id = a.biz_id
                AND r.kind = 'tcc' LIMIT 1) r
        WHERE r.state = $4 AND r.requested_micropoints = $5",
    )
    .bind(TENANT.0)
    .bind(&accounts)
    .bind(&biz_ids)
    .bind(state)
    .bind(i64::try_from(AMOUNT.micropoints())?)
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    let accepted = i64::try_from(accepted.len())?;
    if found != accepted {
        return Err(format!("{accepted} answers were accepted, {found} are in {database}").into());
    }
    let Some(before) = before else { return Ok(()) };
    let after = Totals::read(server, database).await?;
    let commands = accepted * i64::try_from(path.commands())?;
    let held = match path {
        Path::Reserve => accepted * i64::try_from(AMOUNT.micropoints())?,
        Path::Pair => 0,
    };
    let counted = [
        ("entries", after.entries - before.entries, commands),
        ("events", after.events - before.events, commands),
        ("reserved micropoints", after.reserved - before.reserved, held),
    ];
    for (what, found, wanted) in counted {
        if found != wanted {
            return Err(format!("{found} {what} in {database}, and {wanted} were accepted").into());
        }
    }
    Ok(())
}

/// A new connection, of the superuser's.
pub(crate) async fn connect(server: &Server, database: &str) -> Result<PgConnection, Failure> {
    Ok(PgConnection::connect(&at(&server.addresses.superuser, database)).await?)
}
