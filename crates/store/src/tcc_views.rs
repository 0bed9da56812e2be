//! Reservations by biz id, as look-ups show them. Reads of the primary, without a lock.

use domain::ids::BizId;
use domain::ledger::tcc::{DbTime, TccReservation};
use domain::{AccountId, ReservationId, TenantId};

use crate::tcc::Columns;
use crate::{Store, StoreError, codec};

/// A TCC reservation with its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TccView {
    /// As the machine sees it.
    pub reservation: TccReservation,
    /// When the first command under its biz id was recorded.
    pub opened_at: DbTime,
    /// When it last changed.
    pub changed_at: DbTime,
}

impl Store {
    /// What is known under a biz id; `None` where nothing ever was.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn tcc_reservation(
        &self,
        tenant: TenantId,
        account: AccountId,
        biz_id: &BizId,
    ) -> Result<Option<TccView>, StoreError> {
        let row = sqlx::query!(
            r#"SELECT state AS "state!", requested_micropoints, expires_at, settled_micropoints,
                rejected_available_micropoints, opened_at AS "opened_at!",
                changed_at AS "changed_at!"
            FROM every_reservation WHERE tenant_id = $1 AND account_id = $2 AND biz_id = $3
            ORDER BY is_archived, changed_at DESC LIMIT 1"#,
            tenant.0,
            account.0,
            biz_id.as_str(),
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let columns = Columns {
            state: row.state,
            requested: row.requested_micropoints,
            expires_at: row.expires_at,
            settled: row.settled_micropoints,
            rejected_available: row.rejected_available_micropoints,
        };
        Ok(Some(TccView {
            reservation: columns.reservation()?,
            opened_at: codec::db_time(row.opened_at)?,
            changed_at: codec::db_time(row.changed_at)?,
        }))
    }

    /// Whether a sponsorship of the company has this id.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn is_sponsorship(
        &self,
        tenant: TenantId,
        id: ReservationId,
    ) -> Result<bool, StoreError> {
        let found = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM every_reservation
                WHERE tenant_id = $1 AND reservation_id = $2 AND kind = 'sponsorship') AS "found!""#,
            tenant.0,
            id.0,
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(found)
    }
}
