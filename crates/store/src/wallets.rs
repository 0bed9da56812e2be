//! Smart accounts linked to accounts.

use alloy_primitives::Address;
use domain::{AccountId, ChainId, TenantId};
use sqlx::PgConnection;

use crate::account_lock::LockedAccount;
use crate::command::{Command, commit};
use crate::{Store, StoreError, codec};

/// A smart account on a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

struct Unlink {
    tenant: TenantId,
    account: AccountId,
    wallet: Wallet,
}

impl Command for Unlink {
    type Outcome = UnlinkOutcome;

    async fn execute(&self, connection: &mut PgConnection) -> Result<UnlinkOutcome, StoreError> {
        // Under the account's lock no reservation of it can open meanwhile.
        let locked = LockedAccount::lock(connection, self.tenant, self.account).await?;
        if locked.is_none() {
            return Ok(UnlinkOutcome::NotLinked);
        }
        let chain = codec::chain_id(self.wallet.chain)?;
        let in_use = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM reservations
                WHERE tenant_id = $1 AND account_id = $2 AND chain_id = $3 AND sender = $4
                    AND state IN ('open', 'settled_provisional')) AS "in_use!""#,
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
        .execute(connection)
        .await?;
        Ok(if deleted.rows_affected() == 1 {
            UnlinkOutcome::Unlinked
        } else {
            UnlinkOutcome::NotLinked
        })
    }
}

/// Whether the wallet is linked to the account: asked again under the account's lock, so that a grant
/// never rests on a link that has moved.
pub(crate) async fn is_linked(
    connection: &mut PgConnection,
    tenant: TenantId,
    account: AccountId,
    wallet: Wallet,
) -> Result<bool, StoreError> {
    let linked = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM wallets WHERE tenant_id = $1 AND chain_id = $2
            AND wallet = $3 AND account_id = $4) AS "linked!""#,
        tenant.0,
        codec::chain_id(wallet.chain)?,
        wallet.address.as_slice(),
        account.0,
    )
    .fetch_one(connection)
    .await?;
    Ok(linked)
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
        let inserted = sqlx::query!(
            r#"INSERT INTO wallets (tenant_id, chain_id, wallet, account_id)
            VALUES ($1, $2, $3, $4) ON CONFLICT (tenant_id, chain_id, wallet) DO NOTHING"#,
            tenant.0,
            codec::chain_id(wallet.chain)?,
            wallet.address.as_slice(),
            account.0,
        )
        .execute(&self.pool)
        .await?;
        if inserted.rows_affected() == 1 {
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
