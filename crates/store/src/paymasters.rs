//! Deployed paymaster contracts.

use alloy_primitives::Address;
use domain::{ChainId, TenantId};

use crate::{Store, StoreError, codec};

/// One deployed paymaster contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paymaster {
    /// The chain it is deployed on.
    pub chain: ChainId,
    /// Its address.
    pub address: Address,
    /// The company whose deposit it is.
    pub tenant: TenantId,
    /// The EntryPoint that it is bound to.
    pub entry_point: Address,
}

impl Store {
    /// Registers a paymaster, and answers what stands registered under its address: another tenant or
    /// EntryPoint than asked for means that the configuration contradicts the past.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn register_paymaster(&self, paymaster: &Paymaster) -> Result<Paymaster, StoreError> {
        sqlx::query!(
            r#"INSERT INTO paymasters (chain_id, paymaster, tenant_id, entry_point)
            VALUES ($1, $2, $3, $4) ON CONFLICT (chain_id, paymaster) DO NOTHING"#,
            codec::chain_id(paymaster.chain)?,
            paymaster.address.as_slice(),
            paymaster.tenant.0,
            paymaster.entry_point.as_slice(),
        )
        .execute(&self.pool)
        .await?;
        let row = sqlx::query!(
            r#"SELECT tenant_id, entry_point FROM paymasters WHERE chain_id = $1 AND paymaster = $2"#,
            codec::chain_id(paymaster.chain)?,
            paymaster.address.as_slice(),
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(Paymaster {
            tenant: TenantId(row.tenant_id),
            entry_point: codec::address(&row.entry_point)?,
            ..*paymaster
        })
    }

    /// Whose key signs for a paymaster; `None` while no operator has chosen one, or for a paymaster that is not
    /// registered.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn active_signer(
        &self,
        chain: ChainId,
        paymaster: Address,
    ) -> Result<Option<Address>, StoreError> {
        let chosen = sqlx::query_scalar!(
            r#"SELECT active_signer FROM paymasters WHERE chain_id = $1 AND paymaster = $2"#,
            codec::chain_id(chain)?,
            paymaster.as_slice(),
        )
        .fetch_optional(&self.pool)
        .await?
        .flatten();
        chosen.as_deref().map(codec::address).transpose()
    }

    /// Makes another key sign for a paymaster: every signature that is begun after this is by that key, in every
    /// process. Answers false for a paymaster that is not registered.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn set_active_signer(
        &self,
        chain: ChainId,
        paymaster: Address,
        signer: Address,
    ) -> Result<bool, StoreError> {
        let changed = sqlx::query!(
            r#"UPDATE paymasters SET active_signer = $3, signer_changed_at = clock_timestamp()
            WHERE chain_id = $1 AND paymaster = $2"#,
            codec::chain_id(chain)?,
            paymaster.as_slice(),
            signer.as_slice(),
        )
        .execute(&self.pool)
        .await?;
        Ok(changed.rows_affected() == 1)
    }

    /// Every paymaster that was ever registered on a chain. What the ingester listens to: one that
    /// left the configuration can still be charged for operations that were signed before.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn paymasters(&self, chain: ChainId) -> Result<Vec<Paymaster>, StoreError> {
        let rows = sqlx::query!(
            r#"SELECT paymaster, tenant_id, entry_point FROM paymasters WHERE chain_id = $1"#,
            codec::chain_id(chain)?,
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(Paymaster {
                    chain,
                    address: codec::address(&row.paymaster)?,
                    tenant: TenantId(row.tenant_id),
                    entry_point: codec::address(&row.entry_point)?,
                })
            })
            .collect()
    }
}
