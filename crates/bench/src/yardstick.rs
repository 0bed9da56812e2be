//! The yardstick: what plain SQL can do. One prepared data-modifying statement per command checks the balance and writes
//! the same rows as the store, the entry's hash included, in one commit and one round trip. It has no queue, no batch and
//! no machine; where it finds nothing to do, it changes nothing.

use domain::ids::BizId;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::Failure;
use crate::fixture::{self, AMOUNT};
use crate::load::Client;
use crate::matrix::Path;

/// A TCC try. `$1` tenant, `$2` account, `$3` reservation, `$4` biz id, `$5` micropoints.
pub(crate) const TRY: &str = r"
WITH moved AS (
    UPDATE accounts SET
        available_micropoints = available_micropoints - $5,
        reserved_micropoints = reserved_micropoints + $5,
        entry_seq = entry_seq + 1,
        event_seq = event_seq + 1,
        recorded_at = greatest(recorded_at, now()),
        entry_hash = sha256(entry_hash || '\x00000001' || int8send(entry_seq + 1)
            -- reserve, available, reserved
            || '\x000000077265736572766500000009617661696c61626c65000000087265736572766564'
            || int8send($5) || int8send(available_micropoints - $5)
            || int8send(reserved_micropoints + $5) || int8send(spent_micropoints)
            || int8send(debt_micropoints) || '\x01' || uuid_send($3)
            || '\x0000'                      -- no reference, no bucket
            || int8send((extract(epoch FROM greatest(recorded_at, now())) * 1000000)::bigint))
    WHERE tenant_id = $1 AND account_id = $2 AND available_micropoints >= $5
    RETURNING entry_seq, event_seq, recorded_at, entry_hash, available_micropoints,
        reserved_micropoints, spent_micropoints, debt_micropoints
), reservation AS (
    INSERT INTO reservations (tenant_id, account_id, reservation_id, kind, state,
        reserved_micropoints, opened_at, changed_at, biz_id, requested_micropoints)
    SELECT $1, $2, $3, 'tcc', 'open', $5, recorded_at, recorded_at, $4, $5 FROM moved
), entry AS (
    INSERT INTO entries (tenant_id, account_id, seq, kind, from_column, to_column,
        amount_micropoints, available_after_micropoints, reserved_after_micropoints,
        spent_after_micropoints, debt_after_micropoints, reservation_id, incarnation,
        recorded_at, entry_hash)
    SELECT $1, $2, entry_seq, 'reserve', 'available', 'reserved', $5, available_micropoints,
        reserved_micropoints, spent_micropoints, debt_micropoints, $3, 1, recorded_at, entry_hash
    FROM moved
)
INSERT INTO outbox (tenant_id, account_id, event_seq, incarnation, kind, reservation_id,
    entry_seq, recorded_at)
SELECT $1, $2, event_seq, 1, 'tcc.reserved', $3, entry_seq, recorded_at FROM moved";

/// The confirm of all of it. `$1` tenant, `$2` account, `$3` reservation: its caller knows it from the try.
pub(crate) const CONFIRM: &str = r"
WITH settled AS (
    UPDATE reservations SET state = 'settled_final', settled_micropoints = requested_micropoints,
        changed_at = greatest(changed_at, now())
    WHERE tenant_id = $1 AND account_id = $2 AND reservation_id = $3 AND state = 'open'
    RETURNING reservation_id, requested_micropoints AS amount
), moved AS (
    UPDATE accounts SET
        reserved_micropoints = reserved_micropoints - amount,
        spent_micropoints = spent_micropoints + amount,
        entry_seq = entry_seq + 1,
        event_seq = event_seq + 1,
        recorded_at = greatest(recorded_at, now()),
        entry_hash = sha256(entry_hash || '\x00000001' || int8send(entry_seq + 1)
            -- confirm, reserved, spent
            || '\x00000007636f6e6669726d000000087265736572766564000000057370656e74'
            || int8send(amount) || int8send(available_micropoints)
            || int8send(reserved_micropoints - amount) || int8send(spent_micropoints + amount)
            || int8send(debt_micropoints) || '\x01' || uuid_send(reservation_id)
            || '\x0000'                    -- no reference, no bucket
            || int8send((extract(epoch FROM greatest(recorded_at, now())) * 1000000)::bigint))
    FROM settled
    WHERE tenant_id = $1 AND account_id = $2
    RETURNING reservation_id, amount, entry_seq, event_seq, accounts.recorded_at, entry_hash,
        available_micropoints, reserved_micropoints, spent_micropoints, debt_micropoints
), entry AS (
    INSERT INTO entries (tenant_id, account_id, seq, kind, from_column, to_column,
        amount_micropoints, available_after_micropoints, reserved_after_micropoints,
        spent_after_micropoints, debt_after_micropoints, reservation_id, incarnation,
        recorded_at, entry_hash)
    SELECT $1, $2, entry_seq, 'confirm', 'reserved', 'spent', amount, available_micropoints,
        reserved_micropoints, spent_micropoints, debt_micropoints, reservation_id, 1, recorded_at,
        entry_hash
    FROM moved
)
INSERT INTO outbox (tenant_id, account_id, event_seq, incarnation, kind, reservation_id,
    entry_seq, recorded_at)
SELECT $1, $2, event_seq, 1, 'tcc.settled', reservation_id, entry_seq, recorded_at FROM moved";

/// One event in a table like the outbox: what a commit of one row of the ledger costs. `$1` tenant, `$2` account, `$3`
/// reservation, `$4` its number.
pub(crate) const INSERT: &str = r"
INSERT INTO bench_inserts (tenant_id, account_id, event_seq, incarnation, kind, reservation_id,
    entry_seq, recorded_at)
VALUES ($1, $2, $4, 1, 'tcc.reserved', $3, $4, now())";

/// A client with a connection of its own.
#[derive(Debug)]
pub(crate) struct Plain {
    connection: PgConnection,
    path: Path,
}

impl Plain {
    pub(crate) async fn connect(url: &str, path: Path) -> Result<Self, Failure> {
        // Planned as the store's own statements are.
        let options = url.parse::<PgConnectOptions>()?.options(store::COMMAND_PLANS);
        Ok(Self { connection: PgConnection::connect_with(&options).await?, path })
    }

    async fn reserve(
        &mut self,
        account: u32,
        reservation: Uuid,
        biz_id: &BizId,
    ) -> Result<bool, Failure> {
        let written = sqlx::query(TRY)
            .bind(fixture::TENANT.0)
            .bind(fixture::account(account).0)
            .bind(reservation)
            .bind(biz_id.as_str())
            .bind(i64::try_from(AMOUNT.micropoints())?)
            .execute(&mut self.connection)
            .await?;
        Ok(written.rows_affected() == 1)
    }

    async fn confirm(&mut self, account: u32, reservation: Uuid) -> Result<bool, Failure> {
        let written = sqlx::query(CONFIRM)
            .bind(fixture::TENANT.0)
            .bind(fixture::account(account).0)
            .bind(reservation)
            .execute(&mut self.connection)
            .await?;
        Ok(written.rows_affected() == 1)
    }
}

impl Client for Plain {
    async fn operate(&mut self, account: u32, biz_id: &BizId) -> Result<bool, Failure> {
        let reservation = Uuid::now_v7();
        let tried = self.reserve(account, reservation, biz_id).await?;
        match self.path {
            Path::Reserve => Ok(tried),
            Path::Pair => Ok(tried && self.confirm(account, reservation).await?),
        }
    }
}

/// A client that inserts single rows.
#[derive(Debug)]
pub(crate) struct Inserter(PgConnection);

impl Inserter {
    pub(crate) async fn connect(url: &str) -> Result<Self, Failure> {
        Ok(Self(PgConnection::connect(url).await?))
    }
}

impl Client for Inserter {
    async fn operate(&mut self, account: u32, _biz_id: &BizId) -> Result<bool, Failure> {
        let reservation = Uuid::now_v7();
        let (_, random) = reservation.as_u64_pair();
        let written = sqlx::query(INSERT)
            .bind(fixture::TENANT.0)
            .bind(fixture::account(account).0)
            .bind(reservation)
            .bind(i64::try_from(random >> 1)?)
            .execute(&mut self.0)
            .await?;
        Ok(written.rows_affected() == 1)
    }
}
