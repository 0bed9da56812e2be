//! Accounts and their names.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::ledger::{Balances, journal};
use domain::{AccountId, ExternalId, Points, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::book::lot;
use crate::buckets::LotBalance;
use crate::transaction::{Transaction, commit};
use crate::{Store, StoreError, codec};

/// An account's balances, as a statement shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountBalances {
    /// The four columns.
    pub balances: Balances,
    /// The part of `reserved` that returns when provisionally settled operations become final.
    pub pending: Points,
    /// What of `available` is not in the default bucket, in the order in which it is spent; lots that
    /// hold nothing are left out.
    pub lots: Vec<LotBalance>,
    /// Sequence of the last entry.
    pub entry_seq: i64,
}

struct EnsureAccount<'a> {
    tenant: TenantId,
    external_id: &'a ExternalId,
    candidate: AccountId,
}

impl Transaction for EnsureAccount<'_> {
    type Outcome = AccountId;

    async fn execute(&self, connection: &mut PgConnection) -> Result<AccountId, StoreError> {
        let named = sqlx::query_scalar!(
            r#"SELECT account_id FROM account_names WHERE tenant_id = $1 AND external_id = $2"#,
            self.tenant.0,
            self.external_id.as_str(),
        )
        .fetch_optional(&mut *connection)
        .await?;
        if let Some(account) = named {
            return Ok(AccountId(account));
        }
        let genesis = journal::genesis(self.tenant, self.candidate);
        sqlx::query!(
            r#"INSERT INTO accounts (tenant_id, account_id, entry_hash) VALUES ($1, $2, $3)
            ON CONFLICT (tenant_id, account_id) DO NOTHING"#,
            self.tenant.0,
            self.candidate.0,
            genesis.as_slice(),
        )
        .execute(&mut *connection)
        .await?;
        // A neighbour that took the name first makes this wait and then return nothing; its own
        // account is the one, and ours goes with the rollback.
        let taken = sqlx::query_scalar!(
            r#"INSERT INTO account_names (tenant_id, external_id, account_id) VALUES ($1, $2, $3)
            ON CONFLICT (tenant_id, external_id) DO NOTHING RETURNING account_id"#,
            self.tenant.0,
            self.external_id.as_str(),
            self.candidate.0,
        )
        .fetch_optional(connection)
        .await?;
        match taken {
            Some(account) => Ok(AccountId(account)),
            None => Err(StoreError::Contention(Arc::new(sqlx::Error::RowNotFound))),
        }
    }
}

impl Store {
    /// The account of this name, made if it does not exist.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn ensure_account(
        &self,
        tenant: TenantId,
        external_id: &ExternalId,
    ) -> Result<AccountId, StoreError> {
        let candidate = AccountId(Uuid::now_v7());
        commit(&self.pool, &EnsureAccount { tenant, external_id, candidate }).await
    }

    /// The account of this name, if there is one.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn account_by_name(
        &self,
        tenant: TenantId,
        external_id: &ExternalId,
    ) -> Result<Option<AccountId>, StoreError> {
        let id = sqlx::query_scalar!(
            r#"SELECT account_id FROM account_names WHERE tenant_id = $1 AND external_id = $2"#,
            tenant.0,
            external_id.as_str(),
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(id.map(AccountId))
    }

    /// The name of an account; `None` once it is erased.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn account_name(
        &self,
        tenant: TenantId,
        account: AccountId,
    ) -> Result<Option<String>, StoreError> {
        let name = sqlx::query_scalar!(
            r#"SELECT external_id FROM account_names WHERE tenant_id = $1 AND account_id = $2"#,
            tenant.0,
            account.0,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(name)
    }

    /// The names of several accounts; erased ones are left out.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn account_names(
        &self,
        tenant: TenantId,
        accounts: &[AccountId],
    ) -> Result<BTreeMap<AccountId, String>, StoreError> {
        let ids: Vec<Uuid> = accounts.iter().map(|account| account.0).collect();
        let rows = sqlx::query!(
            r#"SELECT account_id, external_id FROM account_names
            WHERE tenant_id = $1 AND account_id = ANY($2)"#,
            tenant.0,
            &ids,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (AccountId(row.account_id), row.external_id)).collect())
    }

    /// An account's balances, of one moment.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn balances(
        &self,
        tenant: TenantId,
        account: AccountId,
    ) -> Result<Option<AccountBalances>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT a.available_micropoints, a.reserved_micropoints, a.spent_micropoints,
                a.debt_micropoints, a.entry_seq, b.bucket AS "bucket?", b.expires_at AS "expires_at?",
                b.available_micropoints AS "lot_micropoints?",
                coalesce((SELECT sum(r.reserved_micropoints - r.from_reserved_micropoints)
                    FROM reservations r
                    WHERE r.tenant_id = a.tenant_id AND r.account_id = a.account_id
                        AND r.chain_id IS NOT NULL AND a.reserved_micropoints > 0
                        AND r.state = 'settled_provisional' AND r.settled_before = 'open'), 0)::bigint
                    AS "pending_micropoints!"
            FROM accounts a
            LEFT JOIN buckets b ON a.lot_seq > 0 AND b.tenant_id = a.tenant_id
                AND b.account_id = a.account_id AND NOT b.expiry_swept
                AND b.available_micropoints > 0
            WHERE a.tenant_id = $1 AND a.account_id = $2
            ORDER BY b.expires_at NULLS LAST, b.lot"#,
            tenant.0,
            account.0,
        )
        .fetch_all(&self.pool)
        .await?;
        let mut lots = Vec::new();
        for row in &rows {
            if let Some(bucket) = &row.bucket {
                let available = codec::points(codec::present(row.lot_micropoints)?)?;
                lots.push(LotBalance { lot: lot(bucket, row.expires_at)?, available });
            }
        }
        rows.first()
            .map(|row| {
                Ok(AccountBalances {
                    lots,
                    balances: Balances {
                        available: codec::points(row.available_micropoints)?,
                        reserved: codec::points(row.reserved_micropoints)?,
                        spent: codec::points(row.spent_micropoints)?,
                        debt: codec::points(row.debt_micropoints)?,
                    },
                    pending: codec::points(row.pending_micropoints)?,
                    entry_seq: row.entry_seq,
                })
            })
            .transpose()
    }
}
