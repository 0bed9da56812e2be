//! Accounts: their locks, and their rows.

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

pub(super) async fn lock(
    connection: &mut PgConnection,
    needs: &Needs,
    patience: Patience,
) -> Result<BTreeSet<Owner>, StoreError> {
    let (tenants, accounts) = columns(needs.owners.iter());
    let locked: Vec<(Uuid, Uuid)> = match patience {
        Patience::Skip => sqlx::query!(
            r#"SELECT a.tenant_id, a.account_id FROM accounts a
            JOIN unnest($1::uuid[], $2::uuid[]) AS n (tenant_id, account_id)
                ON a.tenant_id = n.tenant_id AND a.account_id = n.account_id
            ORDER BY a.tenant_id, a.account_id FOR NO KEY UPDATE OF a SKIP LOCKED"#,
            &tenants,
            &accounts,
        )
        .fetch_all(connection)
        .await?
        .into_iter()
        .map(|row| (row.tenant_id, row.account_id))
        .collect(),
        Patience::Wait => sqlx::query!(
            r#"SELECT a.tenant_id, a.account_id FROM accounts a
            JOIN unnest($1::uuid[], $2::uuid[]) AS n (tenant_id, account_id)
                ON a.tenant_id = n.tenant_id AND a.account_id = n.account_id
            ORDER BY a.tenant_id, a.account_id FOR NO KEY UPDATE OF a"#,
            &tenants,
            &accounts,
        )
        .fetch_all(connection)
        .await?
        .into_iter()
        .map(|row| (row.tenant_id, row.account_id))
        .collect(),
    };
    let owner = |(tenant, account)| Owner { tenant: TenantId(tenant), account: AccountId(account) };
    Ok(locked.into_iter().map(owner).collect())
}

/// An account as its row has it.
pub(super) struct PageColumns<'a> {
    /// Available, reserved, spent, debt.
    pub(super) balances: [i64; 4],
    pub(super) entry_seq: i64,
    pub(super) entry_hash: &'a [u8],
    pub(super) event_seq: i64,
    pub(super) lot_seq: i32,
    pub(super) now: OffsetDateTime,
    pub(super) incarnation: i32,
}

impl PageColumns<'_> {
    pub(super) fn page(&self) -> Result<Page, StoreError> {
        let [available, reserved, spent, debt] = self.balances;
        let balances = Balances {
            available: codec::points(available)?,
            reserved: codec::points(reserved)?,
            spent: codec::points(spent)?,
            debt: codec::points(debt)?,
        };
        let (seq, hash) = (self.entry_seq, codec::hash(self.entry_hash)?);
        Ok(Page {
            now: codec::db_time(self.now)?,
            head: Head { seq, hash, balances },
            event_seq: self.event_seq,
            incarnation: Incarnation(self.incarnation),
            lot_seq: self.lot_seq,
            loaded: (self.entry_seq, self.event_seq),
        })
    }
}

/// The accounts that are locked, and those that exist and are not.
pub(super) async fn load_pages(
    connection: &mut PgConnection,
    needs: &Needs,
    locked: &BTreeSet<Owner>,
) -> Result<(Book, BTreeSet<Owner>), StoreError> {
    let (tenants, accounts) = columns(needs.owners.iter());
    let rows = sqlx::query!(
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
    let (mut book, mut held) = (Book::default(), BTreeSet::new());
    for row in rows {
        let owner = Owner { tenant: TenantId(row.tenant_id), account: AccountId(row.account_id) };
        if !locked.contains(&owner) {
            held.insert(owner);
            continue;
        }
        let columns = PageColumns {
            balances: [
                row.available_micropoints,
                row.reserved_micropoints,
                row.spent_micropoints,
                row.debt_micropoints,
            ],
            entry_seq: row.entry_seq,
            entry_hash: &row.entry_hash,
            event_seq: row.event_seq,
            lot_seq: row.lot_seq,
            now: row.now,
            incarnation: row.incarnation,
        };
        book.pages.insert(owner, columns.page()?);
    }
    Ok((book, held))
}
