//! Companies, their applications and API keys.

use domain::{AppId, KeyId, TenantId};
use uuid::Uuid;

use crate::{Store, StoreError};

/// What an API key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Kept by the company's servers: everything of its tenant.
    Secret,
    /// Shipped in dApps and wallets: no proof of any user.
    Publishable,
}

impl KeyKind {
    /// The kind's name in SQL and at the start of a key.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Publishable => "publishable",
        }
    }
}

/// A key as it is stored: its hash, and enough of it for people to recognise.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Its id.
    pub key_id: KeyId,
    /// The application it belongs to.
    pub app: AppId,
    /// What it may do.
    pub kind: KeyKind,
    /// SHA-256 of the whole key.
    pub hash: [u8; 32],
    /// The first characters, shown in lists.
    pub prefix: String,
    /// Whether it may reserve any account's points although it is publishable; the development stack
    /// only.
    pub reserves_any_account: bool,
}

/// Whom a key speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHolder {
    /// The key.
    pub key_id: KeyId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its application.
    pub app: AppId,
    /// What it may do.
    pub kind: KeyKind,
    /// Whether it may reserve any account's points although it is publishable.
    pub reserves_any_account: bool,
}

impl Store {
    /// The tenant of this name, made if it does not exist.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn ensure_tenant(&self, name: &str) -> Result<TenantId, StoreError> {
        sqlx::query!(
            r#"INSERT INTO tenants (tenant_id, name) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING"#,
            Uuid::now_v7(),
            name,
        )
        .execute(&self.pool)
        .await?;
        let id = sqlx::query_scalar!(r#"SELECT tenant_id FROM tenants WHERE name = $1"#, name)
            .fetch_one(&self.pool)
            .await?;
        Ok(TenantId(id))
    }

    /// The tenant of this name, if there is one.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn tenant_by_name(&self, name: &str) -> Result<Option<TenantId>, StoreError> {
        let id = sqlx::query_scalar!(r#"SELECT tenant_id FROM tenants WHERE name = $1"#, name)
            .fetch_optional(&self.pool)
            .await?;
        Ok(id.map(TenantId))
    }

    /// The tenant's application of this name, made if it does not exist.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn ensure_app(&self, tenant: TenantId, name: &str) -> Result<AppId, StoreError> {
        sqlx::query!(
            r#"INSERT INTO apps (tenant_id, app_id, name) VALUES ($1, $2, $3)
            ON CONFLICT (tenant_id, name) DO NOTHING"#,
            tenant.0,
            Uuid::now_v7(),
            name,
        )
        .execute(&self.pool)
        .await?;
        let id = sqlx::query_scalar!(
            r#"SELECT app_id FROM apps WHERE tenant_id = $1 AND name = $2"#,
            tenant.0,
            name,
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(AppId(id))
    }

    /// Stores a new key.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn add_key(&self, tenant: TenantId, key: &NewKey) -> Result<(), StoreError> {
        sqlx::query!(
            r#"INSERT INTO api_keys
                (key_id, tenant_id, app_id, kind, key_hash, prefix, reserves_any_account)
            VALUES ($1, $2, $3, $4, $5, $6, $7)"#,
            key.key_id.0,
            tenant.0,
            key.app.0,
            key.kind.as_str(),
            key.hash.as_slice(),
            key.prefix,
            key.reserves_any_account,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Revokes a key; whether there was one to revoke.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn revoke_key(&self, key: KeyId) -> Result<bool, StoreError> {
        let revoked = sqlx::query!(
            r#"UPDATE api_keys SET revoked_at = clock_timestamp()
            WHERE key_id = $1 AND revoked_at IS NULL"#,
            key.0,
        )
        .execute(&self.pool)
        .await?;
        Ok(revoked.rows_affected() == 1)
    }

    /// Whom the key of this hash speaks for; `None` for an unknown or revoked one.
    ///
    /// # Errors
    /// When the database does not carry it out.
    pub async fn key_holder(&self, hash: &[u8; 32]) -> Result<Option<KeyHolder>, StoreError> {
        let row = sqlx::query!(
            r#"SELECT key_id, tenant_id, app_id, kind, reserves_any_account FROM api_keys
            WHERE key_hash = $1 AND revoked_at IS NULL"#,
            hash.as_slice(),
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| {
            let kind = match row.kind.as_str() {
                "secret" => KeyKind::Secret,
                "publishable" => KeyKind::Publishable,
                _ => return Err(StoreError::Corrupt("key kind")),
            };
            Ok(KeyHolder {
                key_id: KeyId(row.key_id),
                tenant: TenantId(row.tenant_id),
                app: AppId(row.app_id),
                kind,
                reserves_any_account: row.reserves_any_account,
            })
        })
        .transpose()
    }
}
