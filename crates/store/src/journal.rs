//! Reading the entries.

use domain::ledger::Balances;
use domain::ledger::tcc::DbTime;
use domain::{AccountId, Points, ReservationId, TenantId};

use crate::{Store, StoreError, codec};

/// One line of an account's journal, as a statement shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryLine {
    /// Gapless per account, from 1.
    pub seq: i64,
    /// The command that wrote it.
    pub kind: String,
    /// The column that the points left.
    pub from: String,
    /// The column that they entered.
    pub to: String,
    /// How many.
    pub amount: Points,
    /// The balances after it.
    pub balances: Balances,
    /// The reservation it belongs to.
    pub reservation: Option<ReservationId>,
    /// The company's own reference.
    pub reference: Option<String>,
    /// When it was recorded.
    pub recorded_at: DbTime,
}

/// The most lines one page has.
pub const MAX_PAGE: u16 = 200;

impl Store {
    /// The lines before sequence `before` (or the newest), newest first, at most `limit` and
    /// [`MAX_PAGE`].
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn entries(
        &self,
        tenant: TenantId,
        account: AccountId,
        before: Option<i64>,
        limit: u16,
    ) -> Result<Vec<EntryLine>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT seq, kind, from_column, to_column, amount_micropoints,
                available_after_micropoints, reserved_after_micropoints, spent_after_micropoints,
                debt_after_micropoints, reservation_id, reference, recorded_at
            FROM entries
            WHERE tenant_id = $1 AND account_id = $2 AND seq < $3
            ORDER BY seq DESC LIMIT $4"#,
            tenant.0,
            account.0,
            before.unwrap_or(i64::MAX),
            i64::from(limit.min(MAX_PAGE)),
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(EntryLine {
                    seq: row.seq,
                    kind: row.kind,
                    from: row.from_column,
                    to: row.to_column,
                    amount: codec::points(row.amount_micropoints)?,
                    balances: Balances {
                        available: codec::points(row.available_after_micropoints)?,
                        reserved: codec::points(row.reserved_after_micropoints)?,
                        spent: codec::points(row.spent_after_micropoints)?,
                        debt: codec::points(row.debt_after_micropoints)?,
                    },
                    reservation: row.reservation_id.map(ReservationId),
                    reference: row.reference,
                    recorded_at: codec::db_time(row.recorded_at)?,
                })
            })
            .collect()
    }
}
