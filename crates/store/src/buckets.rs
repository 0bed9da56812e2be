//! Points that expire or are of a kind: finding what is past its time, and expiring it.
//!
//! An index leads to the lots that have an expiry and are not swept, in the order of their times. Only
//! the expiry itself changes a column of that index, once for each lot and in the commit that takes the
//! lot's points; everything else that spends from a lot or returns to it stays a HOT update. So the index
//! holds what may still come due, and a second sweeper finds nothing left to do.

use domain::ledger::buckets::{ExpiredRefund, Lot};
use domain::ledger::tcc::DbTime;
use domain::{AccountId, Points, TenantId};

use crate::book::{Book, Needs, Owner};
use crate::command::Command;
use crate::{Store, StoreError, codec};

/// What an account has of one bucket with one expiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LotBalance {
    /// Which points.
    pub lot: Lot,
    /// What of them may be spent.
    pub available: Points,
}

/// A place in the order of expiries: the time, the account, then the lot's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LotPlace {
    expires_at: DbTime,
    account: AccountId,
    lot: i32,
}

/// A lot whose time is past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueLot {
    /// Whose it is.
    pub owner: Owner,
    /// Where it stands among the others.
    pub place: LotPlace,
}

/// Takes the points of all lots of an account that are past their time by the database's clock.
struct ExpirePoints(Owner);

impl Command for ExpirePoints {
    type Outcome = usize;

    // It looks at lots, which have a statement of their own.
    const ALONE: bool = false;

    fn owner(&self) -> Owner {
        self.0
    }

    fn needs(&self, _: &mut Needs) {}

    fn decide(&self, book: &mut Book) -> Result<usize, StoreError> {
        book.expire_lots(self.0)
    }
}

impl Store {
    /// Lots that are past their time by the database's clock and not swept yet, in the order of their
    /// times, from behind `after`; at most `limit`.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn due_lots(
        &self,
        after: Option<LotPlace>,
        limit: u16,
    ) -> Result<Vec<DueLot>, StoreError> {
        // now() is the statement's own time, which an index can be searched by.
        let rows = sqlx::query!(
            r#"SELECT tenant_id, account_id, lot, expires_at AS "expires_at!" FROM buckets
            WHERE expires_at IS NOT NULL AND NOT expiry_swept AND expires_at <= now()
                AND (expires_at, account_id, lot) > (coalesce($1, '-infinity'::timestamptz),
                    coalesce($2, '00000000-0000-0000-0000-000000000000'::uuid), coalesce($3, 0))
            ORDER BY expires_at, account_id, lot LIMIT $4"#,
            after.map(|place| codec::timestamp(place.expires_at)).transpose()?,
            after.map(|place| place.account.0),
            after.map(|place| place.lot),
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let (expires_at, account) =
                    (codec::db_time(row.expires_at)?, AccountId(row.account_id));
                Ok(DueLot {
                    owner: Owner { tenant: TenantId(row.tenant_id), account },
                    place: LotPlace { expires_at, account, lot: row.lot },
                })
            })
            .collect()
    }

    /// Expires the points of an account whose time is past; in how many lots they were. What is reserved
    /// stays reserved.
    ///
    /// # Errors
    /// When the database does not carry it out; the same again goes on.
    pub async fn expire_points(&self, owner: Owner) -> Result<usize, StoreError> {
        self.writer.run(ExpirePoints(owner)).await
    }

    /// What becomes of a company's points that return to a bucket which has expired; `None` where there
    /// is no such company.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn expired_refund(
        &self,
        tenant: TenantId,
    ) -> Result<Option<ExpiredRefund>, StoreError> {
        let found = sqlx::query_scalar!(
            r#"SELECT expired_refund FROM tenants WHERE tenant_id = $1"#,
            tenant.0,
        )
        .fetch_optional(&self.pool)
        .await?;
        found.as_deref().map(crate::book::refund_rule).transpose()
    }

    /// Sets that rule, for whatever returns from now on.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn set_expired_refund(
        &self,
        tenant: TenantId,
        rule: ExpiredRefund,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            r#"UPDATE tenants SET expired_refund = $2 WHERE tenant_id = $1"#,
            tenant.0,
            rule.as_str(),
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
