//! Who asks, and whose points they may reserve (promise 9).

use domain::{AppId, TenantId};
use sha2::{Digest, Sha256};
use store::StoreError;
use store::tenants::{KeyHolder, KeyKind};

use crate::{Development, Service};

/// Whose points a caller may reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Any account's of its tenant: the company's own servers, and the development stack's key.
    AnyAccount,
    /// Nobody's: a publishable key proves no user.
    NoAccount,
}

/// An authenticated caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its company.
    pub tenant: TenantId,
    /// Its application.
    pub app: AppId,
    /// Whether it is one of the company's servers.
    pub is_server: bool,
    /// Whose points it may reserve.
    pub reach: Reach,
}

impl Caller {
    /// Whom a key speaks for; `honoured` are the powers of development keys, if this is development.
    fn new(holder: KeyHolder, honoured: Option<Development>) -> Self {
        let is_server = holder.kind == KeyKind::Secret;
        let reach = if is_server || (honoured.is_some() && holder.reserves_any_account) {
            Reach::AnyAccount
        } else {
            Reach::NoAccount
        };
        Self { tenant: holder.tenant, app: holder.app, is_server, reach }
    }
}

/// SHA-256 of an API key: what the database keeps. Keys are 256 random bits, so that no salt or slow
/// hash is needed.
#[must_use]
pub fn key_hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

impl Service {
    /// Whom an API key speaks for; `None` for an unknown or revoked one.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn authenticate(&self, key: &str) -> Result<Option<Caller>, StoreError> {
        let holder = self.store.key_holder(&key_hash(key)).await?;
        Ok(holder.map(|holder| Caller::new(holder, self.settings.development)))
    }
}
