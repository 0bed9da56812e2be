//! What the handlers share.

use std::sync::Arc;

use domain::{AccountId, ExternalId, TenantId};
use service::Service;

use crate::health::Readiness;
use crate::{ApiError, HttpSettings};

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) service: Arc<Service>,
    pub(crate) settings: HttpSettings,
    pub(crate) readiness: Readiness,
}

impl App {
    /// The account of this name.
    pub(crate) async fn account(
        &self,
        tenant: TenantId,
        external_id: &ExternalId,
    ) -> Result<AccountId, ApiError> {
        let found = self.service.store().account_by_name(tenant, external_id).await?;
        found.ok_or(ApiError::AccountNotFound)
    }
}
