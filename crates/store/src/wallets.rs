//! Smart accounts linked to accounts.

use alloy_primitives::Address;
use domain::{AccountId, ChainId, TenantId};
use sqlx::PgConnection;

use crate::transaction::{Transaction, commit};
use crate::{Store, StoreError, codec};

/// A smart account on a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wallet {
    /// The chain.
    pub chain: ChainId,
    /// The smart account's address.
    pub address: Address,
}

/// What became of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkOutcome {
    /// Linked now.
    Linked,
    /// Linked to this account before.
    AlreadyLinked,
    /// Linked to another account of the tenant: unlink it there first.
    LinkedElsewhere,
}

/// What became of an unlinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnlinkOutcome {
    /// Unlinked now.
    Unlinked,
    /// It was not linked to this account.
    NotLinked,
    /// An operation of the wallet is still open or not yet final.
    InUse,
}

struct Link {
    tenant: TenantId,
    account: AccountId,
    wallet: Wallet,
}

impl Transaction for Link {
    /// Whether it is new.
    type Outcome = bool;

    async fn execute(&self, connection: &mut PgConnection) -> Result<bool, StoreError> {
        let inserted = sqlx::query!(
            r#"INSERT INTO wallets (tenant_id, chain_id, wallet, account_id)
            VALUES ($1, $2, $3, $4) ON CONFLICT (tenant_id, chain_id, wallet) DO NOTHING"#,
            self.tenant.0,
            codec::chain_id(self.wallet.chain)?,
            self.wallet.address.as_slice(),
            self.account.0,
        )
        .execute(&mut *connection)
        .await?;
        let is_new = inserted.rows_affected() == 1;
        if is_new {
            record_event(connection, self.tenant, self.account, "wallet.linked").await?;
        }
        Ok(is_new)
    }
}

struct Unlink {
    tenant: TenantId,
    account: AccountId,
    wallet: Wallet,
}

impl Transaction for Unlink {
    type Outcome = UnlinkOutcome;

    async fn execute(&self, connection: &mut PgConnection) -> Result<UnlinkOutcome, StoreError> {
        // Under the account's lock no reservation of it can open meanwhile.
        let locked = sqlx::query_scalar!(
            r#"SELECT 1 AS "locked!" FROM accounts
            WHERE tenant_id = $1 AND account_id = $2 FOR NO KEY UPDATE"#,
            self.tenant.0,
            self.account.0,
        )
        .fetch_optional(&mut *connection)
        .await?;
        if locked.is_none() {
            return Ok(UnlinkOutcome::NotLinked);
        }
        let chain = codec::chain_id(self.wallet.chain)?;
        let in_use = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM reservations
                WHERE tenant_id = $1 AND account_id = $2 AND chain_id = $3 AND sender = $4
                    AND kind = 'sponsorship' AND state IN ('open', 'settled_provisional')) AS "in_use!""#,
            self.tenant.0,
            self.account.0,
            chain,
            self.wallet.address.as_slice(),
        )
        .fetch_one(&mut *connection)
        .await?;
        if in_use {
            return Ok(UnlinkOutcome::InUse);
        }
        let deleted = sqlx::query!(
            r#"DELETE FROM wallets
            WHERE tenant_id = $1 AND account_id = $2 AND chain_id = $3 AND wallet = $4"#,
            self.tenant.0,
            self.account.0,
            chain,
            self.wallet.address.as_slice(),
        )
        .execute(&mut *connection)
        .await?;
        if deleted.rows_affected() == 0 {
            return Ok(UnlinkOutcome::NotLinked);
        }
        record_event(connection, self.tenant, self.account, "wallet.unlinked").await?;
        Ok(UnlinkOutcome::Unlinked)
    }
}

/// Writes an event that moves no points. It takes the account's row, and its number tells a command that was decided
/// without the row's lock that what it read is no longer so.
async fn record_event(
    connection: &mut PgConnection,
    tenant: TenantId,
    account: AccountId,
    kind: &'static str,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"WITH account AS (
            UPDATE accounts SET event_seq = event_seq + 1,
                recorded_at = greatest(recorded_at, clock_timestamp())
            WHERE tenant_id = $1 AND account_id = $2
            RETURNING event_seq, entry_seq, recorded_at
        )
        INSERT INTO outbox (tenant_id, account_id, event_seq, incarnation, kind, entry_seq,
            recorded_at)
        SELECT $1, $2, event_seq, (SELECT max(incarnation) FROM incarnations), $3, entry_seq,
            recorded_at FROM account"#,
        tenant.0,
        account.0,
        kind,
    )
    .execute(connection)
    .await?;
    Ok(())
}

impl Store {
    /// Links a wallet to an account.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn link_wallet(
        &self,
        tenant: TenantId,
        account: AccountId,
        wallet: Wallet,
    ) -> Result<LinkOutcome, StoreError> {
        if commit(&self.pool, &Link { tenant, account, wallet }).await? {
            return Ok(LinkOutcome::Linked);
        }
        let owner = self.wallet_account(tenant, wallet).await?;
        Ok(if owner == Some(account) {
            LinkOutcome::AlreadyLinked
        } else {
            LinkOutcome::LinkedElsewhere
        })
    }

    /// Unlinks a wallet, unless an operation of it is still open or not yet final.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn unlink_wallet(
        &self,
        tenant: TenantId,
        account: AccountId,
        wallet: Wallet,
    ) -> Result<UnlinkOutcome, StoreError> {
        commit(&self.pool, &Unlink { tenant, account, wallet }).await
    }

    /// The account that a wallet is linked to.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn wallet_account(
        &self,
        tenant: TenantId,
        wallet: Wallet,
    ) -> Result<Option<AccountId>, StoreError> {
        let account = sqlx::query_scalar!(
            r#"SELECT account_id FROM wallets
            WHERE tenant_id = $1 AND chain_id = $2 AND wallet = $3"#,
            tenant.0,
            codec::chain_id(wallet.chain)?,
            wallet.address.as_slice(),
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(account.map(AccountId))
    }

    /// The wallets of an account, oldest link first; at most 100.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn wallets(
        &self,
        tenant: TenantId,
        account: AccountId,
    ) -> Result<Vec<Wallet>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT chain_id, wallet FROM wallets WHERE tenant_id = $1 AND account_id = $2
            ORDER BY linked_at, wallet LIMIT 100"#,
            tenant.0,
            account.0,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(Wallet {
                    chain: ChainId(codec::unsigned(row.chain_id)?),
                    address: codec::address(&row.wallet)?,
                })
            })
            .collect()
    }
}
