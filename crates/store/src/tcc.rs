//! Reservations by biz id, for the company's other services.

use core::time::Duration;

use domain::ids::BizId;
use domain::ledger::journal::EntryKind;
use domain::ledger::tcc::{
    self, DbTime, TccCommand, TccOutcome, TccReservation, TccState, TccTerms,
};
use domain::{AccountId, Points, ReservationId, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::account_lock::LockedAccount;
use crate::command::{Command, commit};
use crate::reservations::{FINAL, OPEN, REJECTED, RELEASED, one_row};
use crate::{Store, StoreError, codec};

/// How long a biz id is remembered. A try of an unknown one that was issued longer ago is refused.
pub const BIZ_ID_RETENTION: Duration = Duration::from_secs(30 * 24 * 3_600);

/// What a TCC coordinator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TccRequest {
    /// Set points aside.
    Try {
        /// What for.
        terms: TccTerms,
        /// When the coordinator issued it.
        issued_at: DbTime,
    },
    /// Spend an amount, or all, of what was set aside.
    Confirm {
        /// How much; `None` for all.
        amount: Option<Points>,
    },
    /// Return what was set aside.
    Cancel,
    /// Return what was set aside, if its time is past by the database's clock.
    Expire,
}

/// A command on a biz id.
#[derive(Clone, Debug)]
pub struct TccCall {
    /// The company.
    pub tenant: TenantId,
    /// The user's account.
    pub account: AccountId,
    /// The key.
    pub biz_id: BizId,
    /// The command.
    pub request: TccRequest,
}

/// What became of a TCC command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TccAnswer {
    /// What the machine decided, and the reservation as it stands; `None` where there is none.
    Decided(TccOutcome, Option<TccReservation>),
    /// There is no such account.
    NoAccount,
}

impl Command for TccCall {
    type Outcome = TccAnswer;

    async fn execute(&self, connection: &mut PgConnection) -> Result<TccAnswer, StoreError> {
        let Some(mut account) = LockedAccount::lock(connection, self.tenant, self.account).await?
        else {
            return Ok(TccAnswer::NoAccount);
        };
        let existing = load(connection, self).await?;
        let command = self.command(account.now);
        let found = existing.as_ref().map(|(_, reservation)| reservation);
        let (outcome, step) = tcc::apply(account.balances(), found, &command);
        let Some(reservation) = step.reservation else {
            return Ok(TccAnswer::Decided(outcome, found.copied()));
        };
        let id = match &existing {
            Some((id, before)) => {
                update(connection, &account, *id, before, &reservation).await?;
                *id
            }
            None => {
                let id = ReservationId(Uuid::now_v7());
                insert(connection, &account, id, &self.biz_id, &reservation).await?;
                id
            }
        };
        let (kind, event) = match reservation.state {
            TccState::Open => (EntryKind::Reserve, "tcc.reserved"),
            TccState::Settled { .. } => (EntryKind::Confirm, "tcc.settled"),
            TccState::Released => (EntryKind::Release, "tcc.released"),
            TccState::Rejected { .. } => (EntryKind::Reserve, "tcc.rejected"),
        };
        account.record(kind, &step.postings, Some(id), event)?;
        account.write(connection).await?;
        Ok(TccAnswer::Decided(outcome, Some(reservation)))
    }
}

impl TccCall {
    fn command(&self, now: DbTime) -> TccCommand {
        match self.request {
            TccRequest::Try { terms, issued_at } => {
                let retention = i64::try_from(BIZ_ID_RETENTION.as_micros()).unwrap_or(i64::MAX);
                let oldest = DbTime(now.0.saturating_sub(retention));
                TccCommand::Try { terms, issued_at, oldest }
            }
            TccRequest::Confirm { amount } => TccCommand::Confirm { amount },
            TccRequest::Cancel => TccCommand::Cancel,
            TccRequest::Expire => TccCommand::Expire { now },
        }
    }
}

async fn load(
    connection: &mut PgConnection,
    call: &TccCall,
) -> Result<Option<(ReservationId, TccReservation)>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT reservation_id, state, requested_micropoints, expires_at, settled_micropoints,
            rejected_available_micropoints
        FROM reservations WHERE tenant_id = $1 AND account_id = $2 AND biz_id = $3"#,
        call.tenant.0,
        call.account.0,
        call.biz_id.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let state = match row.state.as_str() {
        OPEN => TccState::Open,
        FINAL => {
            TccState::Settled { amount: codec::points(codec::present(row.settled_micropoints)?)? }
        }
        RELEASED => TccState::Released,
        REJECTED => TccState::Rejected {
            available: codec::points(codec::present(row.rejected_available_micropoints)?)?,
        },
        _ => return Err(StoreError::Corrupt("tcc state")),
    };
    let expires_at = row.expires_at.map(codec::db_time).transpose()?;
    let terms = row
        .requested_micropoints
        .map(|amount| Ok::<_, StoreError>(TccTerms { amount: codec::points(amount)?, expires_at }))
        .transpose()?;
    Ok(Some((ReservationId(row.reservation_id), TccReservation { terms, state })))
}

/// The columns of a state: its name, what it holds, what it spent, what was available at a refusal.
fn columns(reservation: &TccReservation) -> (&'static str, Points, Option<i64>, Option<i64>) {
    let requested = reservation.terms.map_or(Points::ZERO, |terms| terms.amount);
    match reservation.state {
        TccState::Open => (OPEN, requested, None, None),
        TccState::Settled { amount } => (FINAL, requested, Some(codec::micropoints(amount)), None),
        TccState::Released => (RELEASED, requested, None, None),
        TccState::Rejected { available } => {
            (REJECTED, Points::ZERO, None, Some(codec::micropoints(available)))
        }
    }
}

async fn insert(
    connection: &mut PgConnection,
    account: &LockedAccount,
    id: ReservationId,
    biz_id: &BizId,
    reservation: &TccReservation,
) -> Result<(), StoreError> {
    let (state, reserved, settled, rejected) = columns(reservation);
    let expires_at = reservation.terms.and_then(|terms| terms.expires_at);
    sqlx::query!(
        r#"INSERT INTO reservations (tenant_id, account_id, reservation_id, kind, state,
            reserved_micropoints, opened_at, changed_at, biz_id, requested_micropoints, expires_at,
            settled_micropoints, rejected_available_micropoints)
        VALUES ($1, $2, $3, 'tcc', $4, $5, $6, $6, $7, $8, $9, $10, $11)"#,
        account.tenant.0,
        account.account.0,
        id.0,
        state,
        codec::micropoints(reserved),
        codec::timestamp(account.now)?,
        biz_id.as_str(),
        reservation.terms.map(|terms| codec::micropoints(terms.amount)),
        expires_at.map(codec::timestamp).transpose()?,
        settled,
        rejected,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn update(
    connection: &mut PgConnection,
    account: &LockedAccount,
    id: ReservationId,
    before: &TccReservation,
    after: &TccReservation,
) -> Result<(), StoreError> {
    let (from, _, _, _) = columns(before);
    let (state, _, settled, _) = columns(after);
    let updated = sqlx::query!(
        r#"UPDATE reservations SET state = $5, settled_micropoints = $6, changed_at = $7
        WHERE tenant_id = $1 AND account_id = $2 AND reservation_id = $3 AND state = $4"#,
        account.tenant.0,
        account.account.0,
        id.0,
        from,
        state,
        settled,
        codec::timestamp(account.now)?,
    )
    .execute(connection)
    .await?;
    one_row(updated.rows_affected())
}

impl Store {
    /// Carries out a TCC command, once.
    ///
    /// # Errors
    /// When the database does not carry it out; the caller repeats it with the same biz id.
    pub async fn tcc(&self, call: &TccCall) -> Result<TccAnswer, StoreError> {
        commit(&self.pool, call).await
    }
}
