//! Accounts: their locks, and their rows. A lock answers with the row that it holds, which is the youngest; everything
//! else is loaded by later statements, which see what others committed before the lock was had.

use std::collections::BTreeSet;

use domain::ledger::Balances;
use domain::ledger::journal::{Head, Incarnation};
use domain::{AccountId, TenantId};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::load::columns;
use super::{Book, Needs, Owner, Page};
use crate::{StoreError, codec};

/// What to do about an account that somebody else has locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Leave it out: it must not hold up the rest of a batch.
    Skip,
    /// Wait, as long as the session's time limit lets one.
    Wait,
}

/// An account as its row has it.
pub(super) struct PageRow {
    pub(super) tenant_id: Uuid,
    pub(super) account_id: Uuid,
    pub(super) available_micropoints: i64,
    pub(super) reserved_micropoints: i64,
    pub(super) spent_micropoints: i64,
    pub(super) debt_micropoints: i64,
    pub(super) entry_seq: i64,
    pub(super) entry_hash: Vec<u8>,
    pub(super) event_seq: i64,
    pub(super) lot_seq: i32,
    pub(super) now: OffsetDateTime,
    pub(super) incarnation: i32,
}

impl Book {
    pub(super) fn insert_page(&mut self, row: &PageRow) -> Result<(), StoreError> {
        let owner = Owner { tenant: TenantId(row.tenant_id), account: AccountId(row.account_id) };
        let balances = Balances {
            available: codec::points(row.available_micropoints)?,
            reserved: codec::points(row.reserved_micropoints)?,
            spent: codec::points(row.spent_micropoints)?,
            debt: codec::points(row.debt_micropoints)?,
        };
        let (seq, hash) = (row.entry_seq, codec::hash(&row.entry_hash)?);
        let page = Page {
            now: codec::db_time(row.now)?,
            head: Head { seq, hash, balances },
            event_seq: row.event_seq,
            incarnation: Incarnation(row.incarnation),
            lot_seq: row.lot_seq,
            loaded: (row.entry_seq, row.event_seq),
        };
        self.pages.insert(owner, page);
        Ok(())
    }

    /// The accounts, without a lock.
    pub(super) async fn read_pages(
        connection: &mut PgConnection,
        needs: &Needs,
    ) -> Result<Self, StoreError> {
        let (tenants, accounts) = columns(needs.owners.iter());
        let rows = sqlx::query_as!(
            PageRow,
            r#"SELECT a.tenant_id, a.account_id, a.available_micropoints, a.reserved_micropoints,
                a.spent_micropoints, a.debt_micropoints, a.entry_seq, a.entry_hash, a.event_seq,
                a.lot_seq, greatest(a.recorded_at, clock_timestamp()) AS "now!",
                (SELECT max(incarnation) FROM incarnations) AS "incarnation!"
            FROM unnest($1::uuid[], $2::uuid[]) AS n (tenant_id, account_id)
            JOIN accounts a ON a.tenant_id = n.tenant_id AND a.account_id = n.account_id"#,
            &tenants,
            &accounts,
        )
        .fetch_all(connection)
        .await?;
        let mut book = Self::default();
        rows.iter().try_for_each(|row| book.insert_page(row))?;
        Ok(book)
    }

    /// Locks the accounts in the order of their keys. Answers as well which of them exist and are held by somebody else.
    pub(super) async fn lock_pages(
        connection: &mut PgConnection,
        needs: &Needs,
        patience: Patience,
    ) -> Result<(Self, BTreeSet<Owner>), StoreError> {
        let (tenants, accounts) = columns(needs.owners.iter());
        if patience == Patience::Wait {
            sqlx::query!(
                r#"SELECT FROM accounts a
                JOIN unnest($1::uuid[], $2::uuid[]) AS n (tenant_id, account_id)
                    ON a.tenant_id = n.tenant_id AND a.account_id = n.account_id
                ORDER BY a.tenant_id, a.account_id FOR NO KEY UPDATE OF a"#,
                &tenants,
                &accounts,
            )
            .execute(&mut *connection)
            .await?;
        }
        // The clock is read outside of the part that locks, and so behind it.
        let rows = sqlx::query_as!(
            PageRow,
            r#"SELECT l.tenant_id, l.account_id, l.available_micropoints, l.reserved_micropoints,
                l.spent_micropoints, l.debt_micropoints, l.entry_seq, l.entry_hash, l.event_seq,
                l.lot_seq, greatest(l.recorded_at, clock_timestamp()) AS "now!",
                (SELECT max(incarnation) FROM incarnations) AS "incarnation!"
            FROM (SELECT a.* FROM accounts a
                JOIN unnest($1::uuid[], $2::uuid[]) AS n (tenant_id, account_id)
                    ON a.tenant_id = n.tenant_id AND a.account_id = n.account_id
                ORDER BY a.tenant_id, a.account_id FOR NO KEY UPDATE OF a SKIP LOCKED) l"#,
            &tenants,
            &accounts,
        )
        .fetch_all(&mut *connection)
        .await?;
        let mut book = Self::default();
        rows.iter().try_for_each(|row| book.insert_page(row))?;
        let held = book.existing_without_page(connection, needs).await?;
        Ok((book, held))
    }

    async fn existing_without_page(
        &self,
        connection: &mut PgConnection,
        needs: &Needs,
    ) -> Result<BTreeSet<Owner>, StoreError> {
        let missing = needs.owners.iter().filter(|owner| !self.pages.contains_key(owner));
        let (tenants, accounts) = columns(missing);
        if tenants.is_empty() {
            return Ok(BTreeSet::new());
        }
        let rows = sqlx::query!(
            r#"SELECT a.tenant_id, a.account_id
            FROM unnest($1::uuid[], $2::uuid[]) AS n (tenant_id, account_id)
            JOIN accounts a ON a.tenant_id = n.tenant_id AND a.account_id = n.account_id"#,
            &tenants,
            &accounts,
        )
        .fetch_all(connection)
        .await?;
        let owner =
            |tenant, account| Owner { tenant: TenantId(tenant), account: AccountId(account) };
        Ok(rows.into_iter().map(|row| owner(row.tenant_id, row.account_id)).collect())
    }
}
