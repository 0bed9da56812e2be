//! Reservations by biz id that are past their time.
//!
//! An index leads to those that have an `expires_at` and are not swept yet, in the order of their
//! time. Confirm, cancel and expire change no column of that index, so that they stay HOT updates.
//! What has closed stays in the index until its time comes; then the sweeper notes once that it is
//! done with it. So the index holds what may still come due, however long the table grows, and
//! nothing has to be assumed about when a commit becomes visible: a try whose time is past already
//! is found at the index's beginning whenever it appears.
//!
//! The note is written without the account's lock. It touches closed TCC reservations only, which no
//! command changes any more; a CHECK holds it to that.

use domain::ids::BizId;
use domain::ledger::tcc::DbTime;
use domain::{AccountId, ReservationId, TenantId};

use crate::{Store, StoreError, codec};

/// A place in the order of expiries: the time, then the reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpiryPlace {
    /// When the reservation expires.
    pub expires_at: DbTime,
    /// The reservation.
    pub reservation: ReservationId,
}

/// A reservation whose time is past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueExpiry {
    /// The company.
    pub tenant: TenantId,
    /// The user's account.
    pub account: AccountId,
    /// Its key.
    pub biz_id: BizId,
    /// Where it stands among the others.
    pub place: ExpiryPlace,
    /// Whether it was open when this was read. The command decides.
    pub is_open: bool,
}

impl Store {
    /// TCC reservations that are past their time by the database's clock and not swept yet, in the
    /// order of their times, from behind `after`; at most `limit`.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn due_expiries(
        &self,
        after: Option<ExpiryPlace>,
        limit: u16,
    ) -> Result<Vec<DueExpiry>, StoreError> {
        // now() is the statement's own time, which an index can be searched by.
        let rows = sqlx::query!(
            r#"SELECT tenant_id, account_id, reservation_id, biz_id AS "biz_id!",
                expires_at AS "expires_at!", state = 'open' AS "is_open!"
            FROM reservations
            WHERE kind = 'tcc' AND expires_at IS NOT NULL AND NOT expiry_swept
                AND expires_at <= now()
                AND (expires_at, reservation_id)
                    > (coalesce($1, '-infinity'::timestamptz), coalesce($2, '00000000-0000-0000-0000-000000000000'::uuid))
            ORDER BY expires_at, reservation_id LIMIT $3"#,
            after.map(|place| codec::timestamp(place.expires_at)).transpose()?,
            after.map(|place| place.reservation.0),
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(DueExpiry {
                    tenant: TenantId(row.tenant_id),
                    account: AccountId(row.account_id),
                    biz_id: row.biz_id.parse().map_err(|_| StoreError::Corrupt("biz id"))?,
                    place: ExpiryPlace {
                        expires_at: codec::db_time(row.expires_at)?,
                        reservation: ReservationId(row.reservation_id),
                    },
                    is_open: row.is_open,
                })
            })
            .collect()
    }

    /// Notes that these have closed and need not be looked at again. Those that are open are passed
    /// over.
    ///
    /// # Errors
    /// When the database does not carry it out; they are found again.
    pub async fn note_swept(&self, closed: &[DueExpiry]) -> Result<(), StoreError> {
        let tenants: Vec<_> = closed.iter().map(|due| due.tenant.0).collect();
        let accounts: Vec<_> = closed.iter().map(|due| due.account.0).collect();
        let ids: Vec<_> = closed.iter().map(|due| due.place.reservation.0).collect();
        sqlx::query!(
            r#"UPDATE reservations r SET expiry_swept = true
            FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS c (tenant, account, reservation)
            WHERE r.tenant_id = c.tenant AND r.account_id = c.account
                AND r.reservation_id = c.reservation AND r.kind = 'tcc' AND r.state <> 'open'
                AND NOT r.expiry_swept"#,
            &tenants,
            &accounts,
            &ids,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
